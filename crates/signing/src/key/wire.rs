//! Keys as the invalidator hands them out to nodes.

use std::sync::Arc;

use model::name::Name;
use model::push;
use model::time::UnixMicros;
use model::violation::Violation;

use super::{ALGORITHM, Key, KeyId, KeySet, Secret};
use crate::Profile;

impl KeySet {
    /// The set as it is pushed to nodes.
    #[must_use]
    pub fn to_wire(&self, version: u64) -> push::KeySet {
        let key = |key: &Arc<Key>| push::SigningKey {
            id: key.id.to_string(),
            partner: key.partner.to_string(),
            secret: key.secret.expose().to_vec(),
            not_before: key.not_before.map(|at| at.0),
            not_after: key.not_after.map(|at| at.0),
            integrations: key.integrations.iter().map(Name::to_string).collect(),
            algorithms: vec![ALGORITHM.to_owned()],
            profile: key.profile.map_or_else(String::new, |profile| profile.as_str().to_owned()),
        };
        push::KeySet { version, keys: self.iter().map(key).collect() }
    }
}

impl TryFrom<push::KeySet> for KeySet {
    type Error = Violation;

    /// Keys for other algorithms and profiles are left out: this version could not use them.
    fn try_from(wire: push::KeySet) -> Result<Self, Violation> {
        let mut keys = Self::default();
        for wire in wire.keys {
            let is_usable = wire.algorithms.is_empty()
                || wire.algorithms.iter().any(|algorithm| algorithm == ALGORITHM);
            let profile = Profile::parse(&wire.profile);
            if is_usable && (profile.is_some() || wire.profile.is_empty()) {
                let rule = "must be at most 256 keys, no two with the same id";
                keys.add(key(wire, profile)?).map_err(|_| Violation::new("keys", rule))?;
            }
        }
        Ok(keys)
    }
}

fn key(wire: push::SigningKey, profile: Option<Profile>) -> Result<Key, Violation> {
    let name =
        |text: &str, field| Name::parse(text).ok_or_else(|| Violation::new(field, Name::RULE));
    let integrations = wire.integrations.iter().map(|text| name(text, "integrations"));
    Ok(Key {
        id: KeyId::parse(&wire.id).ok_or_else(|| Violation::new("id", KeyId::RULE))?,
        partner: name(&wire.partner, "partner")?,
        secret: Secret::new(wire.secret).ok_or_else(|| Violation::new("secret", Secret::RULE))?,
        not_before: wire.not_before.map(UnixMicros),
        not_after: wire.not_after.map(UnixMicros),
        integrations: integrations.collect::<Result<_, _>>()?,
        profile,
    })
}
