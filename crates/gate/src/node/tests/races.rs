//! Two VMs, an invalidator that restarts, and messages that are lost or late, in any order.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// An event about one of a few users.
    Event { user: u32, is_block: bool },
    /// A VM ticks.
    Tick { vm: usize },
    /// What a VM has sent reaches the invalidator, and its answer waits to be delivered.
    Reach { vm: usize },
    /// The answer that waits for a VM is delivered, or lost.
    Deliver { vm: usize, is_lost: bool },
    /// Time passes.
    Pass { ms: u64 },
    /// The invalidator starts again, knowing what it knew, with another epoch.
    Restart,
}

fn any_step() -> impl Strategy<Value = Step> {
    let vm = || 0usize..2;
    prop_oneof![
        3 => (0u32..5, any::<bool>()).prop_map(|(user, is_block)| Step::Event { user, is_block }),
        4 => vm().prop_map(|vm| Step::Tick { vm }),
        4 => vm().prop_map(|vm| Step::Reach { vm }),
        4 => (vm(), prop::bool::weighted(0.2))
            .prop_map(|(vm, is_lost)| Step::Deliver { vm, is_lost }),
        3 => (1u64..700).prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::Restart),
    ]
}

#[derive(Default)]
struct Wire {
    sent: Option<Poll>,
    answer: Option<Batch>,
}

struct World {
    node: Node,
    daemon: Daemon,
    pollers: [Poller; 2],
    wires: [Wire; 2],
    events: i64,
    restarts: u32,
}

const RANKS: [Rank; 2] = [Rank::Worker, Rank::Idle];

impl World {
    fn new() -> Self {
        Self {
            node: Node::new(),
            daemon: Daemon { changes_max: 2, ..Daemon::new("0") },
            pollers: [poller(1), poller(2)],
            wires: Default::default(),
            events: 0,
            restarts: 0,
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Event { user: id, is_block } => {
                self.events += 1;
                let effect =
                    if is_block { Effect::Block(block("fraud")) } else { lift(Some("fraud")) };
                let event = event(&format!("evt-{}", self.events), self.events, effect);
                self.daemon.ingest(&user(&format!("user-{id}")), event);
            }
            Step::Tick { vm } => {
                if let Some(poll) = self.node.tick(&mut self.pollers[vm], RANKS[vm]) {
                    self.wires[vm] = Wire { sent: Some(poll), answer: None };
                }
            }
            Step::Reach { vm } => {
                let Wire { sent, answer } = &mut self.wires[vm];
                if let Some(poll) = sent.take() {
                    *answer = Some(self.daemon.answer(&poll));
                }
            }
            Step::Deliver { vm, is_lost } => self.deliver(vm, is_lost),
            Step::Pass { ms } => self.node.pass_ms(ms),
            Step::Restart => {
                self.restarts += 1;
                self.daemon.epoch = self.restarts.to_string();
                self.daemon.log.clear();
            }
        }
    }

    fn deliver(&mut self, vm: usize, is_lost: bool) {
        let Some(batch) = self.wires[vm].answer.take() else { return };
        if is_lost {
            self.pollers[vm].on_failure(self.node.now());
            return;
        }
        let report = self.node.answer(&mut self.pollers[vm], RANKS[vm], &batch);
        self.wires[vm].sent = report.next;
    }

    /// Whatever the node says that it has applied, it has.
    fn check(&mut self) {
        let progress = read_progress(&mut self.node.memory);
        if progress.epoch != self.daemon.epoch || progress.in_snapshot {
            return;
        }
        let applied = usize::try_from(progress.applied).unwrap();
        let behind = &self.daemon.log[applied..];
        let states = self.daemon.states.clone();
        for (subject, known) in states.into_iter().filter(|(s, _)| !behind.contains(s)) {
            assert_eq!(self.node.stored(&subject), known, "{applied} applied");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn progress_never_skips_a_change(steps in prop::collection::vec(any_step(), 1..200)) {
        let mut world = World::new();
        for step in steps {
            world.run(step);
            world.check();
        }
        // Left alone for a while, the node knows everything.
        for _ in 0..60 {
            for vm in [0, 1] {
                world.run(Step::Pass { ms: 300 });
                world.run(Step::Tick { vm });
                world.run(Step::Reach { vm });
                world.run(Step::Deliver { vm, is_lost: false });
            }
        }
        world.check();
        let progress = read_progress(&mut world.node.memory);
        prop_assert_eq!(progress.epoch, world.daemon.epoch.clone());
        prop_assert_eq!(progress.applied, world.daemon.last());
        prop_assert!(!progress.in_snapshot && progress.synced);
    }
}
