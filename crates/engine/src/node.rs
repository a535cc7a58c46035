//! One Envoy process: where it stands, and what it could not store.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::time::Duration;

use model::subject::Subject;

use super::chunk::Chunk;
use super::sent::Sent;
use super::sharing::Sharing;

/// Most changes remembered per node that it could not store.
pub(super) const UNSTORED_MAX: usize = 65_536;
/// How long after a refusal a node is sent again what it could not store.
pub(super) const RETRY_REFUSED_AFTER: Duration = Duration::from_secs(60);

/// Why nothing counts as enforced when more was refused than is remembered.
const UNSTORED_UNKNOWN: &str = "too many changes could not be stored";

/// How a node stands to one change of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing<'a> {
    /// It has not acknowledged it yet.
    Pending,
    /// It has it.
    Stored,
    /// It could not store it, for this cause.
    Unstored(&'a str),
}

/// A change of a subject, as publishers ask about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) subject: &'a Subject,
    pub(super) sequence: u64,
    /// The sequence of the subject's last change.
    pub(super) current: u64,
    /// Whether the change may be sent ahead of its turn.
    pub(super) is_urgent: bool,
}

/// A change that a node could not store.
#[derive(Debug)]
struct Unstored {
    /// Whom it is about; nothing if the log had forgotten.
    subject: Option<Subject>,
    /// Why, in the node's words.
    cause: Box<str>,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) applied: u64,
    /// It has had a whole snapshot in this epoch.
    pub(super) synced: bool,
    /// It has applied each urgent change after the first of these sequences, up to the second.
    pub(super) ahead: (u64, u64),
    /// What the last batch carried, until the node says that it has applied it.
    pub(super) sent: Option<Box<Sent>>,
    /// The next chunk of its snapshot, made while it applies the last one.
    pub(super) next_chunk: Option<Box<Chunk>>,
    /// The id of the first batch of the snapshot that it has to begin with: until it has applied
    /// that, it is sent it again, whatever it had before.
    pub(super) begins_with: Option<u64>,
    /// Whether it takes more than changes in turn.
    pub(super) takes_extras: bool,
    pub(super) polled_at: Duration,
    pub(super) held: bool,
    pub(super) generation: u64,
    /// Up to here it was said which changes it has not acknowledged in time.
    pub(super) overdue: u64,
    /// Its disappearance has been reported.
    pub(super) reported_gone: bool,
    /// The connection of its last poll was closed: most likely its process has ended.
    pub(super) hung_up: bool,
    unstored: BTreeMap<u64, Unstored>,
    /// More was refused than is remembered: nothing counts as enforced.
    unstored_unknown: bool,
    /// Of something that was refused it is not known whom it is about.
    has_strangers: bool,
    /// When the first of these was refused, or all of them were last tried again.
    refused_at: Option<Duration>,
    /// How far the present round of trying again has got.
    pub(super) retried: u64,
    /// How far the present round of checks has got.
    pub(super) checked: Option<Subject>,
    pub(super) checked_at: Duration,
    /// How many states checks found missing, by the node's count; nothing before its first poll.
    pub(super) repaired: Option<u64>,
    pub(super) route_groups: Vec<String>,
    pub(super) limits: Vec<String>,
    /// What it stores and does nothing about, see [`model::push::idle`].
    pub(super) idle: Vec<String>,
    /// What it said of its freshness when it last polled, and what it does while it is stale, and until it is
    /// synchronized: see [`model::push::freshness`] and [`model::push::unsure`]. Older nodes say nothing.
    pub(super) freshness: Box<str>,
    pub(super) when_stale: Box<str>,
    pub(super) when_never_synced: Box<str>,
    /// The version of the keys that it has.
    pub(super) keys_version: u64,
    /// The version of the keys that it was last sent.
    pub(super) keys_sent: u64,
    /// How it stands to limits that hold for the whole fleet.
    pub(super) sharing: Sharing,
}

impl Node {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            applied: 0,
            synced: false,
            ahead: (0, 0),
            sent: None,
            next_chunk: None,
            begins_with: None,
            takes_extras: false,
            polled_at: now,
            held: false,
            generation: 0,
            overdue: 0,
            reported_gone: false,
            hung_up: false,
            unstored: BTreeMap::new(),
            unstored_unknown: false,
            has_strangers: false,
            refused_at: None,
            retried: 0,
            checked: None,
            checked_at: now,
            repaired: None,
            route_groups: Vec::new(),
            limits: Vec::new(),
            idle: Vec::new(),
            freshness: "".into(),
            when_stale: "".into(),
            when_never_synced: "".into(),
            keys_version: 0,
            keys_sent: 0,
            sharing: Sharing::default(),
        }
    }

    /// It has to get a snapshot: what it has applied counts no more. Urgent changes after `ahead`
    /// are to go ahead of it.
    pub(super) fn start_over(&mut self, ahead: u64, first_batch: u64) {
        self.begins_with = self.takes_extras.then_some(first_batch);
        self.applied = 0;
        self.synced = false;
        self.ahead = (ahead, ahead);
        self.sent = None;
        self.unstored.clear();
        self.unstored_unknown = false;
        self.has_strangers = false;
        self.refused_at = None;
        self.retried = 0;
    }

    /// How many changes it could not store, as far as remembered.
    pub(super) fn unstored(&self) -> usize {
        self.unstored.len()
    }

    /// Whether it has applied an urgent change ahead of its turn.
    pub(super) fn has_ahead(&self, sequence: u64) -> bool {
        let (from, to) = self.ahead;
        from < sequence && sequence <= to
    }

    /// How it stands to a change of a subject: what it was sent was the state of some change from
    /// this one to the current one.
    pub(super) fn standing(&self, asked: Asked<'_>) -> Standing<'_> {
        let Asked { subject, sequence, current, is_urgent } = asked;
        let in_turn = self.synced && self.applied >= sequence;
        let has_come = in_turn || (is_urgent && self.has_ahead(sequence));
        if !has_come {
            return Standing::Pending;
        }
        if self.unstored_unknown {
            return Standing::Unstored(UNSTORED_UNKNOWN);
        }
        let mut sent = self.unstored.range(sequence..=current.max(sequence));
        let refused = sent.find(|(_, unstored)| {
            unstored.subject.as_ref().is_none_or(|refused| refused == subject)
        });
        refused.map_or(Standing::Stored, |(_, unstored)| Standing::Unstored(&unstored.cause))
    }

    /// Whether the change of this sequence is known not to be stored.
    pub(super) fn lacks(&self, sequence: u64) -> bool {
        self.unstored_unknown || self.unstored.contains_key(&sequence)
    }

    /// Notes a change that the node could not store; says whether that is news.
    pub(super) fn refused(
        &mut self,
        sequence: u64,
        subject: Option<Subject>,
        cause: &str,
        now: Duration,
    ) -> bool {
        self.refused_at.get_or_insert(now);
        let is_known = self.unstored.get(&sequence).is_some_and(|known| known.subject.is_some());
        self.has_strangers |= subject.is_none() && !is_known;
        if self.unstored.len() < UNSTORED_MAX || self.unstored.contains_key(&sequence) {
            let before = self.unstored.remove(&sequence);
            let is_news = before.is_none();
            let subject = subject.or_else(|| before?.subject);
            self.unstored.insert(sequence, Unstored { subject, cause: cause.into() });
            return is_news;
        }
        self.unstored_unknown = true;
        true
    }

    /// Notes that the newest states of these subjects are stored, unless refused after this.
    pub(super) fn stored<'a>(&mut self, subjects: impl Iterator<Item = &'a Subject>) {
        if !self.unstored.is_empty() {
            let subjects: HashSet<_> = subjects.collect();
            self.unstored.retain(|_, unstored| {
                unstored.subject.as_ref().is_none_or(|subject| !subjects.contains(subject))
            });
        }
        if self.unstored.is_empty() && !self.unstored_unknown {
            self.refused_at = None;
            self.has_strangers = false;
        }
    }

    /// Whether it has been without something that it could not store for long enough to try again:
    /// room may have come free.
    pub(super) fn is_to_retry(&self, now: Duration) -> bool {
        self.refused_at.is_some_and(|at| now.saturating_sub(at) >= RETRY_REFUSED_AFTER)
    }

    /// Whether only a snapshot has everything that it could not store.
    pub(super) fn needs_snapshot(&self) -> bool {
        self.unstored_unknown || self.has_strangers || !self.takes_extras
    }

    /// What it could not store, after the sequence up to which this was tried again.
    pub(super) fn to_retry(&self) -> impl Iterator<Item = (u64, &Subject)> {
        let rest = (Bound::Excluded(self.retried), Bound::Unbounded);
        let rest = self.unstored.range::<u64, _>(rest);
        rest.filter_map(|(sequence, unstored)| Some((*sequence, unstored.subject.as_ref()?)))
    }

    /// Everything was tried again that it could not store.
    pub(super) fn retry_ends(&mut self, now: Duration) {
        self.retried = 0;
        self.refused_at = (!self.unstored.is_empty()).then_some(now);
    }
}
