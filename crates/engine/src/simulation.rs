//! Random interleavings of events, polls, restarts and lost answers, against one invariant: a node
//! that merges what it is sent ends with the state of a store that merged every event directly.

use std::collections::{BTreeMap, BTreeSet};

use model::push::batch::Kind;
use model::push::{Batch, Change, Poll, Refusal};
use model::state::State;
use model::subject::Subject;
use proptest::prelude::*;
use serde_json::json;

use super::tests::keys::keys;
use super::tests::{at, engine, event, settings};
use super::*;
use crate::Limits;

mod world;

/// Polls in which a node that nobody disturbs must have caught up.
const CATCH_UP_POLLS_MAX: usize = 200;

/// A node as the protocol has it.
#[derive(Default)]
struct Node {
    boot: u32,
    states: BTreeMap<Subject, State>,
    no_room_for: BTreeSet<Subject>,
    next: Poll,
    /// The last subject of the last chunk: cursors may only go up.
    chunk_end: Option<Subject>,
}

impl Node {
    fn new(boot: u32) -> Self {
        let next = Poll {
            protocol: 1,
            node: "edge-1".into(),
            boot_id: format!("boot-{boot}"),
            takes_extras: true,
            // Every other one is of an older version.
            packed_form: model::state::PACKED_FORM * (boot % 2),
            ..Poll::default()
        };
        Self { boot, next, ..Self::default() }
    }

    /// Merges a change; says whether that was news.
    fn merge(&mut self, change: Change) -> bool {
        let subject = Subject::try_from(change.subject.clone().unwrap()).unwrap();
        if self.no_room_for.contains(&subject) {
            let refusal = Refusal { sequence: change.sequence, cause: "full".into() };
            self.next.refused.push(refusal);
            return false;
        }
        assert_eq!(change.packed.is_empty(), self.next.packed_form == 0);
        let state = State::try_from(change).unwrap();
        let known = self.states.entry(subject).or_default();
        let before = known.clone();
        known.merge_state(state);
        *known != before
    }

    /// Merges a batch, and makes the poll that acknowledges it. A subject for whom there is no room
    /// is refused.
    fn take(&mut self, batch: Batch, bounds: BatchBounds) {
        assert!(batch.changes.len() <= bounds.changes_max);
        assert!(batch.urgent.len() <= bounds.urgent_max);
        self.next.refused.clear();
        self.next.batch = batch.id;
        let kind = batch.kind();
        for change in batch.urgent {
            self.merge(change);
        }
        if kind == Kind::Snapshot && !self.next.in_snapshot {
            self.chunk_end = None;
        }
        for change in batch.changes {
            if kind == Kind::Snapshot {
                let subject = Subject::try_from(change.subject.clone().unwrap()).unwrap();
                assert!(self.chunk_end.as_ref().is_none_or(|end| *end < subject));
                self.chunk_end = Some(subject);
            }
            self.merge(change);
        }
        for change in batch.check {
            if self.merge(change) {
                self.next.repaired += 1;
            }
        }
        if let Some(keys) = batch.keys {
            assert!(keys.version > self.next.keys_version, "the same or older keys");
            self.next.keys_version = keys.version;
        }
        self.next.epoch = batch.epoch;
        self.next.applied = batch.sequence;
        self.next.in_snapshot = kind == Kind::Snapshot && !batch.last;
        self.next.cursor = batch.cursor;
    }
}

#[derive(Clone, Debug)]
enum Step {
    Publish {
        user: u8,
        second: u32,
        what: u8,
        repeat: bool,
    },
    Poll,
    Keys(u8),
    /// The batch is made, and gets lost.
    LostAnswer,
    /// The daemon makes what it expects to be asked for next.
    Prepare,
    /// The node forgets everything.
    NodeRestarts,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let publish = (0..12_u8, 0..60_u32, 0..5_u8, any::<bool>())
        .prop_map(|(user, second, what, repeat)| Step::Publish { user, second, what, repeat });
    let step = prop_oneof![
        6 => publish,
        6 => Just(Step::Poll),
        1 => (0..3_u8).prop_map(Step::Keys),
        1 => Just(Step::LostAnswer),
        3 => Just(Step::Prepare),
        1 => Just(Step::NodeRestarts),
    ];
    prop::collection::vec(step, 0..80)
}

fn payload(what: u8) -> serde_json::Value {
    match what {
        0 => json!({ "action": "block", "reason": "fraud" }),
        1 => json!({ "action": "block", "reason": "cooling_off", "scope": ["bet"] }),
        2 => json!({ "action": "unblock", "reason": "fraud" }),
        3 => json!({ "action": "unblock" }),
        _ => json!({ "action": "zero" }),
    }
}

proptest! {
    #[test]
    fn a_node_ends_with_the_state_of_a_store_that_merged_every_event(
        steps in steps(),
        changes_max in 1..5_usize,
        bytes in 1..400_usize,
        scan_max in 1..6_usize,
        log_entries_max in 1..20_usize,
    ) {
        let bounds = BatchBounds { changes_max, bytes, scan_max, ..BatchBounds::default() };
        let mut engine = engine(Limits { log_entries_max, ..Limits::default() }, bounds);
        let mut node = Node::new(0);
        let mut asked = None;
        let mut oracle: BTreeMap<Subject, State> = BTreeMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            let now = at(u64::try_from(number).unwrap());
            match step {
                Step::Publish { user, second, what, repeat } => {
                    let id = format!("e{number}");
                    let event = event(&id, &format!("u{user}"), second, payload(what));
                    for _ in 0..=u8::from(repeat) {
                        engine.ingest(event.clone(), now).unwrap();
                    }
                    oracle.entry(event.subject).or_default().merge(event.register);
                }
                Step::Poll => {
                    let polled = engine.poll(&node.next, now).unwrap();
                    if let Answer::Batch(batch) = polled.answer {
                        asked = SentChunk::of(&batch).map(|sent| (polled.ticket, sent));
                        node.take(batch, bounds);
                    }
                }
                Step::Prepare => {
                    if let Some((ticket, sent)) = &asked {
                        engine.prepare(ticket, sent);
                    }
                }
                Step::Keys(id) => drop(engine.set_keys(keys(&[&format!("k{id}")]), now)),
                Step::LostAnswer => drop(engine.poll(&node.next, now).unwrap()),
                Step::NodeRestarts => node = Node::new(node.boot.saturating_add(1)),
            }
        }
        let mut polls = 0;
        while let Answer::Batch(batch) = engine.poll(&node.next, at(1_000)).unwrap().answer {
            node.take(batch, bounds);
            polls += 1;
            prop_assert!(polls < CATCH_UP_POLLS_MAX, "the node does not catch up");
        }
        // Keys that got lost come with the next answer, which is a heartbeat here.
        let held = engine.poll(&node.next, at(1_000)).unwrap();
        node.take(engine.heartbeat(&held.ticket, at(1_000)), bounds);
        let keys = engine.status(at(1_000)).keys.map_or(0, |keys| keys.version);
        prop_assert_eq!(node.next.keys_version, keys);
        prop_assert_eq!(&node.states, &oracle);
        prop_assert_eq!(node.next.applied, engine.status(at(1_000)).sequence);
        let status = engine.status(at(1_000));
        let current = status.nodes.iter().find(|known| *known.boot_id == node.next.boot_id);
        prop_assert!(current.is_some_and(|known| known.synced && known.lag == 0));
    }

    #[test]
    fn paging_skips_no_subject_whatever_is_added_meanwhile(
        before in prop::collection::btree_set(0..200_u32, 1..60),
        meanwhile in prop::collection::vec(0..200_u32, 0..60),
        changes_max in 1..7_usize,
    ) {
        let bounds = BatchBounds { changes_max, ..BatchBounds::default() };
        let mut engine = engine(Limits::default(), bounds);
        let block = |id: String, user: u32, second| {
            let payload = json!({ "action": "block", "reason": "fraud" });
            event(&id, &format!("{user:03}"), second, payload)
        };
        for user in &before {
            engine.ingest(block(format!("b{user}"), *user, 0), at(0)).unwrap();
        }
        let mut node = Node::new(0);
        let mut meanwhile = meanwhile.into_iter().enumerate();
        while let Answer::Batch(batch) = engine.poll(&node.next, at(1)).unwrap().answer {
            let last = batch.last;
            node.take(batch, bounds);
            if last {
                break;
            }
            if let Some((number, user)) = meanwhile.next() {
                engine.ingest(block(format!("m{number}"), user, 1), at(1)).unwrap();
            }
        }
        for user in before {
            let subject = Subject::user(&format!("{user:03}")).unwrap();
            prop_assert!(node.states.contains_key(&subject), "skipped {}", user);
        }
    }
}
