//! The published vectors, which another implementation has signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::*;
use crate::explain::{Endpoint, explain};

const FILE: &str = include_str!("../../../../docs/vectors/signatures.json");

#[derive(Deserialize)]
struct Document {
    keys: Vec<WireKey>,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct WireKey {
    id: String,
    partner: String,
    secret: String,
    not_before: Option<u64>,
    not_after: Option<u64>,
    #[serde(default)]
    integrations: Vec<String>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    profile: String,
    integration: String,
    now: u64,
    tolerance_s: Option<u64>,
    partner: Option<String>,
    #[serde(default)]
    nonce_required: bool,
    request: Sent,
    expected: Expected,
}

#[derive(Deserialize)]
struct Sent {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
    body_base64: Option<String>,
}

#[derive(Deserialize)]
struct Expected {
    result: String,
    key_id: Option<String>,
}

fn instant(seconds: u64) -> UnixMicros {
    UnixMicros(seconds * 1_000_000)
}

fn keys(wire: Vec<WireKey>) -> KeySet {
    set(wire.into_iter().map(|wire| Key {
        not_before: wire.not_before.map(instant),
        not_after: wire.not_after.map(instant),
        integrations: wire.integrations.iter().map(|text| name(text)).collect(),
        ..key_of(&wire.id, &wire.partner, &wire.secret)
    }))
}

#[test]
fn published_vectors_come_out_as_published() {
    let document: Document = serde_json::from_str(FILE).unwrap();
    let keys = keys(document.keys);
    let mut seen = std::collections::BTreeSet::new();
    for Vector { name: title, request, expected, .. } in &document.vectors {
        let vector = document.vectors.iter().find(|vector| vector.name == *title).unwrap();
        let mut signature = SignatureRules::of(Profile::parse(&vector.profile).expect(title));
        signature.tolerance = vector.tolerance_s.map_or(signature.tolerance, Duration::from_secs);
        signature.partner = vector.partner.as_deref().map(name);
        signature.is_nonce_required = vector.nonce_required;
        // The host is another's name here, and the same for all of them.
        let lines = request.headers.iter().filter(|(name, _)| name != "host");
        let lines = lines.map(|(name, value)| (name.as_str(), value.clone()));
        let headers = headers(&request.method, &request.path, lines);
        let body = match (&request.body, &request.body_base64) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(encoded)) => STANDARD.decode(encoded).unwrap(),
            _ => panic!("{title}: one body"),
        };
        let keys = bound(&keys, signature.profile);
        let (integration, now) = (name(&vector.integration), instant(vector.now));
        let found = Verifier::begin(&signature, Some(&integration), &headers, &keys, now);
        let found = found.and_then(|verifier| verifier.verify(&body));
        let key_id = found.as_ref().ok().map(|verified| verified.key_id.to_string());
        let result = found.as_ref().map_or_else(Failure::as_str, |_| "verified");
        assert_eq!((result, &key_id), (&*expected.result, &expected.key_id), "{title}: {found:?}");
        seen.insert((vector.profile.clone(), expected.result.clone()));

        let integration = Some(&integration);
        let endpoint = Endpoint { signature: &signature, integration, keys: &keys, now };
        let steps = explain(endpoint, &headers, &body);
        let is_right = steps.iter().all(|step| step.ok);
        assert_eq!(is_right, expected.result == "verified", "{title}: {steps:?}");
    }
    for profile in Profile::ALL {
        for result in ["verified", "mismatch", "missing", "malformed"] {
            let row = (profile.to_string(), result.to_owned());
            assert!(seen.contains(&row), "no vector for {row:?}");
        }
    }
}
