//! The first request that this node rejects because of an event, noted for the invalidator: once, whichever worker
//! rejects it, and also if the VM that polls is replaced meanwhile.
//!
//! An event is *awaited* from just before it is stored for the first time until a request is rejected because of it.
//! Whoever takes it off that list, by compare-and-swap, has rejected the first request. So there are never more notes
//! than events that have come, however many blocked users ask however often; and what is noted is never a later request
//! than the first. What finds no room is left out for good, and counted. Events that were there before the node was
//! synchronized are not awaited: most of them were enforced by an Envoy before this one.
//!
//! Not here: what a rejection is, and how the invalidator is polled.

use model::hash::{HashKey, SubjectHash};
use model::memory::{MemoryKey, SharedMemory, Step, update};
use model::name::EventId;
use model::push::{self, FIRST_REJECTIONS_MAX, Message};
use model::state::{Effect, Register, State};
use model::subject::Subject;
use model::time::{MonotonicNanos, UnixMicros};

use super::messages::{FirstRejection, FirstRejections};
use crate::slab;

/// Over how many keys of shared memory the events that are awaited are spread: a power of two.
const SHARDS: u32 = 16;

/// The most events that are awaited in each of them; the oldest make room.
const AWAITED_MAX: usize = 256;

/// The most notes that wait for the invalidator. Each names whom the request was from.
pub(super) const WAITING_MAX: usize = 256;

/// How many events one worker remembers of which it has looked whether they are awaited: a power of two.
const MEMO_SLOTS: usize = 1_024;

/// What has become of a rejected request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It is not the first because of its event, or its event is not awaited.
    Not,
    /// It is the first, and is noted.
    First,
    /// It is the first, and there was no room to note it.
    LeftOut,
}

/// The events of which one worker knows that nothing is to be noted any more: of a bounded number, each in its place.
#[derive(Debug, Default)]
pub struct RejectionMemo(Vec<u64>);

impl RejectionMemo {
    /// Whether an event was seen before; notes that it was.
    pub fn has_seen(&mut self, mark: u64) -> bool {
        // Most workers never reject anybody.
        self.0.resize(MEMO_SLOTS, 0);
        let slots = u64::try_from(MEMO_SLOTS).unwrap_or(1);
        let slot = mark.checked_rem(slots).and_then(|slot| usize::try_from(slot).ok());
        let Some(known) = slot.and_then(|slot| self.0.get_mut(slot)) else { return false };
        std::mem::replace(known, mark) == mark
    }
}

/// A rejected request, as far as it is noted.
#[derive(Clone, Copy, Debug)]
pub struct Rejected<'a> {
    /// The mark of the event behind it and its subject: [`model::hash::HashKey::event`].
    pub mark: u64,
    /// That event.
    pub event_id: &'a EventId,
    /// When it was rejected.
    pub at: MonotonicNanos,
}

/// Notes a rejected request if it is the first because of its event. Only then `subject` is asked whom it was from.
pub fn note_rejection(
    shared: &mut impl SharedMemory,
    rejected: Rejected<'_>,
    subject: impl FnOnce() -> Option<Subject>,
) -> Noted {
    let Rejected { mark, event_id, at } = rejected;
    let taken = update(shared, shard(mark), |awaited| match awaited {
        Some(awaited) if marks(awaited).any(|known| known == mark) => {
            Step::Write(encoded(marks(awaited).filter(|known| *known != mark)), true)
        }
        _ => Step::Keep(false),
    });
    match taken {
        Ok(true) => {}
        Ok(false) => return Noted::Not,
        // So many at once that it is awaited still: a later one must not be called the first.
        Err(_) => return Noted::LeftOut,
    }
    let Some(subject) = subject() else { return Noted::LeftOut };
    let subject = Some(push::Subject::from(&subject));
    let first = FirstRejection { event_id: event_id.to_string(), subject, at };
    let noted = update(shared, MemoryKey::FirstRejections, |value| {
        let mut firsts = read(value);
        if firsts.waiting.len() >= WAITING_MAX {
            return Step::Keep(Noted::LeftOut);
        }
        firsts.waiting.push(first.clone());
        Step::Write(firsts.encode_to_vec(), Noted::First)
    });
    noted.unwrap_or(Noted::LeftOut)
}

/// Where and when a state is stored.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) hash_key: &'a HashKey,
    pub(super) slabs: u32,
    pub(super) wall: UnixMicros,
}

/// Awaits the events of a state that reject requests and are not stored yet. Says how many are awaited no more, because
/// there was no room.
pub(super) fn await_news(
    shared: &mut impl SharedMemory,
    place: Place<'_>,
    hash: SubjectHash,
    new: &State,
) -> usize {
    let rejects =
        |register: &&Register| matches!(register.effect, Effect::Block(_) | Effect::Zero(_));
    if !new.registers().iter().any(|register| rejects(&register)) {
        return 0;
    }
    let (slab, _) = shared.read(MemoryKey::Slab(hash.slab(place.slabs)));
    let entry = slab::find(slab.as_deref(), hash).ok().flatten();
    let known = entry.and_then(|entry| State::unpack(entry.status)).unwrap_or_default();
    let is_new = |register: &&Register| {
        let id = &register.version.event_id;
        known.registers().iter().all(|known| known.version.event_id != *id)
    };
    let mut left_out = 0_usize;
    for register in new.in_effect(place.wall).filter(rejects).filter(is_new) {
        let mark = place.hash_key.event(hash, &register.version.event_id);
        let dropped = update(shared, shard(mark), |awaited| {
            let awaited = awaited.unwrap_or_default();
            if marks(awaited).any(|known| known == mark) {
                return Step::Keep(0);
            }
            let dropped = marks(awaited).count().saturating_add(1).saturating_sub(AWAITED_MAX);
            let all = marks(awaited).skip(dropped).chain([mark]);
            Step::Write(encoded(all), dropped)
        });
        left_out = left_out.saturating_add(dropped.unwrap_or(1));
    }
    left_out
}

/// The notes that the next poll is to tell of, at most [`FIRST_REJECTIONS_MAX`].
pub(super) fn to_tell(
    shared: &mut impl SharedMemory,
    now: MonotonicNanos,
) -> Vec<push::FirstRejection> {
    let (value, _) = shared.read(MemoryKey::FirstRejections);
    let told = |first: FirstRejection| push::FirstRejection {
        event_id: first.event_id,
        subject: first.subject,
        ago_us: now.saturating_sub(first.at) / 1_000,
    };
    read(value.as_deref()).waiting.into_iter().take(FIRST_REJECTIONS_MAX).map(told).collect()
}

/// The invalidator has answered a poll that told of these: they need not be kept.
pub(super) fn told(shared: &mut impl SharedMemory, told: &[push::FirstRejection]) {
    if told.is_empty() {
        return;
    }
    let is_told = |first: &FirstRejection| {
        told.iter().any(|one| one.event_id == first.event_id && one.subject == first.subject)
    };
    // With no winner after so many attempts they are told once more.
    let _ = update(shared, MemoryKey::FirstRejections, |value| {
        let mut firsts = read(value);
        let before = firsts.waiting.len();
        firsts.waiting.retain(|first| !is_told(first));
        match firsts.waiting.len() == before {
            true => Step::Keep(()),
            false => Step::Write(firsts.encode_to_vec(), ()),
        }
    });
}

fn read(value: Option<&[u8]>) -> FirstRejections {
    value.and_then(|value| FirstRejections::decode(value).ok()).unwrap_or_default()
}

fn shard(mark: u64) -> MemoryKey {
    let low = u32::try_from(mark & u64::from(u32::MAX)).unwrap_or_default();
    MemoryKey::Awaited(low & SHARDS.wrapping_sub(1))
}

fn marks(awaited: &[u8]) -> impl Iterator<Item = u64> {
    let (whole, _) = awaited.as_chunks();
    whole.iter().map(|bytes| u64::from_le_bytes(*bytes))
}

fn encoded(marks: impl Iterator<Item = u64>) -> Vec<u8> {
    marks.flat_map(u64::to_le_bytes).collect()
}
