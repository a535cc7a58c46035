//! `POST /v1/erase`: makes a user or session a stranger to the audit log, and says what remains.

use access::Caller;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use model::state::{Effect, Register};
use model::subject::Subject;
use tracing::error;

use super::audit::subject_in;
use super::problem::Problem;
use super::state::ApiState;
use crate::wire::{Erased, Remains};

fn remains_at(place: &str, what: impl Into<String>, remedy: impl Into<String>) -> Remains {
    Remains { place: place.to_owned(), what: what.into(), remedy: remedy.into() }
}

pub(super) async fn erase(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let subject = subject_in(&headers, body).await?;
    let (letters, about) = (state.hub.dead_letters.clone(), subject.clone());
    let removed = tokio::task::spawn_blocking(move || letters.erase(&about)).await;
    let dead_letters = removed.ok().and_then(Result::ok);
    let caller = Some(caller.name.to_string());
    let count = dead_letters.unwrap_or(0);
    let erased = state.hub.audit.erase(subject.clone(), caller, count).await;
    let pseudonym = erased.map_err(|cause| {
        error!(%cause, "a subject could not be erased");
        let title = "The audit log's mapping could not be changed: erase once more";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_erased", title)
    })?;
    let mut removed = Vec::new();
    removed.extend(pseudonym.as_ref().map(|name| {
        format!("audit log: {name} belongs to nobody, and all its lines are about nobody")
    }));
    removed.extend((count > 0).then(|| format!("dead letters: {count}")));
    let now = state.hub.now();
    let view = state.hub.engine().view(&subject, now);
    let mut remains = Vec::new();
    if let Some(view) = &view {
        let registers = view.state.in_effect(now.wall);
        remains.extend(registers.map(|register| effect_of(&subject, register)));
    }
    remains.extend(dead_letters.is_none().then(|| {
        let what = "the file cannot be used now, and may hold events about the id";
        remains_at("dead letters", what, "the daemon's log says why; erase once more then")
    }));
    remains.extend(elsewhere(&subject, view.is_some()));
    Ok(Json(Erased { pseudonym, removed, remains }).into_response())
}

/// What is in effect is why the id has to be kept.
fn effect_of(subject: &Subject, register: &Register) -> Remains {
    let of_session = if matches!(subject, Subject::Session(_)) { " --session" } else { "" };
    let until = |until: &Option<model::time::UnixMicros>| match until {
        Some(until) => format!("until {until}"),
        None => "until it is lifted".to_owned(),
    };
    let (what, remedy) = match &register.effect {
        Effect::Block(block) => (
            format!("a block for {} is in effect {}", block.reason.as_str(), until(&block.until)),
            format!("portcullis unblock ID --reason {}{of_session}", block.reason.as_str()),
        ),
        Effect::Zero(zero) => (
            format!("a zero is in effect {}", until(&zero.until)),
            format!("portcullis unblock ID{of_session}, which lifts all blocks as well"),
        ),
        Effect::Override(change) => (
            format!("another rate for {} {}", change.limit.as_str(), until(&change.until)),
            format!(
                "portcullis override ID --limit {} --default{of_session}",
                change.limit.as_str()
            ),
        ),
        Effect::Lift { .. } => (
            "what was lifted is remembered, so that an older event cannot undo it".to_owned(),
            "forgotten by itself".to_owned(),
        ),
    };
    remains_at("daemon and Envoy", what, remedy)
}

/// What this daemon cannot remove, or must not.
fn elsewhere(subject: &Subject, is_known: bool) -> Vec<Remains> {
    let kind = subject.kind_name();
    let mut remains = Vec::new();
    if is_known {
        remains.push(remains_at(
            "store.directory",
            "events that are in effect, or were overtaken within ten minutes, are kept with the id",
            "removed by the daemon once they have no effect any more",
        ));
    }
    remains.push(remains_at(
        "Redis",
        format!(
            "{{portcullis}}:state:{kind}:ID, the member {kind}:ID of {{portcullis}}:subjects, \
                 and the stream, under your prefix if you have set one"
        ),
        "the daemons remove what is overtaken or over; the stream forgets by its length",
    ));
    remains.push(remains_at(
        "application logs",
        "the pseudonym of the audit log, which belongs to nobody now, and no id",
        "your log's own retention",
    ));
    remains.push(remains_at(
        "Envoy",
        "a keyed hash of the id while something is in effect and an hour after; the id from a first rejection \
         until this daemon has heard of it; your access logs",
        "forgotten by itself, or with Envoy's restart",
    ));
    remains.push(remains_at(
        "store.directory",
        "pages of dead-letters.redb that removed letters have left may hold their bytes",
        "overwritten by the letters that come next",
    ));
    remains.push(remains_at(
        "publishers",
        "whatever they keep, and event ids and types, which stand in the audit log as published",
        "never put an id of a user into them",
    ));
    remains
}
