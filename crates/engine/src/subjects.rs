//! The state of every subject, in a stable order so that a snapshot can be taken in pieces.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use model::name::EventId;
use model::state::{Effect, Merge, Register, State};
use model::subject::Subject;
use model::time::UnixMicros;

use super::kept::{Dropped, Kept};
use super::room::{Room, Standing};
use super::untold::Untold;
use super::{Digest, Forgotten, IngestError};

/// How long an event that has no effect any more is remembered, so that an older one that comes
/// late cannot have its effect after all.
pub(super) const RETENTION: Duration = Duration::from_secs(8 * 24 * 60 * 60);
/// Most subjects looked at in one sweep.
const SWEEP_SUBJECTS_MAX: usize = 1_000;

/// A subject's state and the sequence of its last change.
#[derive(Debug, Default)]
struct Known {
    state: State,
    sequence: u64,
}

/// What has become of one event.
pub(super) struct Merged {
    pub(super) merge: Merge,
    /// Of the subject's last change.
    pub(super) sequence: u64,
    pub(super) forgotten: Vec<Forgotten>,
    /// What it has overtaken.
    pub(super) overtaken: Vec<Register>,
}

/// At most a given number of subjects.
#[derive(Debug)]
pub(super) struct Subjects {
    known: BTreeMap<Subject, Known>,
    room: Room,
    kept: Kept,
    untold: Untold,
    /// Where the next sweep goes on.
    swept: Option<Subject>,
}

impl Subjects {
    pub(super) fn new(subjects_max: usize) -> Self {
        let room = Room::new(subjects_max);
        let (known, kept, untold) = (BTreeMap::new(), Kept::default(), Untold::default());
        Self { known, room, kept, untold, swept: None }
    }

    /// How many subjects hold something, and whether there is room for another one.
    pub(super) fn room(&self) -> (usize, bool) {
        (self.room.holding(), self.room.is_left())
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn get(&self, subject: &Subject) -> Option<(&State, u64)> {
        self.known.get(subject).map(|known| (&known.state, known.sequence))
    }

    /// What nodes are to be told of a subject.
    pub(super) fn told(&self, subject: &Subject) -> Option<(Cow<'_, State>, u64)> {
        self.untold.told(subject, self.get(subject))
    }

    /// Notes that every node that is known has applied this sequence.
    pub(super) fn acknowledged(&mut self, sequence: u64) {
        self.untold.acknowledged(sequence);
    }

    /// The sequence of a subject's last change.
    pub(super) fn sequence_of(&self, subject: &Subject) -> Option<u64> {
        self.known.get(subject).map(|known| known.sequence)
    }

    /// Whether this very event is part of its subject's state.
    pub(super) fn holds(&self, subject: &Subject, event_id: &EventId) -> bool {
        let known = self.known.get(subject);
        known.is_some_and(|known| event_ids(&known.state).any(|known| known == event_id))
    }

    /// Merges one event; if that changes the state, `next` becomes the subject's sequence.
    ///
    /// # Errors
    /// If there is no room for it: then nothing has changed.
    pub(super) fn merge(
        &mut self,
        subject: &Subject,
        register: Register,
        next: u64,
        prune_at: UnixMicros,
    ) -> Result<Merged, IngestError> {
        let stood = self.known.get(subject).and_then(|known| Standing::of(&known.state));
        let holds = register.holds();
        if holds && stood != Some(Standing::Holding) && !self.room.is_left() {
            return Err(IngestError::SubjectsFull);
        }
        let known = self.known.entry(subject.clone()).or_default();
        let mut state = known.state.clone();
        let over = state.prune(prune_at, RETENTION);
        let before = state.clone();
        let (new, whole) = (register.version.event_id.clone(), register.clone());
        let merge = state.merge(register);
        match merge {
            Merge::TooManyTopics => return Err(IngestError::TooManyTopics),
            Merge::Applied => known.sequence = next,
            Merge::Duplicate | Merge::Stale => {}
        }
        let is_gone = |id: &&EventId| event_ids(&state).all(|left| left != *id);
        let is_overtaken = |known: &&Register| is_gone(&&known.version.event_id);
        let registers: Vec<_> = before.registers().iter().filter(is_overtaken).cloned().collect();
        let late = [&whole].into_iter().filter(|new| merge == Merge::Applied && is_overtaken(new));
        for lift in registers.iter().chain(late).filter(|gone| is_forgotten_lift(&state, gone)) {
            self.untold.add(subject, lift.clone(), next);
        }
        let overtaken: Vec<_> = event_ids(&before).filter(is_gone).cloned().collect();
        let late = Some(new).filter(|id| is_gone(&id)).into_iter();
        self.kept.changed(subject, &known.state, &state);
        self.kept.over(subject, &over);
        self.kept.overtaken(subject, overtaken.iter().cloned().chain(late).collect());
        let mut forgotten = forgotten(subject, over);
        let overtaken = overtaken.into_iter().map(|id| (id, UnixMicros(0)));
        forgotten.extend(self::forgotten(subject, overtaken));
        known.state = state;
        let sequence = known.sequence;
        self.room.changed(stood, Standing::of(&known.state), (subject, sequence));
        forgotten.extend(self.forget_idle());
        Ok(Merged { merge, sequence, forgotten, overtaken: registers })
    }

    /// Forgets what is only remembered, and of too many subjects.
    fn forget_idle(&mut self) -> Vec<Forgotten> {
        let mut forgotten = Vec::new();
        let is_idle = |known: &BTreeMap<Subject, Known>, subject: &Subject, sequence: u64| {
            let known = known.get(subject).filter(|known| known.sequence == sequence);
            known.is_some_and(|known| Standing::of(&known.state) == Some(Standing::Idle))
        };
        while let Some(subject) =
            self.room.next_forgotten(|subject, sequence| is_idle(&self.known, subject, sequence))
        {
            let Some(known) = self.known.remove(&subject) else { continue };
            for lift in known.state.registers().iter().filter(|known| !known.holds()) {
                self.untold.add(&subject, lift.clone(), known.sequence);
            }
            let events: Vec<_> = event_ids(&known.state).cloned().collect();
            self.kept.changed(&subject, &known.state, &State::default());
            self.room.changed(Some(Standing::Idle), None, (&subject, 0));
            let gone = events.iter().map(|id| (id.clone(), UnixMicros(0)));
            forgotten.extend(self::forgotten(&subject, gone));
            self.kept.overtaken(&subject, events);
        }
        forgotten
    }

    /// Gives an event of a state another id; `next` becomes the subject's sequence. Answers what the
    /// event does.
    pub(super) fn rename(
        &mut self,
        subject: &Subject,
        event_id: &EventId,
        own: &EventId,
        next: u64,
    ) -> Option<Effect> {
        let known = self.known.get_mut(subject)?;
        let is_it = |register: &&Register| register.version.event_id == *event_id;
        let mut register = known.state.registers().iter().find(is_it)?.clone();
        register.version.event_id = own.clone();
        let effect = register.effect.clone();
        let mut state = known.state.clone();
        state.merge(register);
        self.kept.changed(subject, &known.state, &state);
        known.state = state;
        known.sequence = next;
        Some(effect)
    }

    /// The digest of all events that the states consist of.
    pub(super) fn digest(&self) -> Digest {
        self.kept.digest()
    }

    /// Some events that the states no longer consist of; each is given once.
    pub(super) fn take_dropped(&mut self, max: usize) -> Vec<Dropped> {
        self.kept.take_dropped(max)
    }

    /// Gives a known event, that came again, as dropped again if a newer one has overtaken it.
    pub(super) fn drop_again(&mut self, subject: &Subject, register: &Register) {
        if let Some(known) = self.known.get(subject) {
            self.kept.drop_again(subject, &known.state, register);
        }
    }

    /// The subjects after a given one, in order; all of them without one.
    pub(super) fn after(
        &self,
        subject: Option<&Subject>,
    ) -> impl Iterator<Item = (&Subject, &State, u64)> {
        let start = subject.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.known.range::<Subject, _>((start, Bound::Unbounded));
        range.map(|(subject, known)| (subject, &known.state, known.sequence))
    }

    /// Forgets what has had no effect for long, among the next [`SWEEP_SUBJECTS_MAX`] subjects.
    pub(super) fn sweep(&mut self, now: UnixMicros) -> Vec<Forgotten> {
        let start = self.swept.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        let (mut empty, mut forgotten) = (Vec::new(), Vec::new());
        let range = self.known.range_mut::<Subject, _>((start, Bound::Unbounded));
        for (subject, known) in range.take(SWEEP_SUBJECTS_MAX) {
            let before = known.state.clone();
            let pruned = known.state.prune(now, RETENTION);
            self.kept.changed(subject, &before, &known.state);
            self.kept.over(subject, &pruned);
            if !pruned.is_empty() {
                let (stood, stands) = (Standing::of(&before), Standing::of(&known.state));
                self.room.changed(stood, stands, (subject, known.sequence));
            }
            forgotten.extend(self::forgotten(subject, pruned));
            if known.state.is_empty() {
                empty.push(subject.clone());
            }
            last = Some(subject.clone());
        }
        for subject in empty {
            self.known.remove(&subject);
        }
        self.swept = last;
        forgotten
    }
}

/// Whether it is a lift that nothing has overtaken: there was no more room for it.
fn is_forgotten_lift(state: &State, gone: &Register) -> bool {
    !gone.holds() && state.overruled_by(gone).is_none()
}

fn event_ids(state: &State) -> impl Iterator<Item = &EventId> {
    state.registers().iter().map(|register| &register.version.event_id)
}

fn forgotten(
    subject: &Subject,
    events: impl IntoIterator<Item = (EventId, UnixMicros)>,
) -> Vec<Forgotten> {
    let forgotten = |(event_id, not_before)| {
        let subject = subject.clone();
        Forgotten { subject, event_id, not_before }
    };
    events.into_iter().map(forgotten).collect()
}
