//! The configuration as operators spell it, before any rule but its shape is checked.

mod signed;

use serde::{Deserialize, Deserializer};

use super::ConfigError;
pub(super) use signed::{Integration, Key, NonceRule, Profile, Replay, Signature};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct Config {
    pub(super) node: Option<String>,
    pub(super) stat_prefix: Option<String>,
    #[serde(default)]
    pub(super) shadow: bool,
    #[serde(default)]
    pub(super) identity: Identity,
    #[serde(default)]
    pub(super) route_groups: Vec<RouteGroup>,
    #[serde(default)]
    pub(super) limits: Vec<Limit>,
    #[serde(default)]
    pub(super) blocks: Blocks,
    #[serde(default)]
    pub(super) responses: Responses,
    pub(super) invalidator: Option<Invalidator>,
    pub(super) fail_policy: FailPolicy,
    #[serde(default)]
    pub(super) storage: Storage,
    #[serde(default)]
    pub(super) integrations: Vec<Integration>,
    #[serde(default)]
    pub(super) keys: Vec<Key>,
    pub(super) replay: Option<Replay>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct Identity {
    #[serde(default)]
    pub(super) user: Vec<Source>,
    #[serde(default)]
    pub(super) session: Vec<Source>,
    #[serde(default)]
    pub(super) partner: Vec<Source>,
    pub(super) missing_user: Option<Answer>,
    #[serde(default)]
    pub(super) shadow: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Source {
    JwtClaim(JwtClaim),
    Header(String),
    Cookie(String),
    ClientIp(bool),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct JwtClaim {
    pub(super) payload: String,
    pub(super) claim: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Allow,
    Deny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct RouteGroup {
    pub(super) name: String,
    #[serde(rename = "match")]
    pub(super) matchers: Vec<Matcher>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct Matcher {
    pub(super) methods: Option<Vec<String>>,
    pub(super) path: Option<Path>,
    pub(super) route_group: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Path {
    Exact(String),
    Prefix(String),
    Regex(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct Limit {
    pub(super) name: String,
    pub(super) key: LimitKey,
    #[serde(rename = "match")]
    pub(super) matchers: Option<Vec<Matcher>>,
    pub(super) max_tokens: u32,
    pub(super) tokens_per_fill: u32,
    pub(super) fill_interval: String,
    #[serde(default)]
    pub(super) shadow: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LimitKey {
    User,
    Session,
    Partner,
    KeyId,
    ClientIp,
    Header(String),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct Blocks {
    #[serde(default)]
    pub(super) shadow: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct Responses {
    #[serde(default)]
    pub(super) ratelimit_headers: RateLimitHeaders,
    #[serde(default)]
    pub(super) legacy_headers: bool,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RateLimitHeaders {
    Off,
    #[default]
    OnReject,
    Always,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct Invalidator {
    pub(super) cluster: String,
    pub(super) secret: String,
    pub(super) stale_after: String,
    #[serde(default)]
    pub(super) shadow: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct FailPolicy {
    pub(super) never_synced: Option<AnswerByRoute>,
    pub(super) stale: Option<AnswerByRoute>,
    pub(super) slab_full: Answer,
    pub(super) contention: Answer,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "must be \"allow\", \"deny\", or an object with default and route_groups"
)]
pub(super) enum AnswerByRoute {
    Everywhere(Answer),
    ByRoute(ByRoute),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct ByRoute {
    pub(super) default: Answer,
    #[serde(default)]
    pub(super) route_groups: std::collections::BTreeMap<String, Answer>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct Storage {
    pub(super) slabs: Option<u32>,
    pub(super) slab_bytes_max: Option<u32>,
}

/// Reads the shape; an error names the path of the field at fault.
pub(super) fn read<'de, D>(source: D) -> Result<Config, ConfigError>
where
    D: Deserializer<'de, Error = serde_json::Error>,
{
    serde_path_to_error::deserialize(source).map_err(|error| {
        let path = error.path().to_string();
        describe(path.trim_start_matches('.'), &error.inner().to_string())
    })
}

/// Serde's message in an operator's words, and without the value that is wrong: it may be a secret.
fn describe(field: &str, message: &str) -> ConfigError {
    // The path says better where it is.
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    if let Some(missing) = missing {
        let dot = if field.is_empty() { "" } else { "." };
        return ConfigError::new(format!("{field}{dot}{missing}"), "is required");
    }
    match message.split_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") => {
            let expected = match expected {
                "u16" => "a whole number from 0 to 65535",
                "u32" => "a whole number from 0 to 4294967295",
                "a sequence" => "a list",
                "map with a single key" => "an object with exactly one field",
                other => other,
            };
            ConfigError::new(field, format!("must be {expected}"))
        }
        _ => ConfigError::new(field, message),
    }
}
