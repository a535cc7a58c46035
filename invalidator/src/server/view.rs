//! What is known about a user or a session, as the API shows it.

use engine::{NodeKey, View};
use model::bucket::Rate;
use model::name::Name;
use model::state::{Effect, Register, Scope};
use model::subject::Subject;
use model::time::UnixMicros;
use serde::Serialize;

/// What is in effect, and who enforces it.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    subject: ShownSubject<'a>,
    sequence: u64,
    blocks: Vec<Entry<'a, Block<'a>>>,
    zero: Option<Entry<'a, Zero<'a>>>,
    overrides: Vec<Entry<'a, Override<'a>>>,
    nodes: Vec<Node<'a>>,
}

#[derive(Serialize)]
struct ShownSubject<'a> {
    kind: &'static str,
    id: &'a str,
}

/// An effect, and the event it comes from.
#[derive(Serialize)]
struct Entry<'a, E> {
    #[serde(flatten)]
    effect: E,
    event_id: &'a str,
    /// When it was first heard: the instant from which it counts in the order of events.
    heard_at: String,
    /// The publisher's, if it counts.
    sequence: Option<u64>,
}

#[derive(Serialize)]
struct Block<'a> {
    reason: &'a str,
    scope: Vec<&'a str>,
    until: Option<String>,
    disclose: bool,
}

#[derive(Serialize)]
struct Zero<'a> {
    scope: Vec<&'a str>,
    at: String,
    until: Option<String>,
}

#[derive(Serialize)]
struct Override<'a> {
    limit: &'a str,
    rate: Option<ShownRate>,
    until: Option<String>,
}

#[derive(Serialize)]
struct ShownRate {
    max_tokens: u32,
    tokens_per_fill: u32,
    fill_interval_s: f64,
}

#[derive(Serialize)]
struct Node<'a> {
    node: &'a str,
    boot_id: &'a str,
    enforced: bool,
}

impl<'a> Shown<'a> {
    /// What is in effect at `now`.
    pub(super) fn new(subject: &'a Subject, view: &'a View, now: UnixMicros) -> Self {
        let mut shown = Self {
            subject: ShownSubject { kind: subject.kind_name(), id: subject.id() },
            sequence: view.sequence,
            blocks: Vec::new(),
            zero: None,
            overrides: Vec::new(),
            nodes: view.nodes.iter().map(Node::new).collect(),
        };
        for register in view.state.in_effect(now) {
            shown.add(register);
        }
        shown
    }

    fn add(&mut self, register: &'a Register) {
        match &register.effect {
            Effect::Block(block) => self.blocks.push(Entry::new(
                register,
                Block {
                    reason: block.reason.as_str(),
                    scope: names(&block.scope),
                    until: time(block.until),
                    disclose: block.disclose,
                },
            )),
            Effect::Zero(zero) => {
                let (scope, at) = (names(&zero.scope), zero.at.to_string());
                let shown = Zero { scope, at, until: time(zero.until) };
                self.zero = Some(Entry::new(register, shown));
            }
            Effect::Override(change) => self.overrides.push(Entry::new(
                register,
                Override {
                    limit: change.limit.as_str(),
                    rate: change.rate.as_ref().map(ShownRate::new),
                    until: time(change.until),
                },
            )),
            Effect::Lift { .. } => {}
        }
    }
}

impl<'a, E> Entry<'a, E> {
    fn new(register: &'a Register, effect: E) -> Self {
        let version = &register.version;
        Self {
            effect,
            event_id: version.event_id.as_str(),
            heard_at: version.at.to_string(),
            sequence: version.sequence.map(|sequence| sequence.number),
        }
    }
}

impl ShownRate {
    fn new(rate: &Rate) -> Self {
        Self {
            max_tokens: rate.max_tokens(),
            tokens_per_fill: rate.tokens_per_fill(),
            fill_interval_s: rate.fill_interval().as_secs_f64(),
        }
    }
}

impl<'a> Node<'a> {
    fn new((key, enforced): &'a (NodeKey, bool)) -> Self {
        Self { node: &key.node, boot_id: &key.boot_id, enforced: *enforced }
    }
}

fn names(scope: &Scope) -> Vec<&str> {
    scope.names().iter().map(Name::as_str).collect()
}

fn time(at: Option<UnixMicros>) -> Option<String> {
    at.map(|at| at.to_string())
}
