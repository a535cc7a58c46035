//! Why a captured request is or is not accepted, step by step, for operators.

use super::key::KeySet;
use crate::config::Signature;
use crate::name::Name;
use crate::request::Headers;
use crate::time::UnixMicros;

/// One step of verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it is right.
    pub ok: bool,
    /// What was found, in words. Never a secret, and never a MAC that would be right.
    pub detail: String,
}

/// All steps up to the first that fails; the request is accepted if none does.
#[must_use]
pub fn explain(
    _signature: &Signature,
    _integration: Option<&Name>,
    _headers: &Headers,
    _body: &[u8],
    _keys: &KeySet,
    _now: UnixMicros,
) -> Vec<Step> {
    vec![Step { name: "signature", ok: false, detail: "not verified".to_owned() }]
}
