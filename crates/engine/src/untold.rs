//! Lifts that were forgotten for want of room before every node had been told of them.
//!
//! Of what is lifted, a state remembers the newest only. Nodes merge what they are told, and are told
//! states: a node that is behind by one batch would keep what a lift has ended that is forgotten meanwhile.
//! So such lifts go along with the state until every node that is known has acknowledged them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::state::{Register, State};
use model::subject::Subject;

/// Most subjects of which lifts wait for nodes. Beyond it those that have waited longest go.
const SUBJECTS_MAX: usize = 16_384;
/// Most lifts of one subject. The oldest stay: what a node that is behind may hold was told it before.
const OF_ONE_MAX: usize = 128;

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Untold(BTreeMap<Subject, Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    lifts: Vec<Register>,
    /// Nodes that have applied this sequence know all of them.
    sequence: u64,
}

impl Untold {
    /// Notes that a lift is forgotten, which nodes know that have applied this sequence.
    pub(super) fn add(&mut self, subject: &Subject, lift: Register, sequence: u64) {
        if self.0.len() >= SUBJECTS_MAX && !self.0.contains_key(subject) {
            let oldest = self.0.iter().min_by_key(|(_, waiting)| waiting.sequence);
            if let Some(oldest) = oldest.map(|(subject, _)| subject.clone()) {
                self.0.remove(&oldest);
            }
        }
        let waiting = self.0.entry(subject.clone()).or_default();
        waiting.sequence = waiting.sequence.max(sequence);
        if waiting.lifts.len() < OF_ONE_MAX && !waiting.lifts.contains(&lift) {
            waiting.lifts.push(lift);
        }
    }

    /// What to tell nodes of a subject whose state is this; nothing if there is neither.
    pub(super) fn told<'a>(
        &self,
        subject: &Subject,
        known: Option<(&'a State, u64)>,
    ) -> Option<(Cow<'a, State>, u64)> {
        let Some(Waiting { lifts, sequence }) = self.0.get(subject) else {
            return known.map(|(state, sequence)| (Cow::Borrowed(state), sequence));
        };
        let (state, last_change) = known.unzip();
        let state = state.map_or_else(State::default, State::clone).with_forgotten(lifts);
        Some((Cow::Owned(state), last_change.unwrap_or(*sequence)))
    }

    /// Forgets what every node knows that has applied this sequence.
    pub(super) fn acknowledged(&mut self, sequence: u64) {
        self.0.retain(|_, waiting| waiting.sequence > sequence);
    }
}

#[cfg(test)]
mod tests {
    use model::name::{EventId, Name};
    use model::state::{Effect, Version};
    use model::time::UnixMicros;

    use super::*;

    fn lift(number: usize) -> Register {
        let event_id = EventId::parse(&format!("e{number}")).unwrap();
        let at = UnixMicros(u64::try_from(number).unwrap());
        let reason = Name::parse(&format!("r-{number}"));
        Register {
            version: Version { sequence: None, at, event_id },
            effect: Effect::Lift { reason },
        }
    }

    fn user(number: usize) -> Subject {
        Subject::user(&format!("u{number}")).unwrap()
    }

    #[test]
    fn they_wait_within_bounds_until_all_have_them() {
        let mut untold = Untold::default();
        for number in 0..OF_ONE_MAX + 9 {
            untold.add(&user(0), lift(number), 7);
            untold.add(&user(0), lift(number), 6);
        }
        let (state, sequence) = untold.told(&user(0), None).unwrap();
        assert_eq!((state.registers().len(), sequence), (OF_ONE_MAX, 7));
        assert!(state.registers().contains(&lift(0)), "the oldest stay");
        for number in 1..=SUBJECTS_MAX {
            untold.add(&user(number), lift(1), 8);
        }
        assert_eq!((untold.0.len(), untold.told(&user(0), None).is_none()), (SUBJECTS_MAX, true));
        untold.acknowledged(7);
        assert_eq!(untold.0.len(), SUBJECTS_MAX);
        untold.acknowledged(8);
        assert_eq!(untold.0.len(), 0);
    }
}
