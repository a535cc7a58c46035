//! What a rejection looks like to the client.
//!
//! Bodies are `application/problem+json` (RFC 9457); the types are those registered with IANA. Rate
//! limit headers follow draft-ietf-httpapi-ratelimit-headers-11. Nothing here says more about a
//! block than its publisher allowed.

use std::fmt::Write as _;
use std::time::Duration;

use model::bucket::Quota;
use serde::Serialize;
use signing::Failure;

use crate::config::{Config, Limit, RateLimitHeaders};
use crate::decide::{Cause, Denial};

const PROBLEM_JSON: &str = "application/problem+json";

const TYPES: &str = "https://iana.org/assignments/http-problem-types";

/// The type of a problem that its status says everything about.
const BLANK: &str = "about:blank";

/// The scheme of the challenge to who has not signed, or not rightly. None is registered for signatures by a shared secret;
/// this is what others use that sign so.
const CHALLENGE: &str = "HMAC-SHA256";

/// How long a client should wait when the gate itself is the reason, in seconds.
const UNAVAILABLE_RETRY_AFTER_S: u64 = 1;

/// A response instead of the upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u32,
    /// Headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body: always JSON.
    pub body: String,
}

/// The body of a response (RFC 9457, section 3), with the members of the problem types used here.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u32,
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<[&'a str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

impl Problem<'_> {
    fn to_json(&self) -> String {
        // Neither a map with other keys than strings nor a writer that fails: nothing can go wrong.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The response to a rejected request.
#[must_use]
pub fn rejection(config: &Config, denial: &Denial) -> Response {
    let limit = denial.cause.limit().and_then(|index| Some((index, config.limits.get(index)?)));
    let (status, title, problem) = match &denial.cause {
        Cause::Block { .. } => (403, "Forbidden", None),
        Cause::MissingIdentity | Cause::UnusableClaim => (401, "Unauthorized", None),
        Cause::PathTooLong => (414, "URI Too Long", None),
        Cause::BodyTooSlow => (408, "Request Timeout", None),
        Cause::Unverified => (429, "Quota Exceeded", Some("quota-exceeded")),
        Cause::TooManyIdentities | Cause::AmbiguousIdentity | Cause::AmbiguousPath => {
            (400, "Bad Request", None)
        }
        Cause::IpNotAllowed => (403, "Forbidden", None),
        Cause::BodyTooLarge => (413, "Content Too Large", None),
        Cause::ContentType => (415, "Unsupported Media Type", None),
        Cause::Signature { failure, replay_status, .. } => signature(*failure, *replay_status),
        Cause::Zero { .. } => (429, "Abnormal Usage Detected", Some("abnormal-usage-detected")),
        Cause::Limit { .. } => (429, "Quota Exceeded", Some("quota-exceeded")),
        Cause::NeverSynced
        | Cause::Stale
        | Cause::SlabFull
        | Cause::SlabUnreadable
        | Cause::Contention
        | Cause::FleetLost
        | Cause::SecondGate
        | Cause::BodyNotHeld
        | Cause::BodyNoRoom => (503, "Service Unavailable", Some("temporary-reduced-capacity")),
    };
    if status == 200 {
        return received();
    }
    let type_uri = problem.map(|name| format!("{TYPES}#{name}"));
    let (reason, until) = disclosed(&denial.cause);
    let body = Problem {
        r#type: type_uri.as_deref().unwrap_or(BLANK),
        title,
        status,
        violated_policies: limit.map(|(_, limit)| [limit.name.as_str()]),
        reason,
        until,
    };
    let mut headers = vec![("content-type", PROBLEM_JSON.to_owned())];
    if let Cause::Signature { profile, accept, .. } = &denial.cause
        && status == 401
    {
        headers.push(("www-authenticate", format!("{CHALLENGE} profile=\"{profile}\"")));
        headers.extend(accept.as_ref().map(|wanted| ("accept-signature", wanted.to_string())));
    }
    let retry_after_s = match status {
        503 => Some(UNAVAILABLE_RETRY_AFTER_S),
        _ => denial.retry_after.map(ceil_seconds),
    };
    headers.extend(retry_after_s.map(|seconds| ("retry-after", seconds.to_string())));
    if config.responses.ratelimit_headers != RateLimitHeaders::Off {
        let reset = denial.retry_after.unwrap_or_default();
        let quota = |(index, limit): (usize, &Limit)| {
            let rate = denial.rate.unwrap_or(limit.rate);
            (index, Quota { rate, remaining: 0, reset })
        };
        headers.extend(rate_limit(config, limit.map(quota).as_slice()));
    }
    Response { status, headers, body: body.to_json() }
}

/// One answer for everything that can be wrong with a signature: what it was helps only a forger.
/// That a request was used before, its sender knows.
fn signature(failure: Failure, replay_status: u16) -> (u32, &'static str, Option<&'static str>) {
    match failure {
        Failure::ReplayFull => (503, "Service Unavailable", Some("temporary-reduced-capacity")),
        Failure::Replay if replay_status == 409 => (409, "Conflict", None),
        // No problem for its sender: see `rejection`.
        Failure::Replay if replay_status == 200 => (200, "OK", None),
        Failure::Replay
        | Failure::Missing { .. }
        | Failure::Malformed { .. }
        | Failure::UnknownKey
        | Failure::ExpiredKey
        | Failure::OutOfScope
        | Failure::Mismatch
        | Failure::Stale
        | Failure::Future => (401, "Unauthorized", None),
    }
}

/// The response to a request that was used before, for senders that would go on sending it until they are told that it has
/// arrived.
fn received() -> Response {
    let headers = vec![("content-type", "application/json".to_owned())];
    Response { status: 200, headers, body: r#"{"status":"received before"}"#.to_owned() }
}

/// The response when there is no configuration to decide by.
#[must_use]
pub fn unavailable() -> Response {
    let title = "Service Unavailable";
    let (violated_policies, reason, until) = (None, None, None);
    let body = Problem { r#type: BLANK, title, status: 503, violated_policies, reason, until };
    let headers = vec![("content-type", PROBLEM_JSON.to_owned())];
    Response { status: 503, headers, body: body.to_json() }
}

/// What the publisher of a block allows the client to know: its reason and its end.
fn disclosed(cause: &Cause) -> (Option<&str>, Option<String>) {
    match cause {
        Cause::Block { reason, disclose: true, until } => {
            (Some(reason.as_str()), until.map(|until| until.to_string()))
        }
        _ => (None, None),
    }
}

/// `RateLimit` and `RateLimit-Policy` for these buckets, by their limit's index, and `X-RateLimit-*`
/// if configured, for the one with the least left. None for no buckets.
#[must_use]
pub fn rate_limit(config: &Config, quotas: &[(usize, Quota)]) -> Vec<(&'static str, String)> {
    let (mut policy, mut state) = (String::new(), String::new());
    let mut scarcest: Option<(u32, Quota)> = None;
    for (index, quota) in quotas {
        let Some(limit) = config.limits.get(*index) else { continue };
        let comma = if policy.is_empty() { "" } else { ", " };
        let (name, max) = (limit.name.as_str(), quota.rate.max_tokens());
        let (window, reset) = (ceil_seconds(quota.rate.refill()), ceil_seconds(quota.reset));
        // Writing to a string cannot fail.
        let _ = write!(policy, "{comma}\"{name}\";q={max};w={window}");
        let _ = write!(state, "{comma}\"{name}\";r={};t={reset}", quota.remaining);
        if scarcest.is_none_or(|(_, known)| quota.remaining < known.remaining) {
            scarcest = Some((max, *quota));
        }
    }
    let Some((max, quota)) = scarcest else { return Vec::new() };
    let mut headers = vec![("ratelimit-policy", policy), ("ratelimit", state)];
    if config.responses.legacy_headers {
        headers.extend([
            ("x-ratelimit-limit", max.to_string()),
            ("x-ratelimit-remaining", quota.remaining.to_string()),
            ("x-ratelimit-reset", ceil_seconds(quota.reset).to_string()),
        ]);
    }
    headers
}

/// Whole seconds, rounded up: a client that waits as long as it is told must not be early.
fn ceil_seconds(span: Duration) -> u64 {
    span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests;
