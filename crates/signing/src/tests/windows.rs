//! When a signature, and when a key, is accepted: both ends belong to it.

use super::*;

const TOLERANCE: Duration = Duration::from_secs(300);

fn micros(seconds: i64, micros: i64) -> UnixMicros {
    UnixMicros(at(seconds).0.checked_add_signed(micros).unwrap())
}

#[test]
fn the_time_of_signing_is_within_tolerance() {
    let keys = set([key("k1")]);
    for profile in Profile::ALL.into_iter().filter(|profile| profile.has_time()) {
        let headers = signed(profile, &key("k1"), BODY);
        let at = |now| {
            let signature = SignatureRules { tolerance: TOLERANCE, ..SignatureRules::of(profile) };
            verify(&signature, &headers, BODY, &keys, now).map(|verified| verified.skew_ms)
        };
        assert_eq!(at(micros(300, 0)), Ok(Some(300_000)));
        assert_eq!(at(micros(300, 1)), Err(Failure::Stale));
        assert_eq!(at(micros(-300, 0)), Ok(Some(-300_000)));
        assert_eq!(at(micros(-300, -1)), Err(Failure::Future));
        assert_eq!(at(micros(0, 1_999)), Ok(Some(1)));
    }
    let headers = signed(Profile::Github, &key("k1"), BODY);
    let github = SignatureRules::of(Profile::Github);
    assert!(verify(&github, &headers, BODY, &keys, micros(1_000_000_000, 0)).is_ok());
}

#[test]
fn what_is_marked_is_out_of_tolerance_and_within_reach() {
    let keys = set([key("k1")]);
    let (tolerance, mark_up_to) = (TOLERANCE, Some(Duration::from_secs(900)));
    for profile in Profile::ALL.into_iter().filter(|profile| profile.has_time()) {
        let headers = signed(profile, &key("k1"), BODY);
        let rules = SignatureRules { tolerance, mark_up_to, ..SignatureRules::of(profile) };
        let at = |now| {
            let found = verify(&rules, &headers, BODY, &keys, now)?;
            Ok((found.is_skewed, found.valid_until.unwrap().since(micros(0, 0)).as_secs()))
        };
        assert_eq!(at(micros(300, 0)), Ok((false, 900)));
        assert_eq!(at(micros(-300, 0)), Ok((false, 900)));
        assert_eq!(at(micros(300, 1)), Ok((true, 900)));
        assert_eq!(at(micros(-300, -1)), Ok((true, 900)));
        assert_eq!(at(micros(900, 0)), Ok((true, 900)));
        assert_eq!(at(micros(900, 1)), Err(Failure::Stale));
        assert_eq!(at(micros(-900, -1)), Err(Failure::Future));
        // Only if nothing else is wrong.
        let now = micros(500, 0);
        assert_eq!(verify(&rules, &headers, b"{}", &keys, now), Err(Failure::Mismatch));
        let strict = SignatureRules { mark_up_to: None, ..rules.clone() };
        assert_eq!(verify(&strict, &headers, BODY, &keys, now), Err(Failure::Stale));
    }
}

#[test]
fn a_key_is_valid_within_its_window() {
    let window = Key { not_before: Some(at(-10)), not_after: Some(at(10)), ..key("k1") };
    let keys = set([window.clone()]);
    for profile in Profile::ALL {
        let headers = signed(profile, &window, BODY);
        let at = |now| {
            verify(&SignatureRules::of(profile), &headers, BODY, &keys, now)
                .map(|found| found.key_id)
        };
        let expired = Err(Failure::ExpiredKey);
        assert_eq!(at(micros(-10, 0)), Ok(window.id.clone()));
        assert_eq!(at(micros(10, 0)), Ok(window.id.clone()));
        assert_eq!(at(micros(-10, -1)), expired);
        assert_eq!(at(micros(10, 1)), expired);
    }
}

#[test]
fn a_key_is_for_its_partner_and_integrations() {
    let scoped = Key { integrations: vec![name("payments")], ..key("k1") };
    let keys = set([scoped.clone(), key_of("k2", "globex", "the secret of the other")]);
    for profile in Profile::ALL {
        let headers = signed(profile, &scoped, BODY);
        let begin = |integration: &str, partner: Option<&str>| {
            let signature =
                SignatureRules { partner: partner.map(name), ..SignatureRules::of(profile) };
            let name = name(integration);
            let keys = bound(&keys, profile);
            let mut verifier = Verifier::begin(&signature, Some(&name), &headers, &keys, at(0))?;
            verifier.update(BODY);
            verifier.finish().map(|_| ())
        };
        assert_eq!(begin("payments", None), Ok(()));
        assert_eq!(begin("payments", Some("acme")), Ok(()));
        let (partner, integration) = match profile.names_key() {
            true => (Failure::OutOfScope, Failure::OutOfScope),
            false => (Failure::Mismatch, Failure::Mismatch),
        };
        assert_eq!(begin("payments", Some("globex")), Err(partner));
        assert_eq!(begin("refunds", None), Err(integration));
        let nobody = if profile.names_key() { Failure::OutOfScope } else { Failure::UnknownKey };
        assert_eq!(begin("payments", Some("initech")), Err(nobody));
    }
}

#[test]
fn secrets_of_standard_webhooks_are_decoded() {
    let decoded = |text: &str| {
        let secret = Secret::new(text.into()).unwrap();
        secret.bytes_for(Profile::StandardWebhooks).map(|bytes| bytes.into_owned())
    };
    assert_eq!(decoded("whsec_MDEyMzQ1Njc4OWFiY2RlZg=="), Some(b"0123456789abcdef".to_vec()));
    assert_eq!(decoded("whsec_MDEyMzQ1Njc4OWFiY2RlZg"), Some(b"0123456789abcdef".to_vec()));
    assert_eq!(decoded("whsec_MDEyMzQ1Njc4OWFiY2Rl"), None, "15 bytes");
    assert_eq!(decoded("whsec_not base64, you see"), None);
    assert_eq!(decoded("0123456789abcdef"), Some(b"0123456789abcdef".to_vec()));
    let stripe = Secret::new("whsec_MDEyMzQ1Njc4OWFiY2RlZg==".into()).unwrap();
    let text = stripe.bytes_for(Profile::Stripe).unwrap();
    assert_eq!(*text, *b"whsec_MDEyMzQ1Njc4OWFiY2RlZg==");
    assert!(Secret::new(vec![0; 15]).is_none() && Secret::new(vec![0; 1025]).is_none());
    assert!(Secret::new(vec![0; 16]).is_some() && Secret::new(vec![0; 1024]).is_some());
}
