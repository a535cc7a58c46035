//! In which order the events of one subject count.
//!
//! A daemon stamps an event when it hears it. That is early enough for an answer, and may be wrong:
//! a connection holds a message back, a daemon is stopped for a while, and what is published twice is
//! heard twice. What is written in Redis is the same for everybody: the earliest instant at which a
//! daemon heard the event, which is called its place. So the order of places decides as soon as
//! they are known, whatever was stamped before, on every daemon alike.
//!
//! Nodes merge what they are told, and the larger stamp wins there. So a wrong stamp is never taken
//! back: what has to come after it is raised above it ([`Engine::settle`]).

use std::borrow::Cow;

use model::name::EventId;
use model::state::{Effect, Merge, Register};
use model::subject::Subject;
use model::time::UnixMicros;

use super::identity::{Heard, Identity, Since};
use super::subjects::Merged;
use super::{Engine, Forgotten, IngestError, Now, extras};

/// What is known of an event's place when it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Its publisher has just handed it over: it comes after all that is known here.
    Last,
    /// The instant from which it counts is its place in the order that all daemons share.
    Placed,
    /// The same of what is in force by all that is written, and may not be here.
    Standing,
    /// It was heard at that instant here. Others may have heard it earlier.
    AsHeard,
}

impl Order {
    /// Whether it is the same for all daemons.
    pub(super) fn is_place(self) -> bool {
        match self {
            Self::Placed | Self::Standing => true,
            Self::Last | Self::AsHeard => false,
        }
    }
}

/// What has become of others when one event was put in its place.
#[derive(Debug, Default)]
pub struct Settled {
    /// What counts from a later instant than before, or is in force again.
    pub restamped: Vec<(EventId, UnixMicros)>,
    /// What no longer counts.
    pub forgotten: Vec<Forgotten>,
}

/// An event among others of its subject.
struct Standing<'a> {
    register: &'a Register,
    since: Since,
}

impl Since {
    fn counts(&self) -> UnixMicros {
        self.place.unwrap_or(self.here).counts
    }
}

impl Standing<'_> {
    /// Where it stands in the line: its place. What has none yet stands where it was heard, but before
    /// all that was heard after it here: of two events a daemon knows which came first, also while it
    /// knows of only one of them that others heard it earlier.
    fn place(&self, all: &[Standing<'_>]) -> (UnixMicros, bool, UnixMicros) {
        let here = self.since.here.counts;
        if self.since.place.is_some() {
            return (self.since.counts(), true, UnixMicros(0));
        }
        let after = all.iter().filter(|other| other.since.here.counts > here);
        let bound = after.filter_map(|other| other.since.place).map(|place| place.counts).min();
        match bound.filter(|bound| *bound <= here) {
            Some(bound) => (bound, false, here),
            None => (here, true, UnixMicros(0)),
        }
    }
}

impl Engine {
    /// The instant from which an event counts that is handed over now: after everything that is known
    /// of its subject. The answers that were given so far stay true.
    pub(super) fn next_instant(&self, subject: &Subject, at: UnixMicros) -> UnixMicros {
        let state = self.state_of(subject);
        let latest = state.registers().iter().map(|known| known.version.at).max();
        latest.map_or(at, |latest| at.max(UnixMicros(latest.0.saturating_add(1))))
    }

    /// Merges one event, tells nodes if that changes anything, and remembers what it overtakes, or
    /// what has overtaken it.
    pub(super) fn merge(
        &mut self,
        subject: &Subject,
        register: &Register,
        now: Now,
    ) -> Result<Merged, IngestError> {
        let next = self.log.last().saturating_add(1);
        let prune_at = self.patience.time(now);
        let mut merged = self.subjects.merge(subject, register.clone(), next, prune_at)?;
        if merged.merge == Merge::Applied {
            let is_urgent = extras::is_urgent(&register.effect, now.wall);
            let event_id = register.version.event_id.clone();
            self.log.push(subject.clone(), event_id, now.mono, is_urgent);
        }
        for overtaken in std::mem::take(&mut merged.overtaken) {
            self.beaten.add(subject, overtaken);
        }
        if merged.merge == Merge::Stale && !self.subjects.holds(subject, &register.version.event_id)
        {
            self.beaten.add(subject, register.clone());
        }
        Ok(merged)
    }

    /// Puts a known event in the place that it is written at, unless it was written earlier before.
    pub(super) fn put_in_place(
        &mut self,
        subject: &Subject,
        register: &Register,
        heard: UnixMicros,
        now: Now,
    ) -> Settled {
        let version = &register.version;
        let written = Heard { at: heard, counts: version.at };
        let before = self.seen.get(subject, &version.event_id).and_then(|known| known.since);
        let mut settled = Settled::default();
        let place = before.and_then(|before| before.place);
        if place.is_some_and(|place| place.at <= heard) {
            return settled;
        }
        let here = before.map_or(written, |before| before.here);
        let key = (subject.clone(), version.event_id.clone());
        self.seen.set_since(&key, Since { here, place: Some(written) });
        if before.is_none_or(|before| before.here.counts < version.at) {
            self.merge_again(subject, register, now, &mut settled);
        }
        self.settle(subject, now, &mut settled);
        settled
    }

    /// Takes in once more what is known and not here: it may have been overtaken by a stamp that was wrong,
    /// and more than is remembered with it.
    pub(super) fn bring_back(
        &mut self,
        subject: &Subject,
        register: &Register,
        now: Now,
        settled: &mut Settled,
    ) {
        if !self.subjects.holds(subject, &register.version.event_id) {
            self.merge_again(subject, register, now, settled);
            self.settle(subject, now, settled);
        }
    }

    /// Notes that a known event is written as heard at this instant, if it counts from there already;
    /// says what has become of others for that. Otherwise nothing is done: it has to be taken in
    /// once more. So has one that newer ones have overtaken: until it was written, whoever was told
    /// that it may be forgotten could not do so, and is told again then.
    pub fn place(
        &mut self,
        subject: &Subject,
        event_id: &EventId,
        heard: UnixMicros,
        now: Now,
    ) -> Option<Settled> {
        let since = self.seen.get(subject, event_id)?.since?;
        if !self.subjects.holds(subject, event_id) {
            return None;
        }
        if since.place.is_some_and(|place| place.at <= heard) {
            return Some(Settled::default());
        }
        if since.here.at != heard {
            return None;
        }
        let since = Since { place: Some(since.here), ..since };
        self.seen.set_since(&(subject.clone(), event_id.clone()), since);
        let mut settled = Settled::default();
        self.settle(subject, now, &mut settled);
        Some(settled)
    }

    /// The earliest instant that is known here at which an event was heard: that at which it was written,
    /// and here if that is not known. Redis may have lost it since, and have heard it anew.
    #[must_use]
    pub fn heard_first(&self, subject: &Subject, event_id: &EventId) -> Option<UnixMicros> {
        let since = self.seen.get(subject, event_id)?.since?;
        Some(since.place.unwrap_or(since.here).at)
    }

    /// Has the subject's events count in the order of their places, and those without one as they are
    /// stamped: whatever comes after another one is raised above it, also what that had overtaken.
    pub(super) fn settle(&mut self, subject: &Subject, now: Now, settled: &mut Settled) {
        for raised in self.out_of_order(subject) {
            self.merge_again(subject, &raised, now, settled);
        }
    }

    fn merge_again(
        &mut self,
        subject: &Subject,
        register: &Register,
        now: Now,
        settled: &mut Settled,
    ) {
        // If there is no room for one that is back, that is as if it came anew: its publisher has been
        // answered, and Redis holds it.
        let Ok(merged) = self.merge(subject, register, now) else { return };
        settled.forgotten.extend(merged.forgotten);
        if merged.merge == Merge::Applied {
            let Register { version, .. } = register;
            settled.restamped.push((version.event_id.clone(), version.at));
        }
    }

    /// The events that have to be raised, each with its new instant.
    fn out_of_order(&self, subject: &Subject) -> Vec<Register> {
        let state = self.state_of(subject);
        let held =
            |id: &EventId| state.registers().iter().any(|known| known.version.event_id == *id);
        let beaten = self.beaten.of(subject).filter(|known| !held(&known.version.event_id));
        let all: Vec<_> = state
            .registers()
            .iter()
            .chain(beaten)
            .map(|register| Standing { register, since: self.since(subject, register) })
            .collect();
        let mut line: Vec<_> = all
            .iter()
            .filter(|one| !all.iter().any(|other| self.says_before(subject, one, other)))
            .map(|one| (one.place(&all), one.register))
            .collect();
        line.sort_by(|(place, one), (other_place, other)| {
            let by_id = || one.version.event_id.cmp(&other.version.event_id);
            place.cmp(other_place).then_with(|| one.holds().cmp(&other.holds())).then_with(by_id)
        });
        raised(line.into_iter().map(|(_, register)| register))
    }

    fn since(&self, subject: &Subject, register: &Register) -> Since {
        let known =
            self.seen.get(subject, &register.version.event_id).and_then(|known| known.since);
        let at = register.version.at;
        known.unwrap_or(Since { here: Heard { at, counts: at }, place: None })
    }

    /// Whether an event has lost also by what is known of places: if only a wrong stamp outranks it, it stands
    /// for all others, and nobody may be told that it can be forgotten.
    pub(super) fn is_overtaken_by_place(&self, subject: &Subject, register: &Register) -> bool {
        let state = self.state_of(subject);
        let Some(decider) = state.decider_of(register) else { return true };
        let lane = |register: &Register| register.version.sequence.map(|number| number.lane);
        if lane(decider).is_some() && lane(decider) == lane(register) {
            return true;
        }
        let place = |register: &Register| self.since(subject, register).place;
        let (theirs, ours) = (place(decider), place(register));
        theirs.zip(ours).is_none_or(|(theirs, ours)| theirs.counts >= ours.counts)
    }

    /// The place of an event in the order that all daemons share, if it is known.
    #[must_use]
    pub fn place_of(&self, subject: &Subject, event_id: &EventId) -> Option<UnixMicros> {
        let since = self.seen.get(subject, event_id)?.since?;
        since.place.map(|place| place.counts)
    }

    /// Whether one event is a lift that comes later than a block, and that one and the same publisher
    /// says occurred before it: see [`Engine::put_in_publishers_order`].
    fn says_before(&self, subject: &Subject, lift: &Standing<'_>, block: &Standing<'_>) -> bool {
        let (later, earlier) = (lift.since.counts(), block.since.counts());
        let (lift, block) = (lift.register, block.register);
        let is_numbered = |register: &Register| register.version.sequence.is_some();
        if later <= earlier || !lifts(lift, block) || is_numbered(lift) || is_numbered(block) {
            return false;
        }
        let claim = |register: &Register| {
            self.seen.get(subject, &register.version.event_id)?.identity.claim
        };
        let (lift, block) = (claim(lift), claim(block));
        lift.zip(block).is_some_and(|(lift, block)| lift.0 == block.0 && lift.1 < block.1)
    }

    /// An unblock that was delivered late does not lift the block that the same publisher says came
    /// after it. Only the clock of one and the same publisher is compared, and only so that a block
    /// stands: of a block that says it came before an unblock, nobody can say whether it is late or
    /// another host of the publisher has another clock.
    pub(super) fn put_in_publishers_order(
        &self,
        subject: &Subject,
        new: &mut Register,
        identity: &Identity,
    ) {
        let (Some(claim), None) = (identity.claim, new.version.sequence) else { return };
        let state = self.state_of(subject);
        for known in state.registers() {
            let id = &known.version.event_id;
            let other = self.seen.get(subject, id).and_then(|other| other.identity.claim);
            let Some(other) = other.filter(|other| other.0 == claim.0) else { continue };
            if known.version.sequence.is_some() {
                continue;
            }
            let (at, known_at) = (new.version.at, known.version.at);
            if lifts(new, known) && claim.1 < other.1 {
                new.version.at = at.min(UnixMicros(known_at.0.saturating_sub(1)));
            } else if lifts(known, new) && other.1 < claim.1 {
                new.version.at = at.max(UnixMicros(known_at.0.saturating_add(1)));
            }
        }
    }
}

/// Of events in the order in which they are to count, those that do not, each with the instant from which
/// it does.
fn raised<'a>(line: impl Iterator<Item = &'a Register>) -> Vec<Register> {
    let mut raised: Vec<Register> = Vec::new();
    let mut before: Option<Cow<'a, Register>> = None;
    for register in line {
        before = match before {
            Some(before) if !before.counts_before(register) => {
                let mut late = register.clone();
                late.version.at = UnixMicros(before.version.at.0.saturating_add(1));
                raised.push(late.clone());
                Some(Cow::Owned(late))
            }
            _ => Some(Cow::Borrowed(register)),
        };
    }
    raised
}

/// Whether one event is about lifting what the other one is.
fn lifts(lift: &Register, block: &Register) -> bool {
    match (&lift.effect, &block.effect) {
        (Effect::Lift { reason: None }, Effect::Block(_) | Effect::Zero(_)) => true,
        (Effect::Lift { reason: Some(reason) }, Effect::Block(block)) => *reason == block.reason,
        _ => false,
    }
}
