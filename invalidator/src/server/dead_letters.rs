//! Dead letters over the API: list, show, replay. The work itself is done off the async threads,
//! since it waits for the disk.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use model::name::EventId;
use model::time::UnixMicros;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::audit::{Noted, require_json};
use super::body;
use super::disk::DiskReads;
use super::problem::Problem;
use crate::access::Caller;
use crate::deadletter::{Cause, DeadLetters, Filter, Letter, Unavailable};
use crate::hub::Hub;
use crate::hub::replay::{ReplayError, Replayed, Selection, Word, replay};

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

/// What a replay is asked for with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    id: Option<String>,
    event_id: Option<String>,
    from: Option<String>,
    to: Option<String>,
    reason: String,
    operator: String,
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
    let letters: Vec<_> = found.iter().map(|(id, letter)| Shown::new(id, letter)).collect();
    Ok(Json(json!({ "letters": letters, "next": next })).into_response())
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
    let raw = letter.raw();
    let mut shown = json!(Shown::new(&id, &letter));
    if let Value::Object(members) = &mut shown {
        members.insert("raw".to_owned(), String::from_utf8(raw).ok().into());
        members.insert("raw_base64".to_owned(), letter.raw_base64().into());
    }
    Ok(Json(shown).into_response())
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
    let order: Order = serde_json::from_slice(&bytes).map_err(|_| invalid("body", rule))?;
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
    let results: Vec<_> = replayed.iter().map(ShownReplay::new).collect();
    let mut response = Json(json!({ "results": results })).into_response();
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

/// A letter without its content.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    inbox: Option<&'a str>,
    #[serde(flatten)]
    cause: &'a Cause,
    event_id: Option<&'a str>,
    first_at: String,
    last_at: String,
    count: u64,
    bytes: u64,
    truncated: bool,
    /// What is to be expected of it: `garbage`, `doubtful`, `passing` or `proven`.
    class: &'static str,
    /// Whether it stands for many, of which only the first is kept.
    folded: bool,
    /// Whether the event was taken in after all.
    replayed: bool,
    replays: Vec<Value>,
}

impl<'a> Shown<'a> {
    fn new(id: &'a str, letter: &'a Letter) -> Self {
        let replays = letter.replays.iter().map(|replay| {
            json!({
                "at": UnixMicros(replay.at).to_string(),
                "operator": replay.operator,
                "reason": replay.reason,
                "result": replay.result,
                "cause": replay.cause,
            })
        });
        Self {
            id,
            source: &letter.source,
            inbox: letter.inbox.as_deref(),
            cause: &letter.cause,
            event_id: letter.event_id.as_deref(),
            first_at: UnixMicros(letter.first_at).to_string(),
            last_at: UnixMicros(letter.last_at).to_string(),
            count: letter.count,
            bytes: letter.bytes,
            truncated: letter.is_truncated(),
            class: letter.class().as_str(),
            folded: letter.folded,
            replayed: letter.replayed().is_some(),
            replays: replays.collect(),
        }
    }
}

#[derive(Serialize)]
struct ShownReplay<'a> {
    id: &'a str,
    event_id: Option<&'a str>,
    result: &'a str,
    cause: Option<&'a Cause>,
}

impl<'a> ShownReplay<'a> {
    fn new(replayed: &'a Replayed) -> Self {
        let Replayed { id, event_id, result, cause } = replayed;
        Self { id, event_id: event_id.as_deref(), result, cause: cause.as_ref() }
    }
}
