//! What a publisher should know about an event that is valid, and yet may not do what was meant.

use model::name::EventId;
use model::state::{Effect, Override, Register, State, Version};
use model::time::UnixMicros;

/// There are nodes that nobody waits for.
pub(super) const TURNED_AWAY: &str =
    "limits.nodes_max: a node was turned away within the last minute and may not enforce this";

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

/// What stands in effect of what an event was to end: all that it names.
pub(super) fn left<'a>(
    event: &'a Register,
    state: &'a State,
    now: UnixMicros,
) -> impl Iterator<Item = &'a Register> {
    let is_meant = |register: &&Register| match (&event.effect, &register.effect) {
        (Effect::Lift { reason: Some(reason) }, Effect::Block(block)) => block.reason == *reason,
        (Effect::Lift { reason: None }, Effect::Block(_) | Effect::Zero(_)) => true,
        (Effect::Override(back), Effect::Override(known)) => {
            back.rate.is_none() && known.rate.is_some() && known.limit == back.limit
        }
        _ => false,
    };
    state.in_effect(now).filter(is_meant)
}

/// What stays in effect although somebody may think that the event has ended it.
pub(super) fn remaining(event: &Register, state: &State, now: UnixMicros) -> Vec<String> {
    let newer = left(event, state, now).map(|register| {
        let Version { event_id, at, .. } = &register.version;
        let what = named(&register.effect);
        format!("{what} stays in effect: event {event_id} of {at} is newer than this event")
    });
    let Effect::Lift { reason: Some(reason) } = &event.effect else { return newer.collect() };
    let others = state.blocks(now).filter(|(block, _)| block.reason != *reason);
    let others = others.map(|(block, _)| {
        let (other, reason) = (block.reason.as_str(), reason.as_str());
        format!("the block {other:?} stays in effect: this event is about {reason:?} alone")
    });
    newer.chain(others).collect()
}

/// What an event is told that was to end something, and found nothing.
pub(super) fn lifts_nothing(effect: &Effect) -> Option<String> {
    match effect {
        Effect::Lift { reason: None } => {
            Some("payload: lifts nothing: no block or zero is in effect".to_owned())
        }
        Effect::Lift { reason: Some(reason) } => {
            let reason = reason.as_str();
            Some(format!("payload.reason: lifts nothing: no block {reason:?} is in effect"))
        }
        Effect::Override(Override { limit, rate: None, .. }) => {
            let limit = limit.as_str();
            Some(format!("payload.limit: takes back nothing: {limit:?} is not overridden"))
        }
        _ => None,
    }
}

/// Its publisher should know under which id an event is found.
pub(super) fn id_taken(event_id: &EventId, own: &EventId) -> String {
    format!("event_id: {event_id} is another publisher's event: this one counts as {own}")
}

/// An effect in words.
pub(super) fn named(effect: &Effect) -> String {
    match effect {
        Effect::Block(block) => format!("the block {:?}", block.reason.as_str()),
        Effect::Lift { reason: Some(reason) } => format!("the unblock of {:?}", reason.as_str()),
        Effect::Lift { reason: None } => "the unblock".to_owned(),
        Effect::Zero(_) => "the zero".to_owned(),
        Effect::Override(change) => format!("the override of {:?}", change.limit.as_str()),
    }
}
