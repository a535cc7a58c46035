//! Taking in one event: whether it is new, what it changes, and what its publisher has to be told.

use std::borrow::Cow;

use events::Event;
use model::name::{EventId, Name};
use model::state::{Effect, Merge, Register, State};
use model::subject::Subject;
use model::time::UnixMicros;

use super::identity::{Heard, Identity, Publisher, Seen, Since};
use super::order::{Order, Settled};
use super::subjects::Merged;
use super::{Engine, IngestError, Ingested, Now, Overruling, Verdict, extras, warnings};

/// An event, and what tells it from others with its id.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The event.
    pub event: Event,
    /// What it is beside its id.
    pub identity: Identity,
    /// When it was first heard.
    pub heard: UnixMicros,
    /// What is known of its place among others.
    pub order: Order,
}

/// Whether an event does what it says, once it is known.
pub(super) struct Standing {
    /// What it says is so.
    pub(super) in_effect: bool,
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
        let Incoming { event, identity, mut heard, order } = incoming.into();
        let Event { subject, mut register, .. } = event;
        let found = self.find(&subject, &register.version.event_id, &identity);
        let event_id = match found {
            Seen::Conflict => return Err(IngestError::IdTaken),
            Seen::New(event_id) => event_id,
            Seen::Before(event_id, covering) => {
                register.version.event_id = event_id;
                let standing = (heard, order);
                return Ok(self.come_again((&subject, &register), covering, standing, now));
            }
        };
        let warnings = match event_id == register.version.event_id {
            true => Vec::new(),
            false => vec![warnings::id_taken(&register.version.event_id, &event_id)],
        };
        register.version.event_id = event_id;
        if order == Order::Last {
            register.version.at = self.next_instant(&subject, register.version.at);
            heard = register.version.at;
        }
        let here = Heard { at: heard, counts: register.version.at };
        self.put_in_publishers_order(&subject, &mut register, &identity);
        let place = order.is_place().then_some(here);
        self.take_in_new((subject, register), (identity, Since { here, place }), warnings, now)
    }

    /// Takes in an event that was never seen before.
    fn take_in_new(
        &mut self,
        (subject, mut register): (Subject, Register),
        (identity, since): (Identity, Since),
        mut warnings: Vec<String>,
        now: Now,
    ) -> Result<Ingested, IngestError> {
        let names = self.unknown_names(&register.effect, now);
        let unknown_names = u64::try_from(names.len()).unwrap_or(u64::MAX);
        warnings.extend(names);
        let idle = self.nodes.idle(&subject, &register.effect, now.mono);
        warnings.extend(self.unreached(now));
        warnings.extend(warnings::over(&register.effect, now.wall));
        let before = self.left(&subject, &register, now);
        let mut ended = self.in_effect(&subject, now);
        let Merged { mut merge, sequence, forgotten, .. } = self.merge(&subject, &register, now)?;
        let event_id = register.version.event_id.clone();
        let key = (subject.clone(), event_id.clone());
        self.seen.insert(key.clone(), identity, sequence);
        self.seen.set_since(&key, since);
        let mut settled = Settled { forgotten, ..Settled::default() };
        if since.place.is_some() {
            self.settle(&subject, now, &mut settled);
            if let Some(raised) = self.held(&subject, &event_id) {
                (register, merge) = (raised, Merge::Applied);
            }
        }
        let standing = self.standing(&subject, &register, now);
        warnings.extend(self.remaining(&subject, &register, now));
        let lifts_nothing = !register.holds() && before == 0;
        if lifts_nothing {
            warnings.extend(warnings::lifts_nothing(&register.effect));
        }
        let verdict = verdict(merge, &standing, lifts_nothing)?;
        let Standing { in_effect, overruled_by } = standing;
        let Settled { restamped, forgotten } = settled;
        let holding = self.in_effect(&subject, now);
        ended.retain(|id| !holding.contains(id));
        Ok(Ingested {
            is_kept: self.subjects.holds(&subject, &event_id),
            sequence: self.subjects.sequence_of(&subject).unwrap_or(sequence),
            event_id,
            register,
            verdict,
            in_effect,
            overruled_by,
            ended,
            unknown_names,
            idle,
            warnings,
            restamped,
            forgotten,
        })
    }

    /// An event that was taken in before: it may find its place now, or be back in force.
    fn come_again(
        &mut self,
        (subject, register): (&Subject, &Register),
        covering: u64,
        (heard, order): (UnixMicros, Order),
        now: Now,
    ) -> Ingested {
        let was_here = self.subjects.holds(subject, &register.version.event_id);
        let mut settled = match order.is_place() {
            true => self.put_in_place(subject, register, heard, now),
            false => Settled::default(),
        };
        if order == Order::Standing {
            self.bring_back(subject, register, now, &mut settled);
        }
        let mut again = self.again(subject, register, covering, now);
        if order == Order::Standing && !was_here && again.is_kept {
            again.verdict = Verdict::Applied;
        }
        let Settled { restamped, forgotten } = settled;
        Ingested { restamped, forgotten, ..again }
    }

    /// What there is to say of an event that was taken in before.
    fn again(
        &mut self,
        subject: &Subject,
        register: &Register,
        covering: u64,
        now: Now,
    ) -> Ingested {
        // As it was taken in, which may have been at another instant than it was heard now.
        let held = self.held(subject, &register.version.event_id);
        let Standing { in_effect, overruled_by } =
            self.standing_now(subject, (register, held.as_ref()), now);
        let register = held.as_ref().unwrap_or(register);
        // What nodes have, or could not store, is the subject's state of its last change.
        let sequence = self.subjects.sequence_of(subject).unwrap_or(covering);
        if self.is_overtaken_by_place(subject, register) {
            self.subjects.drop_again(subject, register);
        }
        Ingested {
            event_id: register.version.event_id.clone(),
            register: register.clone(),
            verdict: Verdict::Duplicate,
            in_effect,
            overruled_by,
            ended: Vec::new(),
            is_kept: held.is_some(),
            sequence,
            unknown_names: 0,
            idle: self.nodes.idle(subject, &register.effect, now.mono),
            warnings: self.remaining(subject, register, now),
            restamped: Vec::new(),
            forgotten: Vec::new(),
        }
    }

    /// Says anew what has become of an event that was taken in some time ago: meanwhile it may have
    /// been overruled, or have ended.
    pub fn renew(&self, subject: &Subject, ingested: &mut Ingested, now: Now) {
        let held = self.held(subject, &ingested.register.version.event_id);
        let Standing { in_effect, overruled_by } =
            self.standing_now(subject, (&ingested.register, held.as_ref()), now);
        ingested.verdict = match ingested.verdict {
            Verdict::Applied if !overruled_by.is_empty() => Verdict::Stale,
            Verdict::Applied if !in_effect => Verdict::NoEffect,
            verdict => verdict,
        };
        (ingested.in_effect, ingested.overruled_by) = (in_effect, overruled_by);
    }

    /// The same as of now: since it was taken in, an event may count from a later instant, or be gone.
    fn standing_now(
        &self,
        subject: &Subject,
        (taken_in, held): (&Register, Option<&Register>),
        now: Now,
    ) -> Standing {
        match held {
            Some(held) => self.standing(subject, held, now),
            None => self.standing_of_gone(subject, taken_in, now),
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
        if let Some(seen) = self.seen.remove(subject, event_id) {
            let key = (subject.clone(), own.clone());
            self.seen.insert(key.clone(), seen.identity, next);
            if let Some(since) = seen.since {
                self.seen.set_since(&key, since);
            }
        }
        // Nodes take the longer id for the newer event, and have it.
        let is_urgent = extras::is_urgent(&effect, now.wall);
        self.log.push(subject.clone(), own.clone(), now.mono, is_urgent);
        true
    }

    /// Who has published these very bytes, if they have been taken in under this id, as far as is
    /// remembered.
    #[must_use]
    pub fn knows(&self, subject: &Subject, event_id: &EventId, bytes: u64) -> Option<Publisher> {
        let known = self.seen.get(subject, event_id).map(|known| known.identity);
        known.filter(|known| known.bytes == bytes).map(|known| known.publisher)
    }

    /// An event that is part of its subject's state, as it counts.
    pub(super) fn held(&self, subject: &Subject, event_id: &EventId) -> Option<Register> {
        let state = self.state_of(subject);
        state.registers().iter().find(|known| known.version.event_id == *event_id).cloned()
    }

    /// What is known about a subject.
    pub(super) fn state_of(&self, subject: &Subject) -> Cow<'_, State> {
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
    pub(super) fn standing(&self, subject: &Subject, register: &Register, now: Now) -> Standing {
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

/// What has become of an event that was merged.
fn verdict(merge: Merge, standing: &Standing, lifts_nothing: bool) -> Result<Verdict, IngestError> {
    Ok(match merge {
        Merge::TooManyTopics => return Err(IngestError::TooManyTopics),
        _ if !standing.overruled_by.is_empty() => Verdict::Stale,
        Merge::Duplicate => Verdict::Duplicate,
        _ if lifts_nothing || !standing.in_effect => Verdict::NoEffect,
        Merge::Applied => Verdict::Applied,
        Merge::Stale => Verdict::Stale,
    })
}

#[cfg(any(test, feature = "testing"))]
impl From<Event> for Incoming {
    /// Tests that are not about ids tell events apart by what they do.
    fn from(event: Event) -> Self {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        format!("{:?}{:?}", event.register.effect, event.occurred_at).hash(&mut hasher);
        let content = hasher.finish();
        let lane = event.publisher.as_ref().map(|name| model::state::Lane::of(Some(name)));
        let claim = lane.map(|lane| (lane, event.occurred_at));
        let identity = Identity { content, bytes: content, claim, ..Identity::default() };
        let heard = event.register.version.at;
        Self { event, identity, heard, order: Order::AsHeard }
    }
}
