//! One dead letter: what came, why it cannot be applied, and what operators did about it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use events::EVENT_BYTES_MAX;
use model::name::{EventId, Name};
use model::time::UnixMicros;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use throttle::Folded;

use super::class::Class;
use crate::Proof;

/// Most bytes of an event that are kept: of an event that is too large, its beginning.
pub const RAW_BYTES_MAX: usize = EVENT_BYTES_MAX;
/// Most bytes that are kept of what was never an event: enough to see what it is.
pub const GARBAGE_BYTES_MAX: usize = 1_024;
/// For how long letters are counted as one that stands for many: so that it has a first and a last
/// time that say something.
const FOLD_SPAN: Duration = Duration::from_secs(24 * 60 * 60);
/// The rule of a letter that stands for many.
const FOLDED_RULE: &str =
    "many of this cause came: this letter has their number, and the first of them as a sample";
/// Most replays of one letter that are remembered; the oldest is forgotten.
pub(super) const REPLAYS_MAX: usize = 16;
/// Bytes of the digest that is a letter's id.
const ID_BYTES: usize = 16;

/// Why an event cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The sort of mistake, as in `portcullis_events_refused_total`.
    pub kind: String,
    /// The field at fault.
    pub field: String,
    /// The rule that it breaks.
    pub rule: String,
}

/// An event that cannot be applied, as it comes.
#[derive(Clone)]
pub struct Refused<'a> {
    /// The source that it came through.
    pub source: &'static str,
    /// The inbox that it came out of, if it did.
    pub inbox: Option<Name>,
    /// Why it cannot be applied.
    pub cause: Cause,
    /// What speaks for it.
    pub proof: Proof,
    /// Its id, if that could be read.
    pub event_id: Option<EventId>,
    /// All of it.
    pub bytes: &'a [u8],
    /// When it came.
    pub at: UnixMicros,
}

impl Refused<'_> {
    /// What is to be expected of it.
    pub(super) fn class(&self) -> Class {
        Class::of(&self.cause.kind, self.proof)
    }

    /// What makes it one of many that are the same.
    pub(super) fn sort(&self) -> (String, String, Class) {
        (through(self.source, self.inbox.as_ref()), self.cause.kind.clone(), self.class())
    }
}

/// A letter that is to be kept.
#[derive(Clone)]
pub struct Fresh {
    source: &'static str,
    inbox: Option<Name>,
    cause: Cause,
    event_id: Option<EventId>,
    /// When it came, or the first of those it stands for.
    at: UnixMicros,
    /// When the last of them came.
    last: UnixMicros,
    count: u64,
    pub(super) class: Class,
    is_folded: bool,
    id: String,
    raw: Vec<u8>,
    bytes: u64,
}

impl Fresh {
    /// The same bytes from the same source with the same cause have the same id, and so are one
    /// letter, however often they come.
    #[must_use]
    pub fn new(refused: Refused<'_>) -> Self {
        let Refused { source, inbox, cause, bytes, .. } = &refused;
        let through = through(source, inbox.as_ref());
        let id = id_of([&through, &cause.kind, &cause.field, &cause.rule], bytes);
        Self { id, ..Self::sample(refused) }
    }

    /// One that stands for others, and so needs no name of its own.
    pub(super) fn sample(refused: Refused<'_>) -> Self {
        let class = refused.class();
        let Refused { source, inbox, cause, event_id, bytes, at, .. } = refused;
        let most = if class == Class::Garbage { GARBAGE_BYTES_MAX } else { RAW_BYTES_MAX };
        let raw = bytes.iter().copied().take(most).collect();
        let bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let (last, count, is_folded, id) = (at, 1, false, String::new());
        Self { source, inbox, cause, event_id, at, last, count, class, is_folded, id, raw, bytes }
    }

    /// One letter for many of the same cause, with the first of them as a sample. Those of one day
    /// are one letter.
    pub(super) fn standing_for(folded: Folded<Self>) -> Self {
        let Folded { count, first, last, sample } = folded;
        let span = u64::try_from(FOLD_SPAN.as_micros()).unwrap_or(u64::MAX);
        let day = first.0.checked_div(span).unwrap_or_default();
        let kind = &sample.cause.kind;
        let through = through(sample.source, sample.inbox.as_ref());
        let id = id_of(["folded", &through, kind, sample.class.as_str()], &day.to_le_bytes());
        let cause =
            Cause { kind: kind.clone(), field: "event".to_owned(), rule: FOLDED_RULE.to_owned() };
        let raw = sample.raw.iter().copied().take(GARBAGE_BYTES_MAX).collect();
        let event_id = None;
        Self { cause, event_id, at: first, last, count, is_folded: true, id, raw, ..sample }
    }

    /// What names the letter.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Which way a letter came: a flood out of one inbox is counted apart from everything else.
fn through(source: &str, inbox: Option<&Name>) -> String {
    match inbox {
        Some(inbox) => format!("{source} {inbox}"),
        None => source.to_owned(),
    }
}

/// The digest of some texts and bytes that makes a letter's id.
fn id_of(texts: [&str; 4], bytes: &[u8]) -> String {
    let mut digest = Sha256::new();
    for part in texts {
        digest.update(part);
        digest.update([0]);
    }
    digest.update(bytes);
    let digest = digest.finalize();
    let (id, _) = digest.split_at(ID_BYTES);
    base16ct::lower::encode_string(id)
}

impl std::fmt::Debug for Fresh {
    /// Without its content, which is personal data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fresh({}, {:?})", self.source, self.cause)
    }
}

/// One try to replay a letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// When, in microseconds since the Unix epoch.
    pub at: u64,
    /// Who, by their own word.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// `applied`, `duplicate`, `stale` or `refused`.
    pub result: String,
    /// Why it was refused.
    pub cause: Option<Cause>,
}

impl Replay {
    /// Whether the event was taken in.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.cause.is_none()
    }
}

/// A letter as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The source that it came through.
    pub source: String,
    /// The inbox that it came out of, if it did: what its publisher may do holds for a replay too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbox: Option<String>,
    /// Why it cannot be applied.
    pub cause: Cause,
    /// Its id, if that could be read.
    pub event_id: Option<String>,
    /// When it came first, in microseconds since the Unix epoch.
    pub first_at: u64,
    /// When it came last, in microseconds since the Unix epoch.
    pub last_at: u64,
    /// How often it came.
    pub count: u64,
    /// How long it is; more than is kept if it was cut.
    pub bytes: u64,
    /// Tries to replay it, the oldest first.
    pub replays: Vec<Replay>,
    /// Whether it stands for many, of which only the first is kept as a sample.
    #[serde(default)]
    pub folded: bool,
    /// What is to be expected of it; letters of older versions go by their cause.
    #[serde(default)]
    class: Option<Class>,
    raw_base64: String,
}

impl std::fmt::Debug for Letter {
    /// Without its content, which is personal data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { source, cause, count, .. } = self;
        write!(f, "Letter({source}, {cause:?}, {count} times)")
    }
}

impl From<Fresh> for Letter {
    fn from(fresh: Fresh) -> Self {
        Self {
            source: fresh.source.to_owned(),
            inbox: fresh.inbox.map(|inbox| inbox.to_string()),
            cause: fresh.cause,
            event_id: fresh.event_id.map(|id| id.to_string()),
            first_at: fresh.at.0,
            last_at: fresh.last.0,
            count: fresh.count,
            bytes: fresh.bytes,
            replays: Vec::new(),
            folded: fresh.is_folded,
            class: Some(fresh.class),
            raw_base64: STANDARD.encode(fresh.raw),
        }
    }
}

impl Letter {
    /// The same again.
    pub(super) fn came_again(&mut self, fresh: &Fresh) {
        self.count = self.count.saturating_add(fresh.count);
        self.last_at = self.last_at.max(fresh.last.0);
    }

    /// What is to be expected of it.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class.unwrap_or_else(|| Class::of(&self.cause.kind, Proof::NotAsked))
    }

    /// Those that make room for each other: what is of the same class, source and cause.
    pub(super) fn group(&self) -> String {
        let many = if self.folded { "/many" } else { "" };
        let inbox = self.inbox.as_ref().map(|inbox| format!(" {inbox}")).unwrap_or_default();
        format!("{}/{}{inbox}/{}{many}", self.class().rank(), self.source, self.cause.kind)
    }

    pub(super) fn note(&mut self, replay: Replay) {
        if self.replays.len() >= REPLAYS_MAX {
            self.replays.remove(0);
        }
        self.replays.push(replay);
    }

    /// What came: its beginning, if it was longer than is kept.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        STANDARD.decode(&self.raw_base64).unwrap_or_default()
    }

    /// The same in Base64.
    #[must_use]
    pub fn raw_base64(&self) -> &str {
        &self.raw_base64
    }

    /// Whether only its beginning was kept.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.bytes > u64::try_from(self.raw().len()).unwrap_or(u64::MAX)
    }

    /// The replay that succeeded, if one did.
    #[must_use]
    pub fn replayed(&self) -> Option<&Replay> {
        self.replays.iter().find(|replay| replay.succeeded())
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}
