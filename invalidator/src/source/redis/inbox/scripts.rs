//! The scripts that take events out of an inbox and say what has become of them; see
//! `redis/take.lua` and `redis/settle.lua`.

use std::time::Duration;

use events::EVENT_BYTES_MAX;
use redis::aio::ConnectionLike;
use redis::{RedisResult, Script, Value};

use super::super::layout::InboxKeys;
use super::decide::LEASE;

/// Most events that are taken at once: what comes into another inbox waits for no more than these.
const EVENTS_AT_ONCE: usize = 32;
/// Most events of one inbox that lie aside because they are not done with.
pub(super) const TAKEN_MAX: usize = 2_048;

/// Both scripts.
#[derive(Debug)]
pub(in super::super) struct Scripts {
    take: Script,
    settle: Script,
}

/// An event that was taken out of an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// When it was taken first, which also names it: microseconds by Redis's clock, as text.
    pub(super) stamp: Vec<u8>,
    /// The event; of one that is too large, its beginning, and a byte more than is allowed.
    pub(super) event: Vec<u8>,
}

/// What was taken at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    /// How many wait in the inbox.
    pub(super) waiting: u64,
    /// How many of this inbox are not done with, these among them.
    pub(super) held: usize,
    /// How many keys were put aside because they were damaged.
    pub(super) aside: u64,
    /// In the order in which they were put into the inbox.
    pub(super) events: Vec<Taken>,
}

/// What has become of a batch, by stamps.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// What is done with.
    pub(super) done: Vec<Vec<u8>>,
    /// What is to be taken again, and after what time.
    pub(super) later: Vec<(Vec<u8>, Duration)>,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            take: Script::new(include_str!("../../../../redis/take.lua")),
            settle: Script::new(include_str!("../../../../redis/settle.lua")),
        }
    }
}

impl Scripts {
    /// Takes some events.
    pub(super) async fn take(
        &self,
        redis: &mut impl ConnectionLike,
        keys: &InboxKeys,
    ) -> RedisResult<Batch> {
        let mut call = self.take.prepare_invoke();
        call.key(&keys.inbox).key(&keys.taken).key(&keys.leases);
        call.arg(millis(LEASE)).arg(EVENTS_AT_ONCE);
        // With one byte too many it is seen to be too large.
        call.arg(EVENT_BYTES_MAX.saturating_add(1)).arg(TAKEN_MAX);
        Ok(Batch::of(call.invoke_async(redis).await?))
    }

    /// Says what has become of them.
    pub(super) async fn settle(
        &self,
        redis: &mut impl ConnectionLike,
        keys: &InboxKeys,
        outcome: &Outcome,
    ) -> RedisResult<()> {
        let mut call = self.settle.prepare_invoke();
        call.key(&keys.taken).key(&keys.leases).arg(outcome.done.len());
        for stamp in &outcome.done {
            call.arg(stamp);
        }
        for (stamp, pause) in &outcome.later {
            call.arg(stamp).arg(millis(*pause));
        }
        call.invoke_async(redis).await
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Batch {
    fn of(raw: Vec<Value>) -> Self {
        let mut raw = raw.into_iter();
        let mut number = || match raw.next() {
            Some(Value::Int(number)) => u64::try_from(number).unwrap_or_default(),
            _ => 0,
        };
        let (waiting, held, aside) = (number(), number(), number());
        let mut events = Vec::new();
        while let (Some(stamp), Some(event)) = (bytes(raw.next()), bytes(raw.next())) {
            events.push(Taken { stamp, event });
        }
        // What is taken again was put there before what is new; of equal length, text is in the order
        // of numbers.
        events.sort_by(|one, other| {
            let key = |taken: &Taken| (taken.stamp.len(), taken.stamp.clone());
            key(one).cmp(&key(other))
        });
        Self { waiting, held: usize::try_from(held).unwrap_or(usize::MAX), aside, events }
    }
}

fn bytes(value: Option<Value>) -> Option<Vec<u8>> {
    match value {
        Some(Value::BulkString(bytes)) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_in_the_order_of_its_stamps() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let raw = vec![
            Value::Int(7),
            Value::Int(2),
            Value::Int(1),
            text("1000"),
            text("b"),
            text("999"),
            text("a"),
        ];
        let batch = Batch::of(raw);
        let taken = |stamp: &str, event: &str| Taken { stamp: stamp.into(), event: event.into() };
        assert_eq!((batch.waiting, batch.held, batch.aside), (7, 2, 1));
        assert_eq!(batch.events, [taken("999", "a"), taken("1000", "b")]);
        assert_eq!(Batch::of(Vec::new()), Batch::default());
    }
}
