//! When to poll the invalidator, with what, and what to do with its answer.

use std::fmt;
use std::time::Duration;

use model::hash::{SubjectHash, fingerprint};
use model::memory::{MemoryKey, SharedMemory, Step, update};
use model::push::batch::Kind;
use model::push::{
    BATCH_BYTES_MAX, Batch, HOLD_MAX, Message, PROTOCOL, Poll, REFUSALS_MAX, Refusal,
    freshness as says,
};
use model::state::PACKED_FORM;
use model::time::{Clock, MonotonicNanos};

use super::apply::{Applier, Outcome};
use super::lease::{self, Rank};
use super::messages::Progress;
use super::{FreshnessCache, changed, firsts, keys, read_progress};
use crate::config::Config;
use crate::decide::{Freshness, Gate};
use crate::fleet::link;
use crate::fleet::news;

/// The first and the longest wait after a failed poll.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// An answer sooner than this that brought the node no further is not answered with another poll
/// before the next tick, so that an invalidator that does not hold polls is not called in a loop.
const HOLD_MIN: Duration = Duration::from_millis(20);

/// The same for an answer with news of the fleet's buckets, of which the invalidator sends some every 5 ms at most.
const NEWS_HOLD_MIN: Duration = Duration::from_millis(4);

/// The side of one VM that follows the invalidator.
#[derive(Debug)]
pub struct Poller {
    holder: u64,
    is_holder: bool,
    node: String,
    /// When the poll that is on its way was sent, and what it said.
    sent: Option<(MonotonicNanos, Poll)>,
    failures: u32,
    retry_at: MonotonicNanos,
    /// Who may have something open that has to end, as long as the other workers were not told.
    ending: Vec<SubjectHash>,
}

/// Why a poll has no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PollFailure {
    /// There is no connection, no answer in time, or no such cluster.
    Unreachable,
    /// The HTTP status was not 200.
    Status(u32),
    /// The answer is longer than [`BATCH_BYTES_MAX`], or no batch of this protocol.
    Malformed,
}

impl fmt::Display for PollFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("it cannot be reached"),
            Self::Status(401) => f.write_str("it refuses the secret (status 401)"),
            Self::Status(status) => write!(f, "it answers with status {status}"),
            Self::Malformed => f.write_str("its answer is no batch of this protocol"),
        }
    }
}

impl std::error::Error for PollFailure {}

/// What an answer brought, for metrics and logs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Changes that were applied, or known already.
    pub changes: usize,
    /// How many of these came ahead of their turn.
    pub urgent: usize,
    /// States that the node was asked to check, and has.
    pub checked: usize,
    /// How many of these it had lacked.
    pub repaired: usize,
    /// Changes that could not be stored.
    pub refused: usize,
    /// Events of which no first rejection will be noted any more, for want of room.
    pub unawaited: usize,
    /// Whether this was a chunk of a snapshot.
    pub is_snapshot: bool,
    /// Whether the keys of signed requests have changed, or why they could not be stored.
    pub keys: Option<Result<(), String>>,
    /// How many buckets of the fleet it was told have no token.
    pub news: usize,
    /// Why the key of the fleet could not be stored.
    pub fleet: Option<&'static str>,
    /// Another VM has taken over meanwhile; the answer was left to it.
    pub is_superseded: bool,
    /// Send this now.
    pub next: Option<Poll>,
}

/// The VM in which a poller runs.
#[derive(Debug)]
pub struct Vm<'a, S, C> {
    /// What its requests are decided by.
    pub gate: &'a Gate,
    /// The memory that it shares with the other VMs.
    pub shared: &'a mut S,
    /// Its clocks.
    pub clock: &'a C,
    /// Its claim to the lease.
    pub rank: Rank,
}

impl Poller {
    /// A poller of this node. `holder` is random: no two VMs may have the same.
    #[must_use]
    pub fn new(holder: u64, node: String) -> Self {
        let ending = Vec::new();
        Self { holder, is_holder: false, node, sent: None, failures: 0, retry_at: 0, ending }
    }

    /// Tells all workers who may have something open that has to end.
    fn tell_of_ending(&mut self, gate: &Gate, shared: &mut impl SharedMemory) {
        let is_told = !gate.config().open_streams.end_any()
            || self.ending.is_empty()
            || changed::put(shared, &self.ending).is_ok();
        // What too many writers were in the way of is told with the next answer.
        if is_told {
            self.ending.clear();
        }
    }

    /// What the node is called.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Whether this VM had the lease when it last looked.
    #[must_use]
    pub fn is_holder(&self) -> bool {
        self.is_holder
    }

    /// Renews the lease; gives a poll to send if this VM has the lease and none is on its way.
    pub fn on_tick(
        &mut self,
        config: &Config,
        shared: &mut impl SharedMemory,
        rank: Rank,
        now: MonotonicNanos,
    ) -> Option<Poll> {
        self.is_holder = lease::hold(shared, self.holder, rank, now);
        if !self.is_holder || self.sent.is_some() || now < self.retry_at {
            return None;
        }
        Some(self.poll(config, shared, now))
    }

    fn poll(
        &mut self,
        config: &Config,
        shared: &mut impl SharedMemory,
        now: MonotonicNanos,
    ) -> Poll {
        let progress = read_progress(shared);
        let poll = Poll {
            protocol: PROTOCOL,
            node: self.node.clone(),
            boot_id: progress.boot_id,
            epoch: progress.epoch,
            applied: progress.applied,
            in_snapshot: progress.in_snapshot,
            cursor: progress.cursor,
            refused: progress.refused,
            route_groups: config.route_groups.iter().map(|g| g.name.to_string()).collect(),
            limits: config.limits.iter().map(|limit| limit.name.to_string()).collect(),
            keys_version: keys::version(shared),
            takes_extras: true,
            batch: progress.batch,
            repaired: progress.repaired,
            packed_form: PACKED_FORM,
            idle: config.idle(),
            freshness: freshness(config, shared, now),
            when_stale: config.says_when_stale().to_owned(),
            when_never_synced: config.says_when_never_synced().to_owned(),
            fleet: link::told(shared, now),
            first_rejections: firsts::to_tell(shared, now),
        };
        self.sent = Some((now, poll.clone()));
        poll
    }

    /// The poll failed, or could not be sent: tries again on a later tick.
    pub fn on_failure(&mut self, now: MonotonicNanos) {
        self.sent = None;
        let (first, longest) = BACKOFF;
        let wait = first.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        let wait = u64::try_from(wait.min(longest).as_nanos()).unwrap_or(u64::MAX);
        // Half of it is jitter, so that many nodes do not return in step.
        let jitter = u64::from(fingerprint(&(self.holder, now)));
        let wait = (wait / 2).saturating_add(jitter.checked_rem(wait / 2).unwrap_or(0));
        self.failures = self.failures.saturating_add(1).min(8);
        self.retry_at = now.saturating_add(wait);
    }

    /// Applies the answer to the poll that is on its way.
    ///
    /// # Errors
    /// [`PollFailure::Malformed`]; the poll is then tried again later.
    pub fn on_answer(
        &mut self,
        body: &[u8],
        vm: Vm<'_, impl SharedMemory, impl Clock>,
    ) -> Result<Report, PollFailure> {
        let Vm { gate, shared, clock, rank } = vm;
        let now = clock.monotonic();
        let Some(batch) = read(body) else {
            self.on_failure(now);
            return Err(PollFailure::Malformed);
        };
        let Some((sent_at, poll)) = self.sent.take() else {
            return Ok(Report::default());
        };
        self.failures = 0;
        self.is_holder = lease::hold(shared, self.holder, rank, now);
        if !self.is_holder {
            return Ok(Report { is_superseded: true, ..Report::default() });
        }
        let place = Applier {
            hash_key: gate.hash_key(),
            slabs: gate.config().storage.slabs,
            now,
            wall: clock.wall(),
        };
        let mut batch = batch;
        let awaits = read_progress(shared).synced;
        let urgent = place.apply_all(shared, std::mem::take(&mut batch.urgent), awaits);
        let turn = place.apply_all(shared, std::mem::take(&mut batch.changes), awaits);
        // What is repaired was there before.
        let check = place.apply_all(shared, std::mem::take(&mut batch.check), false);
        let mut report = Report {
            changes: urgent.stored.saturating_add(turn.stored),
            urgent: urgent.stored,
            checked: check.stored,
            repaired: check.new,
            unawaited: urgent.unawaited.saturating_add(turn.unawaited),
            is_snapshot: batch.kind() == Kind::Snapshot,
            ..Report::default()
        };
        let mut refused = Vec::new();
        for Outcome { refused: more, ending, .. } in [urgent, turn, check] {
            refused.extend(more);
            self.ending.extend(ending);
        }
        self.tell_of_ending(gate, shared);
        report.refused = refused.len();
        report.keys = batch.keys.as_ref().and_then(|new| match keys::store(shared, new) {
            Ok(has_changed) => has_changed.then_some(Ok(())),
            Err(cause) => Some(Err(cause)),
        });
        if poll.fleet.is_some() {
            let told = link::store(shared, batch.fleet_key.as_ref(), batch.fleet_nodes);
            report.fleet = told.err();
            report.news = news::hear(gate.config(), shared, &batch.news, now);
        }
        // What the invalidator said was true when it answered, however late it is heard here.
        let said_at = now.min(sent_at.saturating_add(nanos(HOLD_MAX)));
        let news = News { batch: &batch, refused, repaired: report.repaired, said_at };
        let is_ahead = advance(shared, &poll, &news);
        let is_ahead = is_ahead || report.keys == Some(Ok(()));
        firsts::told(shared, &poll.first_rejections);
        // Such a poll is answered at once, and the next one must be there when something comes.
        let is_ahead = is_ahead || !poll.first_rejections.is_empty();
        let held = now.saturating_sub(sent_at);
        // Polls that bring news of the fleet are answered sooner, and a block must not wait for the next tick because of them.
        let hold_min = if batch.news.is_empty() { HOLD_MIN } else { NEWS_HOLD_MIN };
        if is_ahead || held >= nanos(hold_min) {
            report.next = Some(self.poll(gate.config(), shared, now));
        }
        Ok(report)
    }
}

/// The batch, if it is one of this protocol and within its bounds.
fn read(body: &[u8]) -> Option<Batch> {
    if body.len() > BATCH_BYTES_MAX {
        return None;
    }
    let batch = Batch::decode(body).ok()?;
    // Every change may have to be refused, and the next poll then has to say so.
    let parts = [&batch.urgent, &batch.changes, &batch.check];
    let fits = parts.iter().map(|part| part.len()).sum::<usize>() <= REFUSALS_MAX;
    (fits && batch.protocol == PROTOCOL && !batch.epoch.is_empty()).then_some(batch)
}

/// An applied batch, and what came of it.
struct News<'a> {
    batch: &'a Batch,
    refused: Vec<Refusal>,
    repaired: usize,
    said_at: MonotonicNanos,
}

/// Records what the node has applied and what it could not store, unless another VM has got further
/// meanwhile. What the poll reported is delivered by now. Says whether the node got further.
fn advance(shared: &mut impl SharedMemory, poll: &Poll, news: &News<'_>) -> bool {
    let News { batch, refused, repaired, said_at } = news;
    let repaired = u64::try_from(*repaired).unwrap_or(u64::MAX);
    let advanced = update(shared, MemoryKey::Progress, |value| {
        let current = value.and_then(|value| Progress::decode(value).ok()).unwrap_or_default();
        let place = (&*poll.epoch, poll.applied, poll.in_snapshot, &*poll.cursor);
        if position(&current) != (place, poll.batch) {
            return Step::Keep(false);
        }
        let mut next = current.clone();
        match batch.kind() {
            Kind::Heartbeat | Kind::Changes if batch.epoch != next.epoch => {
                return Step::Keep(false);
            }
            Kind::Heartbeat => {}
            Kind::Changes => next.applied = batch.sequence,
            Kind::Snapshot => {
                next.epoch.clone_from(&batch.epoch);
                next.applied = batch.sequence;
                next.in_snapshot = !batch.last;
                next.cursor = if batch.last { Vec::new() } else { batch.cursor.clone() };
            }
        }
        next.refused.clone_from(refused);
        next.batch = batch.id;
        next.repaired = next.repaired.saturating_add(repaired);
        // Only a node that is not in the middle of a snapshot knows everything.
        if let Some(age_ms) = batch.source_age_ms.filter(|_| !next.in_snapshot) {
            let known_at = said_at.saturating_sub(nanos(Duration::from_millis(age_ms)));
            next.fresh_at = next.fresh_at.max(known_at);
            next.synced = true;
        }
        Step::Write(next.encode_to_vec(), position(&next) != position(&current))
    });
    // With no winner after so many attempts the progress stays, and the batch comes again.
    advanced.unwrap_or(false)
}

/// Where the node stands, as a poll says it, and which batch it had last.
fn position(progress: &Progress) -> ((&str, u64, bool, &[u8]), u64) {
    let Progress { epoch, applied, in_snapshot, cursor, batch, .. } = progress;
    ((epoch, *applied, *in_snapshot, cursor), *batch)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// How fresh the node is, in the words of polls; nothing without an invalidator, which is not polled.
fn freshness(config: &Config, shared: &mut impl SharedMemory, now: MonotonicNanos) -> String {
    let Some(invalidator) = &config.invalidator else { return String::new() };
    let word = match FreshnessCache::new(invalidator.stale_after).get(shared, now) {
        Freshness::Fresh => says::FRESH,
        Freshness::Stale => says::STALE,
        Freshness::NeverSynced => says::NEVER_SYNCED,
    };
    word.to_owned()
}
