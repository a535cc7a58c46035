//! One dead letter: what came, why it cannot be applied, and what operators did about it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use policy::event::EVENT_BYTES_MAX;
use policy::name::EventId;
use policy::time::UnixMicros;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Most bytes of an event that are kept: of an event that is too large, its beginning.
pub const RAW_BYTES_MAX: usize = EVENT_BYTES_MAX;
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
pub struct Fresh {
    /// The source that it came through.
    pub source: &'static str,
    /// Why it cannot be applied.
    pub cause: Cause,
    /// Its id, if that could be read.
    pub event_id: Option<EventId>,
    /// When it came.
    pub at: UnixMicros,
    id: String,
    raw: Vec<u8>,
    bytes: u64,
}

impl Fresh {
    /// The same bytes from the same source with the same cause have the same id, and so are one
    /// letter, however often they come.
    #[must_use]
    pub fn new(
        source: &'static str,
        cause: Cause,
        event_id: Option<EventId>,
        bytes: &[u8],
        at: UnixMicros,
    ) -> Self {
        let mut digest = Sha256::new();
        for part in [source, &cause.kind, &cause.field, &cause.rule] {
            digest.update(part);
            digest.update([0]);
        }
        digest.update(bytes);
        let id = digest.finalize().iter().take(ID_BYTES).map(|b| format!("{b:02x}")).collect();
        let raw = bytes.iter().copied().take(RAW_BYTES_MAX).collect();
        let bytes = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self { source, cause, event_id, at, id, raw, bytes }
    }

    /// What names the letter.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
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
            cause: fresh.cause,
            event_id: fresh.event_id.map(|id| id.to_string()),
            first_at: fresh.at.0,
            last_at: fresh.at.0,
            count: 1,
            bytes: fresh.bytes,
            replays: Vec::new(),
            raw_base64: STANDARD.encode(fresh.raw),
        }
    }
}

impl Letter {
    /// The same again.
    pub(super) fn came_again(&mut self, at: UnixMicros) {
        self.count = self.count.saturating_add(1);
        self.last_at = self.last_at.max(at.0);
    }

    pub(super) fn note(&mut self, replay: Replay) {
        if self.replays.len() >= REPLAYS_MAX {
            self.replays.remove(0);
        }
        self.replays.push(replay);
    }

    /// What came: its beginning, if it was longer than [`RAW_BYTES_MAX`].
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
        self.bytes > u64::try_from(RAW_BYTES_MAX).unwrap_or(u64::MAX)
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
