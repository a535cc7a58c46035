//! The event that each subcommand publishes. The daemon checks it; nothing is checked twice here.

use serde_json::{Map, Value, json};
use system::wall_clock;
use uuid::Uuid;

use super::args::{Block, Expiry, Override, Target, Unblock, Zero};

pub(super) fn block(block: &Block) -> Value {
    let mut payload = payload("block", &block.expiry);
    insert(&mut payload, "reason", block.reason.as_deref());
    scope(&mut payload, &block.scope);
    if block.disclose {
        payload.insert("disclose".to_owned(), true.into());
    }
    event("block", &block.target, payload)
}

pub(super) fn unblock(unblock: &Unblock) -> Value {
    let mut payload = Map::from_iter([("action".to_owned(), "unblock".into())]);
    insert(&mut payload, "reason", unblock.reason.as_deref());
    event("unblock", &unblock.target, payload)
}

pub(super) fn zero(zero: &Zero) -> Value {
    let mut payload = payload("zero", &zero.expiry);
    scope(&mut payload, &zero.scope);
    event("zero", &zero.target, payload)
}

pub(super) fn override_limit(change: &Override) -> Value {
    let limit = match change.max_tokens {
        Some(max) => json!({
            "name": change.limit,
            "max_tokens": max,
            "tokens_per_fill": change.tokens_per_fill.unwrap_or(max),
            "fill_interval": change.fill_interval,
        }),
        None => json!({ "name": change.limit, "default": true }),
    };
    let mut payload = payload("override", &change.expiry);
    payload.insert("limit".to_owned(), limit);
    event("override", &change.target, payload)
}

fn payload(action: &str, expiry: &Expiry) -> Map<String, Value> {
    let mut payload = Map::from_iter([("action".to_owned(), action.into())]);
    insert(&mut payload, "for", expiry.span.as_deref());
    insert(&mut payload, "until", expiry.until.as_deref());
    payload
}

fn insert(payload: &mut Map<String, Value>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        payload.insert(name.to_owned(), value.into());
    }
}

fn scope(payload: &mut Map<String, Value>, groups: &[String]) {
    if !groups.is_empty() {
        payload.insert("scope".to_owned(), json!(groups));
    }
}

fn event(action: &str, target: &Target, payload: Map<String, Value>) -> Value {
    let key = if target.session { "session_id" } else { "user_id" };
    let id = target.event_id.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
    let mut event = Map::from_iter([
        ("event_id".to_owned(), id.into()),
        ("event_type".to_owned(), format!("operator.{action}").into()),
        ("schema_version".to_owned(), "1.0".into()),
        ("occurred_at".to_owned(), wall_clock().to_string().into()),
        ("key".to_owned(), json!({ key: target.id })),
        ("payload".to_owned(), payload.into()),
    ]);
    insert(&mut event, "publisher", target.publisher.as_deref());
    event.into()
}
