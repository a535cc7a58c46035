use prost::Message;
use serde_json::{Value, json};

use super::*;

mod paths;
mod signed;
mod structure;
mod worker;
mod wrong;

/// Shows every section, and is right.
fn full() -> Value {
    json!({
        "node": "edge-1",
        "stat_prefix": "gate",
        "shadow": false,
        "identity": {
            "user": [
                {"jwt_claim": {"payload": "jwt_payload", "claim": "sub"}},
                {"header": "X-User-Id"}, {"cookie": "uid"}, {"client_ip": true},
            ],
            "session": [{"cookie": "sid"}],
            "partner": [{"header": "x-partner"}],
            "missing_user": "deny",
            "shadow": true,
        },
        "route_groups": [
            {"name": "bet", "match": [{"methods": ["POST"], "path": {"prefix": "/bet/"}}]},
            {"name": "public", "match": [{"path": {"exact": "/"}}, {"path": {"regex": "/p/.*"}}]},
        ],
        "limits": [
            {"name": "per-user", "key": "user", "match": [{"route_group": "bet"}],
             "max_tokens": 100, "tokens_per_fill": 50, "fill_interval": "60s"},
            {"name": "per-key", "key": {"header": "X-Api-Key"}, "match": [{"methods": ["GET"]}],
             "max_tokens": 5, "tokens_per_fill": 5, "fill_interval": "1s", "shadow": true},
        ],
        "blocks": {"shadow": true},
        "responses": {"ratelimit_headers": "always", "legacy_headers": true},
        "invalidator": {"cluster": "portcullis_invalidator", "secret": "0123456789abcdef",
                        "stale_after": "5s", "shadow": true},
        "fail_policy": {
            "never_synced": {"default": "deny", "route_groups": {"public": "allow"}},
            "stale": "allow", "slab_full": "deny", "contention": "deny",
        },
        "storage": {"slabs": 1024, "slab_bytes_max": 2048},
        "integrations": [
            {"name": "payments", "match": [{"path": {"prefix": "/pay"}}],
             "allow_ips": ["10.0.0.0/8", "2001:db8::1"], "content_types": ["Application/JSON"],
             "body_bytes_max": 1000, "shadow": true,
             "signature": {"profile": "portcullis", "partner": "acme", "tolerance": "60s",
                           "nonce": "required", "replay_status": 401}},
            {"name": "hooks", "match": [{"route_group": "bet"}],
             "signature": {"profile": "standard-webhooks"}},
        ],
        "keys": [
            {"id": "K1", "partner": "acme", "secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZg==",
             "not_before": "2026-01-01T00:00:00Z", "not_after": "2027-01-01T00:00:00Z",
             "integrations": ["payments"], "algorithms": ["hmac-sha256"]},
            {"id": "k2", "partner": "globex", "secret": "fedcba9876543210"},
        ],
        "replay": {"slabs": 64, "slab_bytes_max": 512},
    })
}

/// The least that there can be: limits only, and none of them.
fn minimal() -> Value {
    json!({"fail_policy": {"slab_full": "deny", "contention": "allow"}})
}

fn parse(config: &Value) -> Result<Config, Violation> {
    Config::parse(config.to_string().as_bytes())
}

/// The full configuration with one place (a JSON pointer) set to a value, or removed.
fn with(pointer: &str, value: Option<Value>) -> Value {
    let mut config = full();
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match (config.pointer_mut(parent).unwrap(), value) {
        (Value::Object(members), Some(value)) => drop(members.insert(last.to_owned(), value)),
        (Value::Object(members), None) => drop(members.remove(last).unwrap()),
        (Value::Array(items), Some(value)) => items[last.parse::<usize>().unwrap()] = value,
        _ => panic!("no such place: {pointer}"),
    }
    config
}

#[test]
fn a_full_configuration_is_read_whole() {
    let config = parse(&full()).unwrap();
    assert_eq!(config.node.as_deref(), Some("edge-1"));
    assert_eq!(config.stat_prefix.as_str(), "gate");
    let payload = IdSource::JwtClaim { payload: "jwt_payload".into(), claim: "sub".into() };
    let (header, cookie) = (IdSource::Header("x-user-id".into()), IdSource::Cookie("uid".into()));
    assert_eq!(config.identity.user, [payload, header, cookie, IdSource::ClientIp]);
    assert_eq!(config.identity.session, [IdSource::Cookie("sid".into())]);
    assert_eq!(config.identity.partner, [IdSource::Header("x-partner".into())]);
    assert_eq!(config.identity.missing_user, Answer::Deny);
    assert!(config.identity.shadow && config.blocks_shadow);
    let [user, key] = config.limits.as_slice() else { panic!("not two limits") };
    assert_eq!((user.name.as_str(), &user.key, user.shadow), ("per-user", &Kind::User, false));
    assert!(matches!(user.matchers.as_slice(), [LimitMatch::RouteGroup(0)]));
    assert_eq!(user.rate, Rate::new(100, 50, Duration::from_secs(60)).unwrap());
    assert_eq!((&key.key, key.shadow), (&Kind::Header("x-api-key".into()), true));
    let always = RateLimitHeaders::Always;
    assert_eq!(config.responses, Responses { ratelimit_headers: always, legacy_headers: true });
    let invalidator = config.invalidator.as_ref().unwrap();
    assert_eq!(invalidator.cluster, "portcullis_invalidator");
    assert_eq!(invalidator.secret, "0123456789abcdef");
    assert_eq!((invalidator.stale_after, invalidator.shadow), (Duration::from_secs(5), true));
    assert_eq!(config.storage, Storage { slabs: 1024, slab_bytes_max: 2048 });
    let policy = &config.fail_policy;
    let never_synced = |path: &[u8]| policy.never_synced.answer(config.groups(b"GET", path));
    assert_eq!((never_synced(b"/"), never_synced(b"/bet")), (Answer::Allow, Answer::Deny));
    assert_eq!(policy.stale.answer(Groups::default()), Answer::Allow);
    assert_eq!((policy.slab_full, policy.contention), (Answer::Deny, Answer::Deny));
}

#[test]
fn a_minimal_configuration_has_documented_defaults() {
    let config = parse(&minimal()).unwrap();
    assert_eq!(config.stat_prefix.as_str(), "portcullis");
    assert!(config.node.is_none() && config.invalidator.is_none() && config.limits.is_empty());
    assert!(!config.identity.shadow && !config.blocks_shadow);
    assert_eq!(config.identity.missing_user, Answer::Allow);
    let on_reject = RateLimitHeaders::OnReject;
    assert_eq!(config.responses, Responses { ratelimit_headers: on_reject, legacy_headers: false });
    assert_eq!(config.storage, Storage { slabs: 65_536, slab_bytes_max: 1_024 });
    assert_eq!(config.fail_policy.contention, Answer::Allow);
}

#[test]
fn the_global_shadow_is_everywhere() {
    let mut config = full();
    for pointer in ["/identity", "/blocks", "/limits/1", "/invalidator"] {
        config.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove("shadow");
    }
    let read = parse(&config).unwrap();
    let shadows = |read: &Config| {
        let limits = read.limits.iter().map(|limit| limit.shadow);
        let others = [
            read.identity.shadow,
            read.blocks_shadow,
            read.fail_policy.shadow,
            read.paths.shadow,
            read.shadow,
            read.invalidator.as_ref().unwrap().shadow,
        ];
        limits.chain(others).collect::<Vec<_>>()
    };
    assert_eq!(shadows(&read), [false; 8]);
    config["shadow"] = json!(true);
    assert_eq!(shadows(&parse(&config).unwrap()), [true; 8]);
}

#[test]
fn the_secret_is_not_shown() {
    let config = parse(&full()).unwrap();
    assert!(!format!("{config:?}").contains("0123456789abcdef"));
    for secret in [json!(1_234_567_890_123_456_u64), json!(["0123456789abcdef"])] {
        let error = parse(&with("/invalidator/secret", Some(secret))).unwrap_err();
        assert_eq!(error.field, "invalidator.secret");
        assert!(!error.rule.contains("0123456789") && !error.rule.contains("1234567"), "{error}");
    }
}

#[test]
fn routes_match_by_method_and_path_without_query() {
    let config = parse(&with(
        "/route_groups",
        Some(json!([
            {"name": "bet", "match": [{"methods": ["POST", "PUT"], "path": {"prefix": "/bet"}}]},
            {"name": "public",
             "match": [{"path": {"exact": "/"}}, {"path": {"regex": "/p/\\d+|/q"}}]},
            {"name": "rest", "match": [{"path": {"prefix": "/"}}]},
        ])),
    ))
    .unwrap();
    let groups = |method: &str, path: &str| {
        let path = config.paths.canonical(path.as_bytes());
        let groups = config.groups(method.as_bytes(), &path.path);
        (0..3).filter(|index| groups.contains(*index)).collect::<Vec<_>>()
    };
    assert_eq!(groups("POST", "/bet"), [0, 2]);
    assert_eq!(groups("PUT", "/bet/1?to=/"), [0, 2]);
    assert_eq!(groups("POST", "/bet?x"), [0, 2]);
    assert_eq!(groups("POST", "/bet;v=1/1"), [0, 2], "parameters belong to their segment");
    assert_eq!(groups("POST", "/better"), [2], "whole segments only");
    assert_eq!(groups("GET", "/bet"), [2]);
    assert_eq!(groups("post", "/bet"), [0, 2], "some upstreams take it for POST");
    assert_eq!(groups("GET", "/?a=b"), [1, 2]);
    assert_eq!(groups("GET", "/p/12"), [1, 2]);
    assert_eq!(groups("GET", "/p/12x"), [2], "a regex matches the whole path");
    assert_eq!(groups("GET", "/x/q"), [2], "also with alternatives");
    assert_eq!(groups("CONNECT", ""), [2], "no path at all is under every prefix of /");
    assert_eq!(groups("OPTIONS", "*"), [] as [usize; 0]);
}

#[test]
fn a_field_that_stands_twice_is_refused() {
    let text = minimal().to_string().replacen('{', "{\"limits\": [], \"limits\": [], ", 1);
    let error = Config::parse(text.as_bytes()).unwrap_err();
    assert_eq!((error.field.as_str(), error.rule.as_str()), ("limits", "duplicate field `limits`"));
    let full = full().to_string();
    for (once, field) in [
        ("\"max_tokens\":100", "limits[0].max_tokens"),
        ("\"claim\":\"sub\"", "identity.user[0].jwt_claim.claim"),
        ("\"secret\":\"fedcba9876543210\"", "keys[1].secret"),
    ] {
        let (before, after) = full.rsplit_once(once).unwrap();
        let text = format!("{before}{once},{once}{after}");
        let error = Config::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.field, field);
        assert!(error.rule.starts_with("duplicate field"), "{error}");
    }
    let text = full.replace("\"public\":\"allow\"", "\"public\":\"allow\",\"public\":\"deny\"");
    let error = Config::parse(text.as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "fail_policy.never_synced.route_groups.public: must not stand twice"
    );
}

#[test]
fn null_stands_for_what_has_no_default_value() {
    for absent in ["/node", "/limits/0/match", "/integrations/0/allow_ips", "/replay"] {
        parse(&with(absent, Some(Value::Null))).expect(absent);
    }
    for wrong in ["/shadow", "/limits", "/identity", "/limits/0/name", "/fail_policy"] {
        let error = parse(&with(wrong, Some(Value::Null))).expect_err(wrong);
        assert!(error.rule.starts_with("must be a"), "{error}");
    }
}

#[test]
fn where_groups_disagree_the_answer_is_deny() {
    let allow = json!({"default": "allow", "route_groups": {"bet": "deny", "public": "allow"}});
    let mut config = with("/fail_policy/stale", Some(allow));
    config["route_groups"][1]["match"] = json!([{"path": {"prefix": "/"}}]);
    let config = parse(&config).unwrap();
    let stale = |path: &[u8]| config.fail_policy.stale.answer(config.groups(b"POST", path));
    assert_eq!((stale(b"/bet"), stale(b"/x")), (Answer::Deny, Answer::Allow));
}

#[test]
fn errors_read_well() {
    let said = |text: &[u8]| Config::parse(text).unwrap_err().to_string();
    let wrong = with("/limits/0/name", Some(json!(1)));
    assert_eq!(said(wrong.to_string().as_bytes()), "limits[0].name: must be a string");
    assert_eq!(said(b" "), "configuration: must not be empty");
    assert_eq!(said(b"{}"), "fail_policy: is required");
    assert_eq!(
        said(b"1"),
        "configuration: must be an object",
        "what is wrong as a whole has a name all the same"
    );
}
