//! Several workers and a pusher on one memory: whatever the order in which they get in each
//! other's way, the rate holds and no block is lost.
//!
//! Each time a worker goes to memory, the script may let others run before it gets there, and
//! others before those: their reads and writes fall between its own.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};

use model::memory::{Mark, Mismatch};
use model::state::State;
use proptest::prelude::*;

use super::*;
use crate::testing::lift;

/// How many workers can be in the middle of a request at once.
const DEPTH_MAX: u32 = 4;

#[derive(Clone, Debug)]
enum Action {
    Request,
    Block(&'static str),
    Unblock(Option<&'static str>),
}

/// Who does what, and how many milliseconds after the last.
#[derive(Clone, Debug)]
struct Task {
    user: u32,
    action: Action,
    after_ms: u64,
}

#[derive(Default)]
struct Known {
    state: State,
    allowed: u64,
}

struct World {
    gate: Gate,
    memory: RefCell<Memory>,
    time: Time,
    tasks: RefCell<VecDeque<Task>>,
    /// How many others get in before each step: used up in turn.
    script: RefCell<VecDeque<usize>>,
    users: RefCell<HashMap<u32, Known>>,
    events: Cell<i64>,
    lost_writes: Cell<u64>,
}

/// The memory as one worker sees it.
struct WorkerMemo<'a> {
    world: &'a World,
    depth: u32,
}

impl WorkerMemo<'_> {
    fn let_others_in(&self) {
        if self.depth < DEPTH_MAX {
            let others = self.world.script.borrow_mut().pop_front().unwrap_or(0);
            for _ in 0..others {
                self.world.run_next(self.depth + 1);
            }
        }
    }
}

impl SharedMemory for WorkerMemo<'_> {
    fn read(&mut self, key: MemoryKey) -> (Option<Vec<u8>>, Mark) {
        self.let_others_in();
        self.world.memory.borrow_mut().read(key)
    }

    fn write(&mut self, key: MemoryKey, value: &[u8], mark: Mark) -> Result<(), Mismatch> {
        self.let_others_in();
        let written = self.world.memory.borrow_mut().write(key, value, mark);
        let lost = u64::from(written.is_err());
        self.world.lost_writes.set(self.world.lost_writes.get() + lost);
        written
    }
}

impl World {
    fn run_next(&self, depth: u32) -> bool {
        let Some(task) = self.tasks.borrow_mut().pop_front() else { return false };
        self.time.pass(Duration::from_millis(task.after_ms));
        match task.action {
            Action::Request => self.request(task.user, depth),
            Action::Block(reason) => {
                self.push(task.user, Effect::Block(block(reason)), depth);
            }
            Action::Unblock(reason) => self.push(task.user, lift(reason), depth),
        }
        true
    }

    fn state_of(&self, user: u32) -> State {
        self.users.borrow_mut().entry(user).or_default().state.clone()
    }

    fn request(&self, id: u32, depth: u32) {
        let before = self.state_of(id);
        let request = Plain::get("/").with("x-user-id", &format!("user-{id}"));
        let mut worker = WorkerMemo { world: self, depth };
        let decision = self.gate.decide(&request, &mut worker, &self.time, Freshness::Fresh);
        let is_blocked = match &decision.verdict {
            Verdict::Deny(denial) => matches!(denial.cause, Cause::Block { .. }),
            Verdict::Allow => false,
        };
        // While nobody changed what is known of the user, there is only one right answer.
        let known = self.state_of(id);
        if known == before {
            assert_eq!(is_blocked, known.blocks(self.time.wall()).next().is_some());
        }
        if decision.verdict == Verdict::Allow {
            self.users.borrow_mut().entry(id).or_default().allowed += 1;
        }
    }

    fn push(&self, id: u32, effect: Effect, depth: u32) {
        let number = self.events.replace(self.events.get() + 1);
        let change = state([event(&format!("evt-{number}"), number, effect)]);
        let mut worker = WorkerMemo { world: self, depth };
        let subject = user(&format!("user-{id}"));
        crate::testing::apply(&self.gate, &mut worker, &self.time, &subject, &change).unwrap();
        // Only once it is stored does anybody count on it.
        self.users.borrow_mut().entry(id).or_default().state.merge_state(change);
    }
}

fn any_task() -> impl Strategy<Value = Task> {
    let action = prop_oneof![
        12 => Just(Action::Request),
        2 => prop::sample::select(vec!["fraud", "kyc"]).prop_map(Action::Block),
        2 => prop::sample::select(vec![Some("fraud"), Some("kyc"), None]).prop_map(Action::Unblock),
    ];
    (0u32..6, action, 0u64..300).prop_map(|(user, action, after_ms)| Task {
        user,
        action,
        after_ms,
    })
}

fn world(config: &Value, tasks: Vec<Task>, script: Vec<usize>) -> World {
    World {
        gate: gate(config),
        memory: RefCell::default(),
        time: Time::default(),
        tasks: RefCell::new(tasks.into()),
        script: RefCell::new(script.into()),
        users: RefCell::default(),
        events: Cell::default(),
        lost_writes: Cell::default(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn the_rate_holds_and_no_block_is_lost(
        tasks in prop::collection::vec(any_task(), 1..150),
        script in prop::collection::vec(0usize..3, 0..300),
        slabs_are_tight in any::<bool>(),
    ) {
        // Buckets of everybody stand in the way of everybody, and full ones are dropped for room.
        let room = if slabs_are_tight { 64 } else { 1_024 };
        let mut config = base_with("/storage/slab_bytes_max", json!(room));
        config["limits"] =
            json!([limit("per-user", json!("user"), 3), limit("tight", json!("user"), 2)]);
        let world = world(&config, tasks, script);
        while world.run_next(0) {}
        let elapsed_s = world.time.0.get().as_secs();
        for (id, known) in world.users.borrow().iter() {
            prop_assert!(known.allowed <= 2 + elapsed_s, "user {}: {}", id, known.allowed);
        }
        let ids: Vec<_> = world.users.borrow().keys().copied().collect();
        for id in ids {
            world.request(id, DEPTH_MAX);
        }
    }
}

#[test]
fn the_script_does_let_others_get_in_the_way() {
    let task = Task { user: 1, action: Action::Request, after_ms: 10 };
    let limits = json!([limit("per-user", json!("user"), 30)]);
    let world = world(&base_with("/limits", limits), vec![task; 40], [0, 1].repeat(20));
    while world.run_next(0) {}
    assert!(world.lost_writes.get() > 5, "{}", world.lost_writes.get());
    assert_eq!(world.users.borrow()[&1].allowed, 30);
}

/// A worker that is held up between its clock and its write must not find the bucket forgotten as
/// full by another, later one, and take it for full at its own, earlier time.
#[test]
fn a_late_worker_gets_no_amnesty() {
    let slab = |id: u32| {
        let subject = user(&format!("user-{id}"));
        gate(&base()).hash_key().subject(subject.as_ref()).slab(16)
    };
    let neighbor = (2..).find(|id| slab(*id) == slab(1)).unwrap();
    let task = |user, after_ms| Task { user, action: Action::Request, after_ms };
    let burst = || [task(1, 0), task(1, 0), task(1, 0)];
    let tasks = [&burst()[..], &[task(1, 1_000), task(neighbor, 2_000)], &burst()].concat();
    // The neighbor gets in before the write of the fourth.
    let script = [&[0; 7][..], &[1]].concat();
    let world = world(&base(), tasks, script);
    while world.run_next(0) {}
    assert_eq!(world.lost_writes.get(), 1);
    assert_eq!(world.users.borrow()[&1].allowed, 6, "3 at first, and 3 in 3 seconds");
}
