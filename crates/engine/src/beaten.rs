//! Events that newer ones have overtaken of late: the newer ones may turn out not to be newer.

use std::collections::{HashMap, VecDeque};

use model::state::Register;
use model::subject::Subject;

/// Most events that are remembered because they lost against a stamp that may be wrong.
const BEATEN_MAX: usize = 16_384;
/// Most of them of one subject.
const BEATEN_OF_ONE_MAX: usize = 32;

/// See the module's description; by subject.
#[derive(Debug, Default)]
pub(super) struct Beaten {
    registers: HashMap<Subject, VecDeque<Register>>,
    oldest_first: VecDeque<Subject>,
}

impl Beaten {
    /// Remembers one, last of its subject's.
    pub(super) fn add(&mut self, subject: &Subject, register: Register) {
        let of_one = self.registers.entry(subject.clone()).or_default();
        of_one.retain(|known| known.version.event_id != register.version.event_id);
        if of_one.len() >= BEATEN_OF_ONE_MAX {
            of_one.pop_front();
        }
        of_one.push_back(register);
        self.oldest_first.push_back(subject.clone());
        while self.oldest_first.len() > BEATEN_MAX {
            let Some(oldest) = self.oldest_first.pop_front() else { break };
            let Some(of_one) = self.registers.get_mut(&oldest) else { continue };
            // Each of its events has put the subject in the line once.
            let waits = of_one.len();
            if waits > 0 {
                of_one.pop_front();
            }
            if waits <= 1 {
                self.registers.remove(&oldest);
            }
        }
    }

    /// Those of one subject.
    pub(super) fn of(&self, subject: &Subject) -> impl Iterator<Item = &Register> {
        self.registers.get(subject).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use model::name::EventId;
    use model::state::{Effect, Version};
    use model::time::UnixMicros;

    use super::*;

    fn register(id: usize) -> Register {
        let event_id = EventId::parse(&format!("e{id}")).unwrap();
        let version = Version { sequence: None, at: UnixMicros(0), event_id };
        Register { version, effect: Effect::Lift { reason: None } }
    }

    #[test]
    fn what_is_beaten_is_remembered_within_bounds() {
        let mut beaten = Beaten::default();
        let user = |id: usize| Subject::user(&format!("u{id}")).unwrap();
        for id in 0..BEATEN_OF_ONE_MAX + 9 {
            beaten.add(&user(0), register(id));
            beaten.add(&user(0), register(id));
        }
        let first = beaten.of(&user(0)).next().unwrap();
        assert_eq!((beaten.of(&user(0)).count(), first), (BEATEN_OF_ONE_MAX, &register(9)));
        for id in 1..=BEATEN_MAX {
            beaten.add(&user(id), register(0));
        }
        assert_eq!(beaten.of(&user(0)).count(), 0);
        assert_eq!((beaten.registers.len(), beaten.oldest_first.len()), (BEATEN_MAX, BEATEN_MAX));
        assert_eq!(beaten.of(&user(BEATEN_MAX)).count(), 1);
    }
}
