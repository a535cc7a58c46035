//! Pub/Sub: what is published is heard within a fraction of a millisecond, but what is published
//! while the connection is down is not heard at all. The stream has it then.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use redis::Msg;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use super::{BACKOFF_MAX, Lost, REDIS, RedisSource, backoff, locked};
use crate::engine::Verdict;
use crate::intake::Origin;
use crate::shared::{Accepted, Shared};
use crate::source::waiting::{TURN, Waiting, may_be_urgent};

/// How often bare events are looked for.
const BARE_INTERVAL: Duration = Duration::from_millis(50);

impl RedisSource {
    /// Listens, again and again.
    pub(super) async fn listen_forever(&self, shared: &Shared) {
        let mut pauses = backoff();
        let mut was_connected = false;
        // Shown from the start, so that the first loss is seen as a rise.
        shared.metrics.source_reconnected(REDIS, 0);
        loop {
            let lost = match self.servers.subscribe(&self.config.channel).await {
                Ok(pubsub) => {
                    pauses = backoff();
                    self.listening.send_replace(true);
                    shared.metrics.source_reconnected(REDIS, u64::from(was_connected));
                    was_connected = true;
                    info!(source = REDIS, channel = self.config.channel, "listening");
                    let (sink, stream) = pubsub.split();
                    tokio::select! {
                        lost = self.keep_alive(shared, sink) => lost,
                        lost = self.hear(shared, stream) => lost,
                    }
                }
                Err(lost) => lost,
            };
            self.listening.send_replace(false);
            shared.engine().source_lost(REDIS);
            let pause = pauses.next().unwrap_or(BACKOFF_MAX);
            let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            warn!(source = REDIS, part = "pubsub", cause = %lost, retry_ms, "source lost");
            sleep(pause).await;
        }
    }

    /// Pings; the connection is lost when nothing came back for `dead_after`.
    async fn keep_alive(&self, shared: &Shared, mut sink: PubSubSink) -> Lost {
        let patience = self.config.dead_after.saturating_sub(self.config.ping_interval);
        let mut ticks = interval(self.config.ping_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match timeout(patience, sink.ping::<redis::Value>()).await {
                Ok(Ok(_)) => self.note_alive(shared),
                Ok(Err(error)) => return error.into(),
                Err(_) => return Lost::Silent,
            }
        }
    }

    /// Hands each message over, blocks before all others. When more come than may wait, what waits is
    /// taken in and the connection given up: the stream has what was not heard, unless it was
    /// published bare.
    async fn hear(&self, shared: &Shared, mut stream: PubSubStream) -> Lost {
        let (mut urgent, mut others) = (Waiting::new(), Waiting::new());
        loop {
            let mut heard = if urgent.is_empty() && others.is_empty() {
                Some(stream.next().await)
            } else {
                stream.next().now_or_never()
            };
            // The library reads ahead without end: what it has goes at once to where it is bounded.
            let lost = loop {
                let message = match heard {
                    Some(Some(message)) => message,
                    Some(None) => break Some(Lost::Closed),
                    None => break None,
                };
                let bytes = message.get_payload_bytes();
                let queue = if may_be_urgent(bytes) { &mut urgent } else { &mut others };
                queue.push(bytes.len(), message);
                if !queue.has_room() {
                    break Some(Lost::Flooded);
                }
                heard = stream.next().now_or_never();
            };
            if let Some(lost) = lost {
                while !(urgent.is_empty() && others.is_empty()) {
                    // What the library still reads ahead is for nobody, and must not pile up.
                    while stream.next().now_or_never().flatten().is_some() {}
                    self.take_turn(shared, &mut urgent, &mut others).await;
                }
                return lost;
            }
            self.take_turn(shared, &mut urgent, &mut others).await;
        }
    }

    async fn take_turn(
        &self,
        shared: &Shared,
        urgent: &mut Waiting<Msg>,
        others: &mut Waiting<Msg>,
    ) {
        let due = std::iter::from_fn(|| urgent.pop().or_else(|| others.pop()));
        due.take(TURN).for_each(|message| self.take_in(shared, message.get_payload_bytes()));
        yield_now().await;
    }

    /// A refused message is counted and logged elsewhere, and changes nothing here. What is new is
    /// to turn up in the stream as well.
    fn take_in(&self, shared: &Shared, message: &[u8]) {
        if let Ok(accepted) = shared.ingest(Origin::live(REDIS), message)
            && accepted.ingested.verdict == Verdict::Applied
        {
            let Accepted { subject, event_id, json, urgent, .. } = accepted;
            let (now, id) = (shared.now().mono, (subject, event_id));
            locked(&self.unseen).heard(now, id, json, urgent);
        }
    }

    /// Hands over what was published bare, to be written.
    pub(super) async fn write_bare_forever(&self, shared: &Shared) {
        let mut ticks = interval(BARE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let due = locked(&self.unseen).due(shared.now().mono);
            for entry in due {
                self.outbox.push(entry);
            }
            let (waiting, left_out) = {
                let mut queue = self.outbox.queue();
                (queue.len(), queue.take_left_out())
            };
            shared.metrics.redis.outbox(waiting, left_out);
        }
    }
}
