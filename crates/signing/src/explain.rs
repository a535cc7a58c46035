//! Why a captured request is or is not accepted, step by step, for operators.

use model::name::Name;

use super::presented::{self, Claims};
use super::verify::Verifier;
use super::{Failure, Profile};
use crate::SignatureRules;
pub use crate::endpoint::Endpoint;
use crate::headers::Headers;

/// One step of verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedStep {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it is right.
    pub ok: bool,
    /// What was found, in words. Never a secret, and never a MAC that would be right.
    pub detail: String,
}

impl ExplainedStep {
    fn right(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: true, detail: detail.into() }
    }

    fn wrong(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: false, detail: detail.into() }
    }
}

impl Endpoint<'_> {
    fn begin(&self, headers: &Headers) -> Result<Verifier, Failure> {
        Verifier::begin(self.signature, self.integration, headers, self.keys, self.now)
    }
}

/// All steps up to the first that fails; the request is accepted if none does. Whether it was used
/// before only a node knows.
#[must_use]
pub fn explain(endpoint: Endpoint<'_>, headers: &Headers, body: &[u8]) -> Vec<ExplainedStep> {
    let Endpoint { signature, integration, .. } = endpoint;
    let mut steps = Vec::new();
    match presented::read(&endpoint, headers) {
        Ok(claims) => {
            steps.push(ExplainedStep::right("headers", describe(signature.profile, &claims)))
        }
        Err(failure) => return vec![ExplainedStep::wrong("headers", failure.to_string())],
    }
    let verifier = match endpoint.begin(headers) {
        Ok(verifier) => verifier,
        Err(failure) => {
            let is_of_time = matches!(failure, Failure::Stale | Failure::Future);
            if is_of_time {
                steps.push(ExplainedStep::right("key", "there is a key that may have been used"));
            }
            let name = if is_of_time { "time" } else { "key" };
            steps.push(ExplainedStep::wrong(name, reason(failure, signature, integration)));
            return steps;
        }
    };
    steps.push(ExplainedStep::right("key", format!("tried: {}", verifier.key_ids())));
    if let Some(skew_ms) = verifier.skew_ms() {
        let tolerance = signature.tolerance.as_secs();
        let detail = format!("signed {skew_ms} ms before now, and {tolerance} s are tolerated");
        steps.push(ExplainedStep::right("time", detail));
    }
    steps.push(match verifier.verify(body) {
        Ok(_) => {
            ExplainedStep::right("signature", format!("right for a body of {} bytes", body.len()))
        }
        Err(failure @ Failure::Malformed { .. }) => {
            ExplainedStep::wrong("signature", failure.to_string())
        }
        Err(_) => {
            let hint = hint(endpoint, headers, body);
            let hint = hint.unwrap_or("method, path, headers, body or secret are others");
            let detail = format!("wrong for a body of {} bytes: {hint}", body.len());
            ExplainedStep::wrong("signature", detail)
        }
    });
    steps
}

fn describe(profile: Profile, claims: &Claims) -> String {
    let key = claims.key_id.as_ref().map(|id| format!("key {id}"));
    let at = claims.timestamp.map(|at| format!("time {at}"));
    let nonce = claims.nonce.as_ref().map(|nonce| format!("nonce {nonce}"));
    let count = Some(format!("{} signature(s)", claims.macs.len()));
    let found: Vec<_> = [key, at, nonce, count].into_iter().flatten().collect();
    format!("{profile}: {}", found.join(", "))
}

fn reason(failure: Failure, signature: &SignatureRules, integration: Option<&Name>) -> String {
    let tolerance = signature.tolerance.as_secs();
    match failure {
        Failure::UnknownKey => "there is no key that it can be signed with".to_owned(),
        Failure::ExpiredKey => "the key is not valid at this time".to_owned(),
        Failure::OutOfScope => {
            let partner = signature.partner.as_ref().map_or("anybody", Name::as_str);
            let integration = integration.map_or("any", Name::as_str);
            let profile = signature.profile;
            format!(
                "the key is not for profile {profile}, partner {partner} and integration \
                 {integration}"
            )
        }
        Failure::Stale => format!("it was signed more than {tolerance} s ago"),
        Failure::Future => format!("it was signed more than {tolerance} s in the future"),
        other => other.to_string(),
    }
}

/// Tries what signers most often get wrong.
fn hint(endpoint: Endpoint<'_>, headers: &Headers, body: &[u8]) -> Option<&'static str> {
    let is_right = |headers: &Headers, body: &[u8]| {
        endpoint.begin(headers).is_ok_and(|verifier| verifier.verify(body).is_ok())
    };
    let with_newline = [body, b"\n"].concat();
    let without_newline =
        body.strip_suffix(b"\n").map(|rest| rest.strip_suffix(b"\r").unwrap_or(rest));
    if without_newline.is_some_and(|body| is_right(headers, body)) {
        return Some("it is right without the line end at the end of the body");
    }
    if is_right(headers, &with_newline) {
        return Some("it is right with a line end at the end of the body");
    }
    if is_right(headers, b"") {
        return Some("it is right for an empty body");
    }
    if endpoint.signature.profile != Profile::Portcullis {
        return None;
    }
    if is_right(&headers.changed(":path", without_query), body) {
        return Some("it is right without the query: the path is signed with it");
    }
    if is_right(&headers.changed(":path", |path| [path, b"/"].concat()), body) {
        return Some("it is right with a slash at the end of the path");
    }
    if is_right(&headers.changed(":method", <[u8]>::to_ascii_lowercase), body) {
        return Some("it is right for the method in lower case: it is signed in upper case");
    }
    None
}

fn without_query(path: &[u8]) -> Vec<u8> {
    path.split(|byte| *byte == b'?').next().unwrap_or_default().to_vec()
}
