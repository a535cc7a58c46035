//! The door for Envoys: `POST /v1/poll`, authenticated, held until there is something to say.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use engine::{Answer, PollError, Polled, Progress, SentChunk, Ticket};
use model::push::{self, Batch, CONTENT_TYPE, Message, POLL_BYTES_MAX, Poll};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::body;
use super::problem::Problem;
use super::seats::Place;
use crate::hub::Hub;

/// What the handlers need.
#[derive(Clone)]
struct PollState {
    hub: Arc<Hub>,
    /// Compared as digests: of equal length whatever is presented.
    secret: Arc<[u8]>,
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
    let secret = Sha256::digest(secret.expose_secret()).as_slice().into();
    Router::new()
        .route(push::PATH, post(poll))
        .with_state(PollState { hub, secret, hold, stop })
        .layer(map_response(only_nodes_stay))
}

/// Ends a connection after anything but an answered poll: who is not a node must not keep nodes
/// out by staying connected.
async fn only_nodes_stay(mut response: Response) -> Response {
    if response.status() != StatusCode::OK {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A poll that is held; dropped when it is answered, or when its connection is gone.
struct Held {
    hub: Arc<Hub>,
    ticket: Ticket,
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

impl PollState {
    fn is_authentic(&self, headers: &HeaderMap) -> bool {
        let presented = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let token = presented.and_then(|value| value.strip_prefix(b"Bearer "));
        token.is_some_and(|token| Sha256::digest(token).as_slice().ct_eq(&self.secret).into())
    }
}

async fn poll(
    State(state): State<PollState>,
    place: Option<Extension<Place>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !state.is_authentic(&headers) {
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
    let hub = Arc::clone(&state.hub);
    let (ticket, batch) = match answer(state, poll).await {
        Ok(answered) => answered,
        Err(problem) => return problem.into_response(),
    };
    let body = Bytes::from(batch.encode_to_vec());
    if let Some(sent) = SentChunk::of(&batch) {
        // A task of its own, so that the answer does not wait for it.
        tokio::spawn(async move { hub.engine().prepare(&ticket, &sent) });
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
}

async fn answer(state: PollState, poll: Poll) -> Result<(Ticket, Batch), Problem> {
    // Subscribed before the first look, so that no change in between is missed.
    let mut changes = state.hub.changes();
    let polled = state.hub.engine().poll(&poll, state.hub.now());
    let polled = polled.map_err(|error| refuse(&state.hub, error))?;
    note(&state.hub, &poll, &polled);
    let batch = match polled.answer {
        Answer::Batch(batch) => return Ok((polled.ticket, batch)),
        Answer::Hold => {
            let ticket = polled.ticket.clone();
            let mut held = Held { hub: Arc::clone(&state.hub), ticket, is_answered: false };
            let deadline = Instant::now() + state.hold;
            let batch = loop {
                tokio::select! {
                    // The sender lives in `hub`, so this cannot fail.
                    _ = changes.changed() => {}
                    () = sleep_until(deadline) => break held.heartbeat(),
                    () = state.stop.cancelled() => break held.heartbeat(),
                }
                let answer = held.hub.engine().recheck(&held.ticket, held.hub.now());
                if let Answer::Batch(batch) = answer {
                    break batch;
                }
            };
            held.is_answered = true;
            batch
        }
    };
    Ok((polled.ticket, batch))
}

impl Held {
    fn heartbeat(&self) -> Batch {
        self.hub.engine().heartbeat(&self.ticket, self.hub.now())
    }
}

/// Counts, logs and passes on what a poll has brought.
fn note(hub: &Hub, poll: &Poll, polled: &Polled) {
    hub.record_poll(poll, polled);
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

/// Says nothing but that it is not welcome.
fn unauthorized(hub: &Hub) -> Response {
    hub.metrics.poll_auth_failure();
    if let Some(left_out) = hub.throttles.wrong_secrets.admit(hub.now().mono) {
        warn!(left_out, "poll with a missing or wrong secret");
    }
    let challenge: (HeaderName, &str) = (header::WWW_AUTHENTICATE, "Bearer");
    (StatusCode::UNAUTHORIZED, [challenge]).into_response()
}
