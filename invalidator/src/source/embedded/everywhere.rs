//! Whether a publisher waits for this daemon's Envoys or for those of the fleet; and the latter.

use std::time::Duration;

use access::Caller;
use audit::entry::{About, Fact, FenceFact, FenceNode};
use axum::http::StatusCode;
use model::name::EventId;
use model::subject::Subject;
use tokio::time::{Instant, sleep_until};

use crate::hub::{Asked, Daemons, Hub};
use crate::metrics::fleet::Verdict;
use crate::server::problem::Problem;
use crate::wire::Everywhere;

/// Whom a publisher waits for, by the parameter `wait` of the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// The Envoys of this daemon.
    Nodes,
    /// Those of every daemon on the same Redis.
    Fleet,
}

impl Wait {
    /// As the query says. Other parameters are left alone.
    pub(super) fn of(query: Option<&str>, hub: &Hub) -> Result<Self, Problem> {
        let invalid = |status, rule: &str| {
            Err(Problem::new(status, "invalid", "The query breaks a rule").broken("wait", rule))
        };
        let parameters = query.unwrap_or_default().split('&');
        let waits: Vec<_> = parameters.filter_map(|one| one.strip_prefix("wait=")).collect();
        match waits.as_slice() {
            [] | ["nodes"] => Ok(Self::Nodes),
            ["fleet"] if hub.fleet().is_none() => {
                let rule = "fleet needs a source that connects daemons: [sources.redis]";
                invalid(StatusCode::CONFLICT, rule)
            }
            ["fleet"] => Ok(Self::Fleet),
            _ => invalid(StatusCode::BAD_REQUEST, "must be nodes or fleet"),
        }
    }
}

/// A question to all daemons.
pub(super) struct Question<'a> {
    hub: &'a Hub,
    event: (Subject, EventId),
    /// When the event was taken in, by the daemon's steady clock.
    since: Duration,
    deadline: Instant,
    /// Nothing if they could not be asked.
    asked: Option<Asked>,
}

impl<'a> Question<'a> {
    /// Asks, if the event is where the others are asked: `redis`. They are asked for what is left until the deadline.
    pub(super) fn ask(
        hub: &'a Hub,
        event: (Subject, EventId),
        redis: Option<bool>,
        (since, deadline): (Duration, Instant),
    ) -> Self {
        let mut question = Self { hub, event, since, deadline, asked: None };
        if redis == Some(true) {
            question.ask_again();
        }
        question
    }

    fn ask_again(&mut self) {
        let fleet = self.hub.fleet().filter(|fleet| fleet.is_open());
        let left = self.deadline.saturating_duration_since(Instant::now());
        let lasts = left.saturating_add(self.after());
        let ask = |fleet: &dyn Daemons| fleet.fence(self.event.clone(), self.since, lasts);
        self.asked = fleet.map(ask);
    }

    fn after(&self) -> Duration {
        self.hub.now().mono.saturating_sub(self.since)
    }

    /// What all daemons have said by the deadline, or before if there is nothing more to wait for. If the last one took
    /// so long that what the first ones said may not be so any more, all are asked once more.
    pub(super) async fn finish(mut self) -> Everywhere {
        loop {
            let deadline = self.deadline;
            let Some(Asked { tally, news }) = &mut self.asked else {
                return Everywhere::unknown(self.after());
            };
            let locked = || tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            while !locked().is_complete() {
                tokio::select! {
                    // Nobody asks any more.
                    changed = news.changed() => if changed.is_err() { break },
                    () = sleep_until(deadline) => break,
                }
            }
            let tally = std::sync::Arc::clone(tally);
            let after = self.after();
            let tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let is_old = tally.is_complete() && tally.is_outdated(after);
            if !is_old || Instant::now() >= deadline {
                return tally.result(after);
            }
            drop(tally);
            self.ask_again();
        }
    }
}

/// Counts what a publisher is told of the fleet, and notes it in the audit log.
pub(super) fn note(
    hub: &Hub,
    caller: &Caller,
    (subject, event_id): (&Subject, &EventId),
    all: &Everywhere,
    in_effect: bool,
) {
    let verdict = Verdict::of(all, in_effect);
    hub.metrics.fleet.answered(verdict, all, Duration::from_secs_f64(all.elapsed_ms / 1_000.0));
    let missing = all.missing.iter().map(|one| FenceNode {
        daemon: one.daemon.clone(),
        node: one.node.clone(),
        boot_id: None,
        is: one.reason.as_str(),
        ms: None,
        cause: one.cause.clone(),
    });
    let enforcing = all.nodes.iter().map(|one| FenceNode {
        daemon: one.daemon.clone(),
        node: Some(one.node.clone()),
        boot_id: Some(one.boot_id.clone()),
        is: "enforced",
        ms: Some(one.ms),
        cause: None,
    });
    let fact = FenceFact {
        result: verdict.as_str(),
        event_id: event_id.clone().into(),
        caller: audit::entry::text(&caller.name),
        role: caller.role.as_str(),
        ms: all.elapsed_ms,
        enforced: all.nodes.len(),
        missing: all.missing.len(),
        part: 0,
        parts: 0,
        nodes: Vec::new(),
    };
    for line in fact.lines(missing.chain(enforcing).collect()) {
        // The line of the call comes after these, and the answer waits for that.
        let _ = hub.audit.note(Some(About::LookedFor(subject.clone())), Fact::Fence(line));
    }
}
