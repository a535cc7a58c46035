//! `POST /v1/invalidations`: an event is taken in, and its publisher waits for the nodes and for the disk.

use access::Caller;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use engine::{Receipt, WaiterId};
use events::EVENT_BYTES_MAX;
use tokio::time::{Instant, sleep_until};

use super::KIND;
use super::everywhere::{self, Question, Wait};
use super::form::Form;
use super::written::{NOT_IN_REDIS, Written};
use crate::hub::{Accepted, Hub};
use crate::intake::{self, Origin};
use crate::server::audit::Noted;
use crate::server::body::{self, BodyError};
use crate::server::problem::Problem;
use crate::server::state::ApiState;
use crate::wire::Published;

/// A waiter that is ended whatever becomes of the request that owns it.
struct Waiting<'a> {
    hub: &'a Hub,
    waiter: WaiterId,
}

impl Waiting<'_> {
    fn finish(self) -> Receipt {
        self.hub.engine().finish(self.waiter).unwrap_or_default()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Nothing to do any more if it was finished.
        let _ = self.hub.engine().finish(self.waiter);
    }
}

/// Reads what a publisher sends: whom it waits for, where the event comes from, and the event.
async fn receive(
    state: &ApiState,
    caller: &Caller,
    request: Request,
) -> Result<(Wait, Origin, Bytes), Problem> {
    if !state.hub.has_source(&KIND) {
        let title = "The embedded source is not enabled";
        return Err(Problem::new(StatusCode::NOT_FOUND, "source_disabled", title)
            .broken("sources.embedded.enabled", "is false in the daemon's configuration"));
    }
    let (head, body) = request.into_parts();
    let wait = Wait::of(head.uri.query(), &state.hub)?;
    let form = Form::of(&head.headers)?;
    let origin = Origin::live(&KIND).by(intake::caller(&caller.name));
    let bytes = match body::read(body, EVENT_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(BodyError::TooLarge(_)) => return Err(state.hub.refuse_too_large(origin).into()),
        Err(error) => return Err(error.into()),
    };
    form.require(&bytes).map_err(|error| state.hub.refuse(origin, error))?;
    Ok((wait, origin, bytes))
}

pub(super) async fn publish(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let (wait, origin, bytes) = receive(&state, &caller, request).await?;
    // Subscribed before the event is taken in, so that no acknowledgement is missed.
    let mut acknowledgements = state.hub.acknowledgements();
    let mut durable = state.hub.keeper().durable();
    let (since, deadline) = (state.hub.now().mono, Instant::now() + state.ack_timeout);
    let (accepted, waiter) = state.hub.ingest_and_wait(origin, &caller, &bytes)?;
    let waiting = Waiting { hub: &state.hub, waiter };
    let mut written = Written::offer(&state.hub, &accepted);
    let question = match wait {
        Wait::Nodes => None,
        Wait::Fleet => {
            let redis = written.wait(&state.hub, deadline).await;
            // Under its own id the others may know another event.
            let event_id = written.event_id().unwrap_or(&accepted.event_id).clone();
            let event = (accepted.subject.clone(), event_id);
            Some(Question::ask(&state.hub, event, redis, (since, deadline)))
        }
    };
    let is_durable = || state.hub.keeper().is_durable(accepted.ticket);
    while !(state.hub.engine().is_complete(waiter) && is_durable()) {
        tokio::select! {
            // Both senders live in `hub`, so this cannot fail.
            _ = acknowledgements.changed() => {}
            _ = durable.changed() => {}
            () = sleep_until(deadline) => break,
        }
    }
    let mut receipt = waiting.finish();
    receipt.leave_out(&accepted.ingested.idle);
    let redis = written.wait(&state.hub, deadline).await;
    let mut fleet = match question {
        Some(question) => Some(question.finish().await),
        None => None,
    };
    let durable = is_durable();
    let Accepted { subject, event_id, mut ingested, .. } = accepted;
    // As Redis has it, if that has given it another id.
    let event_id = written.event_id().cloned().unwrap_or(event_id);
    ingested.register.version.event_id.clone_from(&event_id);
    if redis == Some(false) {
        ingested.warnings.push(NOT_IN_REDIS.to_owned());
    }
    state.hub.engine().renew(&subject, &mut ingested, state.hub.now());
    // Nobody enforces an event that is not in effect, and that is no failure.
    let is_everywhere = fleet.as_ref().is_none_or(|fleet| fleet.enforced_everywhere);
    let is_everywhere = is_everywhere || !ingested.in_effect;
    let all_done = receipt.enforced && durable && redis != Some(false) && is_everywhere;
    let status = if all_done { StatusCode::OK } else { StatusCode::ACCEPTED };
    // What nodes have applied is what is in effect: of an event that is not, they enforce nothing.
    receipt.enforced &= ingested.in_effect;
    if let Some(all) = &mut fleet {
        all.enforced_everywhere &= ingested.in_effect;
        everywhere::note(&state.hub, &caller, (&subject, &event_id), all, ingested.in_effect);
    }
    let published = Published {
        event_id: event_id.to_string(),
        result: ingested.verdict.as_str().to_owned(),
        in_effect: Some(ingested.in_effect),
        overruled_by: ingested.overruled_by,
        sequence: ingested.sequence,
        receipt,
        durable,
        redis,
        fleet,
        warnings: ingested.warnings,
    };
    let mut response = (status, Json(published)).into_response();
    let event_id = Some(event_id.clone().into());
    let noted = Noted { event_id, about: Some(subject), ..Noted::default() };
    response.extensions_mut().insert(noted);
    Ok(response)
}
