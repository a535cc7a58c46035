//! `docs/reference/plugin-configuration.md` names every key that the filter knows, and no other.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use gate::config::Config;
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../../docs/reference/plugin-configuration.md");

/// Lists of objects: an error in one names its first entry.
const LISTS: [&str; 5] = ["route_groups", "route_groups[].match", "limits", "integrations", "keys"];

/// The keys in the first column of the page's tables.
fn documented() -> BTreeSet<String> {
    let cells = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.map(|(key, _)| key.to_owned()).collect()
}

/// What has to stand before a key that is looked for, since it is read first.
fn required_before(path: &str) -> Value {
    match path {
        "" => json!({ "fail_policy": { "slab_full": "deny", "contention": "deny" } }),
        "route_groups[]" => json!({ "name": "one" }),
        "limits[]" => json!({
            "name": "one", "key": "user", "max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "1s"
        }),
        "integrations[]" => json!({ "name": "one", "match": [] }),
        "integrations[].signature" => json!({ "profile": "portcullis" }),
        _ => json!({}),
    }
}

/// A configuration that is wrong in one place only: a key below `path` that there cannot be.
fn with_unknown_key_below(path: &str) -> Value {
    let (mut path, mut value) = (path, json!({ "no_such_key": 1 }));
    while !path.is_empty() {
        let (above, part) = path.rsplit_once('.').unwrap_or(("", path));
        let (name, is_list) = part.strip_suffix("[]").map_or((part, false), |name| (name, true));
        let inner = if is_list { json!([value]) } else { value };
        value = required_before(above);
        value.as_object_mut().expect("an object").insert(name.to_owned(), inner);
        path = above;
    }
    value
}

/// The keys that are known below `path`, from what the error says; none if it is no object.
fn known_below(path: &str) -> Vec<String> {
    let wrong = with_unknown_key_below(path).to_string();
    let said = Config::parse(wrong.as_bytes()).expect_err("there is no such key").to_string();
    let Some((_, known)) = said.split_once("unknown field `no_such_key`, expected ") else {
        return Vec::new();
    };
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn keys_below(path: &str, found: &mut BTreeSet<String>) {
    for name in known_below(path) {
        let full = if path.is_empty() { name } else { format!("{path}.{name}") };
        let inner = if LISTS.contains(&full.as_str()) { format!("{full}[]") } else { full.clone() };
        if known_below(&inner).is_empty() || !is_described_by_key(&full) {
            found.insert(full);
        } else {
            keys_below(&inner, found);
        }
    }
}

/// Whether the keys of an object have rows of their own. Those of others are in the row of the object:
/// matchers are the same everywhere, and paths and answers by route group are one value.
fn is_described_by_key(path: &str) -> bool {
    let is_value = path.starts_with("fail_policy.") || path.ends_with("[].path");
    !is_value && path != "limits[].match" && path != "integrations[].match"
}

#[test]
fn the_page_has_every_key_of_the_plugin_configuration() {
    let mut known = BTreeSet::new();
    keys_below("", &mut known);
    // A route group itself is no entry of a route group.
    known.remove("route_groups[].match[].route_group");
    assert_eq!(documented(), known);
}
