//! Signed requests: what their headers cost, and what their bodies cost.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use model::name::Name;
use signing::headers::Headers;
use signing::key::{Key, KeyId, KeySet, Secret};
use signing::signer::{Unsigned, sign};
use signing::verify::{Verified, Verifier};
use signing::{Profile, SignatureRules};

use crate::fixture::{self, NOW, NOW_S};

/// The filter gets bodies in pieces of about this size.
const CHUNK_BYTES: usize = 16 * 1024;

const AUTHORITY: &str = "api.example";

const SIZES: [(&str, usize); 2] = [("1KiB", 1024), ("64KiB", 64 * 1024)];

pub(crate) fn all(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("signature_headers");
    for profile in Profile::ALL {
        let (rule, headers) = (SignatureRules::of(profile), signed(profile, b"{}"));
        let keys = keys(profile);
        assert!(verify(&rule, &headers, &keys, b"{}").is_some());
        group.bench_function(profile.as_str(), |b| {
            b.iter(|| Verifier::begin(&rule, None, black_box(&headers), &keys, NOW));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("signature_verify");
    for profile in [Profile::Portcullis, Profile::Github] {
        let keys = keys(profile);
        for (name, bytes) in SIZES {
            let body = vec![b'x'; bytes];
            let (rule, headers) = (SignatureRules::of(profile), signed(profile, &body));
            assert!(verify(&rule, &headers, &keys, &body).is_some());
            group.throughput(Throughput::Bytes(bytes as u64));
            group.bench_function(format!("{profile}/{name}"), |b| {
                b.iter(|| verify(&rule, black_box(&headers), &keys, black_box(&body)));
            });
        }
    }
    group.finish();
}

fn key_id() -> KeyId {
    KeyId::parse("k1").unwrap()
}

fn secret() -> Secret {
    Secret::new(b"a-partner-secret-of-some-length".to_vec()).unwrap()
}

fn keys(profile: Profile) -> KeySet {
    let mut keys = KeySet::default();
    let (id, partner, secret) = (key_id(), Name::parse("acme").unwrap(), secret());
    let key = Key {
        id,
        partner,
        secret,
        not_before: None,
        not_after: None,
        integrations: Vec::new(),
        profile: Some(profile),
    };
    keys.add(key).unwrap();
    keys
}

/// A request as a partner sends it.
fn signed(profile: Profile, body: &[u8]) -> Headers {
    let (method, path) = ("POST", "/partners/payments");
    let nonce = Some("5f0c2b7e-6a0f-4a3b-9c1d-2e8f7a6b5c4d");
    let request = Unsigned { method, authority: AUTHORITY, path, body, timestamp: NOW_S, nonce };
    let made = sign(profile, &key_id(), &secret(), &request).unwrap();
    let mut lines = vec![
        (":method", method),
        (":authority", AUTHORITY),
        (":path", path),
        ("content-type", "text/plain"),
    ];
    lines.extend(made.iter().map(|(name, value)| (*name, value.as_str())));
    fixture::headers(&lines)
}

fn verify(
    rule: &SignatureRules,
    headers: &Headers,
    keys: &KeySet,
    body: &[u8],
) -> Option<Verified> {
    let mut verifier = Verifier::begin(rule, None, headers, keys, NOW).ok()?;
    for chunk in body.chunks(CHUNK_BYTES) {
        verifier.update(chunk);
    }
    verifier.finish().ok()
}
