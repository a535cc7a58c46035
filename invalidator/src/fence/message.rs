//! What daemons ask each other, and what they answer, as it lies in Redis. Anybody who can write there can write
//! this: whatever is longer or more than stated is not read.

use std::time::Duration;

use engine::{Enforcement, Enforces};
use model::name::EventId;
use model::subject::Subject;
use serde::{Deserialize, Serialize};

/// Most events that one fence asks about.
pub const ASKS_MAX: usize = 64;
/// Longest fence that is read, in bytes.
pub const FENCE_BYTES_MAX: usize = 64 * 1024;
/// Longest reply that is read, in bytes.
pub const REPLY_BYTES_MAX: usize = 256 * 1024;
/// How long a fence is answered at most.
pub const LASTS_MAX: Duration = Duration::from_secs(30);
/// Most Envoys that an answer names; more are one that is refused.
const NODES_MAX: usize = 1_024;
/// Longest name in these messages, in bytes.
const WORD_BYTES_MAX: usize = 128;
/// What no event can begin with, so that nobody takes the one for the other.
const CONTEXT: &str = "portcullis-fence-v1\n";

/// "Who enforces this?": an entry of the stream, after the events that it asks about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Random, made for this fence: an answer to another one is none to this.
    pub nonce: String,
    /// Where the answers go: the last part of a key's name.
    pub to: String,
    /// How long somebody waits for answers, in milliseconds.
    pub for_ms: u64,
    /// The events.
    pub asks: Vec<Ask>,
}

/// One event that is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Whom it is about: `user:ID` or `session:ID`.
    pub subject: String,
    /// Its id.
    pub event_id: String,
}

impl Ask {
    /// About this event.
    #[must_use]
    pub fn of(subject: &Subject, event_id: &EventId) -> Self {
        Self { subject: subject.to_text(), event_id: event_id.to_string() }
    }

    /// Whom it is about, and its id; nothing if either is none.
    #[must_use]
    pub fn names(&self) -> Option<(Subject, EventId)> {
        let subject = match self.subject.split_once(':')? {
            ("user", id) => Subject::user(id),
            ("session", id) => Subject::session(id),
            _ => None,
        };
        Some((subject?, EventId::parse(&self.event_id)?))
    }
}

impl Fence {
    /// Reads one; nothing if it is none, or breaks a bound.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let fence: Self =
            (bytes.len() <= FENCE_BYTES_MAX).then(|| serde_json::from_slice(bytes).ok())??;
        let is_good = is_word(&fence.nonce)
            && is_word(&fence.to)
            && (1..=ASKS_MAX).contains(&fence.asks.len())
            && fence.asks.iter().all(|ask| ask.names().is_some());
        is_good.then_some(fence)
    }

    /// For how long it is to be answered.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        Duration::from_millis(self.for_ms).min(LASTS_MAX)
    }
}

/// Letters, digits and hyphens: what can stand in the name of a key without a meaning.
fn is_word(word: &str) -> bool {
    (1..=64).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// What one daemon says to one fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// That of the fence.
    pub nonce: String,
    /// The name of the daemon's run.
    pub run: String,
    /// The daemon's name.
    pub daemon: String,
    /// Its region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// To some of the asks.
    pub answers: Vec<Answer>,
}

/// What one daemon says about one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Which of the asks it is about, counted from 0.
    pub ask: usize,
    /// A [`Said`], as the very text that the MAC is made over.
    pub said: String,
    /// The MAC over [`mac_text`] with the key that has signed the event, in hexadecimal; nothing if it is not
    /// signed, or the daemon does not have the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// How the Envoys of one daemon stand to one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Whether the daemon has taken the event in.
    pub known: bool,
    /// Whether what it says is so, by all that this daemon knows.
    pub in_effect: bool,
    /// Whether nothing more will be said about it.
    pub settled: bool,
    /// For how many seconds the daemon has run.
    pub uptime_s: u64,
    /// Its Envoys.
    pub nodes: Vec<SaidNode>,
}

/// How one Envoy stands to one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidNode {
    /// Its name.
    pub node: String,
    /// The life of its memory.
    pub boot_id: String,
    /// How it stands.
    pub state: SaidState,
    /// Why it does not enforce the event, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// How an Envoy stands to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaidState {
    /// It enforces it.
    Enforced,
    /// It has not acknowledged it yet.
    Behind,
    /// It has not had everything yet.
    NeverSynced,
    /// It polls no more.
    Gone,
    /// It could not store it, or does nothing about it; also what a later version says.
    #[serde(other)]
    Refused,
}

impl Said {
    /// What there is to say. `expects_it` says whether the event would be known if it had been accepted: all that
    /// was written before has been taken in. `is_last` says that nobody waits longer.
    #[must_use]
    pub fn of(found: Option<Enforcement>, uptime_s: u64, expects_it: bool, is_last: bool) -> Self {
        let Some(Enforcement { in_effect, nodes, turned_away }) = found else {
            let (nodes, settled) = (Vec::new(), expects_it || is_last);
            return Self { known: false, in_effect: false, settled, uptime_s, nodes };
        };
        let left_out = nodes.len() > NODES_MAX;
        let mut nodes: Vec<_> = nodes.into_iter().take(NODES_MAX).map(said_of).collect();
        let mut also = |node: &str, cause: &str| {
            let (node, boot_id) = (node.to_owned(), String::new());
            let (state, cause) = (SaidState::Refused, Some(cause.to_owned()));
            nodes.push(SaidNode { node, boot_id, state, cause });
        };
        if turned_away {
            also("(turned away)", "limits.nodes_max: no room for another node");
        }
        if left_out {
            also("(left out)", "more Envoys than an answer names");
        }
        let open = |one: &SaidNode| matches!(one.state, SaidState::Behind | SaidState::NeverSynced);
        let settled = is_last || !in_effect || !nodes.iter().any(open);
        Self { known: true, in_effect, settled, uptime_s, nodes }
    }
}

fn said_of((key, enforces): (engine::NodeKey, Enforces)) -> SaidNode {
    let (state, cause) = match enforces {
        Enforces::Yes => (SaidState::Enforced, None),
        Enforces::Behind => (SaidState::Behind, None),
        Enforces::NeverSynced => (SaidState::NeverSynced, None),
        Enforces::Gone => (SaidState::Gone, None),
        Enforces::Refused(cause) => (SaidState::Refused, Some(cause)),
    };
    SaidNode { node: key.node.into(), boot_id: key.boot_id.into(), state, cause }
}

impl Reply {
    /// Reads one; nothing if it is none, or breaks a bound.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let reply: Self =
            (bytes.len() <= REPLY_BYTES_MAX).then(|| serde_json::from_slice(bytes).ok())??;
        let words = [Some(&reply.run), Some(&reply.daemon), reply.region.as_ref()];
        let is_good = words.into_iter().flatten().all(|word| word.len() <= WORD_BYTES_MAX)
            && reply.answers.len() <= ASKS_MAX;
        is_good.then_some(reply)
    }
}

/// What the MAC of an answer is made over: whoever changes who says it, to what, or what is said makes another
/// text. No part but the last can have a line feed in it.
#[must_use]
pub fn mac_text(reply: (&str, &str, &str), ask: &Ask, said: &str) -> Vec<u8> {
    let (nonce, run, daemon) = reply;
    let plain = |text: &str| text.replace(['\n', '\r'], " ");
    let head = [nonce, run, daemon, &ask.subject, &ask.event_id].map(plain).join("\n");
    format!("{CONTEXT}{head}\n{said}").into_bytes()
}
