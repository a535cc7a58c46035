//! The side of one worker that reports what it took from the fleet's buckets: when it calls the invalidator, and what is
//! counted of calls.
//!
//! No request waits for a call. A take that has to be told at once asks the proxy for an early tick; that
//! costs one host call, and what comes up in the same millisecond goes along.

use std::time::Duration;

use gate::fleet::reporter::{Called, Malformed, Outcome, Place, Reporter};
use gate::node;
use model::push::{FLEET_BYTES_MAX, FLEET_PATH};

use crate::call::Call;
use crate::host::{Host, Level};

/// How long a call may take. After so long without an answer the node counts as cut off.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);

/// What one worker knows of its reports.
#[derive(Debug)]
pub(crate) struct Reports {
    reporter: Reporter,
    node: String,
    boot_id: String,
    /// The proxy's number of the call that is on its way.
    in_flight: Option<u32>,
    is_failing: bool,
}

impl Reports {
    /// One that has not reported yet. `tag` is random.
    pub(crate) fn new<H: Host>(call: Call<'_, H>, node: &str, tag: u32) -> Self {
        Self {
            reporter: Reporter::new(call.config(), tag),
            node: node.to_owned(),
            boot_id: node::boot_id(&mut call.host.memory()),
            in_flight: None,
            is_failing: false,
        }
    }

    /// Calls, if something is due.
    pub(crate) fn on_tick<H: Host>(&mut self, call: Call<'_, H>) {
        let now = call.host.monotonic();
        let Self { reporter, node, boot_id, .. } = self;
        let called = call.with_place(|place| reporter.call(place, (node, boot_id), now));
        let Called { reports, given_up } = called;
        call.count_given_up(given_up);
        let Some(reports) = reports else { return };
        call.count_reports(reports.reports.len());
        self.in_flight = call.post(FLEET_PATH, &reports, CALL_TIMEOUT);
        if self.in_flight.is_none() {
            self.take_in(call, None, "it cannot be reached");
        }
    }

    /// An answer to an HTTP request has come, with a body of this many bytes: takes it if it is to a call of reports, and
    /// says whether it was.
    pub(crate) fn on_http_answer<H: Host>(
        &mut self,
        call: Call<'_, H>,
        number: u32,
        body_bytes: usize,
    ) -> bool {
        if self.in_flight != Some(number) {
            return false;
        }
        self.in_flight = None;
        match call.host.dispatched(body_bytes.min(FLEET_BYTES_MAX)) {
            (Some(200), body) if body_bytes <= FLEET_BYTES_MAX => {
                self.take_in(call, Some(&body), "");
            }
            (Some(409), _) => self.take_in(call, None, "it has another key of the fleet by now"),
            (Some(status), _) => {
                self.take_in(call, None, &format!("it answers with status {status}"));
            }
            (None, _) => self.take_in(call, None, "it cannot be reached"),
        }
        true
    }

    /// Takes in what has come of a call: an answer, or why there is none.
    fn take_in<H: Host>(&mut self, call: Call<'_, H>, answer: Option<&[u8]>, failure: &str) {
        let now = call.host.monotonic();
        let reporter = &mut self.reporter;
        let outcome = call.with_place(|place| reporter.on_answer(answer, place, now));
        let failure = match outcome {
            Ok(Outcome { answered, behind }) if answer.is_some() => {
                call.count_answers(answered, behind);
                None
            }
            Ok(_) => Some(failure),
            Err(Malformed) => Some("its answer is none to these reports"),
        };
        if failure.is_some() {
            call.count_failed_reports();
        }
        let log = |level, text: std::fmt::Arguments<'_>| call.host.log(level, text);
        match failure {
            Some(failure) if !self.is_failing => log(
                Level::Warn,
                format_args!("reporting to the fleet through the invalidator: {failure}"),
            ),
            None if self.is_failing => {
                log(Level::Info, format_args!("reporting to the fleet works again"));
            }
            _ => {}
        }
        self.is_failing = failure.is_some();
    }
}

impl<H: Host> Call<'_, H> {
    fn with_place<T>(self, with: impl FnOnce(&mut Place<'_, H::Memory>) -> T) -> T {
        self.with_decides(|worker| {
            let (shared, memo) = (&mut self.host.memory(), &mut worker.fleet);
            with(&mut Place { config: self.config(), shared, memo })
        })
    }

    /// Asks for an early tick, if this request has taken what has to be told before the next.
    pub(crate) fn wake_for_reports(self) {
        if !self.plugin.has_fleet_limits {
            return;
        }
        if let Some(at) = self.with_decides(|worker| worker.fleet.sooner()) {
            self.worker.ticks.wake(self.host, at);
        }
    }
}
