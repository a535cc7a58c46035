//! The keys file as written: its entries, checked one by one.

use std::collections::BTreeSet;

use model::name::Name;
use model::time::UnixMicros;
use model::violation::Violation;
use serde::Deserialize;
use signing::key::KeyId;
use signing::{Profile, Validity};
use system::{Secret, Time};

use super::entries::{check_algorithms, entries, id_taken, names, times};

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
    let mut ids = BTreeSet::new();
    let mut checked = Vec::new();
    for (index, key) in entries::<RawKey>(text, "keys file")?.into_iter().enumerate() {
        let place = format!("keys[{index}]");
        let raw = key.check(&place)?;
        if !ids.insert(raw.entry.id.clone()) {
            return Err(id_taken(&raw.entry.id, &place));
        }
        checked.push(raw);
    }
    Ok(checked)
}

impl RawKey {
    fn check(self, place: &str) -> Result<Raw, Violation> {
        let broken = |field: &str, rule: &str| Violation::new(format!("{place}.{field}"), rule);
        let integrations = names(self.integrations, &format!("{place}.integrations"))?;
        check_algorithms(self.algorithms.as_deref(), place)?;
        let profile = self.profile.map(|name| {
            let names = || Profile::ALL.map(Profile::as_str).join(", ");
            let rule = || format!("must be one of {}", names());
            Profile::parse(&name).ok_or_else(|| broken("profile", &rule()))
        });
        let profile = profile.transpose()?;
        let encoding = self.secret_encoding.unwrap_or_default();
        let may_be = matches!(profile, Some(Profile::StandardWebhooks | Profile::Rfc9421));
        if encoding == SecretEncoding::Base64 && !may_be {
            let rule =
                "must be \"base64\" only beside profile = \"standard-webhooks\" or \"rfc9421\"";
            return Err(broken("secret_encoding", rule));
        }
        let (not_before, not_after) = times(self.not_before, self.not_after, place)?;
        let entry = Entry {
            id: KeyId::parse(&self.id).ok_or_else(|| broken("id", KeyId::RULE))?,
            partner: Name::parse(&self.partner).ok_or_else(|| broken("partner", Name::RULE))?,
            not_before,
            not_after,
            integrations: integrations.unwrap_or_default(),
            profile,
        };
        Ok(Raw { entry, secret: self.secret, encoding })
    }
}
