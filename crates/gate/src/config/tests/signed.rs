//! Integrations, keys and the memory of used requests: what is read, and every rule broken once.

mod rules;

use model::time::UnixMicros;
use signing::key::{KEYS_MAX, Key, KeyId, KeySet, Secret};
use signing::replay::ReplayStorage;
use signing::{Profile, SignatureRules};

use super::wrong::{DURATION, NAME, check};
use super::*;

#[test]
fn integrations_are_read_whole() {
    let config = parse(&full()).unwrap();
    let [payments, hooks] = config.integrations.as_slice() else { panic!("not two") };
    assert_eq!((payments.name.as_str(), payments.shadow), ("payments", true));
    assert_eq!(payments.content_types, ["application/json"]);
    assert_eq!((payments.body_bytes_max, hooks.body_bytes_max), (Some(1_000), Some(1_048_576)));
    let signature = payments.signature.as_ref().unwrap();
    assert_eq!(signature.profile, Profile::Portcullis);
    assert_eq!(signature.partner.as_ref().map(Name::as_str), Some("acme"));
    assert_eq!(signature.tolerance, Duration::from_secs(60));
    assert!(signature.is_nonce_required && signature.replay_status == 401);
    let signature = hooks.signature.as_ref().unwrap();
    assert_eq!(*signature, SignatureRules::of(Profile::StandardWebhooks));
    assert_eq!((signature.tolerance, signature.replay_status), (Duration::from_secs(300), 409));
    let key = config.keys.get(&KeyId::parse("K1").unwrap()).unwrap();
    assert_eq!(key.not_before, UnixMicros::parse_rfc3339("2026-01-01T00:00:00Z"));
    assert_eq!(key.not_after, UnixMicros::parse_rfc3339("2027-01-01T00:00:00Z"));
    assert_eq!(key.integrations, std::slice::from_ref(&payments.name));
    let tolerance = Duration::from_secs(300);
    assert_eq!(config.replay, Some(ReplayStorage { slabs: 64, slab_bytes_max: 512, tolerance }));
    let unsigned = parse(&minimal()).unwrap();
    assert!(unsigned.integrations.is_empty() && unsigned.keys.is_empty());
    assert_eq!(unsigned.replay, None, "nothing to remember");
}

#[test]
fn the_first_integration_that_matches_applies() {
    let config = parse(&full()).unwrap();
    let of = |method: &[u8], path: &[u8]| {
        let found = config.integration(config.groups(method, path), method, path);
        found.map(|(index, _)| index)
    };
    assert_eq!(of(b"GET", b"/pay/1"), Some(0));
    assert_eq!(of(b"POST", b"/bet"), Some(1));
    assert_eq!(of(b"GET", b"/bet"), None);
}

#[test]
fn addresses_and_content_types_are_compared() {
    let config = parse(&full()).unwrap();
    let [payments, hooks] = config.integrations.as_slice() else { panic!("not two") };
    let ip = |text: &str| payments.allows_ip(text.parse().ok());
    assert!(ip("10.0.0.0") && ip("10.255.255.255") && ip("2001:db8::1"));
    assert!(!ip("11.0.0.0") && !ip("9.255.255.255") && !ip("2001:db8::2") && !ip("no address"));
    assert!(hooks.allows_ip(None) && hooks.allows_content_type(None));
    let content = |text: &str| payments.allows_content_type(Some(text.as_bytes()));
    assert!(content("application/json") && content("APPLICATION/json ; charset=utf-8"));
    assert!(!content("application/jsonp") && !content("text/plain; application/json"));
    assert!(!content("") && !payments.allows_content_type(None));
    assert!(!content("application/json;a=,text/xml"), "two lines, as Envoy joins them");
}

#[test]
fn keys_that_are_valid_at_once_beyond_those_tried_are_named() {
    let config = parse(&full()).unwrap();
    let [payments, hooks] = config.integrations.as_slice() else { panic!("not two") };
    let key = |index: u64| Key {
        id: KeyId::parse(&format!("k{index}")).unwrap(),
        partner: Name::parse("acme").unwrap(),
        secret: Secret::new(vec![b'x'; 16]).unwrap(),
        not_before: None,
        not_after: (index == 0).then_some(UnixMicros(10)),
        integrations: Vec::new(),
        profile: Some(Profile::StandardWebhooks),
    };
    let mut keys = KeySet::default();
    let left_out = |one: &Integration, keys: &KeySet, now: u64| {
        let ids = one.crowded_out(keys, UnixMicros(now)).into_iter();
        ids.map(|id| id.to_string()).collect::<Vec<_>>().join(" ")
    };
    (0..2).for_each(|index| keys.add(key(index)).unwrap());
    assert_eq!(left_out(hooks, &keys, 0), "");
    keys.add(key(2)).unwrap();
    assert_eq!(left_out(hooks, &keys, 10), "k0", "the one that ends");
    assert_eq!(left_out(hooks, &keys, 11), "", "one has ended");
    assert_eq!(left_out(payments, &keys, 0), "", "its requests name their key");
    let later = |index, begin| Key { not_before: Some(UnixMicros(begin)), ..key(index) };
    keys.add(later(3, 20)).unwrap();
    assert_eq!(left_out(hooks, &keys, 11), "k2", "from when a key begins that is not valid yet");
    assert_eq!(left_out(hooks, &keys, 30), "k2", "those that began last are tried");
    keys.add(later(4, 40)).unwrap();
    assert_eq!(left_out(hooks, &keys, 11), "k2 k1");
}

#[test]
fn the_shadow_of_integrations_is_set_by_each_and_by_all() {
    let shadows = |config: &Value| {
        let config = parse(config).unwrap();
        config.integrations.iter().map(|one| one.shadow).collect::<Vec<_>>()
    };
    assert_eq!(shadows(&full()), [true, false]);
    assert_eq!(shadows(&with("/shadow", Some(json!(true)))), [true, true]);
}

#[test]
fn secrets_of_keys_are_not_shown() {
    let config = format!("{:?}", parse(&full()).unwrap());
    let bytes = format!("{:?}", b"0123456789abcdef");
    assert!(!config.contains("whsec_") && !config.contains(bytes.trim_matches(['[', ']'])));
    let wrong = with("/keys/1/secret", Some(json!(["0123456789abcdef"])));
    let error = parse(&wrong).unwrap_err();
    assert_eq!(error.field, "keys[1].secret");
    assert!(!error.rule.contains("0123"), "{error}");
    let short = parse(&with("/keys/1/secret", Some(json!("fifteen letters")))).unwrap_err();
    assert!(!short.to_string().contains("fifteen"), "{short}");
}

#[test]
fn integrations_have_rules() {
    let hooks = full()["integrations"][1].clone();
    let many = json!(vec![hooks.clone(); 65]);
    let at = "/integrations/0";
    let of = |field: &str| format!("{at}/{field}").leak() as &'static str;
    check([
        ("/integrations", many, "integrations", "must be at most 64 integrations"),
        (at, hooks, "integrations[1].name", "must not be the name of another integration"),
        (of("name"), json!("Pay"), "integrations[0].name", NAME),
        (of("match"), json!([]), "integrations[0].match", "must have at least one entry"),
        (
            of("match"),
            json!([{"route_group": "x"}]),
            "integrations[0].match[0].route_group",
            "must be the name of a route group",
        ),
        (of("allow_ips"), json!([]), "integrations[0].allow_ips", "must have 1 to 256 entries"),
        (of("allow_ips/1"), json!("x"), "integrations[0].allow_ips[1]", "must be an address or"),
        (of("allow_ips/1"), json!("10.0.0.0/33"), "integrations[0].allow_ips[1]", "must be an"),
        (of("allow_ips/1"), json!("10.0.0.1/8"), "integrations[0].allow_ips[1]", "must have no"),
        (of("content_types"), json!([]), "integrations[0].content_types", "must have 1 to 16"),
        (of("content_types/0"), json!("json"), "integrations[0].content_types[0]", "must be a t"),
        (of("content_types/0"), json!("a/b; c=d"), "integrations[0].content_types[0]", "must be"),
        (of("body_bytes_max"), json!(16_777_217), "integrations[0].body_bytes_max", "must be fro"),
        (of("body_bytes_max"), json!(-1), "integrations[0].body_bytes_max", "must be a whole num"),
        (of("burst"), json!(1), "integrations[0].burst", "unknown field"),
    ]);
}

#[test]
fn signatures_have_rules() {
    let field = |name: &str| {
        let pointer = format!("/integrations/0/signature/{name}").leak() as &'static str;
        (pointer, format!("integrations[0].signature.{name}").leak() as &'static str)
    };
    let row = |name, value, rule| {
        let (pointer, field) = field(name);
        (pointer, value, field, rule)
    };
    check([
        row("profile", json!("aws"), "unknown variant `aws`"),
        row("partner", json!("Acme"), NAME),
        row("tolerance", json!("60"), DURATION),
        row("tolerance", json!("999ms"), "must be from 1s to 1h"),
        row("tolerance", json!("3601s"), "must be from 1s to 1h"),
        row("nonce", json!("maybe"), "unknown variant `maybe`"),
        row("replay_status", json!(429), "must be 409, 401 or 200"),
        row("retries", json!("pass"), "must be left out: only in standard-webhooks"),
        row("remember", json!("1m"), "must be left out: the profile has a time"),
        row("burst", json!(1), "unknown field"),
    ]);
    let signature = |value: Value| with("/integrations/1/signature", Some(value));
    for (value, field) in [
        (json!({"profile": "github", "tolerance": "5m"}), "tolerance"),
        (json!({"profile": "stripe", "nonce": "required"}), "nonce"),
        (json!({"profile": "portcullis", "components": ["@method"]}), "components"),
        (json!({"profile": "body", "tag": "us"}), "tag"),
    ] {
        let error = parse(&signature(value)).unwrap_err();
        assert_eq!(error.field, format!("integrations[1].signature.{field}"));
        assert!(error.rule.starts_with("must be left out"), "{error}");
    }
}

#[test]
fn keys_have_rules() {
    let key = full()["keys"][1].clone();
    check([
        ("/keys", json!(vec![key.clone(); KEYS_MAX + 1]), "keys", "must be at most 256 keys"),
        ("/keys/0", key, "keys[1].id", "must not be the id of another key"),
        ("/keys/0/id", json!("a b"), "keys[0].id", KeyId::RULE),
        ("/keys/0/partner", json!(""), "keys[0].partner", NAME),
        ("/keys/0/secret", json!("fifteen letters"), "keys[0].secret", "must be 16 to 1024 bytes"),
        ("/keys/0/secret", json!("x".repeat(1_025)), "keys[0].secret", "must be 16 to 1024 byte"),
        ("/keys/0/not_before", json!("today"), "keys[0].not_before", "must be an RFC 3339"),
        ("/keys/0/not_after", json!("2026"), "keys[0].not_after", "must be an RFC 3339"),
        ("/keys/0/not_after", json!("2025-01-01T00:00:00Z"), "keys[0].not_after", "must not be b"),
        ("/keys/0/integrations", json!([]), "keys[0].integrations", "must have 1 to 64 entries"),
        ("/keys/0/integrations/0", json!("pay"), "keys[0].integrations[0]", "must be the name of"),
        ("/keys/0/algorithms", json!([]), "keys[0].algorithms", "must have 1 to 1 entries"),
        ("/keys/0/algorithms/0", json!("hmac-sha1"), "keys[0].algorithms[0]", "must be \"hmac-sh"),
        ("/keys/0/profile", json!("aws"), "keys[0].profile", "unknown variant `aws`"),
        ("/keys/0/secret_encoding", json!("hex"), "keys[0].secret_encoding", "unknown variant"),
        ("/keys/0/burst", json!(1), "keys[0].burst", "unknown field"),
    ]);
    for (pointer, field) in [("/keys/0/id", "keys[0].id"), ("/keys/0/secret", "keys[0].secret")] {
        let error = parse(&with(pointer, None)).unwrap_err();
        assert_eq!((error.field.as_str(), error.rule.as_str()), (field, "is required"));
    }
}

#[test]
fn a_key_is_for_one_profile() {
    let profile_of = |config: &Value, id: &str| {
        let config = parse(config)?;
        Ok::<_, Violation>(config.keys.get(&KeyId::parse(id).unwrap()).unwrap().profile)
    };
    let is = |config: &Value, id, profile| assert_eq!(profile_of(config, id), Ok(Some(profile)));
    is(&full(), "K1", Profile::Portcullis);
    // Payments are acme's alone, so hooks are all that globex can sign.
    is(&full(), "k2", Profile::StandardWebhooks);
    let acme = with("/keys/1/partner", Some(json!("acme")));
    let error = profile_of(&acme, "k2").unwrap_err();
    let rule = "must be given: the key may be used for integrations of different profiles";
    assert_eq!((error.field.as_str(), error.rule.as_str()), ("keys[1].profile", rule));
    let mut said = acme.clone();
    said["keys"][1]["profile"] = json!("portcullis");
    is(&said, "k2", Profile::Portcullis);
    said["keys"][1]["profile"] = json!("github");
    is(&said, "k2", Profile::Github);
    let both = with("/keys/0/integrations", Some(json!(["payments", "hooks"])));
    assert_eq!(profile_of(&both, "K1").unwrap_err().field, "keys[0].profile");
    let mut said = both;
    said["keys"][0]["profile"] = json!("portcullis");
    let error = profile_of(&said, "K1").unwrap_err();
    let rule = "must be of the key's profile, portcullis";
    assert_eq!((error.field.as_str(), error.rule.as_str()), ("keys[0].integrations[1]", rule));
    let mut unsigned = full();
    unsigned["integrations"][0].as_object_mut().unwrap().remove("signature");
    assert_eq!(profile_of(&unsigned, "K1"), Ok(None), "it is for nothing");
}

#[test]
fn a_secret_may_be_base64_without_a_prefix() {
    let with_secret = |secret: &str, encoding: &str, profile: Option<&str>| {
        let mut config = full();
        config["keys"][1]["secret"] = json!(secret);
        config["keys"][1]["secret_encoding"] = json!(encoding);
        if let Some(profile) = profile {
            config["keys"][1]["profile"] = json!(profile);
        }
        let config = parse(&config).map_err(|error| error.field)?;
        let key = Key::clone(config.keys.get(&KeyId::parse("k2").unwrap()).unwrap());
        let bytes = key.secret.bytes_for(Profile::StandardWebhooks).unwrap().into_owned();
        Ok::<_, String>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (text, hooks) = ("ZmVkY2JhOTg3NjU0MzIxMA==", Some("standard-webhooks"));
    assert_eq!(with_secret(text, "base64", hooks).as_deref(), Ok("fedcba9876543210"));
    assert_eq!(with_secret(text, "text", hooks).as_deref(), Ok(text));
    let prefixed = format!("whsec_{text}");
    assert_eq!(with_secret(&prefixed, "base64", hooks).as_deref(), Ok("fedcba9876543210"));
    for profile in [None, Some("github")] {
        let error = with_secret(text, "base64", profile).unwrap_err();
        assert_eq!(error, "keys[1].secret_encoding");
    }
    assert_eq!(with_secret("this is not Base64!", "base64", hooks).unwrap_err(), "keys[1].secret");
}

#[test]
fn a_signature_needs_keys_that_can_make_it() {
    let mut alone = minimal();
    alone["integrations"] = json!([
        {"name": "hooks", "match": [{"methods": ["POST"]}],
         "signature": {"profile": "standard-webhooks", "partner": "acme"}},
    ]);
    let key = |id: &str, partner: &str, secret: &str| json!({"id": id, "partner": partner, "secret": secret});
    let rule = |keys: Value| {
        let mut config = alone.clone();
        config["keys"] = keys;
        parse(&config).map_err(|error| {
            assert_eq!(error.field.trim_end_matches(".keys_max"), "integrations[0].signature");
            error.rule
        })
    };
    let none = "must have a key of its profile in keys, or an invalidator that hands out keys";
    assert_eq!(rule(json!([])).unwrap_err(), none);
    assert_eq!(rule(json!([key("k", "globex", "0123456789abcdef")])).unwrap_err(), none);
    assert!(rule(json!([key("k", "acme", "0123456789abcdef")])).is_ok());
    let unusable = rule(json!([key("k", "acme", "whsec_not in Base64")])).unwrap_err();
    assert!(unusable.ends_with("after \"whsec_\", and key k has not"), "{unusable}");
    let many = (0..3).map(|i| key(&format!("k{i}"), "acme", "0123456789abcdef"));
    let many = rule(many.collect()).unwrap_err();
    assert!(many.ends_with("of 2 key k2 would not be tried"), "{many}");
    let mut pushed = with("/keys", None);
    pushed["identity"]["partner"] = json!([]);
    pushed["limits"][0]["key"] = json!("partner");
    assert!(parse(&pushed).is_ok(), "keys by push; the signature names the partner of limits");
}

#[test]
fn the_memory_of_used_requests_has_rules() {
    check([
        ("/replay/slabs", json!(8), "replay.slabs", "must be a power of two from 16"),
        ("/replay/slabs", json!(100), "replay.slabs", "must be a power of two from 16"),
        ("/replay/slabs", json!(2_097_152), "replay.slabs", "must be a power of two from 16"),
        ("/replay/slab_bytes_max", json!(255), "replay.slab_bytes_max", "must be from 256"),
        ("/replay/slab_bytes_max", json!(65_537), "replay.slab_bytes_max", "must be from 256"),
        ("/replay/burst", json!(1), "replay.burst", "unknown field"),
    ]);
    let config = parse(&with("/replay", None)).unwrap();
    let replay = config.replay.unwrap();
    assert_eq!((replay.slabs, replay.slab_bytes_max), (4_096, 8_192));
}

#[test]
fn a_secret_is_that_of_one_partner_and_profile() {
    let keys = |one: &str, other: &str, profile: &str| {
        let key = |id, secret, profile| json!({ "id": id, "partner": "acme", "secret": secret, "profile": profile });
        with("/keys", Some(json!([key("k1", one, "github"), key("k2", other, profile)])))
    };
    let decoded = "sixteen letters!";
    let encoded = "whsec_c2l4dGVlbiBsZXR0ZXJzIQ==";
    for (one, other, profile) in
        [(decoded, decoded, "body"), (decoded, encoded, "standard-webhooks")]
    {
        let error = parse(&keys(one, other, profile)).unwrap_err();
        assert_eq!(error.field, "keys");
        assert!(error.rule.starts_with("k1 and k2 have one secret"), "{error}");
        assert!(!error.to_string().contains(decoded));
    }
    let fine = keys(decoded, decoded, "github");
    assert!(parse(&fine).is_ok_and(|config| config.keys.len() == 2));
}
