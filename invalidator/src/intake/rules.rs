//! What operators ask of events beyond what makes one: fields that must be there, fields that must
//! not, and the age.

use events::{Document, Event, EventError, EventErrorKind, Unknown};
use model::subject::Subject;
use model::time::UnixMicros;
use serde_json::{Map, Value};

use super::{Events, FieldPath, UnknownFields};

/// Checks which fields are there.
pub(super) fn fields(rules: &Events, document: &Document) -> Result<(), EventError> {
    let members = document.members();
    let broken = |kind, path: &FieldPath, rule: &str| EventError {
        kind,
        field: path.names().join(".").into(),
        rule: rule.into(),
    };
    if let Some(missing) = rules.required.iter().find(|path| !is_present(members, path.names())) {
        let rule = "is required by events.required_fields";
        return Err(broken(EventErrorKind::Invalid, missing, rule));
    }
    if let Some(blocked) = rules.blocked.iter().find(|path| is_blocked(members, path.names())) {
        let rule = "must not be in an event (events.blocked_fields)";
        return Err(broken(EventErrorKind::BlockedField, blocked, rule));
    }
    Ok(())
}

/// Checks that nothing is in an event that looks as if it did something. Answers what its publisher
/// should know.
pub(super) fn unknown(rules: &Events, document: &Document) -> Result<Vec<String>, EventError> {
    let unknown = Unknown::of(document);
    // A newer publisher may say what this daemon does not understand yet.
    let may_refuse = rules.unknown_fields == UnknownFields::Refuse && !unknown.is_newer;
    if may_refuse && let Some(field) = unknown.in_payload.first() {
        let rule = "must not be there: no member has this name (events.unknown_fields)";
        let kind = EventErrorKind::UnknownField;
        return Err(EventError { kind, field: field.as_str().into(), rule: rule.into() });
    }
    let ignored = unknown.in_payload.iter().chain(&unknown.beside);
    Ok(ignored.map(|field| format!("{field}: is ignored: no member has this name")).collect())
}

/// Checks that a request can come from whom the event is about.
pub(super) fn subject(subject: &Subject) -> Result<(), EventError> {
    if subject.can_be_in_requests() {
        return Ok(());
    }
    let field = format!("key.{}_id", subject.kind_name());
    let rule = Subject::RULE_IN_REQUESTS;
    Err(EventError { kind: EventErrorKind::Invalid, field: field.into(), rule: rule.into() })
}

/// Checks how old an event is when it is first heard.
pub(super) fn age(
    rules: &Events,
    event: &Event,
    first_heard: UnixMicros,
) -> Result<(), EventError> {
    if first_heard.since(event.occurred_at) <= rules.max_age {
        return Ok(());
    }
    Err(EventError {
        kind: EventErrorKind::TooOld,
        field: "occurred_at".into(),
        rule: format!(
            "must be at most {} s ago when the event is first heard (events.max_age)",
            rules.max_age.as_secs()
        )
        .into(),
    })
}

/// Whether there is a value at the path from the outermost object. Null is none.
fn is_present(members: &Map<String, Value>, names: &[String]) -> bool {
    let Some((first, rest)) = names.split_first() else { return true };
    match members.get(first) {
        None | Some(Value::Null) => false,
        Some(Value::Object(within)) => is_present(within, rest),
        Some(_) => rest.is_empty(),
    }
}

/// Whether there is a member of this name at any depth, or at this path. In either case, however
/// its letters are capitalized, and also within lists.
fn is_blocked(members: &Map<String, Value>, names: &[String]) -> bool {
    let Some((first, rest)) = names.split_first() else { return false };
    let any_depth = rest.is_empty();
    members.iter().any(|(name, value)| {
        let matches = name.eq_ignore_ascii_case(first);
        if any_depth {
            matches || objects(value).any(|within| is_blocked(within, names))
        } else {
            matches && objects(value).any(|within| has_path(within, rest))
        }
    })
}

fn has_path(members: &Map<String, Value>, names: &[String]) -> bool {
    let Some((first, rest)) = names.split_first() else { return true };
    let mut same = members.iter().filter(|(name, _)| name.eq_ignore_ascii_case(first));
    same.any(|(_, value)| rest.is_empty() || objects(value).any(|within| has_path(within, rest)))
}

/// The object that a value is, or those in the list that it is.
fn objects(value: &Value) -> Box<dyn Iterator<Item = &Map<String, Value>> + '_> {
    match value {
        Value::Object(members) => Box::new(std::iter::once(members)),
        Value::Array(values) => Box::new(values.iter().flat_map(objects)),
        _ => Box::new(std::iter::empty()),
    }
}
