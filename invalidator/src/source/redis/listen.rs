//! Pub/Sub: what is published is heard within a fraction of a millisecond, but what is published
//! while the connection is down is not heard at all. The stream has it then.

use std::pin::pin;
use std::time::Duration;

use engine::Verdict;
use events::CLOCK_AHEAD_MAX;
use futures_util::{FutureExt, Stream, StreamExt};
use model::time::UnixMicros;
use redis::Msg;
use redis::aio::{PubSub, PubSubSink};
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use super::bare::Waiting;
use super::layout::{StreamId, parse_kept};
use super::refused::may_pass;
use super::{BACKOFF_MAX, KIND, Lost, REDIS, RedisSource, backoff, locked};
use crate::hub::{Accepted, Hub};
use crate::intake::{Origin, Path};
use crate::source::waiting::{self, TURN};

/// In how many parts an answer is waited for. A daemon that was stopped for a while itself finds one
/// part over, not all of them, and still hears what was sent meanwhile.
const PATIENCE_PARTS: u32 = 4;
/// How often bare events are looked for.
const BARE_INTERVAL: Duration = Duration::from_millis(50);

/// For how long a connection may have held a message back. What says that it was written before
/// that counts from then, so that an old signed event is no younger for being published with an old
/// time.
const HELD_BACK_MAX: Duration = Duration::from_secs(60);

/// A message, and when its event was first heard: it counts from then, whatever is taken in before.
struct Heard {
    message: Msg,
    at: UnixMicros,
}

impl Heard {
    /// The event. The script puts before it when it was written.
    fn event(&self) -> &[u8] {
        take_apart(self.message.get_payload_bytes()).1
    }
}

/// When the script wrote the event, which a bare one does not tell, and the event.
fn take_apart(message: &[u8]) -> (Option<UnixMicros>, &[u8]) {
    match parse_kept(message) {
        Some((id, event)) => (Some(id.heard_at()), event),
        None => (None, message),
    }
}

/// By how much our idea of Redis's clock may be behind it. Whoever publishes a time that is further ahead
/// is not believed: a stamp of the future would outrank, on nodes, what a daemon hears later that starts
/// with nothing. Where Redis's clock was set, the stream has the right time a moment later.
const CLOCK_BEHIND_MAX: Duration = Duration::from_secs(1);

/// When an event counts from whose message came at `came`.
fn counts_from(written: UnixMicros, came: UnixMicros) -> UnixMicros {
    let held_back = u64::try_from(HELD_BACK_MAX.as_micros()).unwrap_or(u64::MAX);
    let earliest = UnixMicros(came.0.saturating_sub(held_back));
    written.max(earliest).min(came.saturating_add(CLOCK_BEHIND_MAX))
}

impl RedisSource {
    /// Listens, again and again.
    pub(super) async fn listen_forever(&self, hub: &Hub) {
        let mut pauses = backoff();
        let mut was_connected = false;
        // Shown from the start, so that the first loss is seen as a rise.
        hub.metrics.source_reconnected(REDIS, 0);
        loop {
            match self.servers.subscribe(std::slice::from_ref(&self.config.channel)).await {
                Ok(pubsub) => {
                    pauses = backoff();
                    self.listening.send_replace(true);
                    hub.metrics.source_reconnected(REDIS, u64::from(was_connected));
                    was_connected = true;
                    info!(source = REDIS, channel = self.config.channel, "listening");
                    self.listen(hub, pubsub).await;
                }
                Err(lost) => self.note_lost(hub, &lost),
            }
            sleep(pauses.next().unwrap_or(BACKOFF_MAX)).await;
        }
    }

    /// Pings; the connection is lost when nothing came back for `dead_after`.
    async fn keep_alive(&self, hub: &Hub, mut sink: PubSubSink) -> Lost {
        let patience = self.config.dead_after.saturating_sub(self.config.ping_interval);
        let mut ticks = interval(self.config.ping_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let mut ping = pin!(sink.ping::<redis::Value>());
            let mut answer = None;
            for _ in 0..PATIENCE_PARTS {
                answer = timeout(patience / PATIENCE_PARTS, &mut ping).await.ok();
                if answer.is_some() {
                    break;
                }
            }
            match answer {
                Some(Ok(_)) => self.note_alive(hub),
                Some(Err(error)) => return error.into(),
                None => return Lost::Silent,
            }
        }
    }

    /// Takes in each message, blocks before all others, until the connection is lost; and then what
    /// was heard before. When more come than may wait, the connection is given up: the stream has
    /// what was not heard, unless it was published bare.
    async fn listen(&self, hub: &Hub, pubsub: PubSub) {
        let mut waiting = waiting::Waiting::new(Heard::event);
        let take_in = |heard: &Heard| self.take_in(hub, heard);
        let (sink, stream) = pubsub.split();
        let mut last = UnixMicros(0);
        let mut stream = stream.map(move |message| {
            // Of two messages the later one came later, also if our idea of Redis's clock changes in
            // between; and after what Redis has written before, whatever that has done to its clock.
            let written = locked(&self.position).map_or(UnixMicros(0), StreamId::heard_at);
            let written = written.min(hub.common_time().saturating_add(CLOCK_AHEAD_MAX));
            last = hub.common_time().max(written).max(UnixMicros(last.0.saturating_add(1)));
            let (written, _) = take_apart(message.get_payload_bytes());
            Heard { at: written.map_or(last, |written| counts_from(written, last)), message }
        });
        let lost = tokio::select! {
            lost = self.keep_alive(hub, sink) => lost,
            lost = hear(&mut stream, &mut waiting, take_in) => lost,
        };
        self.note_lost(hub, &lost);
        take_rest(stream, waiting, take_in).await;
    }

    fn note_lost(&self, hub: &Hub, lost: &Lost) {
        self.listening.send_replace(false);
        hub.source_lost(&KIND);
        warn!(source = REDIS, part = "pubsub", cause = %lost, "source lost");
    }

    fn take_in(&self, hub: &Hub, heard: &Heard) {
        self.take_in_event(hub, heard.event(), heard.at);
    }

    /// What is new is to turn up in the stream as well. A refused event is counted and logged
    /// elsewhere, and changes nothing here; if its cause may pass, it is tried again.
    fn take_in_event(&self, hub: &Hub, event: &[u8], at: UnixMicros) {
        let accepted = match hub.ingest(Origin::new(&KIND, Path::Heard(at)), event) {
            Ok(accepted) => accepted,
            Err(refusal) => {
                if may_pass(&refusal) {
                    locked(&self.later).keep(event, at, &refusal, hub.now().mono);
                }
                return;
            }
        };
        if accepted.ingested.verdict != Verdict::Duplicate && accepted.ingested.is_kept {
            let Accepted { subject, event_id, json, heard, urgent, .. } = accepted;
            let (now, id) = (hub.now().mono, (subject, event_id));
            locked(&self.unseen).heard(now, id, Waiting { event: json, heard, urgent });
        }
    }

    /// Takes in what was refused when it was heard, if its cause has passed. Nothing is said of what is
    /// refused still: that was said when it came.
    fn try_later(&self, hub: &Hub) {
        let (keys, now) = (hub.intake().keys_version(), hub.now().mono);
        let due = locked(&self.later).due(keys, now);
        for (class, bare) in due {
            if hub.would_take(Origin::new(&KIND, Path::Heard(bare.heard)), &bare.event) {
                self.take_in_event(hub, &bare.event, bare.heard);
            } else {
                locked(&self.later).put_back(class, bare, now);
            }
        }
        self.metrics.later(locked(&self.later).len());
    }

    /// Hands over what was published bare, to be written.
    pub(super) async fn write_bare_forever(&self, hub: &Hub) {
        let mut ticks = interval(BARE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.try_later(hub);
            let due = locked(&self.unseen).due(hub.now().mono);
            for entry in due {
                self.outbox.push(entry);
            }
            let (waiting, left_out) = {
                let mut queue = self.outbox.queue();
                (queue.len(), queue.take_left_out())
            };
            if left_out > 0 {
                locked(&self.watch).has_left_out();
            }
            self.metrics.outbox(waiting, left_out);
        }
    }
}

/// Takes in what comes, until the connection is lost.
async fn hear<T, S: Stream<Item = T> + Unpin>(
    stream: &mut S,
    waiting: &mut waiting::Waiting<T>,
    take_in: impl Fn(&T),
) -> Lost {
    loop {
        if waiting.is_empty() {
            match stream.next().await {
                Some(message) => waiting.push(message),
                None => return Lost::Closed,
            }
        }
        if let Err(lost) = gather(stream, waiting) {
            return lost;
        }
        take_turn(waiting, &take_in).await;
    }
}

/// Takes in what was heard before the connection was lost; what the library has read ahead by then
/// was heard as well.
async fn take_rest<T, S: Stream<Item = T> + Unpin>(
    mut stream: S,
    mut waiting: waiting::Waiting<T>,
    take_in: impl Fn(&T),
) {
    let _already_lost = gather(&mut stream, &mut waiting);
    // Nothing more is to pile up.
    drop(stream);
    while !waiting.is_empty() {
        take_turn(&mut waiting, &take_in).await;
    }
}

async fn take_turn<T>(waiting: &mut waiting::Waiting<T>, take_in: impl Fn(&T)) {
    let due = std::iter::from_fn(|| waiting.pop());
    due.take(TURN).for_each(|message| take_in(&message));
    yield_now().await;
}

/// Has everything wait that has come. The library reads ahead without end: what it has goes at once
/// to where it is bounded.
fn gather<T, S: Stream<Item = T> + Unpin>(
    stream: &mut S,
    waiting: &mut waiting::Waiting<T>,
) -> Result<(), Lost> {
    while waiting.has_room() {
        match stream.next().now_or_never() {
            Some(Some(message)) => waiting.push(message),
            Some(None) => return Err(Lost::Closed),
            None => return Ok(()),
        }
    }
    Err(Lost::Flooded)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::source::waiting::{WAITING_MAX, Waiting};
    use futures_util::stream;
    use redis::Value;

    fn messages() -> impl Iterator<Item = Msg> {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let parts = vec![bulk("message"), bulk("channel"), bulk("{}")];
        std::iter::repeat_with(move || Msg::from_owned_value(Value::Array(parts.clone())).unwrap())
    }

    #[test]
    fn what_the_script_wrote_counts_from_then_however_late_it_comes() {
        let written = Some(UnixMicros(7_002));
        assert_eq!(take_apart(b"7-2 {\"a\": 1}"), (written, b"{\"a\": 1}".as_slice()));
        assert_eq!(take_apart(b"{\"a\": 1}"), (None, b"{\"a\": 1}".as_slice()));
        let came = UnixMicros(100_000_000);
        assert_eq!(counts_from(UnixMicros(99_000_000), came), UnixMicros(99_000_000));
        assert_eq!(counts_from(UnixMicros(100_000_001), came), UnixMicros(100_000_001));
        let never = UnixMicros(u64::MAX);
        assert_eq!(counts_from(never, came), came.saturating_add(CLOCK_BEHIND_MAX));
        assert_eq!(counts_from(UnixMicros(0), came), UnixMicros(40_000_000));
    }

    #[test]
    fn what_has_come_waits_up_to_a_bound() {
        let mut waiting = Waiting::new(Msg::get_payload_bytes);
        let mut one = stream::iter(messages().take(1)).chain(stream::pending());
        assert!(gather(&mut one, &mut waiting).is_ok());
        assert!(waiting.pop().is_some() && waiting.is_empty());
        let mut last = stream::iter(messages().take(1));
        assert!(matches!(gather(&mut last, &mut waiting), Err(Lost::Closed)));
        assert!(waiting.pop().is_some() && waiting.is_empty());
        let mut endless = stream::iter(messages());
        assert!(matches!(gather(&mut endless, &mut waiting), Err(Lost::Flooded)));
        assert_eq!(std::iter::from_fn(|| waiting.pop()).count(), WAITING_MAX);
    }

    #[tokio::test]
    async fn what_was_heard_before_the_connection_was_lost_is_taken_in() {
        let (mut waiting, taken) = (Waiting::new(Msg::get_payload_bytes), Cell::new(0));
        messages().take(2 * TURN).for_each(|message| waiting.push(message));
        let read_ahead = stream::iter(messages().take(5)).chain(stream::pending());
        take_rest(read_ahead, waiting, |_| taken.set(taken.get() + 1)).await;
        assert_eq!(taken.get(), 2 * TURN + 5);
    }

    #[tokio::test]
    async fn everything_that_came_before_the_end_is_taken_in() {
        let (mut waiting, taken) = (Waiting::new(Msg::get_payload_bytes), Cell::new(0));
        let mut all = stream::iter(messages().take(3 * TURN));
        let count = |_: &Msg| taken.set(taken.get() + 1);
        assert!(matches!(hear(&mut all, &mut waiting, count).await, Lost::Closed));
        take_rest(all, waiting, count).await;
        assert_eq!(taken.get(), 3 * TURN);
    }
}
