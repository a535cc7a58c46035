//! Taking in one event: whether it is new, what it changes, and what its publisher has to be told.

use std::borrow::Cow;

use policy::event::Event;
use policy::name::{EventId, Name};
use policy::state::{Effect, Merge, Register, State};
use policy::subject::Subject;
use policy::time::UnixMicros;

use super::identity::{Identity, Seen};
use super::subjects::Merged;
use super::{Engine, IngestError, Ingested, Now, Overruling, Verdict, extras, warnings};

/// An event, and what tells it from others with its id.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The event.
    pub event: Event,
    /// What it is beside its id.
    pub identity: Identity,
    /// When it was first heard, if it comes in its place in the order that all daemons share: what
    /// has come to its own place before is older.
    pub placed: Option<UnixMicros>,
}

/// Whether an event does what it says, once it is known.
struct Standing {
    /// What it says is so.
    in_effect: bool,
    overruled_by: Vec<Overruling>,
}

impl Engine {
    /// Takes in one event.
    ///
    /// # Errors
    /// If there is no room for it, or its id is that of another event: nothing has changed then.
    pub fn ingest(
        &mut self,
        incoming: impl Into<Incoming>,
        now: Now,
    ) -> Result<Ingested, IngestError> {
        let Incoming { event, identity, placed } = incoming.into();
        let Event { subject, mut register, .. } = event;
        let found = self.find(&subject, &register.version.event_id, &identity);
        let event_id = match found {
            Seen::Conflict => return Err(IngestError::IdTaken),
            Seen::New(event_id) => event_id,
            Seen::Before(event_id, _) if self.is_out_of_place(&subject, &event_id, placed) => {
                event_id
            }
            Seen::Before(event_id, covering) => {
                register.version.event_id = event_id;
                return Ok(self.again(&subject, &register, covering, now));
            }
        };
        let mut warnings = Vec::new();
        if event_id != register.version.event_id {
            warnings.push(warnings::id_taken(&register.version.event_id, &event_id));
        }
        register.version.event_id = event_id.clone();
        self.put_in_its_place(&subject, &mut register, placed);
        self.put_in_publishers_order(&subject, &mut register, &identity);
        let names = self.unknown_names(&register.effect, now);
        let unknown_names = u64::try_from(names.len()).unwrap_or(u64::MAX);
        warnings.extend(names);
        let idle = self.nodes.idle(&subject, &register.effect, now.mono);
        warnings.extend(self.unreached(now));
        warnings.extend(warnings::over(&register.effect, now.wall));
        let before = self.left(&subject, &register, now);
        let next = self.log.last().saturating_add(1);
        let prune_at = self.patience.time(now);
        let merged = self.subjects.merge(&subject, register.clone(), next, prune_at)?;
        let Merged { merge, sequence, forgotten } = merged;
        let standing = self.standing(&subject, &register, now);
        warnings.extend(self.remaining(&subject, &register, now));
        let lifts_nothing = !register.holds() && before == 0;
        if lifts_nothing {
            warnings.extend(warnings::lifts_nothing(&register.effect));
        }
        let verdict = match merge {
            Merge::TooManyTopics => return Err(IngestError::TooManyTopics),
            _ if !standing.overruled_by.is_empty() => Verdict::Stale,
            Merge::Duplicate => Verdict::Duplicate,
            _ if lifts_nothing || !standing.in_effect => Verdict::NoEffect,
            Merge::Applied => Verdict::Applied,
            Merge::Stale => Verdict::Stale,
        };
        if merge == Merge::Applied {
            let is_urgent = extras::is_urgent(&register.effect, now.wall);
            self.log.push(subject.clone(), event_id.clone(), now.mono, is_urgent);
        }
        let is_kept = self.subjects.holds(&subject, &event_id);
        self.seen.insert((subject.clone(), event_id.clone()), identity, sequence);
        if let Some(heard) = placed {
            self.seen.place((subject, event_id.clone()), heard);
        }
        let Standing { in_effect, overruled_by } = standing;
        Ok(Ingested {
            event_id,
            register,
            verdict,
            in_effect,
            overruled_by,
            is_kept,
            sequence,
            unknown_names,
            idle,
            warnings,
            forgotten,
        })
    }

    /// What was heard live counts from when it came here, which may have been long after it was
    /// written. What was written later still, and is not heard live, is newer all the same. Not so
    /// what counts from another instant than it was heard at: that is old.
    fn put_in_its_place(&self, subject: &Subject, new: &mut Register, placed: Option<UnixMicros>) {
        let at = new.version.at;
        if placed != Some(at) {
            return;
        }
        let state = self.state_of(subject);
        let before = state.registers().iter().map(|known| &known.version);
        let before = before.filter(|known| {
            self.seen.placed(subject, &known.event_id).is_some_and(|heard| heard <= at)
        });
        let latest = before.map(|known| known.at).max().unwrap_or_default();
        new.version.at = at.max(UnixMicros(latest.0.saturating_add(1)));
    }

    /// Whether a known event, which is written at `placed`, counts as older than one that stands before
    /// it: that one was published bare and heard late, and this one, whose time was known, came with it.
    /// It has to be taken in once more, in its place.
    #[must_use]
    pub fn is_out_of_place(
        &self,
        subject: &Subject,
        event_id: &EventId,
        placed: Option<UnixMicros>,
    ) -> bool {
        let Some(written) = placed else { return false };
        let state = self.state_of(subject);
        let is_it = |known: &&Register| known.version.event_id == *event_id;
        let own = state.registers().iter().find(is_it).map_or(written, |known| known.version.at);
        let others = state.registers().iter().filter(|known| !is_it(known));
        others.map(|known| &known.version).any(|known| {
            let place = self.seen.placed(subject, &known.event_id);
            known.at >= own && place.is_some_and(|place| place < written)
        })
    }

    /// Notes that a known event's place in the order that all daemons share has been reached.
    pub fn place(&mut self, subject: &Subject, event_id: &EventId, heard: UnixMicros) {
        self.seen.place((subject.clone(), event_id.clone()), heard);
    }

    /// An unblock that was delivered late does not lift the block that the same publisher says came
    /// after it. Only the clock of one and the same publisher is compared, and only so that a block
    /// stands: of a block that says it came before an unblock, nobody can say whether it is late or
    /// another host of the publisher has another clock.
    fn put_in_publishers_order(&self, subject: &Subject, new: &mut Register, identity: &Identity) {
        let (Some(claim), None) = (identity.claim, new.version.sequence) else { return };
        let state = self.state_of(subject);
        for known in state.registers() {
            let id = &known.version.event_id;
            let other = self.seen.get(subject, id).and_then(|(other, _)| other.claim);
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

    /// An event that was taken in before.
    fn again(
        &mut self,
        subject: &Subject,
        register: &Register,
        covering: u64,
        now: Now,
    ) -> Ingested {
        // As it was taken in, which may have been at another instant than it was heard now.
        let is_it = |known: &&Register| known.version.event_id == register.version.event_id;
        let known = self.state_of(subject).registers().iter().find(is_it).cloned();
        let register = known.as_ref().unwrap_or(register);
        let Standing { in_effect, overruled_by } = self.standing_now(subject, register, now);
        // What nodes have, or could not store, is the subject's state of its last change.
        let sequence = self.subjects.sequence_of(subject).unwrap_or(covering);
        self.subjects.drop_again(subject, register);
        Ingested {
            event_id: register.version.event_id.clone(),
            register: register.clone(),
            verdict: Verdict::Duplicate,
            in_effect,
            overruled_by,
            is_kept: self.subjects.holds(subject, &register.version.event_id),
            sequence,
            unknown_names: 0,
            idle: self.nodes.idle(subject, &register.effect, now.mono),
            warnings: self.remaining(subject, register, now),
            forgotten: Vec::new(),
        }
    }

    /// Says anew what has become of an event that was taken in some time ago: meanwhile it may have
    /// been overruled, or have ended.
    pub fn renew(&self, subject: &Subject, ingested: &mut Ingested, now: Now) {
        let Standing { in_effect, overruled_by } =
            self.standing_now(subject, &ingested.register, now);
        ingested.verdict = match ingested.verdict {
            Verdict::Applied if !overruled_by.is_empty() => Verdict::Stale,
            Verdict::Applied if !in_effect => Verdict::NoEffect,
            verdict => verdict,
        };
        (ingested.in_effect, ingested.overruled_by) = (in_effect, overruled_by);
    }

    fn standing_now(&self, subject: &Subject, register: &Register, now: Now) -> Standing {
        match self.subjects.holds(subject, &register.version.event_id) {
            true => self.standing(subject, register, now),
            false => self.standing_of_gone(subject, register, now),
        }
    }

    /// Looks an event up among those that are seen, and those that are in force but were seen too
    /// long ago: of these nothing but the id is known here, see [`Engine::recall`].
    fn find(&self, subject: &Subject, event_id: &EventId, identity: &Identity) -> Seen {
        let found = self.seen.find(subject, event_id, identity);
        match &found {
            Seen::New(id) if self.subjects.holds(subject, id) => Seen::Before(id.clone(), 0),
            _ => found,
        }
    }

    /// Whether an event with this id is in force, of which nothing else is remembered.
    #[must_use]
    pub fn is_forgotten(&self, subject: &Subject, event_id: &EventId) -> bool {
        self.seen.get(subject, event_id).is_none() && self.subjects.holds(subject, event_id)
    }

    /// Remembers an event that is overtaken, unless it is known.
    pub fn remember(&mut self, subject: &Subject, event_id: &EventId, identity: Identity) {
        if self.seen.get(subject, event_id).is_none() && !self.subjects.holds(subject, event_id) {
            self.recall(subject, event_id, identity);
        }
    }

    /// Remembers again what an event in force is.
    pub fn recall(&mut self, subject: &Subject, event_id: &EventId, identity: Identity) {
        let sequence = self.subjects.sequence_of(subject).unwrap_or_default();
        self.seen.insert((subject.clone(), event_id.clone()), identity, sequence);
    }

    /// Lets an event that is part of its subject's state count under another id; says whether there
    /// is one.
    pub fn rename(
        &mut self,
        subject: &Subject,
        event_id: &EventId,
        own: &EventId,
        now: Now,
    ) -> bool {
        let next = self.log.last().saturating_add(1);
        let Some(effect) = self.subjects.rename(subject, event_id, own, next) else { return false };
        if let Some((identity, _)) = self.seen.remove(subject, event_id) {
            self.seen.insert((subject.clone(), own.clone()), identity, next);
        }
        // Nodes take the longer id for the newer event, and have it.
        let is_urgent = extras::is_urgent(&effect, now.wall);
        self.log.push(subject.clone(), own.clone(), now.mono, is_urgent);
        true
    }

    /// Whether these very bytes have been taken in under this id, as far as is remembered.
    #[must_use]
    pub fn knows(&self, subject: &Subject, event_id: &EventId, bytes: u64) -> bool {
        self.seen.get(subject, event_id).is_some_and(|(known, _)| known.bytes == bytes)
    }

    /// What is known about a subject.
    fn state_of(&self, subject: &Subject) -> Cow<'_, State> {
        match self.subjects.get(subject) {
            Some((state, _)) => Cow::Borrowed(state),
            None => Cow::Owned(State::default()),
        }
    }

    /// How much is in effect of what an event is to end.
    fn left(&self, subject: &Subject, register: &Register, now: Now) -> usize {
        warnings::left(register, &self.state_of(subject), now.wall).count()
    }

    /// Whether an event does what it says; nothing but its place in the order is asked of it.
    fn standing(&self, subject: &Subject, register: &Register, now: Now) -> Standing {
        let state = self.state_of(subject);
        let overruled_by: Vec<_> = if register.holds() {
            state.overruled_by(register).map(Overruling::of).into_iter().collect()
        } else {
            warnings::left(register, &state, now.wall).map(Overruling::of).collect()
        };
        let has_ended = register.holds() && register.ends().is_some_and(|end| end <= now.wall);
        Standing { in_effect: overruled_by.is_empty() && !has_ended, overruled_by }
    }

    /// The same of an event that is not part of its subject's state any more: what has taken its
    /// place, if that is known still.
    fn standing_of_gone(&self, subject: &Subject, register: &Register, now: Now) -> Standing {
        if !register.holds() {
            return self.standing(subject, register, now);
        }
        let state = self.state_of(subject);
        let overruled_by = state.decider_of(register).map(Overruling::of).into_iter().collect();
        Standing { in_effect: false, overruled_by }
    }

    fn remaining(&self, subject: &Subject, register: &Register, now: Now) -> Vec<String> {
        warnings::remaining(register, &self.state_of(subject), now.wall)
    }

    /// Nodes that nobody waits for, and that may not enforce what comes now.
    fn unreached(&self, now: Now) -> Vec<String> {
        let gone = self.nodes.gone(now.mono).map(|name| {
            format!("node {name} was connected until recently and may not enforce this")
        });
        let turned_away =
            self.nodes.has_turned_away(now.mono).then(|| warnings::TURNED_AWAY.to_owned());
        gone.chain(turned_away).collect()
    }

    /// Names that no connected node has in its configuration: what they stand for would silently
    /// not happen.
    fn unknown_names(&self, effect: &Effect, now: Now) -> Vec<String> {
        if !self.nodes.any_connected(now.mono) {
            return Vec::new();
        }
        let (scope, limit): (&[Name], Option<&Name>) = match effect {
            Effect::Block(block) => (block.scope.names(), None),
            Effect::Zero(zero) => (zero.scope.names(), None),
            Effect::Override(change) => (&[], Some(&change.limit)),
            Effect::Lift { .. } => (&[], None),
        };
        let groups = scope
            .iter()
            .filter(|name| !self.nodes.knows_route_group(name.as_str(), now.mono))
            .map(|name| {
                format!(
                    "payload.scope: no connected node has a route group {name:?}",
                    name = name.as_str()
                )
            });
        let limits =
            limit.filter(|name| !self.nodes.knows_limit(name.as_str(), now.mono)).map(|name| {
                format!(
                    "payload.limit.name: no connected node has a limit {name:?}",
                    name = name.as_str()
                )
            });
        groups.chain(limits).collect()
    }
}

/// Whether one event is about lifting what the other one is.
fn lifts(lift: &Register, block: &Register) -> bool {
    match (&lift.effect, &block.effect) {
        (Effect::Lift { reason: None }, Effect::Block(_) | Effect::Zero(_)) => true,
        (Effect::Lift { reason: Some(reason) }, Effect::Block(block)) => *reason == block.reason,
        _ => false,
    }
}

#[cfg(test)]
impl From<Event> for Incoming {
    /// Tests that are not about ids tell events apart by what they do.
    fn from(event: Event) -> Self {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        format!("{:?}{:?}", event.register.effect, event.occurred_at).hash(&mut hasher);
        let content = hasher.finish();
        let lane = event.publisher.as_ref().map(|name| policy::state::Lane::of(Some(name)));
        let claim = lane.map(|lane| (lane, event.occurred_at));
        let identity = Identity { content, bytes: content, claim, ..Identity::default() };
        Self { event, identity, placed: None }
    }
}
