//! What one worker may hold, and hash in vain.

use std::time::Duration;

use super::*;
use crate::config::{HeldBounds, Unverified};

const MIB: usize = 1024 * 1024;

/// One that must be signed, one that is small, and one that is never held.
fn three() -> Value {
    with(
        "/integrations",
        Some(json!([
            {"name": "hooks", "match": [{"path": {"prefix": "/hooks"}}],
             "body_bytes_max": 3_000_000, "signature": {"profile": "github"}},
            {"name": "uploads", "match": [{"path": {"prefix": "/up"}}], "body_bytes_max": 1_000_000},
            {"name": "free", "match": [{"path": {"prefix": "/free"}}]},
        ])),
    )
}

fn set(pointer: &str, value: Value) -> Value {
    let mut config = three();
    config["keys"] = json!([]);
    for section in ["held", "unverified"] {
        config[section] = json!({});
    }
    let (section, field) = pointer.split_once('.').unwrap();
    config[section][field] = value;
    config
}

#[test]
fn what_is_held_has_bounds_by_default() {
    let config = parse(&set("held.time_max", json!("30s"))).unwrap();
    let time = Duration::from_secs(30);
    let held = HeldBounds {
        requests: 1_024,
        bytes: 64 * MIB,
        address_requests: 256,
        address_bytes: 16 * MIB,
        time,
    };
    assert_eq!(config.held, held);
    let shares = [(512, 48 * MIB), (512, 16 * MIB), (0, 0)];
    assert_eq!(config.held_shares(), shares, "by the largest bodies");
    let unverified = Unverified { bytes_per_second: 4 << 20, bytes_burst: 32 << 20 };
    assert_eq!(config.unverified, unverified);
}

#[test]
fn large_bodies_have_room_by_default() {
    let mut config = set("held.time_max", json!("1h"));
    let many = (0..64).map(|i| {
        json!({"name": format!("i{i}"), "match": [{"methods": ["POST"]}], "body_bytes_max": 16 * MIB})
    });
    config["integrations"] = many.collect();
    let config = parse(&config).unwrap();
    assert!(config.held_shares().iter().all(|share| *share == (64, 16 * MIB)));
    assert_eq!(config.held.address_bytes, 256 * MIB);
}

#[test]
fn bounds_have_rules() {
    let rule = |pointer: &str, value: Value| {
        let error = parse(&set(pointer, value)).unwrap_err();
        assert_eq!(error.field, pointer);
        error.rule
    };
    let starts = |pointer: &str, value: Value, expected: &str| {
        let rule = rule(pointer, value);
        assert!(rule.starts_with(expected), "{pointer}: {rule}");
    };
    starts("held.requests_max", json!(1), "must be from 2 to 65536");
    starts("held.requests_max", json!(65_537), "must be from 2 to 65536");
    starts(
        "held.bytes_max",
        json!(3_999_999),
        "must be at least 4000000: each integration's share",
    );
    starts("held.address_requests_max", json!(0), "must be from 1 to 1024");
    starts("held.address_bytes_max", json!(2_999_999), "must be from 3000000, the largest body");
    starts("held.time_max", json!("500ms"), "must be from 1s to 1h");
    starts("held.time_max", json!("soon"), "must be");
    starts("held.bytes", json!(1), "unknown field");
    starts("unverified.bytes_per_second", json!(65_535), "must be at least 65536");
    starts("unverified.bytes_burst", json!(0), "must be at least 1048576");
    starts("paths.regex_bytes_max", json!(63), "must be from 64 to 65536");
    assert!(parse(&set("held.bytes_max", json!(4_000_000))).is_ok());
}

#[test]
fn paths_are_bounded_only_where_a_regular_expression_may_see_them() {
    let bound = |at: &str| {
        let mut config = three();
        config["keys"] = json!([]);
        config["route_groups"].as_array_mut().unwrap()[1]["match"] = json!([{"methods": ["GET"]}]);
        let regex = json!([{"path": {"regex": "/a+"}}]);
        match at {
            "group" => {
                let groups = config["route_groups"].as_array_mut().unwrap();
                groups.push(json!({"name": "r", "match": regex}));
            }
            "limit" => config["limits"][0]["match"] = regex,
            "integration" => config["integrations"][1]["match"] = regex,
            _ => {}
        }
        parse(&config).unwrap().regex_bytes_max
    };
    assert_eq!(["group", "limit", "integration"].map(bound), [Some(1_024); 3]);
    assert_eq!(bound("none"), None);
}

#[test]
fn how_many_keys_are_tried_has_rules() {
    let rule = |profile: &str, keys_max: u32| {
        let mut config = three();
        config["keys"] = json!([]);
        config["integrations"][0]["signature"] = json!({"profile": profile, "keys_max": keys_max});
        parse(&config).map(|config| config.integrations[0].signature.as_ref().unwrap().keys_max)
    };
    for profile in ["github", "stripe", "standard-webhooks"] {
        assert_eq!((rule(profile, 1), rule(profile, 16)), (Ok(1), Ok(16)));
        for wrong in [0, 17] {
            assert_eq!(rule(profile, wrong).unwrap_err().rule, "must be from 1 to 16");
        }
    }
    let named = rule("body", 2).unwrap_err();
    assert_eq!(named.field, "integrations[0].signature.keys_max");
    assert!(named.rule.starts_with("must be left out"), "{named}");
}
