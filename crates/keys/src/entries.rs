//! What all files of keys have in common, whoever signs with them: a list of keys with ids, and what is said of each in
//! the same words.

use std::collections::BTreeSet;

use model::name::Name;
use model::time::UnixMicros;
use model::violation::Violation;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use signing::key::{ALGORITHM, KEYS_MAX, KeyId};
use system::{TIME_RULE, Time, parse_toml};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile<K> {
    #[serde(default = "Vec::new")]
    keys: Vec<K>,
}

/// The entries of a file's text as written, in order; `name` stands for the file itself in errors.
///
/// # Errors
/// If it is no such list, or one that is too long.
pub fn entries<K: DeserializeOwned>(text: &str, name: &str) -> Result<Vec<K>, Violation> {
    let RawFile { keys } = parse_toml::<RawFile<K>>(text, name)?;
    if keys.len() > KEYS_MAX {
        return Err(Violation::new("keys", format!("must be at most {KEYS_MAX}")));
    }
    Ok(keys)
}

/// What is wrong with the key at `place` if another one has its id.
#[must_use]
pub fn id_taken(id: &KeyId, place: &str) -> Violation {
    Violation::new(format!("{place}.id"), format!("{id} is the id of another key already"))
}

/// For whom or what a key is good; nothing for all. `field` is the path of what is written.
///
/// # Errors
/// If it is an empty list, or has something in it that is no name.
pub fn names(
    written: Option<Vec<String>>,
    field: &str,
) -> Result<Option<BTreeSet<Name>>, Violation> {
    let Some(written) = written else { return Ok(None) };
    let names: Option<BTreeSet<Name>> = written.iter().map(|name| Name::parse(name)).collect();
    let names = names.filter(|names| !names.is_empty());
    names.map(Some).ok_or_else(|| Violation::new(field, "must be names; absent means all"))
}

/// Checks what a key at `place` says of how it signs.
///
/// # Errors
/// If it is anything but the one way that there is.
pub fn check_algorithms(written: Option<&[String]>, place: &str) -> Result<(), Violation> {
    let rule = "must be [\"hmac-sha256\"], the only one there is";
    match written.is_none_or(|algorithms| algorithms == [ALGORITHM]) {
        true => Ok(()),
        false => Err(Violation::new(format!("{place}.algorithms"), rule)),
    }
}

/// When a key begins and ends to be valid.
pub type Times = (Option<UnixMicros>, Option<UnixMicros>);

/// Checks both ends of a key's validity; `place` is where the key stands.
pub fn times(
    not_before: Option<Time>,
    not_after: Option<Time>,
    place: &str,
) -> Result<Times, Violation> {
    let broken = |field: &str, rule: &str| Violation::new(format!("{place}.{field}"), rule);
    let time = |time: Option<Time>, field| {
        time.map(|time| time.parse().ok_or_else(|| broken(field, TIME_RULE))).transpose()
    };
    let not_before = time(not_before, "not_before")?;
    let not_after = time(not_after, "not_after")?;
    if not_before.zip(not_after).is_some_and(|(from, until)| until < from) {
        return Err(broken("not_after", "must not be before not_before"));
    }
    Ok((not_before, not_after))
}
