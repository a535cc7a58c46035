//! Zeros of an invalidator whose clock is another than the node's.

use model::state::Zero;
use model::time::UnixMicros;

use super::*;
use crate::testing::{at, zero};

/// A node that has heard of this zero, so many seconds after its start.
struct Node {
    gate: Gate,
    memory: Memory,
    time: Time,
}

impl Node {
    fn new(synced: bool) -> Self {
        let mut memory = Memory::default();
        let progress = Progress { synced, ..Progress::default() };
        memory.values.insert(MemoryKey::Progress, (progress.encode_to_vec(), 1));
        Self { gate: gate(&base()), memory, time: Time::default() }
    }

    fn hear(&mut self, said: Zero) -> Applied {
        let state = state([event("z", 0, Effect::Zero(said))]);
        let alice = user("alice");
        crate::testing::apply(&self.gate, &mut self.memory, &self.time, &alice, &state).unwrap()
    }

    fn emptied_at(&self) -> Vec<UnixMicros> {
        let slabs = self.memory.values.iter().filter(|(key, _)| matches!(key, MemoryKey::Slab(_)));
        let entries = slabs.flat_map(|(_, (slab, _))| slab::entries(Some(slab)).flatten());
        let states = entries.map(|entry| State::unpack(entry.status).unwrap());
        let zeros = |state: State| state.zeros(self.time.wall()).map(|(z, _)| z.at).collect();
        states.flat_map(|state| -> Vec<_> { zeros(state) }).collect()
    }
}

#[test]
fn a_node_that_follows_takes_a_zero_for_now_whatever_the_clock_that_wrote_it() {
    for said_s in [-3_600, -1, 0, 1, 3_600] {
        let mut node = Node::new(true);
        assert_eq!(node.hear(Zero { at: at(said_s), ..zero() }), Applied::New);
        assert_eq!(node.emptied_at(), [at(0)], "{said_s}");
        node.time.pass(Duration::from_secs(10));
        assert_eq!(node.hear(Zero { at: at(said_s), ..zero() }), Applied::Known, "{said_s}");
        assert_eq!(node.emptied_at(), [at(0)], "what it knows stays: {said_s}");
    }
}

#[test]
fn a_node_that_starts_believes_what_is_not_in_the_future() {
    for (said_s, taken_s) in [(-3_600, -3_600), (0, 0), (3_600, 0)] {
        let mut node = Node::new(false);
        node.hear(Zero { at: at(said_s), ..zero() });
        assert_eq!(node.emptied_at(), [at(taken_s)]);
    }
}

#[test]
fn a_zero_of_long_ago_is_no_news() {
    let mut node = Node::new(true);
    node.hear(Zero { at: at(-2 * 86_400), ..zero() });
    assert_eq!(node.emptied_at(), [at(-2 * 86_400)]);
    assert_eq!(node.hear(Zero { at: at(-2 * 86_400), ..zero() }), Applied::Known);
}
