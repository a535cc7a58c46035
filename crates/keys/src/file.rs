//! The keys file as written: its entries, checked one by one.

use std::collections::BTreeSet;

use model::name::Name;
use model::time::UnixMicros;
use model::violation::Violation;
use serde::Deserialize;
use signing::key::{ALGORITHM, KEYS_MAX, KeyId};
use signing::{Profile, Validity};
use system::{Secret, TIME_RULE, Time, parse_toml};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    keys: Vec<RawKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    id: String,
    partner: String,
    secret: Secret,
    not_before: Option<Time>,
    not_after: Option<Time>,
    integrations: Option<Vec<String>>,
    algorithms: Option<Vec<String>>,
    profile: Option<String>,
    secret_encoding: Option<SecretEncoding>,
}

/// How a secret is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum SecretEncoding {
    /// As it is, or, if it begins with `whsec_`, as Standard Webhooks has it.
    #[default]
    Text,
    /// Base64, with `whsec_` in front or without it.
    Base64,
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

/// One key, apart from its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its id.
    pub id: KeyId,
    /// Who signs with it.
    pub partner: Name,
    /// Valid from then on; absent: always has been.
    pub not_before: Option<UnixMicros>,
    /// Valid until then; absent: without end.
    pub not_after: Option<UnixMicros>,
    /// What it may be used for; none means everything.
    pub integrations: BTreeSet<Name>,
    /// The profile that it signs in; none: nodes find out from its integrations.
    pub profile: Option<Profile>,
}

impl Entry {
    /// Whether it is valid at a time.
    #[must_use]
    pub fn state(&self, now: UnixMicros) -> Validity {
        Validity::at(self.not_before, self.not_after, now)
    }
}

/// The entries of a file's text, in order. Secrets that are elsewhere are not fetched, so that
/// keys can be listed and rotated by who cannot see all of them.
///
/// # Errors
/// The first rule that is broken, with the entry and the field.
pub fn parse(text: &str) -> Result<Vec<Entry>, Violation> {
    Ok(raw(text)?.into_iter().map(|Raw { entry, .. }| entry).collect())
}

/// An entry with its secret as written.
pub(super) struct Raw {
    pub(super) entry: Entry,
    pub(super) secret: Secret,
    pub(super) encoding: SecretEncoding,
}

/// The entries with their secrets as written.
pub(super) fn raw(text: &str) -> Result<Vec<Raw>, Violation> {
    let raw: RawFile = parse_toml(text, "keys file")?;
    if raw.keys.len() > KEYS_MAX {
        return Err(Violation::new("keys", format!("must be at most {KEYS_MAX}")));
    }
    let mut ids = BTreeSet::new();
    let mut checked = Vec::new();
    for (index, key) in raw.keys.into_iter().enumerate() {
        let raw = key.check(&format!("keys[{index}]"))?;
        if !ids.insert(raw.entry.id.clone()) {
            let rule = format!("{} is the id of another key already", raw.entry.id);
            return Err(Violation::new(format!("keys[{index}].id"), rule));
        }
        checked.push(raw);
    }
    Ok(checked)
}

impl RawKey {
    fn check(self, place: &str) -> Result<Raw, Violation> {
        let broken = |field: &str, rule: &str| Violation::new(format!("{place}.{field}"), rule);
        let names = |names: Vec<String>| names.iter().map(|name| Name::parse(name)).collect();
        let integrations: Option<Option<BTreeSet<Name>>> = self.integrations.map(names);
        let integrations = match integrations {
            None => BTreeSet::new(),
            Some(Some(names)) if !names.is_empty() => names,
            Some(_) => return Err(broken("integrations", "must be names; absent means all")),
        };
        let algorithms = self.algorithms.unwrap_or_else(|| vec![ALGORITHM.to_owned()]);
        if algorithms != [ALGORITHM] {
            return Err(broken("algorithms", "must be [\"hmac-sha256\"], the only one there is"));
        }
        let profile = self.profile.map(|name| {
            let names = || Profile::ALL.map(Profile::as_str).join(", ");
            let rule = || format!("must be one of {}", names());
            Profile::parse(&name).ok_or_else(|| broken("profile", &rule()))
        });
        let profile = profile.transpose()?;
        let encoding = self.secret_encoding.unwrap_or_default();
        if encoding == SecretEncoding::Base64 && profile != Some(Profile::StandardWebhooks) {
            let rule = "must be \"base64\" only beside profile = \"standard-webhooks\"";
            return Err(broken("secret_encoding", rule));
        }
        let (not_before, not_after) = times(self.not_before, self.not_after, place)?;
        let entry = Entry {
            id: KeyId::parse(&self.id).ok_or_else(|| broken("id", KeyId::RULE))?,
            partner: Name::parse(&self.partner).ok_or_else(|| broken("partner", Name::RULE))?,
            not_before,
            not_after,
            integrations,
            profile,
        };
        Ok(Raw { entry, secret: self.secret, encoding })
    }
}
