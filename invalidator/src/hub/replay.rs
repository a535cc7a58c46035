//! Replaying letters: by an operator's word, through the same rules as before but for the age, and
//! with a note of it in each letter.

use deadletter::{Cause, DeadLetters, Filter, Letter, Replay, Unavailable};
use events::{EventError, EventErrorKind};
use thiserror::Error;

use super::{Accepted, Hub};
use crate::intake::{Origin, Path, Refusal};

/// Most letters that one request can replay.
pub const REPLAYED_MAX: usize = 1_000;
/// Letters after which their replays are noted: what is not noted when the daemon is killed is
/// tried again by the next replay, and is a duplicate then.
const NOTED_AT_ONCE: usize = 100;

/// Which letters to replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The one with this id.
    Letter(String),
    /// These.
    All(Filter),
}

/// Who replays, and why.
#[derive(Clone, Debug)]
pub struct Word {
    /// Who, by their own word.
    pub operator: String,
    /// Why.
    pub reason: String,
}

/// What became of one letter.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The letter's id.
    pub id: String,
    /// Its event's id, if that could be read.
    pub event_id: Option<String>,
    /// `applied`, `duplicate`, `stale`, `refused`, `already_replayed`, or `truncated` for a letter
    /// of which only the beginning is there, or that stands for many.
    pub result: &'static str,
    /// Why it was refused.
    pub cause: Option<Cause>,
}

/// Why nothing is replayed, or not everything.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// No letter is meant.
    #[error("there is no such letter")]
    NotFound,
    /// More letters are meant than one request can replay.
    #[error("must match at most {REPLAYED_MAX} letters")]
    TooMany,
    /// The file cannot be used.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Replays letters, the oldest first. Blocks. One that was replayed with success before is not
/// replayed again.
///
/// # Errors
/// If none or too many are meant, or the file cannot be used: what was replayed until then stays so.
pub fn replay(
    hub: &Hub,
    letters: &DeadLetters,
    selection: &Selection,
    word: &Word,
) -> Result<Vec<Replayed>, ReplayError> {
    let _one_at_a_time = letters.one_replay_at_a_time();
    let chosen = match selection {
        Selection::Letter(id) => {
            letters.get(id)?.map(|letter| (id.clone(), letter)).into_iter().collect()
        }
        Selection::All(filter) => letters.list(filter, REPLAYED_MAX.saturating_add(1))?,
    };
    if chosen.is_empty() {
        return Err(ReplayError::NotFound);
    }
    if chosen.len() > REPLAYED_MAX {
        return Err(ReplayError::TooMany);
    }
    let mut all = Vec::new();
    for chunk in chosen.chunks(NOTED_AT_ONCE) {
        let mut notes = Vec::new();
        for (id, letter) in chunk {
            let (result, cause, is_try) = one(hub, letter);
            if is_try {
                let replay = Replay {
                    at: hub.now().wall.0,
                    operator: word.operator.clone(),
                    reason: word.reason.clone(),
                    result: result.to_owned(),
                    cause: cause.clone(),
                };
                notes.push((id.clone(), replay));
            }
            letters.count_replay(result);
            let event_id = letter.event_id.clone();
            all.push(Replayed { id: id.clone(), event_id, result, cause });
        }
        letters.note(&notes)?;
    }
    Ok(all)
}

/// What becomes of one letter, and whether it was tried at all.
fn one(hub: &Hub, letter: &Letter) -> (&'static str, Option<Cause>, bool) {
    if letter.replayed().is_some() {
        return ("already_replayed", None, false);
    }
    if letter.folded || letter.is_truncated() {
        return ("truncated", None, false);
    }
    match again(hub, letter) {
        Ok(accepted) => {
            // Nobody waits for it: it is in force here, and others get it when they can.
            drop(hub.write_to_replica(&accepted));
            (accepted.ingested.verdict.as_str(), None, true)
        }
        Err(refusal) => ("refused", Some(refusal.cause()), true),
    }
}

/// Takes in the event of a letter, under the rules of the source that it came through.
fn again(hub: &Hub, letter: &Letter) -> Result<Accepted, Refusal> {
    let Some(source) = hub.intake().kind(&letter.source) else {
        let kind = EventErrorKind::BeyondAuthority;
        let rule = "must have come through a source that this daemon knows";
        return Err(EventError { kind, field: "event".into(), rule: rule.into() }.into());
    };
    let origin = Origin::new(source, Path::Replayed);
    match &letter.inbox {
        Some(inbox) => hub.replay_from_inbox(origin, inbox, &letter.raw()),
        None => hub.ingest(origin, &letter.raw()),
    }
}
