//! How paths are compared, and in which form rules have to be written.

use super::*;

/// The groups of a configuration with these route groups, and nothing that refers to others.
fn grouped(paths: Value, groups: Value) -> Result<Config, Violation> {
    let mut config = with("/route_groups", Some(groups));
    config["paths"] = paths;
    for referring in ["limits", "integrations", "keys"] {
        config[referring] = json!([]);
    }
    config["fail_policy"]["never_synced"] = json!("deny");
    parse(&config)
}

#[test]
fn a_slash_ends_a_prefix() {
    let groups = json!([{"name": "public", "match": [{"path": {"prefix": "/p/"}}]}]);
    let config = grouped(json!({}), groups).unwrap();
    let groups = |path: &[u8]| config.groups(b"GET", path);
    assert!(groups(b"/p").contains(0) && groups(b"/p/1").contains(0));
    assert!(!groups(b"/pp").contains(0));
}

#[test]
fn a_path_that_no_request_can_have_is_refused() {
    let path = |kind: &str, path: &str, paths: Value| {
        grouped(paths, json!([{"name": "odd", "match": [{"path": {kind: path}}]}]))
    };
    for wrong in
        ["//", "//x", "/a//b", "/a;b", "/a/../b", "/a/.", "/%62et", "/a%2fb", "/a\\b", "/a\n"]
    {
        for kind in ["exact", "prefix"] {
            let error = path(kind, wrong, json!({})).unwrap_err();
            assert_eq!(error.field, format!("route_groups[0].match[0].path.{kind}"), "{wrong}");
            assert!(error.rule.starts_with("must be written as paths are compared"), "{error}");
        }
    }
    for right in ["/", "/a b", "/k\u{e4}se", "/.well-known", "/a.b/..."] {
        path("prefix", right, json!({})).expect(right);
    }
    path("exact", "/a;b", json!({"parameters": "refuse"})).unwrap_err();
}

#[test]
fn case_can_be_ignored_on_both_sides() {
    let groups = json!([{"name": "a", "match": [{"path": {"exact": "/Bet"}}]},
                        {"name": "b", "match": [{"path": {"prefix": "/Pay/"}}]},
                        {"name": "c", "match": [{"path": {"regex": "/X[0-9]+"}}]}]);
    for (ignores, path, group) in [
        (true, "/bEt", 0),
        (true, "/PAY/1", 1),
        (true, "/x12", 2),
        (false, "/Bet", 0),
        (false, "/Pay/1", 1),
        (false, "/X12", 2),
    ] {
        let config = grouped(json!({"ignore_case": ignores}), groups.clone()).unwrap();
        let path = config.paths.canonical(path.as_bytes());
        assert!(config.groups(b"GET", &path.path).contains(group), "{path:?}");
    }
    let config = grouped(json!({}), groups).unwrap();
    for path in ["/bet", "/pay/1", "/x12"] {
        assert_eq!(config.groups(b"GET", path.as_bytes()), Groups::default(), "{path}");
    }
}

#[test]
fn how_ids_and_paths_are_read_is_safe_by_default() {
    let config = parse(&full()).unwrap();
    assert_eq!(config.paths, Paths::default());
    assert!(!config.identity.keeps_commas && !config.identity.ignores_unusable_claims);
    let mut changed = full();
    changed["identity"]["commas"] = json!("keep");
    changed["identity"]["unusable_claim"] = json!("ignore");
    changed["paths"] = json!({"parameters": "refuse", "encoded_slashes": "decode",
                              "ignore_case": true, "connect": "allow", "shadow": true});
    let config = parse(&changed).unwrap();
    assert!(config.identity.keeps_commas && config.identity.ignores_unusable_claims);
    let all = Paths {
        refuses_parameters: true,
        decodes_slashes: true,
        ignores_case: true,
        allows_tunnels: true,
        shadow: true,
    };
    assert_eq!(config.paths, all);
}
