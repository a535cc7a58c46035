//! Every rule, broken once: the field at fault and the rule that the operator reads.

use super::*;

pub(super) const NAME: &str = "must be 1 to 64 characters";
const TEXT: &str = "must be 1 to 256 bytes";
pub(super) const DURATION: &str = "must be a whole number and a unit";

/// Each row: where, what stands there, the field that the error names, and how its rule begins.
pub(super) fn check(
    rows: impl IntoIterator<Item = (&'static str, Value, &'static str, &'static str)>,
) {
    for (pointer, value, field, rule) in rows {
        let error = parse(&with(pointer, Some(value.clone()))).expect_err(pointer);
        assert_eq!(error.field, field, "{pointer} = {value}: {error}");
        assert!(error.rule.starts_with(rule), "{pointer} = {value}: {error}");
    }
}

#[test]
fn required_fields_are_named() {
    for (pointer, field) in [
        ("/fail_policy", "fail_policy"),
        ("/fail_policy/slab_full", "fail_policy.slab_full"),
        ("/fail_policy/contention", "fail_policy.contention"),
        ("/invalidator/cluster", "invalidator.cluster"),
        ("/invalidator/secret", "invalidator.secret"),
        ("/invalidator/stale_after", "invalidator.stale_after"),
        ("/limits/0/name", "limits[0].name"),
        ("/limits/1/key", "limits[1].key"),
        ("/limits/0/max_tokens", "limits[0].max_tokens"),
        ("/limits/0/tokens_per_fill", "limits[0].tokens_per_fill"),
        ("/limits/0/fill_interval", "limits[0].fill_interval"),
        ("/route_groups/0/name", "route_groups[0].name"),
        ("/route_groups/1/match", "route_groups[1].match"),
        ("/identity/user/0/jwt_claim/payload", "identity.user[0].jwt_claim.payload"),
    ] {
        let error = parse(&with(pointer, None)).expect_err(pointer);
        assert_eq!((error.field.as_str(), error.rule.as_str()), (field, "is required"));
    }
    for (pointer, field, rule) in [
        ("/identity/missing_user", "identity.missing_user", "must be \"allow\" or \"deny\""),
        ("/fail_policy/stale", "fail_policy.stale", "must be given with an invalidator"),
        ("/fail_policy/never_synced", "fail_policy.never_synced", "must be given with an"),
    ] {
        let error = parse(&with(pointer, None)).expect_err(pointer);
        assert_eq!(error.field, field);
        assert!(error.rule.starts_with(rule), "{error}");
    }
}

#[test]
fn unknown_fields_are_refused_everywhere() {
    for parent in [
        "",
        "/identity",
        "/identity/user/0/jwt_claim",
        "/route_groups/0",
        "/route_groups/0/match/0",
        "/limits/0",
        "/blocks",
        "/responses",
        "/invalidator",
        "/fail_policy",
        "/storage",
    ] {
        let error = parse(&with(&format!("{parent}/burst"), Some(json!(1)))).expect_err(parent);
        assert!(error.field.ends_with("burst"), "{error}");
        assert!(error.rule.starts_with("unknown field `burst`, expected"), "{error}");
        assert!(!error.rule.contains("line"), "{error}");
    }
}

#[test]
fn values_of_the_wrong_type_are_named() {
    check([
        ("/shadow", json!("yes"), "shadow", "must be a boolean"),
        ("/limits", json!({}), "limits", "must be a list"),
        ("/limits/0", json!([]), "limits[0]", "must be an object"),
        ("/identity", json!("x"), "identity", "must be an object"),
        ("/limits/0/max_tokens", json!(-1), "limits[0].max_tokens", "must be a whole number"),
        ("/limits/0/max_tokens", json!(1.5), "limits[0].max_tokens", "must be a whole number"),
        ("/limits/0/key", json!("device"), "limits[0].key", "unknown variant `device`, expected"),
        ("/limits/0/key", json!({"device": "x"}), "limits[0].key", "unknown variant `device`"),
        ("/limits/0/key", json!({"header": 1}), "limits[0].key.header", "must be a string"),
        ("/limits/0/key", json!("header"), "limits[0].key", "must be an object such as"),
        ("/limits/0/key", json!({"user": "x"}), "limits[0].key", "must be just \"user\""),
        ("/limits/0/key", json!(1), "limits[0].key", "must be a string or an object"),
        ("/limits/0/max_tokens", json!(4_294_967_296_u64), "limits[0].max_tokens", "must be a w"),
        ("/limits/0/match", json!("x"), "limits[0].match", "must be a list"),
        ("/limits/0/match/0/route_group", json!(1), "limits[0].match[0].route_group", "must be a"),
        ("/identity/user", json!([{"header": "a"}, 1]), "identity.user[1]", "must be an object"),
        ("/route_groups/1/match/0/path", json!("/"), "route_groups[1].match[0].path", "must be an"),
        ("/identity/user/0", json!({}), "identity.user[0]", "must be an object with exactly one"),
        ("/identity/user/0", json!({"ip": true}), "identity.user[0]", "unknown variant `ip`"),
        ("/fail_policy/contention", json!("ask"), "fail_policy.contention", "unknown variant"),
        ("/fail_policy/stale", json!("ask"), "fail_policy.stale", "must be \"allow\", \"deny\","),
        ("/fail_policy/stale", json!({}), "fail_policy.stale", "must be \"allow\", \"deny\","),
        ("/responses/ratelimit_headers", json!("no"), "responses.ratelimit_headers", "unknown"),
    ]);
}

#[test]
fn identity_has_rules() {
    let many: Vec<_> = (0..=SOURCES_MAX).map(|_| json!({"client_ip": true})).collect();
    check([
        ("/identity/user", json!([]), "identity.user", "must name a source when missing_user"),
        ("/identity/user", json!(many), "identity.user", "must be at most 8 sources"),
        ("/identity/partner", json!(many), "identity.partner", "must be at most 8 sources"),
        ("/identity/user/1", json!({"header": ""}), "identity.user[1].header", "must be a header"),
        ("/identity/user/1", json!({"header": ":path"}), "identity.user[1].header", "must be a h"),
        ("/identity/user/1", json!({"header": "a b"}), "identity.user[1].header", "must be a hea"),
        ("/identity/user/2", json!({"cookie": "a=b"}), "identity.user[2].cookie", "must be a coo"),
        ("/identity/user/2", json!({"cookie": ""}), "identity.user[2].cookie", "must be a cookie"),
        ("/identity/user/2", json!({"cookie": "\"a"}), "identity.user[2].cookie", "must be a coo"),
        ("/identity/commas", json!("split"), "identity.commas", "unknown variant `split`"),
        ("/identity/unusable_claim", json!("allow"), "identity.unusable_claim", "unknown variant"),
        ("/identity/user/3", json!({"client_ip": false}), "identity.user[3].client_ip", "must be"),
        ("/identity/user/0/jwt_claim/claim", json!(""), "identity.user[0].jwt_claim.claim", TEXT),
        ("/identity", json!({"partner": [{"client_ip": true}]}), "limits[0].key", "must have a s"),
    ]);
    let mut config = with("/identity", Some(json!({})));
    config["limits"] = json!([]);
    let error = parse(&config).unwrap_err();
    assert_eq!(error.field, "identity", "invalidations name users or sessions");
}

#[test]
fn paths_have_rules() {
    check([
        ("/paths", json!({"parameters": "keep"}), "paths.parameters", "unknown variant `keep`"),
        ("/paths", json!({"encoded_slashes": true}), "paths.encoded_slashes", "must be a string"),
        ("/paths", json!({"ignore_case": "yes"}), "paths.ignore_case", "must be a boolean"),
        ("/paths", json!({"case": "any"}), "paths.case", "unknown field `case`"),
    ]);
}

#[test]
fn routes_have_rules() {
    let group = json!({"name": "g", "match": [{"methods": ["GET"]}]});
    let many: Vec<_> = (0..=ROUTE_GROUPS_MAX).map(|_| group.clone()).collect();
    let at = "/route_groups/0/match/0";
    let field = "route_groups[0].match[0]";
    check([
        ("/route_groups", json!(many), "route_groups", "must be at most 64 groups"),
        ("/route_groups/0/name", json!("Bet"), "route_groups[0].name", NAME),
        ("/route_groups/1/name", json!("bet"), "route_groups[1].name", "must not be the name of"),
        ("/route_groups/0/match", json!([]), "route_groups[0].match", "must have at least one"),
        (at, json!({}), field, "must have methods, path or both"),
        (at, json!({"route_group": "public"}), "route_groups[0].match[0].route_group", "must not"),
        (at, json!({"methods": []}), "route_groups[0].match[0].methods", "must be upper-case"),
        (at, json!({"methods": ["get"]}), "route_groups[0].match[0].methods", "must be upper-case"),
        (at, json!({"methods": [""]}), "route_groups[0].match[0].methods", "must be upper-case"),
        (at, json!({"path": {"exact": "bet"}}), "route_groups[0].match[0].path.exact", "must beg"),
        (at, json!({"path": {"prefix": "/?"}}), "route_groups[0].match[0].path.prefix", "must be"),
        (at, json!({"path": {"regex": "("}}), "route_groups[0].match[0].path.regex", "must be a r"),
        (at, json!({"path": {"regex": "a)|(b"}}), "route_groups[0].match[0].path.regex", "must be"),
        (at, json!({"path": {"glob": "*"}}), "route_groups[0].match[0].path", "unknown variant"),
        (
            at,
            json!({"path": {}}),
            "route_groups[0].match[0].path",
            "must be an object with exactly",
        ),
    ]);
}

#[test]
fn limits_have_rules() {
    let limit = full()["limits"][0].clone();
    check([
        ("/limits", json!(vec![limit.clone(); LIMITS_MAX + 1]), "limits", "must be at most 32"),
        ("/limits/1", limit, "limits[1].name", "must not be the name of another limit"),
        ("/limits/0/name", json!(""), "limits[0].name", NAME),
        (
            "/limits/0/key",
            json!({"header": "Host"}),
            "limits[0].key.header",
            "must not be host, which",
        ),
        (
            "/identity/user/1",
            json!({"header": "host"}),
            "identity.user[1].header",
            "must not be host",
        ),
        ("/limits/0/key", json!({"header": "a,b"}), "limits[0].key.header", "must be a header"),
        ("/limits/0/max_tokens", json!(0), "limits[0].max_tokens", "must be at least 1"),
        ("/limits/0/tokens_per_fill", json!(0), "limits[0].tokens_per_fill", "must be at least 1"),
        ("/limits/0/fill_interval", json!("60"), "limits[0].fill_interval", DURATION),
        ("/limits/0/fill_interval", json!("0s"), "limits[0].fill_interval", "must give at most"),
        ("/limits/0/fill_interval", json!("30d"), "limits[0].fill_interval", "must let an empty"),
        ("/limits/0/match", json!([]), "limits[0].match", "must have at least one entry, or be"),
        ("/limits/0/match/0", json!({}), "limits[0].match[0]", "must have methods, path or both"),
        (
            "/limits/0/match/0",
            json!({"route_group": "bett"}),
            "limits[0].match[0].route_group",
            "must be the name of a route group",
        ),
        (
            "/limits/0/match/0",
            json!({"route_group": "bet", "methods": ["GET"]}),
            "limits[0].match[0]",
            "must have either route_group, or methods and path",
        ),
    ]);
}

#[test]
fn the_rest_has_rules() {
    let unknown = json!({"default": "deny", "route_groups": {"bett": "allow"}});
    check([
        ("/node", json!(""), "node", "must be 1 to 128 visible ASCII characters"),
        ("/node", json!("x".repeat(129)), "node", "must be 1 to 128 visible ASCII characters"),
        ("/node", json!("edge 1"), "node", "must be 1 to 128 visible ASCII characters"),
        ("/stat_prefix", json!("a b"), "stat_prefix", NAME),
        ("/invalidator/cluster", json!(""), "invalidator.cluster", TEXT),
        ("/invalidator/secret", json!("short"), "invalidator.secret", "must be 16 to 256 visible"),
        ("/invalidator/secret", json!("x".repeat(257)), "invalidator.secret", "must be 16 to 256"),
        ("/invalidator/secret", json!("0123456789abcde\n"), "invalidator.secret", "must be 16 to"),
        ("/invalidator/stale_after", json!("5"), "invalidator.stale_after", DURATION),
        ("/invalidator/stale_after", json!("1s"), "invalidator.stale_after", "must be at least 3s"),
        ("/fail_policy/stale", unknown, "fail_policy.stale.route_groups.bett", "must be the name"),
        ("/storage/slabs", json!(1000), "storage.slabs", "must be a power of two from 16"),
        ("/storage/slabs", json!(8), "storage.slabs", "must be a power of two from 16"),
        ("/storage/slabs", json!(2_097_152), "storage.slabs", "must be a power of two from 16"),
        ("/storage/slab_bytes_max", json!(1), "storage.slab_bytes_max", "must be from 64 to 65536"),
        ("/storage/slab_bytes_max", json!(65_537), "storage.slab_bytes_max", "must be from 64"),
    ]);
    let config = with("/invalidator", None);
    for (pointer, field) in
        [("/never_synced", "fail_policy.never_synced"), ("/stale", "fail_policy.stale")]
    {
        let mut config = config.clone();
        config["fail_policy"] = minimal()["fail_policy"].clone();
        config["fail_policy"][pointer.trim_start_matches('/')] = json!("allow");
        let error = parse(&config).unwrap_err();
        assert_eq!(error.field, field);
        assert_eq!(error.rule, "must be left out without an invalidator");
    }
}
