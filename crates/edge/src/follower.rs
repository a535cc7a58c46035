//! The side of one worker that follows the invalidator: when to hold the lease, when to poll, what is said
//! and counted of answers, and how it goes on after one that failed.
//!
//! Of all workers of a process one polls: the one with the lease, which is in shared memory. What a poll says and
//! how an answer is applied is in [`gate::node`].

use std::time::Duration;

use gate::node::{PollFailure, Poller, Rank, Report, Vm};
use model::push::{self, BATCH_BYTES_MAX, HOLD_MAX, Poll};
use model::time::MonotonicNanos;

use crate::call::Call;
use crate::host::{Host, Level};
use crate::plugin::{Plugin, SetUpError};
use crate::reports::Reports;

/// What a node is called if nobody gives it a name that the invalidator takes.
const NODE_DEFAULT: &str = "envoy";

/// How long a poll may take: held for as long as it may be, and a second for the way.
const POLL_TIMEOUT: Duration = HOLD_MAX.saturating_add(Duration::from_secs(1));

/// What one worker knows of its polls.
#[derive(Debug)]
pub struct Follower {
    poller: Poller,
    polls: bool,
    is_singleton: bool,
    /// The proxy's number of the poll that is on its way.
    in_flight: Option<u32>,
    is_failing: bool,
    reports: Option<Reports>,
}

impl Follower {
    /// One that has not polled yet; none if the configuration has no invalidator.
    ///
    /// # Errors
    /// [`SetUpError::NoRandom`]: holders of the lease could not be told apart.
    pub fn new(plugin: &Plugin, host: impl Host) -> Result<Option<Self>, SetUpError> {
        let config = plugin.config();
        if config.invalidator.is_none() {
            return Ok(None);
        }
        let holder = host.random().ok_or(SetUpError::NoRandom)?;
        let node = config.node.clone().or_else(|| host.node_id());
        let node = node.filter(|node| push::is_node_name(node));
        let node = node.unwrap_or_else(|| NODE_DEFAULT.to_owned());
        Ok(Some(Self {
            poller: Poller::new(u64::from_le_bytes(holder), node),
            polls: true,
            is_singleton: host.is_singleton(),
            in_flight: None,
            is_failing: false,
            reports: None,
        }))
    }

    /// The same for a worker that leaves polling to another of its process for good, and only reports what it took from
    /// the fleet's buckets.
    #[must_use]
    pub fn without_polls(self) -> Self {
        Self { polls: false, ..self }
    }

    /// Reports what was taken from the fleet's buckets, as far as it is due.
    pub(crate) fn report<H: Host>(&mut self, call: Call<'_, H>) {
        if self.reports.is_none() {
            // Made when they are needed first, for the worker comes to be after its follower.
            let Some(tag) = call.host.random().map(u32::from_le_bytes) else { return };
            self.reports = Some(Reports::new(call, self.poller.node(), tag));
        }
        if let Some(reports) = &mut self.reports {
            reports.on_tick(call);
        }
    }

    /// When there will be something to report.
    pub(crate) fn next_report_at<H: Host>(&self, call: Call<'_, H>) -> Option<MonotonicNanos> {
        call.with_decides(|worker| worker.fleet.next_at())
    }

    /// Renews the lease or takes it, and polls if it is time to.
    pub fn on_tick<H: Host>(&mut self, call: Call<'_, H>) {
        if !self.polls {
            return;
        }
        let (rank, now) = (self.rank(call), call.host.monotonic());
        let was_holder = self.poller.is_holder();
        let poll = self.poller.on_tick(call.config(), &mut call.host.memory(), rank, now);
        if self.poller.is_holder() && !was_holder {
            call.count_lease_taken();
        }
        if let Some(poll) = poll {
            self.send(call, &poll);
        }
    }

    /// An answer to an HTTP request has come, with a body of this many bytes: takes it if it is the poll's.
    pub fn on_http_answer<H: Host>(&mut self, call: Call<'_, H>, number: u32, body_bytes: usize) {
        if self.reports.as_mut().is_some_and(|one| one.on_http_answer(call, number, body_bytes)) {
            self.report(call);
            if let Some(at) = self.next_report_at(call) {
                call.worker.ticks.wake(call.host, at);
            }
            return;
        }
        if self.in_flight != Some(number) {
            return;
        }
        self.in_flight = None;
        let answer = match call.host.dispatched(body_bytes.min(BATCH_BYTES_MAX)) {
            _ if body_bytes > BATCH_BYTES_MAX => Err(PollFailure::Malformed),
            (Some(200), body) => Ok(body),
            (Some(status), _) => Err(PollFailure::Status(status)),
            (None, _) => Err(PollFailure::Unreachable),
        };
        match answer {
            Ok(body) => self.on_batch(call, &body),
            Err(failure) => self.on_failure(call, failure),
        }
    }

    /// Applies the batch that the invalidator has answered with.
    fn on_batch<H: Host>(&mut self, call: Call<'_, H>, body: &[u8]) {
        let (gate, shared) = (&call.plugin.gate, &mut call.host.memory());
        let vm = Vm { gate, shared, clock: &call.host, rank: self.rank(call) };
        let report = self.poller.on_answer(body, vm);
        self.note_health(call, report.as_ref().err());
        call.count_push(&report);
        let Report { refused, repaired, keys, fleet, next, .. } = match report {
            Ok(report) => report,
            Err(failure) => {
                let text = format_args!("the invalidator's answer: {failure}");
                return call.host.log(Level::Error, text);
            }
        };
        let error = |text: std::fmt::Arguments<'_>| call.host.log(Level::Error, text);
        if refused > 0 {
            error(format_args!("{refused} changes could not be stored and are not enforced"));
        }
        if let Some(cause) = fleet {
            error(format_args!("the key of the fleet is not used: {cause}"));
        }
        if repaired > 0 {
            error(format_args!("{repaired} states had got lost from memory, and are there again"));
        }
        match keys {
            Some(Ok(())) => call.warn_of_keys(),
            Some(Err(cause)) => error(format_args!("the keys handed out are not used: {cause}")),
            None => {}
        }
        if let Some(poll) = next {
            self.send(call, &poll);
        }
    }

    fn rank<H: Host>(&self, call: Call<'_, H>) -> Rank {
        if self.is_singleton {
            Rank::Singleton
        } else if call.worker.serves_requests() {
            Rank::Worker
        } else {
            Rank::Idle
        }
    }

    fn send<H: Host>(&mut self, call: Call<'_, H>, poll: &Poll) {
        self.in_flight = call.post(push::PATH, poll, POLL_TIMEOUT);
        if self.in_flight.is_none() {
            self.on_failure(call, PollFailure::Unreachable);
        }
    }

    fn on_failure<H: Host>(&mut self, call: Call<'_, H>, failure: PollFailure) {
        self.poller.on_failure(call.host.monotonic());
        self.note_health(call, Some(&failure));
        call.count_push(&Err(failure));
    }

    /// One line when polls begin to fail, and one when they work again.
    fn note_health<H: Host>(&mut self, call: Call<'_, H>, failure: Option<&PollFailure>) {
        let log = |level, text: std::fmt::Arguments<'_>| call.host.log(level, text);
        match failure {
            Some(failure) if !self.is_failing => {
                log(Level::Warn, format_args!("polling the invalidator: {failure}"));
            }
            None if self.is_failing => {
                log(Level::Info, format_args!("polling the invalidator works again"));
            }
            _ => {}
        }
        self.is_failing = failure.is_some();
    }
}
