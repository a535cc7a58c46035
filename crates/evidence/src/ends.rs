//! What ended the effect of an event, by one daemon's log.

use model::time::UnixMicros;
use serde::Serialize;
use serde_json::Value;

use super::line::{Line, LineRef};

/// How an effect has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// How.
    pub how: How,
    /// When.
    pub at: String,
    /// The event that has ended it, if one has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// Who has asked for that: callers of the API, publishers, and keys that signed it, as far as lines say.
    pub by: Vec<String>,
    /// The line that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<LineRef>,
}

/// How an effect ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Another event has lifted it.
    Lifted,
    /// Another event has taken its place.
    Replaced,
    /// It ended by itself.
    Expired,
}

impl Ended {
    /// Whether it had ended when a line of the same log was noted.
    pub(crate) fn is_before(&self, line: &Line<'_>) -> bool {
        match &self.line {
            Some(end) => end.seq < line.at.seq,
            None => UnixMicros::parse_rfc3339(&self.at).is_some_and(|end| end <= line.noted),
        }
    }
}

/// What ended an event that was taken in with this line; nothing if it has not ended by what these lines say, or is an
/// event that ends others.
pub(crate) fn of_event(
    lines: &[Line<'_>],
    taken_in: &Line<'_>,
    until: Option<&str>,
    now: UnixMicros,
) -> Option<Ended> {
    let id = taken_in.text("event_id")?;
    let is_later = |line: &&Line<'_>| line.kind == "event" && line.at.seq > taken_in.at.seq;
    let mut later = lines.iter().filter(is_later);
    let by_event = later.find_map(|line| {
        let is_said = line.texts("ended").iter().any(|ended| ended == id);
        // Lines of older formats do not say it.
        let is_inferred = || line.whom().is_some() && line.whom() == taken_in.whom();
        let how = ends(line, taken_in).filter(|_| is_said || is_inferred());
        Some((line, how.or_else(|| is_said.then_some(How::Replaced))?))
    });
    let expiry = until.and_then(UnixMicros::parse_rfc3339).filter(|end| *end <= now);
    match (by_event, expiry) {
        (Some((line, how)), expiry) if expiry.is_none_or(|end| line.noted < end) => Some(Ended {
            how,
            at: line.time.clone(),
            event_id: line.owned("event_id"),
            by: who(lines, line),
            line: Some(line.at.clone()),
        }),
        (_, Some(end)) => {
            let (how, at) = (How::Expired, end.to_string());
            Some(Ended { how, at, event_id: None, by: Vec::new(), line: None })
        }
        _ => None,
    }
}

/// Whether an event ends another one, which was taken in before.
fn ends(line: &Line<'_>, other: &Line<'_>) -> Option<How> {
    let holds = line.is("result", "applied") && line.fields.get("in_effect") == Some(&true.into());
    if !holds || line.text("event_id") == other.text("event_id") {
        return None;
    }
    let is_same = |name: &str| line.text(name) == other.text(name);
    match (other.text("action")?, line.text("action")?) {
        ("block", "unblock") if line.text("reason").is_none() || is_same("reason") => {
            Some(How::Lifted)
        }
        ("zero", "unblock") if line.text("reason").is_none() => Some(How::Lifted),
        ("block", "block") if is_same("reason") => Some(How::Replaced),
        ("zero", "zero") => Some(How::Replaced),
        ("override", "override") if is_same("limit") => {
            let is_taken_back = line.fields.get("rate").is_none_or(Value::is_null);
            Some(if is_taken_back { How::Lifted } else { How::Replaced })
        }
        _ => None,
    }
}

/// Who has asked for an event, as far as lines say.
pub(crate) fn who(lines: &[Line<'_>], event: &Line<'_>) -> Vec<String> {
    let Some(id) = event.text("event_id") else { return Vec::new() };
    let calls = lines.iter().filter(|line| line.kind == "call" && line.names_event(id));
    let caller = |line: &Line<'_>| {
        let role = line.text("role").unwrap_or("?");
        Some(format!("caller {} ({role})", line.text("caller")?))
    };
    let mut by: Vec<String> = calls.filter_map(caller).collect();
    by.extend(event.text("publisher").map(|name| format!("publisher {name}, by its own word")));
    by.extend(event.text("signed_by").map(|key| format!("whoever has the key {key}")));
    by.extend(event.text("inbox").map(|inbox| format!("whoever may write to the inbox {inbox}")));
    by.sort();
    by.dedup();
    by
}
