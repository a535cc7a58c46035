//! What one worker remembers of the fleet's buckets between two reports: which to look at and when, and what it read
//! of the link last, so that a request reads no more than its own bucket.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};

use fleet::loss::{Link, OnLoss, is_lost};
use fleet::replica::Replica;
use fleet::replica::due::{Due, takes_due};
use fleet::terms::Terms;
use model::bucket::Rate;
use model::hash::{HashKey, SubjectHash};
use model::memory::SharedMemory;
use model::push::FLEET_REPORTS_MAX;
use model::time::MonotonicNanos;

use super::link::{self, Known};

/// Most buckets that one worker has in mind to report. What finds no place is found again by a later take.
pub const LOOKS_MAX: usize = 16_384;

/// The same of subjects at first sight, of each limit: their own, since anybody can be many of them.
pub const FIRST_SIGHTS_MAX: usize = 1_024;

/// Something that should have been done so long ago is not in anybody's mind: its worker is gone, or had no place for it.
const FORGOTTEN_AFTER_NS: u64 = 1_000_000_000;

/// A bucket to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// When.
    pub(crate) at: MonotonicNanos,
    /// Whose bucket.
    pub(crate) subject: SubjectHash,
    /// Of which limit, by its index.
    pub(crate) limit: usize,
    /// Under which rate.
    pub(crate) rate: Rate,
    /// Whether the node sees it for the first time.
    pub(crate) is_first_sight: bool,
}

/// Which bucket a look is at.
type Key = (SubjectHash, usize, u32);

impl Look {
    fn key(&self) -> Key {
        (self.subject, self.limit, self.rate.tag().0)
    }
}

impl Ord for Look {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

impl PartialOrd for Look {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// First sights of one limit that wait for their budget, the oldest first.
#[derive(Debug, Default)]
struct FirstSights {
    waiting: VecDeque<Look>,
    /// From when there is a budget again.
    from: MonotonicNanos,
}

/// What one worker remembers.
#[derive(Debug)]
pub struct FleetMemo {
    known: Option<Known>,
    /// Those that have a place in `when` at the same time; others are out of date.
    looks: BinaryHeap<Reverse<Look>>,
    first_sights: BTreeMap<usize, FirstSights>,
    /// When each bucket is looked at: once.
    when: HashMap<Key, MonotonicNanos>,
    /// Whether an earlier look has come up since somebody asked.
    is_sooner: bool,
    /// Before this there is no call; none while one is under way.
    next_call_at: Option<MonotonicNanos>,
    cut_off: usize,
}

impl Default for FleetMemo {
    /// One that knows nothing yet.
    fn default() -> Self {
        Self {
            known: None,
            looks: BinaryHeap::new(),
            first_sights: BTreeMap::new(),
            when: HashMap::new(),
            is_sooner: false,
            next_call_at: Some(0),
            cut_off: 0,
        }
    }
}

impl FleetMemo {
    /// Reads what the node knows by now.
    pub fn refresh(&mut self, shared: &mut impl SharedMemory) {
        self.known = Some(link::read(shared));
    }

    /// The same, unless it was read before.
    pub(crate) fn get(&mut self, shared: &mut impl SharedMemory) -> &Known {
        self.known.get_or_insert_with(|| link::read(shared))
    }

    /// The key of the fleet's names, if the node knew it when it looked last.
    pub(crate) fn hash_key(&self) -> Option<&HashKey> {
        Some(&self.known.as_ref()?.key.as_ref()?.1)
    }

    /// Whether the node hears of the fleet. One that does not know the fleet's key cannot.
    pub(crate) fn link(&self, rule: OnLoss, now: MonotonicNanos) -> Link {
        match &self.known {
            Some(known) if known.key.is_some() && !is_lost(known.waiting_since, now) => Link::Up,
            known => Link::Lost { rule, nodes: known.as_ref().map_or(0, |known| known.nodes) },
        }
    }

    /// Whether reports have had no answer for so long that the node counts as cut off.
    pub(crate) fn waits_too_long(&self, now: MonotonicNanos) -> bool {
        self.known.as_ref().is_some_and(|it| it.key.is_some() && is_lost(it.waiting_since, now))
    }

    /// How many reports a call may have: one where the node is cut off, to find out when that is over. So what is taken
    /// meanwhile stays where it can be reported once it is, instead of being given up.
    pub(crate) fn reports_max(&self, now: MonotonicNanos) -> usize {
        match self.link(OnLoss::Local, now) {
            Link::Up => FLEET_REPORTS_MAX,
            Link::Lost { .. } => 1,
        }
    }

    /// Counts a request that was decided without hearing of the fleet.
    pub(crate) fn count_cut_off(&mut self) {
        self.cut_off = self.cut_off.saturating_add(1);
    }

    /// How many requests were, since this was asked last.
    pub fn take_cut_off(&mut self) -> usize {
        std::mem::take(&mut self.cut_off)
    }

    /// Has in mind to look at a bucket, unless that is in mind for no later already.
    pub(crate) fn note(&mut self, look: Look) {
        let known = self.when.get(&look.key()).copied();
        if known.is_some_and(|at| at <= look.at) {
            return;
        }
        if look.is_first_sight {
            let waiting = &mut self.first_sights.entry(look.limit).or_default().waiting;
            if waiting.len() >= FIRST_SIGHTS_MAX {
                return;
            }
            // What has become urgent goes before those that wait for a round.
            if waiting.front().is_none_or(|first| look.at < first.at) {
                self.is_sooner = true;
                waiting.push_front(look);
            } else {
                waiting.push_back(look);
            }
        } else {
            if self.looks.len() >= LOOKS_MAX {
                return;
            }
            self.is_sooner |= self.looks.peek().is_none_or(|Reverse(first)| look.at < first.at);
            self.looks.push(Reverse(look));
        }
        self.when.insert(look.key(), look.at);
    }

    /// When to look next, if that is sooner than when this was asked last.
    pub fn sooner(&mut self) -> Option<MonotonicNanos> {
        if !std::mem::take(&mut self.is_sooner) {
            return None;
        }
        self.next_at()
    }

    /// When to look next: not while a call is under way.
    #[must_use]
    pub fn next_at(&self) -> Option<MonotonicNanos> {
        let known = self.looks.peek().map(|Reverse(look)| look.at);
        let waiting = self.first_sights.values().filter_map(|one| {
            let first = one.waiting.front()?;
            Some(first.at.max(one.from))
        });
        Some(known.into_iter().chain(waiting).min()?.max(self.next_call_at?))
    }

    /// Notes from when there may be another call; none: one is under way.
    pub(crate) fn call_again_at(&mut self, at: Option<MonotonicNanos>) {
        self.next_call_at = at;
    }

    /// Whether there may be a call by now.
    pub(crate) fn may_call(&self, now: MonotonicNanos) -> bool {
        self.next_call_at.is_some_and(|at| at <= now)
    }

    /// The next bucket that is to be looked at by now: of those that the node knows.
    pub(crate) fn pop(&mut self, now: MonotonicNanos) -> Option<Look> {
        loop {
            self.looks.peek().filter(|Reverse(look)| look.at <= now)?;
            let Reverse(look) = self.looks.pop()?;
            if self.is_current(&look) {
                return Some(look);
            }
        }
    }

    /// The next one of a limit that the node sees for the first time.
    pub(crate) fn pop_first_sight(&mut self, limit: usize, now: MonotonicNanos) -> Option<Look> {
        loop {
            let waiting = &mut self.first_sights.get_mut(&limit)?.waiting;
            waiting.front().filter(|look| look.at <= now)?;
            let look = waiting.pop_front()?;
            if self.is_current(&look) {
                return Some(look);
            }
        }
    }

    /// Whether a look that is taken out is the one that is in mind, and no older one of the same bucket.
    fn is_current(&mut self, look: &Look) -> bool {
        let is_current = self.when.get(&look.key()) == Some(&look.at);
        if is_current {
            self.when.remove(&look.key());
        }
        is_current
    }

    /// From when first sights of a limit have a budget again.
    pub(crate) fn wait_for_budget(&mut self, limit: usize, from: MonotonicNanos) {
        if let Some(one) = self.first_sights.get_mut(&limit) {
            one.from = from;
        }
    }
}

/// When a bucket has to be looked at because of tokens that were just taken, if that is not in anybody's mind already:
/// with the first take after a report, with the ones that make the next report due and urgent, and whenever something is overdue for so
/// long that whoever had it in mind must be gone. Says also whether it is seen for the first time. `before` is what stood in no report
/// before the take.
pub(crate) fn due_at(
    replica: &Replica,
    before: u32,
    terms: &Terms,
    now: MonotonicNanos,
) -> Option<(MonotonicNanos, bool)> {
    let is_forgotten = |at: MonotonicNanos| at.saturating_add(FORGOTTEN_AFTER_NS) < now;
    if let Some(at) = replica.overdue_at() {
        return is_forgotten(at).then_some((now, false));
    }
    let (due_at, _) = replica.due_at(terms)?;
    let (goes_at, why) = replica.goes_at(terms, now)?;
    let crosses = |enough| before < enough && replica.unreported() >= enough;
    let is_crossed = crosses(takes_due(terms)) || crosses(replica.takes_urgent(terms));
    let is_due = before == 0 || is_crossed || is_forgotten(due_at);
    is_due.then_some((goes_at, why == Due::FirstSight))
}
