//! Whether a publisher waits for this daemon's Envoys or for those of the fleet; and the latter.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::{Instant, sleep_until};

use crate::hub::{Accepted, Asked, Daemons, Hub};
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

/// A question to all daemons, or that they could not be asked.
pub(super) struct Question {
    asked: Option<Asked>,
    /// When the event was taken in, by the daemon's steady clock.
    since: Duration,
}

impl Question {
    /// Asks, if the event is where the others are asked: `redis`. They are asked for what is left until the deadline.
    pub(super) fn ask(
        hub: &Hub,
        accepted: &Accepted,
        redis: Option<bool>,
        (since, deadline): (Duration, Instant),
    ) -> Self {
        let is_there = redis == Some(true);
        let fleet = hub.fleet().filter(|fleet| is_there && fleet.is_open());
        let passed = hub.now().mono.saturating_sub(since);
        let lasts = deadline.saturating_duration_since(Instant::now()).saturating_add(passed);
        let event = || (accepted.subject.clone(), accepted.event_id.clone());
        let asked = fleet.map(|fleet: &dyn Daemons| fleet.fence(event(), since, lasts));
        Self { asked, since }
    }

    /// What all daemons have said by the deadline, or before if there is nothing more to wait for.
    pub(super) async fn finish(self, hub: &Hub, deadline: Instant) -> Everywhere {
        let after = || hub.now().mono.saturating_sub(self.since);
        let Some(Asked { tally, mut news }) = self.asked else {
            return Everywhere::unknown(after());
        };
        let locked = || tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while !locked().is_complete() {
            tokio::select! {
                // Nobody asks any more.
                changed = news.changed() => if changed.is_err() { break },
                () = sleep_until(deadline) => break,
            }
        }
        let tally = locked();
        tally.result(after())
    }
}
