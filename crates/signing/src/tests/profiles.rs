//! A signature made for one profile does not pass as another's.

use super::*;
use crate::content::{BodyIn, Envelope, head};

/// What is signed in one profile can be what is signed in another: this is what the rule is for.
#[test]
fn without_the_rule_profiles_could_be_mistaken_for_each_other() {
    let body = |profile: Profile, rest: &[u8]| {
        let path = PATH.as_bytes();
        let (method, message) = (&b"POST"[..], &[][..]);
        let envelope = Envelope { timestamp: 1, key_id: "k1", nonce: "n", method, path, message };
        assert_eq!(BodyIn::of(profile), BodyIn::Content);
        [head(profile, &envelope), rest.to_vec()].concat()
    };
    let stripe = body(Profile::Stripe, b"{}");
    assert_eq!(body(Profile::Github, b"1.{}"), stripe);
    assert_eq!(body(Profile::Body, b"n.1.{}"), body(Profile::StandardWebhooks, b"{}"));
}

#[test]
fn a_key_signs_in_its_own_profile_only() {
    for own in Profile::ALL {
        let key = Key { profile: Some(own), ..key("k1") };
        let keys = set([key.clone()]);
        for other in Profile::ALL {
            // As whoever has the secret would sign for that other profile.
            let headers = signed(other, &key, BODY);
            let found = check(other, &headers, BODY, &keys).map(|verified| verified.profile);
            let expected = match (own == other, other.names_key()) {
                (true, _) => Ok(own),
                (false, true) => Err(Failure::OutOfScope),
                (false, false) => Err(Failure::UnknownKey),
            };
            assert_eq!(found, expected, "{own} as {other}");
        }
    }
}

#[test]
fn a_key_that_is_bound_to_no_profile_signs_in_none() {
    let keys = set([key("k1")]);
    for profile in Profile::ALL {
        let headers = signed(profile, &key("k1"), BODY);
        let begun = Verifier::begin(&SignatureRules::of(profile), None, &headers, &keys, at(0));
        assert!(begun.is_err(), "{profile}");
    }
}

#[test]
fn binding_leaves_what_a_key_says_itself() {
    let says = Key { profile: Some(Profile::Github), ..key("k1") };
    let keys = set([says, key("k2"), key("k3")]);
    let bound = keys.bound(|key| (key.id.as_str() == "k2").then_some(Profile::Stripe));
    let profiles: Vec<_> = bound.iter().map(|key| key.profile).collect();
    assert_eq!(profiles, [Some(Profile::Github), Some(Profile::Stripe), None]);
}

#[test]
fn a_key_whose_profile_is_changed_while_a_body_comes_no_longer_signs() {
    let signature = SignatureRules::of(Profile::Github);
    let before = set([Key { profile: Some(Profile::Github), ..key("k1") }]);
    let headers = signed(Profile::Github, &key("k1"), BODY);
    let mut verifier = Verifier::begin(&signature, None, &headers, &before, at(0)).unwrap();
    let after = set([Key { profile: Some(Profile::Body), ..key("k1") }]);
    assert_eq!(verifier.recheck(None, &after, at(1)), Err(Failure::ExpiredKey));
}

#[test]
fn base64_needs_no_prefix_where_it_is_said_to_be_base64() {
    let of = |text: &str| Secret::from_base64(text.as_bytes());
    let decoded = |text: &str| {
        let secret = of(text).unwrap();
        secret.bytes_for(Profile::StandardWebhooks).unwrap().into_owned()
    };
    for text in
        ["MDEyMzQ1Njc4OWFiY2RlZg==", "whsec_MDEyMzQ1Njc4OWFiY2RlZg==", "MDEyMzQ1Njc4OWFiY2RlZg"]
    {
        assert_eq!(decoded(text), b"0123456789abcdef");
    }
    for wrong in [
        "",
        "MDEyMzQ1Njc4OWFiY2Rl",
        "not Base64 at all, is it",
        "whsec_whsec_MDEyMzQ1Njc4OWFiY2RlZg==",
    ] {
        assert!(of(wrong).is_none(), "{wrong}");
    }
}

/// The headers that Standard Webhooks had before it was a standard.
#[test]
fn svix_headers_are_aliases() {
    let profile = Profile::StandardWebhooks;
    let keys = set([key("k1")]);
    let standard = signed(profile, &key("k1"), BODY);
    let names = ["id", "timestamp", "signature"];
    let value = |name: &str| {
        let name = format!("webhook-{name}");
        let value = standard.one(&name).unwrap().unwrap();
        String::from_utf8(value.to_vec()).unwrap()
    };
    let ask = |lines: Vec<(String, String)>| {
        let lines = lines.iter().map(|(name, value)| (name.as_str(), value.clone()));
        check(profile, &headers(METHOD, PATH, lines), BODY, &keys).map(|_| ())
    };
    let all = |prefix: &str| -> Vec<_> {
        names.iter().map(|name| (format!("{prefix}-{name}"), value(name))).collect()
    };
    assert_eq!(ask(all("svix")), Ok(()));
    assert_eq!(ask([all("svix"), all("webhook")].concat()), Ok(()), "both, and the same");
    let rule = "must be the same as its alias, svix-…, or stand alone";
    for (name, header) in names.iter().zip(["webhook-id", "webhook-timestamp", "webhook-signature"])
    {
        for other in [value(name) + "1", String::new()] {
            for with in ["svix", "webhook"] {
                let against = if with == "svix" { "webhook" } else { "svix" };
                let line = (format!("{against}-{name}"), other.clone());
                let lines = [all(with), vec![line]].concat();
                assert_eq!(ask(lines), Err(Failure::Malformed { header, rule }), "{with} {name}");
            }
        }
        let twice = [all("webhook"), all("svix"), vec![(format!("svix-{name}"), value(name))]];
        assert_eq!(ask(twice.concat()), Err(Failure::Malformed { header, rule }));
        let missing: Vec<_> =
            all("svix").into_iter().filter(|(known, _)| !known.ends_with(name)).collect();
        assert_eq!(ask(missing), Err(Failure::Missing { header }));
    }
}
