//! Header parsers: whatever stands there, the answer is a claim or a failure.

use proptest::prelude::*;

use super::*;
use crate::presented;

fn read(profile: Profile, headers: &Headers) -> Result<presented::Claims, Failure> {
    let (signature, keys) = (SignatureRules::of(profile), bound(&set([key("k1")]), profile));
    let (signature, keys) = (&signature, &keys);
    presented::read(&Endpoint { signature, integration: None, keys, now: at(0) }, headers)
}

const NAMES: [&str; 19] = [
    ":authority",
    ":method",
    ":path",
    "content-digest",
    "signature-input",
    "signature",
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
];

/// Arbitrary bytes, and what looks almost like a signature.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        "(t=[0-9]{1,12},)?(v1[=,][0-9a-f]{60,66}[, ]?){0,6}".prop_map(String::into_bytes),
        "(sha256=)?[0-9a-fA-F]{63,65}".prop_map(String::into_bytes),
        "(v1,[A-Za-z0-9+/]{42,44}=? ?){0,6}".prop_map(String::into_bytes),
        "[0-9]{0,14}".prop_map(String::into_bytes),
        r#"(s=\(("(@method|@path|@query|content-digest)" ?){0,4}\)(;(created=[0-9]{1,12}|keyid="k1"|tag="a"|alg="hmac-sha256")){0,4},? ?){0,3}"#
            .prop_map(String::into_bytes),
        "(s=:[A-Za-z0-9+/]{42,44}=?:,? ?){0,3}".prop_map(String::into_bytes),
        "(sha-256=:[A-Za-z0-9+/]{42,44}=?:,? ?){0,3}".prop_map(String::into_bytes),
    ]
}

#[test]
fn no_bytes_make_a_parser_panic() {
    let lines = proptest::collection::vec((proptest::sample::select(&NAMES), value()), 0..12);
    let keys = set([key("k1")]);
    proptest!(ProptestConfig::with_cases(2_000), |(lines in lines)| {
        let headers = lines.into_iter().collect();
        for profile in Profile::ALL {
            if let Ok(claims) = read(profile, &headers) {
                prop_assert!((1..=4).contains(&claims.macs.len()));
            }
            prop_assert!(check(profile, &headers, b"", &keys).is_err());
        }
    });
}

fn failure(profile: Profile, name: &'static str, value: &[u8]) -> Option<&'static str> {
    let headers = signed(profile, &key("k1"), BODY).changed(name, |_| value.to_vec());
    match read(profile, &headers).err()? {
        Failure::Malformed { header, rule } => {
            assert_eq!(header, name);
            Some(rule)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn lists_are_bounded() {
    let digits = "0".repeat(64);
    let five = vec![format!("v1={digits}"); 5].join(",");
    let (signature, stripe) = ("x-signature", "stripe-signature");
    let rule = Some("must be at most 4096 bytes, 16 parts and 4 signatures");
    assert_eq!(failure(Profile::Portcullis, signature, five.as_bytes()), rule);
    let parts = format!("t=1,v1={digits}{}", ",v0=0".repeat(15));
    assert_eq!(failure(Profile::Stripe, stripe, parts.as_bytes()), rule);
    let parts = format!("t=1,v1={digits}{}", ",v0=0".repeat(14));
    assert_eq!(failure(Profile::Stripe, stripe, parts.as_bytes()), None);
    let long = format!("t=1,v1={digits},v0={}", "0".repeat(4_096));
    assert_eq!(failure(Profile::Stripe, stripe, long.as_bytes()), rule);
}

#[test]
fn values_have_one_spelling() {
    let own = |name, value: &str| failure(Profile::Portcullis, name, value.as_bytes());
    let time = Some("must be whole seconds since the Unix epoch");
    for wrong in ["01", "+1", "-1", "1.0", " 1", "1 ", "1e3", "100000000000", "x"] {
        assert_eq!(own("x-timestamp", wrong), time, "{wrong}");
    }
    for right in ["0", "1", "99999999999"] {
        assert_eq!(own("x-timestamp", right), None, "{right}");
    }
    let nonce = Some("must be 1 to 128 visible ASCII characters without a comma");
    for wrong in ["a b", "a,b", &"a".repeat(129)] {
        assert_eq!(own("x-request-id", wrong), nonce, "{wrong}");
    }
    assert_eq!(own("x-request-id", &"a".repeat(128)), None);
    assert_eq!(own("x-key-id", "a/b"), Some(KeyId::RULE));
    assert_eq!(own("x-key-id", &"a".repeat(65)), Some(KeyId::RULE));
    assert_eq!(failure(Profile::Body, "x-key-id", b"\xff"), Some("must be visible ASCII"));
    let base64 = "v1,AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let hooks =
        |value: &str| failure(Profile::StandardWebhooks, "webhook-signature", value.as_bytes());
    assert_eq!(hooks(base64), None);
    let rule = Some("must be a signature of 32 bytes in Base64");
    assert_eq!(hooks(&base64.replace("8=", "9=")), rule, "bits beyond the end");
    assert_eq!(hooks(base64.trim_end_matches('=')), rule);
    assert_eq!(hooks("v1,AAAA"), rule);
}

#[test]
fn headers_of_the_gate_are_recognized_however_they_are_spelled() {
    for reserved in [
        "x-portcullis-partner",
        "x-portcullis-key-id",
        "x_portcullis_key-id",
        "x-portcullis-verdict",
        "x_portcullis_verdict",
    ] {
        assert!(is_reserved(reserved.as_bytes()), "{reserved}");
    }
    for free in ["x-portcullis", "x-portcullis-partner-", "xportcullis-partner", "x-key-id", ""] {
        assert!(!is_reserved(free.as_bytes()), "{free}");
    }
}

#[test]
fn failures_have_their_names() {
    let failures = [
        Failure::Missing { header: "h" },
        Failure::Malformed { header: "h", rule: "r" },
        Failure::UnknownKey,
        Failure::ExpiredKey,
        Failure::OutOfScope,
        Failure::Mismatch,
        Failure::Stale,
        Failure::Future,
        Failure::Replay,
        Failure::ReplayFull,
    ];
    assert_eq!(failures.map(|failure| failure.as_str()), Failure::NAMES);
    assert_eq!(failures[1].to_string(), "h: r");
}
