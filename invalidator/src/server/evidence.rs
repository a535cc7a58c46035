//! `POST /v1/evidence`: what the audit logs of this daemon, and of all daemons on the same Redis, prove about a user, a
//! session or an event, and what not.

use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use evidence::{Document, Silent};
use model::name::EventId;
use model::subject::Subject;
use tokio::time::timeout;

use super::audit::{Noted, require_json};
use super::body;
use super::problem::Problem;
use super::state::ApiState;
use crate::hub::{Gathered, Hub};
use crate::inquiry::{INQUIRY_LASTS_MAX, Question, ROOM_HERE, made_by};
use crate::wire::EvidenceOrder;

/// Longest body, in bytes.
const ORDER_BYTES_MAX: usize = 4 * 1024;
/// How long logs are read for and daemons waited for, unless somebody says otherwise.
const WITHIN_DEFAULT: Duration = Duration::from_secs(15);

pub(super) async fn evidence(
    State(state): State<ApiState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (question, order) = order_in(&headers, body).await?;
    let within = order.within_s.map_or(WITHIN_DEFAULT, Duration::from_secs);
    let until = Instant::now() + within;
    let hub = &state.hub;
    if order.fleet {
        check_fleet(hub)?;
    }
    let own = hub.testimony(&question, ROOM_HERE, until);
    let others = async {
        match order.fleet {
            true => ask_others(hub, question.clone(), within).await,
            false => Gathered::default(),
        }
    };
    let (own, others) = tokio::join!(own, others);
    let Gathered { logs, silent } = others;
    let logs: Vec<_> = std::iter::once(own).chain(logs).collect();
    let (about, now) = (question.about(), hub.now().wall);
    let made = tokio::task::spawn_blocking(move || {
        let document = Document::of(about, &logs, silent, now, &made_by());
        serde_json::to_value(&document)
    });
    let cannot = || {
        let title = "The evidence cannot be put together";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", title)
    };
    let document = made.await.map_err(|_| cannot())?.map_err(|_| cannot())?;
    let mut response = Json(document).into_response();
    let event_id = match &question {
        Question::Event(id) => Some(id.clone().into()),
        Question::Subject(_) => None,
    };
    let about = question.subject().cloned();
    response.extensions_mut().insert(Noted { event_id, about, ..Noted::default() });
    Ok(response)
}

async fn order_in(headers: &HeaderMap, body: Body) -> Result<(Question, EvidenceOrder), Problem> {
    require_json(headers)?;
    let bytes = body::read(body, ORDER_BYTES_MAX).await?;
    let invalid = |field: &str, rule: &str| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid", "The body breaks a rule")
            .broken(field, rule)
    };
    let rule = "must be an object with exactly one of user_id, session_id and event_id";
    let order: EvidenceOrder = serde_json::from_slice(&bytes).map_err(|_| invalid("body", rule))?;
    let named = (&order.user_id, &order.session_id, &order.event_id);
    let question = match named {
        (Some(id), None, None) => {
            let subject = Subject::user(id).ok_or_else(|| invalid("user_id", Subject::RULE))?;
            Question::Subject(subject)
        }
        (None, Some(id), None) => {
            let subject =
                Subject::session(id).ok_or_else(|| invalid("session_id", Subject::RULE))?;
            Question::Subject(subject)
        }
        (None, None, Some(id)) => {
            let id = EventId::parse(id).ok_or_else(|| invalid("event_id", EventId::RULE))?;
            Question::Event(id)
        }
        _ => return Err(invalid("body", rule)),
    };
    let longest = INQUIRY_LASTS_MAX.as_secs();
    if order.within_s.is_some_and(|within| !(1..=longest).contains(&within)) {
        return Err(invalid("within_s", &format!("must be 1 to {longest}")));
    }
    Ok((question, order))
}

/// Whether other daemons can be asked at all.
fn check_fleet(hub: &Hub) -> Result<(), Problem> {
    let impossible = |field: &str| {
        let title = "This daemon cannot ask others about their audit logs";
        Problem::new(StatusCode::CONFLICT, "no_fleet", title)
            .broken(field, "is not set in the daemon's configuration")
    };
    if hub.witnesses().is_none() {
        return Err(impossible("sources.redis"));
    }
    if hub.audit.shared().mac(b"", hub.now().wall).is_none() {
        return Err(impossible("fleet.pseudonym_key_file"));
    }
    Ok(())
}

/// What the other daemons say; one that is silent is named.
async fn ask_others(hub: &Hub, question: Question, within: Duration) -> Gathered {
    let nobody = || {
        let reason = "Redis could not be asked, and so nobody can say which daemons there are";
        let (daemon, reason) = ("(all others)".to_owned(), reason.to_owned());
        let silent = vec![Silent { daemon, region: None, envoys: Vec::new(), reason }];
        Gathered { logs: Vec::new(), silent }
    };
    let Some(witnesses) = hub.witnesses().filter(|witnesses| witnesses.is_open()) else {
        return nobody();
    };
    // A little more, for an answer that is on its way when the time is over.
    let answered = timeout(within + Duration::from_secs(1), witnesses.inquire(question, within));
    match answered.await {
        Ok(Ok(gathered)) => gathered,
        Ok(Err(_)) | Err(_) => nobody(),
    }
}
