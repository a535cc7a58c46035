//! A fleet in the memory of a test: nodes, a network with delays and losses, and Redis's ledger.
//!
//! Every node has a clock of its own, hours from the others. Time goes in milliseconds, and messages arrive at any
//! nanosecond between.

#![allow(dead_code, reason = "each test that uses it needs a part of it")]

mod random;
mod seen;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use fleet::epoch::{Begins, Epoch};
use fleet::ledger::Ledger;
use fleet::loss::{Link, OnLoss, is_lost};
use fleet::overshoot::Delays;
use fleet::replica::due::{Outgoing, Overdue};
use fleet::replica::{Heard, Replica, Told};
use fleet::terms::{DebtMax, Terms};
use fleet::wire::{Answer, BucketName, Partition, Report, ReportId};
use model::bucket::Rate;
use model::hash::SubjectHash;
use model::time::UnixMicros;

pub(crate) use random::Random;
pub(crate) use seen::Seen;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
/// When every simulation begins.
const START: u64 = 1_000_000 * SECOND;
/// Redis's clock then.
const REDIS_US: u64 = 1_795_000_000_000_000;

pub(crate) fn terms(tokens: u32, per_second: u32, debt_percent: u32) -> Terms {
    let rate = Rate::new(tokens, per_second, Duration::from_secs(1)).unwrap();
    Terms { rate, debt: DebtMax::percent(debt_percent).unwrap() }
}

/// One life of one node.
struct Node {
    boot: u64,
    serial: u64,
    /// What its clock shows more than the time of the simulation.
    ahead: u64,
    is_cut: bool,
    replicas: HashMap<u32, Replica>,
    waiting: BTreeMap<u64, u64>,
}

enum Message {
    Report { node: usize, user: u32, sent_at: u64, report: Report },
    Answer { node: usize, user: u32, sent_at: u64, id: ReportId, answer: Answer },
    News { node: usize, user: u32, answer: Answer, said_at: u64 },
}

pub(crate) struct Fleet {
    pub(crate) terms: Terms,
    pub(crate) seen: Seen,
    pub(crate) ledger: Ledger,
    pub(crate) rule: OnLoss,
    /// Of reports, the share whose answer is lost; never more than `delays.losses` in a row.
    pub(crate) loss: f64,
    /// Half of them are lost on their way instead, before they are counted.
    pub(crate) loses_reports: bool,
    /// Every message takes any time up to its longest, so that they overtake each other.
    pub(crate) is_jittery: bool,
    /// By how many microseconds Redis's clock was set since the start.
    pub(crate) step_us: i64,
    delays: Delays,
    nodes: Vec<Node>,
    random: Random,
    now: u64,
    under_way: BTreeMap<(u64, u64), Message>,
    sent: u64,
    agenda: BTreeSet<(u64, usize, u32)>,
    exact: HashMap<u32, u64>,
    lost_in_a_row: HashMap<ReportId, u32>,
}

impl Fleet {
    pub(crate) fn new(nodes: usize, terms: Terms, delays: Delays, seed: u64) -> Self {
        let mut fleet = Self {
            terms,
            seen: Seen::default(),
            ledger: Ledger::default(),
            rule: OnLoss::Local,
            loss: 0.0,
            loses_reports: false,
            is_jittery: false,
            step_us: 0,
            delays,
            nodes: Vec::new(),
            random: Random::new(seed),
            now: START,
            under_way: BTreeMap::new(),
            sent: 0,
            agenda: BTreeSet::new(),
            exact: HashMap::new(),
            lost_in_a_row: HashMap::new(),
        };
        for at in 0..nodes {
            let node = fleet.node(at);
            fleet.nodes.push(node);
        }
        fleet
    }

    fn node(&mut self, at: usize) -> Node {
        let boot = self.random.below(u64::MAX);
        let ahead = at as u64 * 3_600 * SECOND;
        let (replicas, waiting) = (HashMap::new(), BTreeMap::new());
        Node { boot, serial: 0, ahead, is_cut: false, replicas, waiting }
    }

    pub(crate) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Seconds since the start.
    pub(crate) fn time(&self) -> f64 {
        (self.now - START) as f64 / SECOND as f64
    }

    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// The node forgets everything and is another life from now on.
    pub(crate) fn restart(&mut self, at: usize) {
        self.nodes[at] = self.node(at);
    }

    pub(crate) fn cut(&mut self, at: usize, is_cut: bool) {
        self.nodes[at].is_cut = is_cut;
    }

    /// All nodes hear of an event at once.
    pub(crate) fn begin(&mut self, user: u32, epoch_id: u64, begins: Begins) {
        let epoch = Epoch { at: self.redis(self.now), id: epoch_id };
        let (terms, now) = (self.terms, self.now);
        for node in &mut self.nodes {
            let replica = node.replicas.entry(user).or_default();
            replica.begin((epoch, begins), Duration::ZERO, &terms, now + node.ahead);
        }
    }

    pub(crate) fn redis(&self, at: u64) -> UnixMicros {
        let passed = (at - START) / 1_000;
        UnixMicros((REDIS_US + passed).saturating_add_signed(self.step_us))
    }

    /// One request: whether it was let through.
    pub(crate) fn request(&mut self, at: usize, user: u32) -> bool {
        self.seen.offered += 1;
        let (now, terms) = (self.now, self.terms);
        let exact = self.exact.entry(user).or_default();
        let after = now.max(*exact) + terms.token_ns();
        if after <= now + terms.fill_ns() {
            *exact = after;
            self.seen.entitled += 1;
        }
        let nodes = self.nodes.len() as u32;
        let node = &mut self.nodes[at];
        let link = match is_lost(node.waiting.values().next().copied(), now + node.ahead) {
            true => Link::Lost { rule: self.rule, nodes },
            false => Link::Up,
        };
        let replica = node.replicas.entry(user).or_default();
        let is_let = replica.take(1, &terms, link, now + node.ahead).is_ok();
        if is_let {
            self.seen.admitted += 1;
            self.plan(at, user);
        }
        is_let
    }

    /// Lets a millisecond pass.
    pub(crate) fn tick(&mut self) {
        self.work();
        let passed = (self.now - START) as f64 / self.terms.token_ns() as f64;
        self.seen.look(passed, self.terms.rate.max_tokens());
        self.now += MS;
        while let Some(entry) = self.under_way.first_entry() {
            let (at, _) = *entry.key();
            if at > self.now {
                break;
            }
            let message = entry.remove();
            self.arrive(message, at);
        }
    }

    /// Every node does what is due.
    fn work(&mut self) {
        while let Some((at, index, user)) = self.agenda.first().copied() {
            if at > self.now {
                return;
            }
            self.agenda.remove(&(at, index, user));
            let (terms, now) = (self.terms, self.now);
            let node = &mut self.nodes[index];
            let Some(replica) = node.replicas.get_mut(&user) else { continue };
            let own_now = now + node.ahead;
            let out = match replica.overdue(own_now) {
                Some(Overdue::Again(out)) => Some(out),
                Some(Overdue::GivenUp(takes)) => {
                    self.seen.given_up += u64::from(takes);
                    let replicas = &node.replicas;
                    node.waiting.retain(|_, since| {
                        replicas.values().any(|one| one.waiting_since() == Some(*since))
                    });
                    None
                }
                None if is_lost(node.waiting.values().next().copied(), own_now) => {
                    self.agenda.insert((now + 100 * MS, index, user));
                    continue;
                }
                None => replica.report(node.serial + 1, &terms, own_now),
            };
            if let Some(out) = out {
                self.send(index, user, out);
            }
            self.plan(index, user);
        }
    }

    fn plan(&mut self, index: usize, user: u32) {
        let node = &self.nodes[index];
        let replica = &node.replicas[&user];
        let goes_at = replica.goes_at(&self.terms, self.now + node.ahead).map(|(at, _)| at);
        let due = goes_at.or(replica.overdue_at());
        if let Some(due) = due {
            self.agenda.insert((due.saturating_sub(node.ahead), index, user));
        }
    }

    fn send(&mut self, index: usize, user: u32, out: Outgoing) {
        self.seen.reports += 1;
        let now = self.now;
        let node = &mut self.nodes[index];
        node.serial = node.serial.max(out.serial);
        node.waiting.entry(out.serial).or_insert(now + node.ahead);
        let bucket = bucket(user);
        let id = ReportId { partition: bucket.partition, boot: node.boot, serial: out.serial };
        let Outgoing { takes, epoch, begins, .. } = out;
        let report = Report { id, bucket, takes, epoch, begins, terms: self.terms };
        if !node.is_cut {
            let message = Message::Report { node: index, user, sent_at: now + node.ahead, report };
            let under_way = self.under_way_for(self.delays.report);
            self.put(now + under_way, message);
        }
    }

    fn put(&mut self, at: u64, message: Message) {
        self.sent += 1;
        self.under_way.insert((at, self.sent), message);
    }

    fn arrive(&mut self, message: Message, at: u64) {
        match message {
            Message::Report { node, user, sent_at, report } => {
                let lost = self.lost_in_a_row.entry(report.id).or_default();
                let is_lost = *lost < self.delays.losses && self.random.chance(self.loss);
                *lost += u32::from(is_lost);
                if is_lost && self.loses_reports && self.random.chance(0.5) {
                    return;
                }
                let (answer, news) = self.ledger.report(&report, self.redis(at));
                if let Some(news) = news {
                    self.seen.news += 1;
                    for node in 0..self.nodes.len() {
                        let message =
                            Message::News { node, user, answer: news.answer, said_at: at };
                        let under_way = self.under_way_for(self.delays.news);
                        self.put(at + under_way, message);
                    }
                }
                if !is_lost {
                    let message = Message::Answer { node, user, sent_at, id: report.id, answer };
                    let under_way = self.under_way_for(self.delays.answer);
                    self.put(at + under_way, message);
                }
            }
            Message::Answer { node: index, user, sent_at, id, answer } => {
                let terms = self.terms;
                let node = &mut self.nodes[index];
                if node.is_cut || node.boot != id.boot {
                    return;
                }
                node.waiting.remove(&id.serial);
                let replica = node.replicas.entry(user).or_default();
                let told = Told { answer, as_of: sent_at };
                let heard = replica.answered(id.serial, told, &terms, at + node.ahead);
                self.seen.behind += u64::from(heard == Heard::Behind);
                self.plan(index, user);
            }
            Message::News { node: index, user, answer, said_at } => {
                let node = &mut self.nodes[index];
                if !node.is_cut {
                    let told = Told { answer, as_of: said_at + node.ahead };
                    node.replicas.entry(user).or_default().hear(told, &self.terms);
                    self.plan(index, user);
                }
            }
        }
    }

    fn under_way_for(&mut self, longest: Duration) -> u64 {
        let longest = nanos(longest);
        if self.is_jittery { self.random.below(longest) } else { longest }
    }
}

pub(crate) fn bucket(user: u32) -> BucketName {
    let mut subject = [0; 16];
    subject[..4].copy_from_slice(&user.to_be_bytes());
    BucketName { partition: Partition(0), subject: SubjectHash(subject), limit: 1, rate: 1 }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap()
}
