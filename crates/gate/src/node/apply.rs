//! Writing what the invalidator says into shared memory.

use std::borrow::Cow;
use std::time::Duration;

use model::hash::{HashKey, SubjectHash};
use model::memory::{MemoryKey, SharedMemory, Step, update};
use model::push::{self, Refusal};
use model::state::{Effect, Merge, Register, State};
use model::subject::Subject;
use model::time::{MonotonicNanos, UnixMicros};

use super::{firsts, read_progress};
use crate::slab::{self, RETENTION, SlabError};

/// How old a zero may be, by this node's clock, that a node hears of for the first time and takes for
/// news. It bounds how far behind the invalidator's clock may be, and how late a zero may come.
const ZERO_NEWS_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Where and when a change is applied.
pub(crate) struct Applier<'a> {
    pub(crate) hash_key: &'a HashKey,
    pub(crate) slabs: u32,
    pub(crate) now: MonotonicNanos,
    pub(crate) wall: UnixMicros,
}

/// What stands in memory about a subject once a change is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// What stood there before: all of it was known, or is over.
    Known,
    /// Something else than before.
    New,
}

/// The same, or why it is not there, in words for an operator.
type Answer = Result<Applied, &'static str>;

/// The status to write, and what to answer then.
type Merged<'a> = (Cow<'a, [u8]>, Answer);

/// Whether first rejections are awaited, and how many are no more; and who may have something open that has to end.
#[derive(Debug, Default)]
struct Awaited {
    awaits: bool,
    left_out: usize,
    ending: Option<SubjectHash>,
}

/// What became of several changes.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// How many were applied, or known already.
    pub(super) stored: usize,
    /// How many of these were not known.
    pub(super) new: usize,
    pub(super) refused: Vec<Refusal>,
    /// How many events are awaited no more, see [`super::firsts`].
    pub(super) unawaited: usize,
    /// Who may have something open that has to end.
    pub(super) ending: Vec<SubjectHash>,
}

impl Applier<'_> {
    /// Applies changes, each by itself. With `awaits`, the first requests are awaited that are rejected because of
    /// what is new in them.
    pub(super) fn apply_all(
        &self,
        shared: &mut impl SharedMemory,
        changes: impl IntoIterator<Item = push::Change>,
        awaits: bool,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for change in changes {
            let sequence = change.sequence;
            let mut awaited = Awaited { awaits, ..Awaited::default() };
            let applied = self.apply_and_await(shared, change, &mut awaited);
            outcome.unawaited = outcome.unawaited.saturating_add(awaited.left_out);
            outcome.ending.extend(awaited.ending.filter(|_| applied == Ok(Applied::New)));
            match applied {
                Ok(applied) => {
                    outcome.stored = outcome.stored.saturating_add(1);
                    let is_new = usize::from(applied == Applied::New);
                    outcome.new = outcome.new.saturating_add(is_new);
                }
                Err(cause) => outcome.refused.push(Refusal { sequence, cause }),
            }
        }
        outcome
    }

    /// Applies one change.
    ///
    /// # Errors
    /// Why it could not be stored, in words for an operator.
    #[cfg(test)]
    pub(crate) fn apply(
        &self,
        shared: &mut impl SharedMemory,
        change: push::Change,
    ) -> Result<Applied, String> {
        self.apply_and_await(shared, change, &mut Awaited::default())
    }

    fn apply_and_await(
        &self,
        shared: &mut impl SharedMemory,
        mut change: push::Change,
        awaited: &mut Awaited,
    ) -> Result<Applied, String> {
        let subject = change.subject.take().unwrap_or_default();
        let subject = Subject::try_from(subject).map_err(|error| error.to_string())?;
        let new = State::try_from(change).map_err(|e| e.to_string())?;
        let new = self.with_zeros_by_our_clock(new, shared);
        let hash = self.hash_key.subject(subject.as_ref());
        awaited.ending = new.holds_requests(self.wall).then_some(hash);
        if awaited.awaits {
            // Before it is there: no request can be rejected earlier.
            let Self { hash_key, slabs, wall, .. } = *self;
            let place = firsts::Place { hash_key, slabs, wall };
            awaited.left_out = firsts::await_news(shared, place, hash, &new);
        }
        let status_of_new = if new.has_over(self.wall, RETENTION) {
            self.pruned(new.clone()).pack()
        } else {
            new.pack()
        };
        let written = update(shared, MemoryKey::Slab(hash.slab(self.slabs)), |slab| {
            let entry = match slab::find(slab, hash) {
                Ok(entry) => entry,
                Err(slab::Unreadable) => return Step::Keep(Err("the slab is of another version")),
            };
            let known = entry.map_or(&[][..], |entry| entry.status);
            let (status, answer) = match self.merged(known, &new, &status_of_new) {
                Ok(Some((status, answer))) => (status, answer),
                Ok(None) => return Step::Keep(Ok(Applied::Known)),
                Err(cause) => return Step::Keep(Err(cause)),
            };
            let is_over = |other: &[u8]| State::is_over(other, self.wall, RETENTION);
            match slab::with_status(slab, hash, &status, self.now, is_over) {
                Ok(slab) => Step::Write(slab, answer),
                Err(SlabError::Full) => Step::Keep(Err("the slab has no room for another status")),
                Err(SlabError::Unreadable) => Step::Keep(Err("the slab is of another version")),
            }
        });
        match written {
            Ok(answer) => answer.map_err(str::to_owned),
            Err(_) => Err("too many writers at once".to_owned()),
        }
    }

    /// The status to write where `known` stands, and what to answer then; nothing if that can stay.
    /// `status_of_new` is that of a subject of whom nothing else is known: nearly all of a
    /// snapshot, and whatever is checked and has not changed, is done without reading a status.
    fn merged<'a>(
        &self,
        known: &[u8],
        new: &State,
        status_of_new: &'a [u8],
    ) -> Result<Option<Merged<'a>>, &'static str> {
        if known == status_of_new {
            return Ok(None);
        }
        if known.is_empty() {
            return Ok(Some((status_of_new.into(), Ok(Applied::New))));
        }
        let state = State::unpack(known).ok_or("the status is of another version")?;
        // What is over must not stand in the way of what is new.
        let before = self.pruned(state);
        let mut state = before.clone();
        let merged = state.merge_state(new.clone());
        // What is over by now is not kept, and so was not lacking either.
        let state = self.pruned(state);
        let answer = match merged {
            Merge::TooManyTopics => Err("the subject has too many topics"),
            _ if state == before => return Ok(None),
            _ => Ok(Applied::New),
        };
        Ok(Some((state.pack().into(), answer)))
    }

    /// When buckets were emptied, by the clock that goes on to tell how they fill again. Who has
    /// written the event may have another clock: were it ahead, buckets would stay empty for so long,
    /// and were it behind, they would have filled again before they were emptied.
    ///
    /// A node that follows the invalidator hears of a zero when it happens, so then it counts from now; of
    /// one that it knows already, what it knows stays. A node that has just started learns of old ones,
    /// too, and takes their word for it, as long as that is not in the future.
    fn with_zeros_by_our_clock(&self, state: State, shared: &mut impl SharedMemory) -> State {
        let is_zero = |register: &Register| matches!(register.effect, Effect::Zero(_));
        if !state.registers().iter().any(is_zero) {
            return state;
        }
        let is_following = read_progress(shared).synced;
        let mut timed = State::default();
        for mut register in state.registers().iter().cloned() {
            if let Effect::Zero(zero) = &mut register.effect {
                let is_news = is_following && self.wall.since(zero.at) <= ZERO_NEWS_MAX;
                zero.at = if is_news { self.wall } else { zero.at.min(self.wall) };
            }
            timed.merge(register);
        }
        timed
    }

    fn pruned(&self, mut state: State) -> State {
        state.prune(self.wall, RETENTION);
        state
    }
}
