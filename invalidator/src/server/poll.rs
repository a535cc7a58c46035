//! The door for Envoys: `POST /v1/poll`, authenticated, held until there is something to say.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use engine::{Answer, PollError, Polled, Progress, SentChunk, Ticket};
use model::push::{self, Batch, CONTENT_TYPE, FleetUse, Message, POLL_BYTES_MAX, Poll};
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::body;
use super::last_poll::LastPoll;
use super::problem::Problem;
use super::reports::{OfNode, ReportState, report};
use super::seats::Place;
use super::secret::{NodeSecret, unauthorized};
use crate::hub::Hub;

/// What the handlers need.
#[derive(Clone)]
struct PollState {
    hub: Arc<Hub>,
    secret: NodeSecret,
    hold: Duration,
    stop: CancellationToken,
}

/// Routes of the poll listener.
pub fn router(
    hub: Arc<Hub>,
    secret: &SecretString,
    hold: Duration,
    stop: CancellationToken,
) -> Router {
    let secret = NodeSecret::new(secret);
    let reports = Router::new()
        .route(push::FLEET_PATH, post(report))
        .with_state(ReportState::new(Arc::clone(&hub), secret.clone()));
    Router::new()
        .route(push::PATH, post(poll))
        .with_state(PollState { hub, secret, hold, stop })
        .merge(reports)
        .layer(map_response(only_nodes_stay))
}

/// Ends a connection after anything but an answered poll, or what is said to a node's reports: who is not a node must
/// not keep nodes out by staying connected.
async fn only_nodes_stay(mut response: Response) -> Response {
    let is_of_node = response.extensions().get::<OfNode>().is_some();
    if response.status() != StatusCode::OK && !is_of_node {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A poll that is held; dropped when it is answered, or when its connection is gone.
struct Held {
    hub: Arc<Hub>,
    ticket: Ticket,
    /// What its node says of limits across the fleet, if it has any.
    fleet: Option<FleetUse>,
    is_answered: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut engine = self.hub.engine();
        if !self.is_answered {
            engine.hung_up(&self.ticket);
        }
        engine.release(&self.ticket);
    }
}

async fn poll(
    State(state): State<PollState>,
    place: Option<Extension<Place>>,
    last_poll: Option<Extension<LastPoll>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !state.secret.is_shown(&headers) {
        return unauthorized(&state.hub);
    }
    let poll = match body::read(body, POLL_BYTES_MAX).await {
        Ok(bytes) => Poll::decode(bytes),
        Err(error) => return Problem::from(error).into_response(),
    };
    let Ok(poll) = poll else {
        state.hub.metrics.poll_malformed();
        return malformed("poll", "must be a portcullis.push.v1.Poll").into_response();
    };
    if let Some(Extension(place)) = place {
        // An Envoy needs few connections: one that opens many ends its own, and nobody else's.
        place.belongs_to(&poll.boot_id, false);
    }
    let (hub, stop) = (Arc::clone(&state.hub), state.stop.clone());
    let (ticket, batch) = match answer(state, poll).await {
        Ok(answered) => answered,
        Err(problem) => return problem.into_response(),
    };
    if let Some(Extension(last_poll)) = last_poll.filter(|_| !closes(&headers)) {
        last_poll.note(Arc::clone(&hub), ticket.clone(), stop);
    }
    let body = Bytes::from(batch.encode_to_vec());
    if let Some(sent) = SentChunk::of(&batch) {
        // A task of its own, so that the answer does not wait for it.
        tokio::spawn(async move { hub.engine().prepare(&ticket, &sent) });
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
}

/// Whether the connection ends with the answer, because the node wants it: that says nothing about the node.
fn closes(headers: &HeaderMap) -> bool {
    let wishes = headers.get_all(header::CONNECTION).iter();
    wishes.filter_map(|value| value.to_str().ok()).any(|value| value.eq_ignore_ascii_case("close"))
}

async fn answer(state: PollState, poll: Poll) -> Result<(Ticket, Batch), Problem> {
    // Subscribed before the first look, so that no change in between is missed.
    let mut bells = Bells { changes: state.hub.changes(), news: state.hub.relay.news() };
    let polled = state.hub.engine().poll(&poll, state.hub.now());
    let polled = polled.map_err(|error| refuse(&state.hub, error))?;
    note(&state.hub, &poll, &polled);
    let mut batch = match polled.answer {
        Answer::Batch(batch) => batch,
        Answer::Hold => {
            let ticket = polled.ticket.clone();
            let fleet = poll.fleet;
            let mut held = Held { hub: Arc::clone(&state.hub), ticket, fleet, is_answered: false };
            // Who tells of first rejections keeps them until it is answered.
            let hold = if poll.first_rejections.is_empty() { state.hold } else { Duration::ZERO };
            let batch = held.wait(&mut bells, Instant::now() + hold, &state.stop).await;
            held.is_answered = true;
            batch
        }
    };
    if let Some(has) = &poll.fleet {
        let hub = &state.hub;
        let given = hub.relay.fill(&mut batch, &polled.ticket.key, has, hub.now().mono);
        hub.metrics.ledger.gave(given);
    }
    Ok((polled.ticket, batch))
}

/// What wakes a poll that is held.
struct Bells {
    changes: watch::Receiver<()>,
    /// News of buckets of the fleet.
    news: watch::Receiver<()>,
}

impl Held {
    /// Until there is something to say: a change at once, and news of the fleet's buckets once they are due.
    async fn wait(&self, bells: &mut Bells, deadline: Instant, stop: &CancellationToken) -> Batch {
        loop {
            let now = self.hub.now().mono;
            let relay = &self.hub.relay;
            let due = self.fleet.as_ref().and_then(|has| relay.due(&self.ticket.key, has, now));
            let is_due = async {
                match due {
                    Some(at) => sleep(at.saturating_sub(now)).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                // Both senders live in `hub`, so this cannot fail.
                _ = bells.changes.changed() => {}
                () = stop.cancelled() => return self.heartbeat(),
                () = is_due => return self.heartbeat(),
                _ = bells.news.changed(), if self.fleet.is_some() && due.is_none() => continue,
                () = sleep_until(deadline) => return self.heartbeat(),
            }
            let answer = self.hub.engine().recheck(&self.ticket, self.hub.now());
            if let Answer::Batch(batch) = answer {
                return batch;
            }
        }
    }

    fn heartbeat(&self) -> Batch {
        self.hub.engine().heartbeat(&self.ticket, self.hub.now())
    }
}

/// Counts, logs and passes on what a poll has brought.
fn note(hub: &Hub, poll: &Poll, polled: &Polled) {
    hub.record_poll(poll, polled);
    if poll.fleet.is_some() {
        hub.relay.takes_part(hub.now().mono);
    }
    hub.note_fleet_progress(&polled.ticket.key, &polled.fleet);
    hub.record_first_rejections(&polled.ticket, poll);
    let (node, boot_id) = (&poll.node, &poll.boot_id);
    match polled.progress {
        Some(Progress::Started) => info!(node, boot_id, "node starts with a snapshot"),
        Some(Progress::Synchronized) => info!(node, boot_id, "node is synchronized"),
        None => {}
    }
    if let Some(version) = polled.keys_taken {
        info!(node, boot_id, version, "node has keys");
    }
    for refusal in &polled.refused {
        let (sequence, cause) = (refusal.sequence, &refusal.cause);
        hub.metrics.change_refused();
        error!(node, boot_id, sequence, cause, "node could not store a change");
    }
    if polled.repaired > 0 {
        let repaired = polled.repaired;
        hub.metrics.repaired.at_node(repaired);
        error!(node, boot_id, repaired, "node lacked states that it had acknowledged: repaired");
    }
    if polled.superseded {
        hub.ring_changed();
    }
    hub.metrics.acknowledged(polled.acknowledged.iter().map(|change| change.after));
    // In the middle of a snapshot only an urgent change may have been acknowledged.
    if polled.ticket.is_applied() || poll.batch > 0 {
        hub.ring_acknowledged();
    }
}

fn refuse(hub: &Hub, error: PollError) -> Problem {
    match error {
        PollError::Malformed { field, rule } => {
            hub.metrics.poll_malformed();
            if let Some(left_out) = hub.throttles.malformed_polls.admit(hub.now().mono) {
                warn!(cause = %error, left_out, "malformed poll");
            }
            malformed(field, rule)
        }
        PollError::TooManyNodes => {
            hub.metrics.node_refused();
            if let Some(left_out) = hub.throttles.nodes_refused.admit(hub.now().mono) {
                error!(cause = %error, left_out, "poll refused");
            }
            Problem::busy("There is no room for another node")
        }
    }
}

fn malformed(field: &str, rule: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed", "The poll breaks a rule").broken(field, rule)
}
