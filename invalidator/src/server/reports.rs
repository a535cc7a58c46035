//! The door for reports of nodes: `POST /v1/fleet/reports`, authenticated like polls. What a node took from the fleet's
//! buckets is checked, handed to whoever keeps these buckets, and answered. Nothing waits here: a call finds a place at once or
//! is refused, and an answer that does not come in time is given up. The node sends its reports again then, and each is
//! counted once.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleet::messages;
use fleet::wire::Answer;
use model::push::{CONTENT_TYPE, FLEET_BYTES_MAX, FleetAnswers, FleetReports, Message};
use model::violation::Violation;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::body;
use super::problem::Problem;
use super::seats::Place;
use super::secret::{NodeSecret, unauthorized};
use super::slots::{Places, Pool, Slot};
use crate::hub::Hub;
use crate::metrics::CallResult;
use crate::relay::{PARTITIONS, Uncounted};

/// Longest wait for the answers.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// Calls under way: of all nodes, and of one. A node has one for each of its workers.
const PLACES: Places = Places { all: 256, caller: 128 };

/// What the handler needs.
#[derive(Clone)]
pub(super) struct ReportState {
    hub: Arc<Hub>,
    secret: NodeSecret,
    pool: Arc<Pool>,
}

/// Says of an answer that its connection may go on, although it is a refusal: it is a node's.
#[derive(Clone, Copy)]
pub(super) struct OfNode;

impl ReportState {
    pub(super) fn new(hub: Arc<Hub>, secret: NodeSecret) -> Self {
        Self { hub, secret, pool: Arc::new(Pool::new(PLACES)) }
    }
}

/// Why a call has no answers, and how that is counted.
struct Refused(CallResult, Problem);

pub(super) async fn report(
    State(state): State<ReportState>,
    place: Option<Extension<Place>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let hub = &state.hub;
    if !state.secret.is_shown(&headers) {
        return unauthorized(hub);
    }
    let call = match body::read(body, FLEET_BYTES_MAX).await {
        Ok(bytes) => FleetReports::decode(bytes),
        Err(error) => {
            hub.metrics.fleet.call(CallResult::Malformed);
            return Problem::from(error).into_response();
        }
    };
    let call = call.map_err(|_| {
        let rule = "must be a portcullis.push.v1.FleetReports";
        malformed(hub, Violation::new("body", rule))
    });
    let checked = call.and_then(|call| match messages::reports(&call, PARTITIONS) {
        Ok(reports) => Ok((call, reports)),
        Err(error) => Err(malformed(hub, error)),
    });
    let (call, reports) = match checked {
        Ok(checked) => checked,
        Err(Refused(result, problem)) => {
            hub.metrics.fleet.call(result);
            return problem.into_response();
        }
    };
    if let Some(Extension(place)) = place {
        // Not one of the node's own polls: with many workers a node has many of these connections.
        place.belongs_to(&format!("{} reports", call.boot_id), false);
    }
    hub.metrics.fleet.reported(reports.len());
    let answered = state.count(&call, reports).await;
    hub.metrics.fleet.call(match &answered {
        Ok(_) => CallResult::Answered,
        Err(Refused(result, _)) => *result,
    });
    match answered {
        Ok(answers) => {
            let body = Bytes::from(answers.encode_to_vec());
            ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
        }
        Err(Refused(_, problem)) => {
            let mut response = problem.into_response();
            response.extensions_mut().insert(OfNode);
            response
        }
    }
}

impl ReportState {
    async fn count(
        &self,
        call: &FleetReports,
        reports: Vec<fleet::wire::Report>,
    ) -> Result<FleetAnswers, Refused> {
        let hub = &self.hub;
        hub.relay.takes_part(hub.now().mono);
        let _slot: Slot = self.pool.take(&call.boot_id.as_str().into()).map_err(|_| {
            let title = "As many calls as may be are under way: send the reports again";
            Refused(CallResult::Busy, Problem::busy(title))
        })?;
        let ledger = hub.ledger().ok_or_else(|| {
            let title = "This daemon is connected with no Redis, which keeps the fleet's buckets";
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_ledger", title);
            let rule = "is not set in the daemon's configuration";
            Refused(CallResult::NoLedger, problem.broken("sources.redis", rule))
        })?;
        let key = hub.relay.key().ok_or_else(|| {
            let title = "The fleet's key is not known yet";
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "ledger_no_key", title);
            Refused(CallResult::NoKey, problem)
        })?;
        if key.version() != call.key_version {
            let title = "The reports name buckets with another key than the fleet's";
            let problem = Problem::new(StatusCode::CONFLICT, "other_key", title);
            let rule = "must be that of the key which polls are answered with";
            return Err(Refused(CallResult::OtherKey, problem.broken("key_version", rule)));
        }
        let (begun, expected) = (Instant::now(), reports.len());
        let counted = timeout(ANSWERED_WITHIN, ledger.count(reports)).await;
        let counted = counted.unwrap_or(Err(Uncounted::Late)).and_then(|answers| {
            (answers.len() == expected).then_some(answers).ok_or(Uncounted::Strange)
        });
        let answers = counted.map_err(|why| uncounted(hub, &why))?;
        hub.metrics.fleet.took(begun.elapsed());
        hub.metrics.fleet.answered(answers.len());
        Ok(answers_to(call, answers, hub.relay.nodes()))
    }
}

fn answers_to(call: &FleetReports, answers: Vec<Answer>, fleet_nodes: u32) -> FleetAnswers {
    let serials = call.reports.iter().map(|report| report.serial);
    let answers = serials.zip(answers).map(|(serial, answer)| messages::answer(serial, answer));
    FleetAnswers { answers: answers.collect(), fleet_nodes }
}

fn malformed(hub: &Hub, error: Violation) -> Refused {
    let now = hub.now().mono;
    if let Some(left_out) = hub.throttles.fleet_limits.admit("malformed", now) {
        warn!(cause = %error, left_out, "malformed reports");
    }
    let Violation { field, rule } = error;
    let title = "The reports break a rule";
    let problem = Problem::new(StatusCode::BAD_REQUEST, "malformed", title).broken(field, rule);
    Refused(CallResult::Malformed, problem)
}

fn uncounted(hub: &Hub, why: &Uncounted) -> Refused {
    let name = why.name();
    if let Some(left_out) = hub.throttles.fleet_limits.admit(name, hub.now().mono) {
        let code = match why {
            Uncounted::Refused(code) => code,
            _ => "",
        };
        warn!(why = name, code, left_out, "reports of a node were not counted");
    }
    let (kind, title) = match why {
        Uncounted::Unreachable => ("ledger_unreachable", "Redis cannot be reached"),
        Uncounted::Late => ("ledger_late", "Redis did not answer in time"),
        Uncounted::Refused(_) => ("ledger_refused", "Redis refuses to count"),
        Uncounted::Strange => ("ledger_strange", "Redis answers what is no answer"),
    };
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, kind, title);
    Refused(CallResult::Uncounted(name), problem)
}
