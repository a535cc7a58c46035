//! The headers of signed requests, in every profile: nothing arbitrary is accepted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::name::Name;
use signing::explain::{Endpoint, explain};
use signing::headers::Headers;
use signing::key::{Key, KeyId, KeySet, Secret};
use signing::verify::Verifier;
use signing::{Profile, SignatureRules};

const NAMES: [&str; 19] = [
    ":method",
    ":path",
    "x-signature",
    "x-timestamp",
    "x-key-id",
    "x-request-id",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "stripe-signature",
    "x-hub-signature-256",
    "x-github-delivery",
    "svix-id",
    "svix-timestamp",
    "svix-signature",
    ":authority",
    "content-digest",
    "signature-input",
    "signature",
];

fn keys() -> Option<KeySet> {
    let mut keys = KeySet::default();
    let key = Key {
        id: KeyId::parse("k1")?,
        partner: Name::parse("acme")?,
        secret: Secret::new(b"nobody guesses this".to_vec())?,
        not_before: None,
        not_after: None,
        integrations: Vec::new(),
        profile: None,
    };
    keys.add(key).ok()?;
    Some(keys)
}

// Each line: which header (one byte), its value, and a line feed.
fuzz_target!(|data: &[u8]| {
    let Some(keys) = keys() else { return };
    let line = |line: &[u8]| {
        let (name, value) = line.split_first()?;
        let name = NAMES.get(usize::from(name.wrapping_sub(b'a')))?;
        Some((name.as_bytes().to_vec(), value.to_vec()))
    };
    let headers: Headers = data.split(|byte| *byte == b'\n').filter_map(line).collect();
    for profile in Profile::ALL {
        let signature = SignatureRules::of(profile);
        // A key that is bound to no profile signs in none.
        assert!(Verifier::begin(&signature, None, &headers, &keys, fuzz::NOW).is_err());
        let keys = keys.bound(|_| Some(profile));
        if let Ok(mut verifier) = Verifier::begin(&signature, None, &headers, &keys, fuzz::NOW) {
            verifier.update(data);
            assert!(verifier.finish().is_err());
            // One of another profile is not even begun.
            for other in Profile::ALL.into_iter().filter(|other| *other != profile) {
                let other = SignatureRules::of(other);
                assert!(Verifier::begin(&other, None, &headers, &keys, fuzz::NOW).is_err());
            }
        }
        let (signature, keys) = (&signature, &keys);
        let endpoint = Endpoint { signature, integration: None, keys, now: fuzz::NOW };
        let steps = explain(endpoint, &headers, data);
        assert!(steps.last().is_some_and(|step| !step.ok));
    }
});
