//! Publishers who are told what is enforced, and a node that refuses, forgets and restarts: nobody
//! is told a thing that is not so, and in the end the node has everything.

use super::*;

#[derive(Clone, Debug)]
enum Turn {
    Publish {
        user: u8,
        what: u8,
    },
    Poll,
    /// The daemon makes what it expects to be asked for next, at once or late.
    Prepare,
    /// A poll that is held too long.
    Heartbeat,
    LostAnswer,
    /// The answer is applied, and the poll that says so gets lost with the VM.
    LateAnswer,
    NodeRestarts,
    /// There is room for a user no more, or again.
    Room {
        user: u8,
        is_there: bool,
    },
    Damage {
        user: u8,
    },
    Wait,
}

fn turns(may_damage: bool) -> impl Strategy<Value = Vec<Turn>> {
    let publish = (0..9_u8, 0..5_u8).prop_map(|(user, what)| Turn::Publish { user, what });
    let room = (0..9_u8, any::<bool>()).prop_map(|(user, is_there)| Turn::Room { user, is_there });
    let damage = (0..9_u8).prop_map(|user| Turn::Damage { user });
    let turn = prop_oneof![
        12 => publish,
        8 => Just(Turn::Poll),
        4 => Just(Turn::Prepare),
        2 => Just(Turn::Heartbeat),
        1 => Just(Turn::LostAnswer),
        1 => Just(Turn::LateAnswer),
        1 => Just(Turn::NodeRestarts),
        1 => room,
        u32::from(may_damage) => damage,
        1 => Just(Turn::Wait),
    ];
    prop::collection::vec(turn, 0..150)
}

/// A daemon, one node, and publishers who have been told something.
struct World {
    engine: Engine,
    bounds: BatchBounds,
    node: Node,
    /// The last chunk of a snapshot that another one follows.
    asked: Option<(Ticket, SentChunk)>,
    oracle: BTreeMap<Subject, State>,
    waiting: Vec<(WaiterId, Subject, State)>,
    published: u32,
    /// Nobody can vouch for what was in memory.
    is_damaged: bool,
    ms: u64,
}

impl World {
    fn new(bounds: BatchBounds, log_entries_max: usize) -> Self {
        let engine = Engine::new(Settings {
            scrub: 4_000,
            ..settings(Limits { log_entries_max, ..Limits::default() }, bounds)
        });
        let (oracle, waiting) = (BTreeMap::new(), Vec::new());
        let (node, published, is_damaged, ms) = (Node::new(0), 0, false, 0);
        let asked = None;
        Self { engine, bounds, node, asked, oracle, waiting, published, is_damaged, ms }
    }

    fn run(&mut self, turn: &Turn) {
        self.ms += 1;
        let now = at(self.ms);
        match turn {
            Turn::Publish { user, what } => self.publish(*user, *what),
            Turn::Poll => {
                let polled = self.engine.poll(&self.node.next, now).unwrap();
                self.check_receipts();
                if let Answer::Batch(batch) = polled.answer {
                    self.asked = SentChunk::of(&batch).map(|sent| (polled.ticket, sent));
                    self.node.take(batch, self.bounds);
                }
            }
            Turn::Prepare => {
                if let Some((ticket, sent)) = &self.asked {
                    self.engine.prepare(ticket, sent);
                }
            }
            Turn::Heartbeat => {
                let polled = self.engine.poll(&self.node.next, now).unwrap();
                self.check_receipts();
                if polled.answer == Answer::Hold {
                    let batch = self.engine.heartbeat(&polled.ticket, now);
                    self.node.take(batch, self.bounds);
                }
            }
            Turn::LostAnswer => drop(self.engine.poll(&self.node.next, now).unwrap()),
            Turn::LateAnswer => {
                let polled = self.engine.poll(&self.node.next, now).unwrap();
                // Another VM asks once more, and is faster.
                let other = self.engine.poll(&self.node.next, now).unwrap();
                self.check_receipts();
                let (Answer::Batch(late), Answer::Batch(batch)) = (polled.answer, other.answer)
                else {
                    return;
                };
                self.node.take(batch, self.bounds);
                // What became of the late one is not recorded: the node has got further.
                let next = self.node.next.clone();
                for change in late.urgent.into_iter().chain(late.changes).chain(late.check) {
                    self.node.merge(change);
                }
                self.node.next = next;
            }
            Turn::NodeRestarts => {
                let room = std::mem::take(&mut self.node.no_room_for);
                self.node = Node::new(self.node.boot + 1);
                self.node.no_room_for = room;
                // They wait for a node that will never answer.
                self.waiting.clear();
            }
            Turn::Room { user, is_there: true } => {
                self.node.no_room_for.remove(&user_of(*user));
            }
            Turn::Room { user, is_there: false } => {
                // What stands there already, stays and can be merged with.
                if !self.node.states.contains_key(&user_of(*user)) {
                    self.node.no_room_for.insert(user_of(*user));
                }
            }
            Turn::Damage { user } => {
                self.is_damaged = true;
                self.node.states.remove(&user_of(*user));
            }
            Turn::Wait => self.ms += 61_000,
        }
    }

    fn publish(&mut self, user: u8, what: u8) {
        self.published += 1;
        let now = at(self.ms);
        let event = event(&format!("e{}", self.published), &format!("u{user}"), 0, payload(what));
        let ingested = self.engine.ingest(event.clone(), now).unwrap();
        let known = self.oracle.entry(event.subject.clone()).or_default();
        known.merge(event.register);
        let waiter = self.engine.wait(&event.subject, ingested.sequence, now);
        self.waiting.push((waiter, event.subject, known.clone()));
        self.check_receipts();
    }

    /// Whoever is told "enforced" can be sure that the node has it, whatever else it has.
    fn check_receipts(&mut self) {
        let (done, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(waiter, ..)| self.engine.is_complete(*waiter));
        self.waiting = waiting;
        let done: Vec<_> = done;
        for (waiter, subject, state) in done {
            let receipt = self.engine.finish(waiter).unwrap();
            let boot_id = &self.node.next.boot_id;
            let is_told = receipt.enforced && !self.is_damaged;
            if is_told && receipt.nodes.iter().any(|node| node.boot_id == *boot_id) {
                let mut stored = self.node.states.get(&subject).cloned().unwrap_or_default();
                assert_eq!(
                    stored.merge_state(state),
                    model::state::Merge::Duplicate,
                    "{subject:?}"
                );
            }
        }
    }

    /// Left alone, with room for everybody.
    fn settle(&mut self) {
        self.node.no_room_for.clear();
        for _ in 0..5 {
            self.run(&Turn::Wait);
            for _ in 0..CATCH_UP_POLLS_MAX {
                self.run(&Turn::Poll);
                self.run(&Turn::Heartbeat);
            }
        }
    }
}

fn user_of(number: u8) -> Subject {
    Subject::user(&format!("u{number}")).unwrap()
}

proptest! {
    #[test]
    fn enforced_is_only_said_of_what_a_node_has(
        turns in turns(false),
        changes_max in 1..5_usize,
        urgent_max in 1..4_usize,
        log_entries_max in 1..40_usize,
    ) {
        let bounds = BatchBounds { changes_max, urgent_max, ..BatchBounds::default() };
        let mut world = World::new(bounds, log_entries_max);
        for turn in &turns {
            world.run(turn);
            prop_assert_eq!(world.node.next.repaired, 0, "nothing was missing");
        }
        world.settle();
        prop_assert_eq!(world.node.next.repaired, 0, "nothing was missing");
        prop_assert_eq!(&world.node.states, &world.oracle);
        let status = world.engine.status(at(world.ms));
        let current = status.nodes.iter().find(|n| n.boot_id == world.node.next.boot_id).unwrap();
        prop_assert!(current.synced && current.lag == 0 && current.refused == 0);
    }

    #[test]
    fn what_a_node_loses_is_repaired(turns in turns(true), changes_max in 1..5_usize) {
        let bounds = BatchBounds { changes_max, ..BatchBounds::default() };
        let mut world = World::new(bounds, 30);
        for turn in &turns {
            world.run(turn);
        }
        world.settle();
        prop_assert_eq!(&world.node.states, &world.oracle);
    }
}
