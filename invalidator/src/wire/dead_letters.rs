//! Dead letters: lists of them, one with its content, and what a replay is asked for and answers.

use serde::{Deserialize, Serialize};

/// Why an event was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// The sort of mistake.
    pub kind: String,
    /// The field at fault.
    pub field: String,
    /// The rule that it breaks.
    pub rule: String,
}

/// A letter without its content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Letter {
    /// Its own id.
    pub id: String,
    /// The source that the event came through.
    pub source: String,
    /// The inbox that it came out of, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbox: Option<String>,
    /// Why it was refused.
    #[serde(flatten)]
    pub cause: Cause,
    /// The event's id, if that could be read.
    pub event_id: Option<String>,
    /// When it first came.
    pub first_at: String,
    /// When it last came.
    pub last_at: String,
    /// How often it came.
    pub count: u64,
    /// How long it is.
    pub bytes: u64,
    /// Whether only its beginning was kept.
    pub truncated: bool,
    /// What is to be expected of it: `garbage`, `doubtful`, `passing` or `proven`.
    pub class: String,
    /// Whether it stands for many, of which only the first is kept.
    pub folded: bool,
    /// Whether the event was taken in after all.
    pub replayed: bool,
    /// Every try to replay it.
    pub replays: Vec<ReplayTry>,
}

/// A try to replay a letter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayTry {
    /// When.
    pub at: String,
    /// Who, by their own word.
    pub operator: String,
    /// Why.
    pub reason: String,
    /// What came of it.
    pub result: String,
    /// Why it was refused once more, if it was.
    pub cause: Option<Cause>,
}

/// Some letters, the oldest first, each as an `L`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<L> {
    /// The letters.
    pub letters: Vec<L>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// A letter with its content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// What is known of it.
    #[serde(flatten)]
    pub letter: Letter,
    /// What was sent, if it is text.
    pub raw: Option<String>,
    /// The same whatever it is, as Base64.
    pub raw_base64: String,
}

/// What is to be replayed: the letter with an id, those of an event, or those of a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayOrder {
    /// The letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// Those that came then or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Those that came before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why.
    pub reason: String,
    /// Who.
    pub operator: String,
}

/// What became of the letters that were to be replayed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// One for each.
    pub results: Vec<Replayed>,
}

/// What became of one letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// The letter.
    pub id: String,
    /// Its event, if that could be read.
    pub event_id: Option<String>,
    /// `applied`, `duplicate`, `stale`, `no_effect`, `refused`, `already_replayed` or `truncated`.
    pub result: String,
    /// Why it was refused, if it was.
    pub cause: Option<Cause>,
}
