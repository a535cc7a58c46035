//! Replaying letters: by an operator's word, through the same rules as before but for the age, and
//! with a note of it in each letter.

use deadletter::{Cause, DeadLetters, Filter, Letter, Replay, Unavailable};
use thiserror::Error;

use crate::intake::{EMBEDDED, Origin, Path};
use crate::shared::Shared;
use crate::source::redis::REDIS;

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
    shared: &Shared,
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
            let (result, cause, is_try) = one(shared, letter);
            if is_try {
                let replay = Replay {
                    at: shared.now().wall.0,
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
fn one(shared: &Shared, letter: &Letter) -> (&'static str, Option<Cause>, bool) {
    if letter.replayed().is_some() {
        return ("already_replayed", None, false);
    }
    if letter.folded || letter.is_truncated() {
        return ("truncated", None, false);
    }
    let source = if letter.source == EMBEDDED { EMBEDDED } else { REDIS };
    let origin = Origin::new(source, Path::Replayed);
    let replayed = match &letter.inbox {
        Some(inbox) => shared.replay_from_inbox(origin, inbox, &letter.raw()),
        None => shared.ingest(origin, &letter.raw()),
    };
    match replayed {
        Ok(accepted) => {
            // Nobody waits for it: it is in force here, and Redis gets it when it can.
            drop(shared.write_to_redis(&accepted));
            (accepted.ingested.verdict.as_str(), None, true)
        }
        Err(refusal) => ("refused", Some(refusal.cause()), true),
    }
}
