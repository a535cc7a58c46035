//! Lines of audit logs, read.

use model::time::UnixMicros;
use serde::Serialize;
use serde_json::{Map, Value};

use super::log::{Log, LogLine};

/// Where a line stands, and whether it may be believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineRef {
    /// The daemon whose log it is in.
    pub daemon: String,
    /// Its number there.
    pub seq: u64,
    /// Whether it is in the part of the log that was checked and holds.
    pub in_chain: bool,
}

/// One line, read.
#[derive(Clone, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) at: LineRef,
    /// When it was noted: RFC 3339, as it stands there.
    pub(crate) time: String,
    pub(crate) noted: UnixMicros,
    pub(crate) kind: String,
    pub(crate) fields: Map<String, Value>,
    pub(crate) text: &'a str,
}

impl<'a> Line<'a> {
    /// Reads all lines of a log that can be read, in order.
    pub(crate) fn all(log: &'a Log) -> Vec<Self> {
        let mut lines: Vec<_> = log.lines.iter().filter_map(|line| Self::of(log, line)).collect();
        lines.sort_by_key(|line| line.at.seq);
        lines
    }

    fn of(log: &Log, line: &'a LogLine) -> Option<Self> {
        let fields: Map<String, Value> = serde_json::from_str(&line.text).ok()?;
        let seq = fields.get("seq")?.as_u64()?;
        let text = |name: &str| Some(fields.get(name)?.as_str()?.to_owned());
        let (time, kind) = (text("time")?, text("kind")?);
        let covered = log.verdict.as_ref().is_some_and(|verdict| verdict.covers(seq));
        let in_chain = line.is_sealed && covered;
        let noted = UnixMicros::parse_rfc3339(&time)?;
        let at = LineRef { daemon: log.daemon.clone(), seq, in_chain };
        Some(Self { at, time, noted, kind, fields, text: &line.text })
    }

    /// A member that is a text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    pub(crate) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.fields.get(name)?.as_u64()
    }

    pub(crate) fn is(&self, name: &str, text: &str) -> bool {
        self.text(name) == Some(text)
    }

    /// A member that is a list of texts.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let list = self.fields.get(name).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Whether it is about an event: also one of several, or as what has overruled another.
    pub(crate) fn names_event(&self, event_id: &str) -> bool {
        let several = || self.texts("event_ids").iter().any(|id| id == event_id);
        self.is("event_id", event_id) || several()
    }

    /// `user` or `session` and the pseudonym, as one text.
    pub(crate) fn whom(&self) -> Option<String> {
        let of = |kind: &str| Some(format!("{kind}:{}", self.text(kind)?));
        of("user").or_else(|| of("session"))
    }

    /// The Envoy that it is about: its name and the life of its memory.
    pub(crate) fn node(&self) -> Option<(String, String)> {
        Some((self.owned("node")?, self.owned("boot_id")?))
    }
}
