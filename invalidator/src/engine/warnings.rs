//! What a publisher should know about an event that is valid, and yet may not do what was meant.

use policy::state::{Effect, State};
use policy::subject::Subject;
use policy::time::UnixMicros;

/// There are nodes that nobody waits for.
pub(super) const TURNED_AWAY: &str =
    "limits.nodes_max: a node was turned away within the last minute and may not enforce this";

/// An id that is probably a slip of copying: an id with white space around it is another id.
pub(super) fn padded(subject: &Subject) -> Option<String> {
    let (kind, id) = (subject.kind_name(), subject.id());
    let rule = "begins or ends with white space, which is part of the id";
    (id.trim_ascii() != id).then(|| format!("key.{kind}_id: {rule}"))
}

/// An effect that has ended before it began.
pub(super) fn over(effect: &Effect, now: UnixMicros) -> Option<String> {
    let (until, what) = match effect {
        Effect::Block(block) => (block.until, "the event has no effect"),
        Effect::Override(change) => (change.until, "the event has no effect"),
        Effect::Zero(zero) => (zero.until, "the event only empties the buckets"),
        Effect::Lift { .. } => (None, ""),
    };
    until.filter(|until| *until <= now).map(|_| format!("payload.until: is over already: {what}"))
}

/// What a lift was to lift and is still in effect, because it is newer.
pub(super) fn remaining(effect: &Effect, state: &State, now: UnixMicros) -> Vec<String> {
    let Effect::Lift { reason: lifted } = effect else { return Vec::new() };
    let what = |effect: &Effect| match effect {
        Effect::Block(block) if lifted.as_ref().is_none_or(|reason| *reason == block.reason) => {
            Some(format!("the block {:?}", block.reason.as_str()))
        }
        Effect::Zero(_) if lifted.is_none() => Some("the zero".to_owned()),
        _ => None,
    };
    let remaining = state.in_effect(now).filter_map(|register| {
        let (what, at) = (what(&register.effect)?, register.version.occurred_at);
        Some(format!("{what} stays in effect: it is newer than this event (occurred_at {at})"))
    });
    remaining.collect()
}
