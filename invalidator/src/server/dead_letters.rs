//! Dead letters over the API: list, show, replay. The work itself is done off the async threads,
//! since it waits for the disk.

use std::sync::Arc;

use access::Caller;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use deadletter::{Cause, DeadLetters, Filter, Letter, Unavailable};
use model::name::EventId;
use model::time::UnixMicros;
use serde::Deserialize;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::audit::{Noted, require_json};
use super::body;
use super::disk::DiskReads;
use super::problem::Problem;
use crate::hub::Hub;
use crate::hub::replay::{ReplayError, Replayed, Selection, Word, replay};
use crate::wire::{self, Content, Page, ReplayOrder, Results};

/// Letters in one answer, if the question does not say.
const LIMIT_DEFAULT: usize = 100;
/// Most letters in one answer.
const LIMIT_MAX: usize = 1_000;
/// Longest body of a replay, in bytes.
const REPLAY_BYTES_MAX: usize = 4 * 1024;
/// Longest name of an operator, and longest reason, in bytes.
const WORD_BYTES_MAX: usize = 256;

/// What a list is asked for with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    from: Option<String>,
    to: Option<String>,
    event_id: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

fn invalid(field: &str, rule: impl Into<String>) -> Problem {
    let title = "The request breaks a rule";
    Problem::new(StatusCode::BAD_REQUEST, "invalid", title).broken(field, rule)
}

fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is no such dead letter")
}

fn time(field: &str, text: Option<&str>) -> Result<Option<UnixMicros>, Problem> {
    let rule = "must be an RFC 3339 time such as 2026-11-22T12:00:00Z";
    let parse = |text| UnixMicros::parse_rfc3339(text).ok_or_else(|| invalid(field, rule));
    text.map(parse).transpose()
}

fn event_id(text: Option<String>) -> Result<Option<String>, Problem> {
    match text {
        Some(text) if EventId::parse(&text).is_none() => Err(invalid("event_id", EventId::RULE)),
        text => Ok(text),
    }
}

/// Does something with the letters that waits for the disk.
async fn off_the_loop<T: Send + 'static>(
    hub: &Arc<Hub>,
    act: impl FnOnce(&Hub, &DeadLetters) -> T + Send + 'static,
) -> Result<T, Problem> {
    let hub = Arc::clone(hub);
    spawn_blocking(move || act(&hub, &hub.dead_letters)).await.map_err(|_| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The work was not finished")
    })
}

/// `GET /v1/dead-letters`
pub(super) async fn list(
    State(hub): State<Arc<Hub>>,
    State(disk): State<DiskReads>,
    Extension(caller): Extension<Caller>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Response, Problem> {
    let rule = "must have no other parameters than from, to, event_id, limit and after, once each";
    let Query(question) = question.map_err(|_| invalid("query", rule))?;
    let limit = question.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(invalid("limit", format!("must be 1 to {LIMIT_MAX}")));
    }
    let filter = Filter {
        from: time("from", question.from.as_deref())?,
        to: time("to", question.to.as_deref())?,
        event_id: event_id(question.event_id)?,
        after: question.after.as_deref().map(place).transpose()?,
    };
    let _turn = disk.turn(&caller).await;
    let found =
        off_the_loop(&hub, move |_, letters| letters.list(&filter, limit.saturating_add(1)));
    let mut found = found.await??;
    let more = found.len() > limit;
    found.truncate(limit);
    let next =
        found.last().filter(|_| more).map(|(id, letter)| format!("{}-{id}", letter.first_at));
    let letters = found.iter().map(|(id, letter)| shown(id, letter)).collect();
    Ok(Json(json!(Page { letters, next })).into_response())
}

/// A place in the list, as `next` of an answer before gives it.
fn place(text: &str) -> Result<(u64, String), Problem> {
    let place = text.split_once('-').and_then(|(at, id)| Some((at.parse().ok()?, id.to_owned())));
    place.ok_or_else(|| invalid("after", "must be what an answer before gave as next"))
}

/// `GET /v1/dead-letters/{id}`
pub(super) async fn show(
    State(hub): State<Arc<Hub>>,
    State(disk): State<DiskReads>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| not_found())?;
    let wanted = id.clone();
    let _turn = disk.turn(&caller).await;
    let letter = off_the_loop(&hub, move |_, letters| letters.get(&wanted)).await??;
    let letter = letter.ok_or_else(not_found)?;
    let (raw, raw_base64) = (String::from_utf8(letter.raw()).ok(), letter.raw_base64().to_owned());
    Ok(Json(json!(Content { letter: shown(&id, &letter), raw, raw_base64 })).into_response())
}

/// `POST /v1/dead-letters/replay`
pub(super) async fn replay_some(
    State(hub): State<Arc<Hub>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    require_json(&headers)?;
    let bytes = body::read(body, REPLAY_BYTES_MAX).await?;
    let rule = "must be a JSON object with reason, operator, and id, event_id, or from and to";
    let order: ReplayOrder = serde_json::from_slice(&bytes).map_err(|_| invalid("body", rule))?;
    let word =
        Word { operator: word("operator", order.operator)?, reason: word("reason", order.reason)? };
    let selection = match (order.id, order.event_id, order.from, order.to) {
        (Some(id), None, None, None) => Selection::Letter(id),
        (None, Some(id), None, None) => {
            Selection::All(Filter { event_id: event_id(Some(id))?, ..Filter::default() })
        }
        (None, None, Some(from), Some(to)) => Selection::All(Filter {
            from: time("from", Some(&from))?,
            to: time("to", Some(&to))?,
            ..Filter::default()
        }),
        _ => return Err(invalid("body", rule)),
    };
    let note = Some(format!("operator {}: {}", word.operator, word.reason));
    let replayed = off_the_loop(&hub, move |hub, letters| replay(hub, letters, &selection, &word));
    let replayed = replayed.await?.map_err(Problem::from)?;
    let results = replayed.iter().map(shown_replay).collect();
    let mut response = Json(json!(Results { results })).into_response();
    let event_ids = replayed.iter().filter_map(|one| one.event_id.clone()).collect();
    response.extensions_mut().insert(Noted { event_ids, note, ..Noted::default() });
    Ok(response)
}

/// An operator's name or reason: so that whoever looks later knows.
fn word(field: &str, text: String) -> Result<String, Problem> {
    let fits = (1..=WORD_BYTES_MAX).contains(&text.trim().len()) && text.len() <= WORD_BYTES_MAX;
    if fits && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    Err(invalid(field, format!("must be 1 to {WORD_BYTES_MAX} bytes without control characters")))
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        let title = "The dead letters cannot be used now";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "dead_letters_unavailable", title)
            .broken("dead_letters", error.to_string())
    }
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::NotFound => not_found(),
            ReplayError::TooMany => invalid("body", error.to_string()),
            ReplayError::Unavailable(error) => error.into(),
        }
    }
}

fn cause_of(cause: &Cause) -> wire::Cause {
    let Cause { kind, field, rule } = cause.clone();
    wire::Cause { kind, field, rule }
}

/// A letter without its content.
fn shown(id: &str, letter: &Letter) -> wire::Letter {
    let replays = letter.replays.iter().map(|replay| wire::ReplayTry {
        at: UnixMicros(replay.at).to_string(),
        operator: replay.operator.clone(),
        reason: replay.reason.clone(),
        result: replay.result.clone(),
        cause: replay.cause.as_ref().map(cause_of),
    });
    wire::Letter {
        id: id.to_owned(),
        source: letter.source.clone(),
        inbox: letter.inbox.clone(),
        cause: cause_of(&letter.cause),
        event_id: letter.event_id.clone(),
        first_at: UnixMicros(letter.first_at).to_string(),
        last_at: UnixMicros(letter.last_at).to_string(),
        count: letter.count,
        bytes: letter.bytes,
        truncated: letter.is_truncated(),
        class: letter.class().as_str().to_owned(),
        folded: letter.folded,
        replayed: letter.replayed().is_some(),
        replays: replays.collect(),
    }
}

fn shown_replay(replayed: &Replayed) -> wire::Replayed {
    let Replayed { id, event_id, result, cause } = replayed;
    wire::Replayed {
        id: id.clone(),
        event_id: event_id.clone(),
        result: (*result).to_owned(),
        cause: cause.as_ref().map(cause_of),
    }
}
