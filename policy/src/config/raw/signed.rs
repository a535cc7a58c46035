//! Integrations and the keys of signed requests, as operators spell them.

use serde::Deserialize;

use super::Matcher;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(in super::super) struct Integration {
    pub(in super::super) name: String,
    #[serde(rename = "match")]
    pub(in super::super) matchers: Vec<Matcher>,
    pub(in super::super) allow_ips: Option<Vec<String>>,
    pub(in super::super) content_types: Option<Vec<String>>,
    pub(in super::super) body_bytes_max: Option<u32>,
    pub(in super::super) signature: Option<Signature>,
    #[serde(default)]
    pub(in super::super) shadow: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(in super::super) struct Signature {
    pub(in super::super) profile: Profile,
    pub(in super::super) partner: Option<String>,
    pub(in super::super) tolerance: Option<String>,
    pub(in super::super) nonce: Option<NonceRule>,
    pub(in super::super) replay_status: Option<u16>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in super::super) enum Profile {
    Portcullis,
    Body,
    StandardWebhooks,
    Stripe,
    Github,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum NonceRule {
    Required,
    Optional,
}

// Never `Debug`: it holds the secret in clear.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(in super::super) struct Key {
    pub(in super::super) id: String,
    pub(in super::super) partner: String,
    pub(in super::super) secret: String,
    pub(in super::super) not_before: Option<String>,
    pub(in super::super) not_after: Option<String>,
    pub(in super::super) integrations: Option<Vec<String>>,
    pub(in super::super) algorithms: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(in super::super) struct Replay {
    pub(in super::super) slabs: Option<u32>,
    pub(in super::super) slab_bytes_max: Option<u32>,
}
