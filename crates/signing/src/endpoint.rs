//! What a request is verified against.

use model::name::Name;
use model::time::UnixMicros;

use super::SignatureRules;
use super::key::KeySet;

/// What a request is verified against.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint<'a> {
    /// What the endpoint demands of signatures.
    pub signature: &'a SignatureRules,
    /// The integration that it belongs to, for keys that are bound to some.
    pub integration: Option<&'a Name>,
    /// The keys that may have signed.
    pub keys: &'a KeySet,
    /// When it is verified.
    pub now: UnixMicros,
}
