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
use tracing::{error, info, warn};

use super::problem::Problem;
use super::seats::Place;
use super::{Shutdown, body};
use crate::shared::Shared;

/// What the handlers need.
#[derive(Clone)]
struct Door {
    shared: Arc<Shared>,
    /// Compared as digests: of equal length whatever is presented.
    secret: Arc<[u8]>,
    hold: Duration,
    shutdown: Shutdown,
}

/// Routes of the poll listener.
pub fn router(
    shared: Arc<Shared>,
    secret: &SecretString,
    hold: Duration,
    shutdown: Shutdown,
) -> Router {
    let secret = Sha256::digest(secret.expose_secret()).as_slice().into();
    Router::new()
        .route(push::PATH, post(poll))
        .with_state(Door { shared, secret, hold, shutdown })
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
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.engine().release(&self.ticket);
    }
}

impl Door {
    fn is_authentic(&self, headers: &HeaderMap) -> bool {
        let presented = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let token = presented.and_then(|value| value.strip_prefix(b"Bearer "));
        token.is_some_and(|token| Sha256::digest(token).as_slice().ct_eq(&self.secret).into())
    }
}

async fn poll(
    State(door): State<Door>,
    place: Option<Extension<Place>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !door.is_authentic(&headers) {
        return unauthorized(&door.shared);
    }
    let poll = match body::read(body, POLL_BYTES_MAX).await {
        Ok(bytes) => Poll::decode(bytes),
        Err(error) => return Problem::from(error).into_response(),
    };
    let Ok(poll) = poll else {
        door.shared.metrics.poll_malformed();
        return malformed("poll", "must be a portcullis.push.v1.Poll").into_response();
    };
    if let Some(Extension(place)) = place {
        // An Envoy needs few connections: one that opens many ends its own, and nobody else's.
        place.belongs_to(&poll.boot_id, false);
    }
    let shared = Arc::clone(&door.shared);
    let (ticket, batch) = match answer(door, poll).await {
        Ok(answered) => answered,
        Err(problem) => return problem.into_response(),
    };
    let body = Bytes::from(batch.encode_to_vec());
    if let Some(sent) = SentChunk::of(&batch) {
        // A task of its own, so that the answer does not wait for it.
        tokio::spawn(async move { shared.engine().prepare(&ticket, &sent) });
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
}

async fn answer(mut door: Door, poll: Poll) -> Result<(Ticket, Batch), Problem> {
    // Subscribed before the first look, so that no change in between is missed.
    let mut changes = door.shared.changes();
    let polled = door.shared.engine().poll(&poll, door.shared.now());
    let polled = polled.map_err(|error| refuse(&door.shared, error))?;
    note(&door.shared, &poll, &polled);
    let batch = match polled.answer {
        Answer::Batch(batch) => return Ok((polled.ticket, batch)),
        Answer::Hold => {
            let ticket = polled.ticket.clone();
            let held = Held { shared: Arc::clone(&door.shared), ticket };
            let deadline = Instant::now() + door.hold;
            loop {
                tokio::select! {
                    // The sender lives in `shared`, so this cannot fail.
                    _ = changes.changed() => {}
                    () = sleep_until(deadline) => break held.heartbeat(),
                    () = door.shutdown.requested() => break held.heartbeat(),
                }
                let answer = held.shared.engine().recheck(&held.ticket, held.shared.now());
                if let Answer::Batch(batch) = answer {
                    break batch;
                }
            }
        }
    };
    Ok((polled.ticket, batch))
}

impl Held {
    fn heartbeat(&self) -> Batch {
        self.shared.engine().heartbeat(&self.ticket, self.shared.now())
    }
}

/// Counts, logs and passes on what a poll has brought.
fn note(shared: &Shared, poll: &Poll, polled: &Polled) {
    shared.record_poll(poll, polled);
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
        shared.metrics.change_refused();
        error!(node, boot_id, sequence, cause, "node could not store a change");
    }
    if polled.repaired > 0 {
        let repaired = polled.repaired;
        shared.metrics.repaired.at_node(repaired);
        error!(node, boot_id, repaired, "node lacked states that it had acknowledged: repaired");
    }
    if polled.superseded {
        shared.ring_changed();
    }
    shared.metrics.acknowledged(polled.acknowledged.iter().map(|change| change.after));
    // In the middle of a snapshot only an urgent change may have been acknowledged.
    if polled.ticket.is_applied() || poll.batch > 0 {
        shared.ring_acknowledged();
    }
}

fn refuse(shared: &Shared, error: PollError) -> Problem {
    match error {
        PollError::Malformed { field, rule } => {
            shared.metrics.poll_malformed();
            if let Some(left_out) = shared.throttles.malformed_polls.admit(shared.now().mono) {
                warn!(cause = %error, left_out, "malformed poll");
            }
            malformed(field, rule)
        }
        PollError::TooManyNodes => {
            shared.metrics.node_refused();
            if let Some(left_out) = shared.throttles.nodes_refused.admit(shared.now().mono) {
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
fn unauthorized(shared: &Shared) -> Response {
    shared.metrics.poll_auth_failure();
    if let Some(left_out) = shared.throttles.wrong_secrets.admit(shared.now().mono) {
        warn!(left_out, "poll with a missing or wrong secret");
    }
    let challenge: (HeaderName, &str) = (header::WWW_AUTHENTICATE, "Bearer");
    (StatusCode::UNAUTHORIZED, [challenge]).into_response()
}
