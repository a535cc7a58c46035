//! What an operator reads about a captured request.

use super::*;
use crate::explain::{Endpoint, ExplainedStep, explain};

fn steps(profile: Profile, headers: &Headers, body: &[u8], now: i64) -> Vec<ExplainedStep> {
    let (signature, keys) = (SignatureRules::of(profile), bound(&set([key("k1")]), profile));
    let (signature, keys) = (&signature, &keys);
    explain(Endpoint { signature, integration: None, keys, now: at(now) }, headers, body)
}

/// The step that fails, and what it says.
fn wrong(profile: Profile, headers: &Headers, body: &[u8], now: i64) -> (&'static str, String) {
    let steps = steps(profile, headers, body, now);
    let (last, before) = steps.split_last().unwrap();
    assert!(!last.ok && before.iter().all(|step| step.ok), "{steps:?}");
    (last.name, last.detail.clone())
}

#[test]
fn a_good_request_passes_every_step() {
    let headers = signed(Profile::Portcullis, &key("k1"), BODY);
    let steps = steps(Profile::Portcullis, &headers, BODY, 2);
    let names: Vec<_> = steps.iter().map(|step| step.name).collect();
    assert_eq!(names, ["headers", "key", "time", "signature"]);
    assert!(steps.iter().all(|step| step.ok));
    assert_eq!(
        steps[0].detail,
        format!("portcullis: key k1, time {EPOCH_S}, nonce nonce-1, 1 signature(s)")
    );
    assert_eq!(steps[2].detail, "signed 2000 ms before now, and 300 s are tolerated");
}

#[test]
fn the_first_step_that_fails_is_the_last() {
    let profile = Profile::Portcullis;
    let good = signed(profile, &key("k1"), BODY);
    let step = |headers: &Headers, body: &[u8], now| wrong(profile, headers, body, now).0;
    assert_eq!(step(&headers(METHOD, PATH, []), BODY, 0), "headers");
    assert_eq!(step(&signed(profile, &key("k2"), BODY), BODY, 0), "key");
    assert_eq!(step(&good, BODY, 301), "time");
    assert_eq!(step(&good, b"other", 0), "signature");
}

#[test]
fn common_mistakes_are_recognized() {
    let profile = Profile::Portcullis;
    let sign_as = |method: &str, path: &str| {
        let key = key("k1");
        let request = Unsigned {
            method,
            authority: AUTHORITY,
            path,
            body: BODY,
            timestamp: EPOCH_S,
            nonce: None,
        };
        headers(METHOD, PATH, sign(profile, &key.id, &key.secret, &request).unwrap())
    };
    let good = sign_as(METHOD, PATH);
    for (headers, body, hint) in [
        (&good, [BODY, b"\n"].concat(), "without the line end"),
        (&good, [BODY, b"\r\n"].concat(), "without the line end"),
        (&signed(profile, &key("k1"), b"a\n"), b"a".to_vec(), "with a line end"),
        (&signed(profile, &key("k1"), b""), b"a".to_vec(), "for an empty body"),
        (&sign_as(METHOD, "/pay"), BODY.to_vec(), "without the query"),
        (&sign_as(METHOD, "/pay?id=1/"), BODY.to_vec(), "with a slash"),
        (&sign_as("post", PATH), BODY.to_vec(), "in lower case"),
        (&good, b"other".to_vec(), "method, path, headers, body or secret are others"),
    ] {
        let (step, detail) = wrong(profile, headers, &body, 0);
        assert!(step == "signature" && detail.contains(hint), "{hint}: {detail}");
    }
}
