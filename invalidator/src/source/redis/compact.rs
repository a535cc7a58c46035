//! What is to be forgotten in Redis, and when: a little later, and at a random time, so that of
//! many daemons one does it and the others find it done. Plain and synchronous.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::Dropped;
use model::name::EventId;
use model::time::UnixMicros;

/// The longest that forgetting is put off at random.
pub(super) const SPREAD: Duration = Duration::from_secs(5);
/// Most subjects of which something waits to be forgotten. What is left out is found by comparing.
const WAITING_MAX: usize = 65_536;
/// How often forgetting is tried while Redis lacks what took the events' place.
const TRIES_MAX: u8 = 10;
/// After this many, what took their place is not just about to be written: somebody has to compare.
const TRIES_UNDER_WAY: u8 = 2;
/// What cannot be forgotten for longer than this is left to whoever comes then: a clock is wrong.
const AHEAD_MAX: Duration = Duration::from_secs(60 * 60);

/// Something to forget.
#[derive(Clone, Debug)]
pub(super) struct Chore {
    pub(super) dropped: Dropped,
    tries: u8,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Chores {
    waiting: BTreeMap<(Duration, u64), Chore>,
    counter: u64,
    left_out: bool,
}

impl Chores {
    /// Notes what was dropped. `random` is spread over all of its range; `wall` is Redis's time.
    pub(super) fn add(&mut self, dropped: Dropped, now: Duration, wall: UnixMicros, random: u32) {
        let ahead = dropped.not_before.since(wall);
        if ahead <= AHEAD_MAX {
            let due = now.saturating_add(ahead);
            self.put(Chore { dropped, tries: 0 }, due, random);
        }
    }

    fn put(&mut self, chore: Chore, due: Duration, random: u32) {
        if self.waiting.len() >= WAITING_MAX {
            self.left_out = true;
            return;
        }
        let share = f64::from(random) / f64::from(u32::MAX);
        let due = due.saturating_add(SPREAD.mul_f64(share));
        self.counter = self.counter.wrapping_add(1);
        self.waiting.insert((due, self.counter), chore);
    }

    /// Puts off what cannot be forgotten yet, if it has not been put off too often.
    pub(super) fn put_off(&mut self, chore: Chore, now: Duration, random: u32) {
        if chore.tries < TRIES_MAX {
            let tries = chore.tries.saturating_add(1);
            self.left_out |= tries == TRIES_UNDER_WAY;
            self.put(Chore { tries, ..chore }, now.saturating_add(SPREAD), random);
        } else {
            self.left_out = true;
        }
    }

    /// Whether anything was left out since the last call.
    pub(super) fn take_left_out(&mut self) -> bool {
        std::mem::take(&mut self.left_out)
    }

    /// Makes due what was only put off at random: somebody wants to compare.
    pub(super) fn hurry(&mut self, now: Duration) {
        let later = self.waiting.split_off(&(now, 0));
        for ((due, counter), chore) in later {
            let spread_only = chore.tries == 0 && due <= now.saturating_add(SPREAD);
            self.waiting.insert((if spread_only { now } else { due }, counter), chore);
        }
    }

    /// What is due, at most so many.
    pub(super) fn due(&mut self, now: Duration, max: usize) -> Vec<Chore> {
        let mut due = Vec::new();
        while due.len() < max {
            match self.waiting.first_entry() {
                Some(first) if first.key().0 <= now => due.push(first.remove()),
                _ => break,
            }
        }
        due
    }

    /// Whether nothing is under way: what has been put off for a while waits for something else than time.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.values().all(|chore| chore.tries >= TRIES_UNDER_WAY)
    }
}

/// Whether events may be forgotten in Redis: only if all that is known instead is there, or a
/// daemon that starts with nothing would know neither.
pub(super) fn may_forget(known: &[EventId], in_redis: &[EventId]) -> bool {
    known.iter().all(|id| in_redis.contains(id))
}

#[cfg(test)]
mod tests {
    use model::subject::Subject;

    use super::*;

    fn dropped(not_before: u64) -> Dropped {
        let subject = Subject::user("alice").unwrap();
        let event_ids = vec![EventId::parse("evt-1").unwrap()];
        Dropped { subject, event_ids, not_before: UnixMicros(not_before) }
    }

    #[test]
    fn it_is_spread_and_not_before_its_time() {
        let mut chores = Chores::default();
        let at = Duration::from_secs;
        let wall = UnixMicros(1_000_000_000);
        chores.add(dropped(0), at(10), wall, 0);
        chores.add(dropped(0), at(10), wall, u32::MAX);
        chores.add(dropped(wall.0 + 60_000_000), at(10), wall, 0);
        chores.add(dropped(u64::MAX), at(10), wall, 0);
        assert_eq!(chores.due(at(9), 9).len(), 0);
        assert_eq!(chores.due(at(10), 9).len(), 1);
        assert_eq!(chores.due(at(14), 9).len(), 0);
        assert_eq!(chores.due(at(15), 9).len(), 1);
        assert_eq!(chores.due(at(69), 9).len(), 0);
        assert_eq!(chores.due(at(70), 9).len(), 1);
        assert!(chores.is_idle(), "what is too far ahead was never noted");
    }

    #[test]
    fn what_is_only_spread_can_be_hurried() {
        let mut chores = Chores::default();
        let at = Duration::from_secs;
        let wall = UnixMicros(1_000_000_000);
        chores.add(dropped(0), at(10), wall, u32::MAX);
        chores.add(dropped(0), at(10), wall, u32::MAX / 2);
        chores.add(dropped(wall.0 + 60_000_000), at(10), wall, 0);
        chores.hurry(at(11));
        assert_eq!(chores.due(at(11), 9).len(), 2);
        assert!(chores.due(at(69), 9).is_empty() && !chores.is_idle(), "its time has not come");
    }

    #[test]
    fn it_is_put_off_so_often_and_no_more() {
        let mut chores = Chores::default();
        chores.add(dropped(0), Duration::ZERO, UnixMicros(0), 0);
        let mut now = Duration::ZERO;
        let mut tries = 0;
        while let Some(chore) = chores.due(now, 1).pop() {
            tries += 1;
            chores.put_off(chore, now, 0);
            let is_over = tries > usize::from(TRIES_MAX);
            assert_eq!(chores.is_idle(), is_over || tries >= usize::from(TRIES_UNDER_WAY));
            assert_eq!(chores.take_left_out(), is_over || tries == usize::from(TRIES_UNDER_WAY));
            now += SPREAD;
        }
        assert_eq!(tries, 1 + usize::from(TRIES_MAX));
    }

    #[test]
    fn nothing_is_forgotten_while_redis_lacks_what_took_its_place() {
        let ids =
            |ids: &[&str]| ids.iter().map(|id| EventId::parse(id).unwrap()).collect::<Vec<_>>();
        assert!(may_forget(&ids(&["new"]), &ids(&["old", "new"])));
        assert!(!may_forget(&ids(&["new", "other"]), &ids(&["old", "new"])));
        assert!(may_forget(&[], &ids(&["old"])));
    }
}
