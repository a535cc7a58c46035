//! What a partner's endpoint demands of a request beside the limits.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnet::IpNet;
use model::name::Name;
use model::time::UnixMicros;
use signing::key::{Key, KeyId, KeySet};
use signing::verify::newest;
use signing::{Profile, SignatureRules};

use super::route::{Groups, LimitMatch};

/// The most integrations.
pub const INTEGRATIONS_MAX: usize = 64;

/// The most networks of one integration.
pub const ALLOW_IPS_MAX: usize = 256;

/// The most content types of one integration.
pub const CONTENT_TYPES_MAX: usize = 16;

/// The largest body that an integration can allow, in bytes.
pub const BODY_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// The largest body of a signed request if nothing else is configured, in bytes.
pub const BODY_BYTES_DEFAULT: u32 = 1024 * 1024;

/// What requests to a partner's endpoint must satisfy. The first that matches applies.
#[derive(Debug)]
pub struct Integration {
    /// Its name, in metrics, logs and the scopes of keys.
    pub name: Name,
    /// Which requests it is about: any of these; never empty.
    pub matchers: Vec<LimitMatch>,
    /// Whence requests may come; none means from anywhere.
    pub allow_ips: Vec<IpNet>,
    /// What they may hold, as lower-case `type/subtype`; none means anything.
    pub content_types: Vec<String>,
    /// The largest body, in bytes; none means any.
    pub body_bytes_max: Option<usize>,
    /// How they must be signed; none means they need not be.
    pub signature: Option<SignatureRules>,
    /// The groups whose requests are marked, and go on, if their time alone is wrong.
    pub marks: Groups,
    /// Whether it is only counted.
    pub shadow: bool,
}

impl Integration {
    /// Whether a worker may have to hold requests until their bodies are complete.
    #[must_use]
    pub fn can_hold(&self) -> bool {
        self.signature.is_some() || self.body_bytes_max.is_some()
    }

    /// How a request in these groups must be signed.
    #[must_use]
    pub fn signature_in(&self, groups: Groups) -> Option<Cow<'_, SignatureRules>> {
        let rules = self.signature.as_ref()?;
        if rules.mark_up_to.is_none() || groups.intersects(self.marks) {
            return Some(Cow::Borrowed(rules));
        }
        Some(Cow::Owned(SignatureRules { mark_up_to: None, ..rules.clone() }))
    }

    /// The keys that are not tried at some time from now on, although they could have signed, because
    /// more than [`SignatureRules::keys_max`] are valid at once.
    #[must_use]
    #[inline(never)] // From two places, and on no request's path.
    pub fn crowded_out(&self, keys: &KeySet, now: UnixMicros) -> Vec<KeyId> {
        let Some(signature) = self.signature.as_ref().filter(|one| !one.profile.names_key()) else {
            return Vec::new();
        };
        let in_scope = || keys.iter().filter(|key| key.is_for(Some(&self.name), signature));
        let begins = in_scope().filter_map(|key| key.not_before).filter(|begin| *begin > now);
        let mut left_out: Vec<KeyId> = Vec::new();
        for at in begins.chain([now]) {
            let valid = newest(&mut in_scope(), at, usize::MAX);
            for key in valid.iter().skip(signature.keys_max) {
                if !left_out.contains(&key.id) {
                    left_out.push(key.id.clone());
                }
            }
        }
        left_out
    }

    /// Whether requests may come from this address. One that is unknown may not, if any is named.
    #[must_use]
    pub fn allows_ip(&self, address: Option<IpAddr>) -> bool {
        let is_listed = |ip: IpAddr| self.allow_ips.iter().any(|net| net.contains(&ip));
        self.allow_ips.is_empty() || address.is_some_and(is_listed)
    }

    /// Whether a body may be of this `Content-Type`; parameters such as the charset do not count. One
    /// with a comma is of no type: Envoy makes one value of two lines, and upstreams may take either.
    #[must_use]
    pub fn allows_content_type(&self, header: Option<&[u8]>) -> bool {
        if self.content_types.is_empty() {
            return true;
        }
        let header = header.filter(|value| !value.contains(&b','));
        let essence = header.and_then(|value| value.split(|byte| *byte == b';').next());
        let essence = essence.unwrap_or_default().trim_ascii();
        let is_listed = |allowed: &String| allowed.as_bytes().eq_ignore_ascii_case(essence);
        self.content_types.iter().any(is_listed)
    }
}

/// Which profiles the integrations of a configuration want: what a key is for that does not say.
#[derive(Clone, Debug, Default)]
pub struct Wanted(Vec<(Name, Option<Name>, Profile)>);

/// A key that does not say which profile it is for may be used for integrations of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unclear;

impl Wanted {
    /// What these integrations want.
    #[must_use]
    pub fn by(integrations: &[Integration]) -> Self {
        let signed = |one: &Integration| {
            let signature = one.signature.as_ref()?;
            Some((one.name.clone(), signature.partner.clone(), signature.profile))
        };
        Self(integrations.iter().filter_map(signed).collect())
    }

    /// The profile of all integrations that a key may be used for; none if there are none.
    ///
    /// # Errors
    /// [`Unclear`].
    pub fn profile_of(&self, key: &Key) -> Result<Option<Profile>, Unclear> {
        let mut found = None;
        for (name, partner, profile) in &self.0 {
            let is_other = |known: Profile| known != *profile;
            if key.covers(Some(name), partner.as_ref())
                && found.replace(*profile).is_some_and(is_other)
            {
                return Err(Unclear);
            }
        }
        Ok(found)
    }

    /// What an integration of this name wants.
    pub(super) fn of(&self, integration: &Name) -> Option<Profile> {
        self.0.iter().find(|(name, ..)| name == integration).map(|(.., profile)| *profile)
    }
}
