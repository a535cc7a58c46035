//! What a partner's endpoint demands, as far as the headers show it.

use super::decision::{Cause, Decision, Denial};
use super::{Clock, Gate};
use crate::config::Integration;
use crate::node::KeyCache;
use crate::request::{Headers, Request, client_address};
use crate::shared::Shared;
use crate::sign::verify::Verifier;

/// What has to be looked at in the body.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    pub(super) verifier: Option<Verifier>,
    /// The most bytes there may be, unless the request has said how many there are.
    pub(super) bytes_max: Option<usize>,
}

impl Awaited {
    pub(super) fn is_anything(&self) -> bool {
        self.verifier.is_some() || self.bytes_max.is_some()
    }
}

impl Gate {
    /// What there is to await of a request's body; nothing, if an integration in shadow has failed.
    pub(super) fn check_integration(
        &self,
        (index, integration): (usize, &Integration),
        request: &impl Request,
        shared: &mut impl Shared,
        clock: &impl Clock,
        keys: &mut KeyCache,
        decision: &mut Decision,
    ) -> Result<Awaited, Denial> {
        decision.integration = Some(index);
        let checked = check_headers(integration, request, shared, clock, keys);
        checked.or_else(|cause| {
            decision.rule(cause, integration.shadow)?;
            Ok(Awaited::default())
        })
    }
}

fn check_headers(
    integration: &Integration,
    request: &impl Request,
    shared: &mut impl Shared,
    clock: &impl Clock,
    keys: &mut KeyCache,
) -> Result<Awaited, Cause> {
    if !integration.allow_ips.is_empty() && !integration.allows_ip(client_address(request)) {
        return Err(Cause::IpNotAllowed);
    }
    let headers = request.headers();
    // One that stands twice could mean another thing to the upstream.
    let content_type = headers.one("content-type");
    let is_allowed = content_type.is_ok_and(|given| integration.allows_content_type(given));
    if !integration.content_types.is_empty() && !is_allowed {
        return Err(Cause::ContentType);
    }
    let length = content_length(headers);
    if length.zip(integration.body_bytes_max).is_some_and(|(given, max)| given > max) {
        return Err(Cause::BodyTooLarge);
    }
    let verifier = integration.signature.as_ref().map(|signature| {
        let (name, keys) = (Some(&integration.name), keys.get(shared));
        let begun = Verifier::begin(signature, name, headers, keys, clock.wall());
        begun.map_err(|failure| Cause::of_signature(signature, failure))
    });
    let verifier = verifier.transpose()?;
    // The proxy holds a request to its length, so that only one without has to be counted; and
    // where every byte is hashed anyway, all are.
    let counts = verifier.is_some() || length.is_none();
    Ok(Awaited { verifier, bytes_max: integration.body_bytes_max.filter(|_| counts) })
}

fn content_length(headers: &Headers) -> Option<usize> {
    std::str::from_utf8(headers.one("content-length").ok()??).ok()?.parse().ok()
}
