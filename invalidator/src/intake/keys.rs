//! The keys of publishers: a file like that of partners' keys, in which a key says which publishers
//! it may sign for.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use access::{Authority, RawAuthority};
use keys::{check_algorithms, entries, id_taken, names, resolve, text, times};
use model::name::Name;
use model::time::UnixMicros;
use model::violation::Violation;
use serde::Deserialize;
use signing::Validity;
use signing::key::{KeyId, Secret as KeySecret};
use system::{Secret, Stamps, Time};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    id: String,
    secret: Secret,
    not_before: Option<Time>,
    not_after: Option<Time>,
    publishers: Option<Vec<String>>,
    allow: Option<RawAuthority>,
    algorithms: Option<Vec<String>>,
}

/// One key of a publisher.
#[derive(Clone, Debug)]
pub(super) struct EventKey {
    pub(super) secret: KeySecret,
    not_before: Option<UnixMicros>,
    not_after: Option<UnixMicros>,
    publishers: Option<BTreeSet<Name>>,
    /// What the events that it signs may do.
    pub(super) authority: Authority,
}

impl EventKey {
    pub(super) fn is_valid_at(&self, at: UnixMicros) -> bool {
        Validity::at(self.not_before, self.not_after, at) == Validity::Active
    }

    /// Whether it may sign for this publisher; without a list, for any, and for none.
    pub(super) fn may_sign_for(&self, publisher: Option<&Name>) -> bool {
        let Some(publishers) = &self.publishers else { return true };
        publisher.is_some_and(|name| publishers.contains(name))
    }
}

/// Keys of publishers, by their ids.
#[derive(Clone, Debug, Default)]
pub struct EventKeys(BTreeMap<KeyId, EventKey>);

impl EventKeys {
    pub(super) fn get(&self, id: &KeyId) -> Option<&EventKey> {
        self.0.get(id)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads the file and the secrets that it names, and notes what it has read.
///
/// # Errors
/// The first rule that is broken, with the entry and the field.
pub fn load(path: &Path, stamps: &mut Stamps) -> Result<EventKeys, Violation> {
    let text = text(path, "events.keys_file")?;
    let mut keys = EventKeys::default();
    for (index, raw) in entries::<RawKey>(&text, "events keys file")?.into_iter().enumerate() {
        let place = format!("keys[{index}]");
        let (id, key) = raw.check(&place, stamps)?;
        if keys.0.contains_key(&id) {
            return Err(id_taken(&id, &place));
        }
        keys.0.insert(id, key);
    }
    Ok(keys)
}

impl RawKey {
    fn check(self, place: &str, stamps: &mut Stamps) -> Result<(KeyId, EventKey), Violation> {
        let broken = |field: &str, rule: &str| Violation::new(format!("{place}.{field}"), rule);
        let id = KeyId::parse(&self.id).ok_or_else(|| broken("id", KeyId::RULE))?;
        let publishers = names(self.publishers, &format!("{place}.publishers"))?;
        check_algorithms(self.algorithms.as_deref(), place)?;
        let (not_before, not_after) = times(self.not_before, self.not_after, place)?;
        let secret = resolve(self.secret, &format!("{place}.secret"), stamps)?;
        let authority = self.allow.unwrap_or_default().check();
        let authority = authority.map_err(|(field, rule)| broken(field, rule))?;
        Ok((id, EventKey { secret, not_before, not_after, publishers, authority }))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn loaded(content: &str) -> Result<EventKeys, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("event-keys.toml");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        load(&path, &mut Stamps::new()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_signs_for_its_publishers_while_it_is_valid() {
        let content = "[[keys]]\nid = \"k1\"\nsecret = \"0123456789abcdef\"\n\
                       publishers = [\"risk\"]\nnot_after = 1970-01-01T00:00:10Z\n\
                       [[keys]]\nid = \"k2\"\nsecret = \"0123456789abcdef\"\n";
        let keys = loaded(content).unwrap();
        let key = |id| keys.get(&KeyId::parse(id).unwrap()).unwrap();
        let name = |text| Name::parse(text).unwrap();
        assert!(key("k1").may_sign_for(Some(&name("risk"))));
        assert!(!key("k1").may_sign_for(Some(&name("other"))) && !key("k1").may_sign_for(None));
        assert!(key("k2").may_sign_for(Some(&name("other"))) && key("k2").may_sign_for(None));
        assert!(key("k1").is_valid_at(UnixMicros(10_000_000)));
        assert!(!key("k1").is_valid_at(UnixMicros(10_000_001)));
        assert!(!format!("{keys:?}").contains("0123456789abcdef"));
    }

    #[test]
    fn every_broken_rule_is_named_with_its_field() {
        let key =
            |more: &str| format!("[[keys]]\nid = \"k\"\nsecret = \"0123456789abcdef\"\n{more}");
        let cases = [
            (String::new(), "events.keys_file: "),
            (key(&key("")), "keys[1].id: k is the id of another key already"),
            (key("publishers = []"), "keys[0].publishers: must be names"),
            (key("publishers = [\"A\"]"), "keys[0].publishers: must be names"),
            (key("allow.reasons = [\"A\"]"), "keys[0].allow.reasons: must be 1 to 64 names"),
            (key("algorithms = [\"none\"]"), "keys[0].algorithms: must be"),
            (key("not_before = \"soon\""), "keys[0].not_before: must be an RFC 3339 time"),
            (key("partner = \"a\""), "keys[0].partner: unknown field"),
            (key("").replace("abcdef", ""), "keys[0].secret: must be 16 to 1024 bytes"),
        ];
        for (content, message) in cases {
            let error = loaded(&content).unwrap_err();
            assert!(error.starts_with(message), "{content}: {error}");
        }
    }
}
