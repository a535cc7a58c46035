//! What a partner's endpoint demands, as far as the headers show it.

use model::memory::SharedMemory;
use model::time::Clock;
use signing::headers::Headers;
use signing::verify::Verifier;

use super::cause::Cause;
use super::decision::{Decision, Denial};
use super::load::Hold;
use super::{Context, Gate};
use crate::config::{Groups, Integration};
use crate::request::{Request, client_address, client_network};

/// What has to be looked at in the body.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    pub(super) verifier: Option<Verifier>,
    /// The most bytes there may be, unless the request has said how many there are.
    pub(super) bytes_max: Option<usize>,
    /// The size that the request has announced.
    length: Option<usize>,
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
        (request, groups): (&impl Request, Groups),
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
        decision: &mut Decision,
    ) -> Result<Option<(Awaited, Hold)>, Denial> {
        decision.integration = Some(index);
        let checked = check_headers((index, integration), (request, groups), context);
        let held = checked.map_err(Denial::of).and_then(|awaited| {
            if !awaited.is_anything() {
                return Ok(None);
            }
            let network = client_network(request, self.config.identity.client_ip);
            let address = self.hash_key.network(&network.unwrap_or_default());
            let (length, is_signed) = (awaited.length, awaited.verifier.is_some());
            let hold = context.worker.load.hold(index, address, length, is_signed);
            hold.map(|hold| Some((awaited, hold))).map_err(Denial::of_load)
        });
        held.or_else(|denial| decision.reject(denial, integration.shadow).map(|()| None))
    }
}

fn check_headers(
    (index, integration): (usize, &Integration),
    (request, groups): (&impl Request, Groups),
    context: &mut Context<'_, impl SharedMemory, impl Clock>,
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
    let verifier = integration.signature_in(groups).map(|signature| {
        let signature = &*signature;
        let (name, keys) = (Some(&integration.name), context.worker.keys.get(context.shared));
        let begun = Verifier::begin(signature, name, headers, keys, context.clock.wall());
        let mut verifier = begun.map_err(|failure| Cause::of_signature(signature, failure))?;
        if let Some(id) = context.worker.preferred(index) {
            verifier.prefer(id);
        }
        Ok(verifier)
    });
    let verifier = verifier.transpose()?;
    // The proxy holds a request to its length, so that only one without has to be counted; and
    // where every byte is hashed anyway, all are.
    let counts = verifier.is_some() || length.is_none();
    Ok(Awaited { verifier, bytes_max: integration.body_bytes_max.filter(|_| counts), length })
}

fn content_length(headers: &Headers) -> Option<usize> {
    std::str::from_utf8(headers.one("content-length").ok()??).ok()?.parse().ok()
}
