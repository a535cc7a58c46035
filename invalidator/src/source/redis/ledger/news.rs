//! Hears news of buckets without a token. What is published while nobody listens is lost, which is harmless.

use std::time::Duration;

use fleet::ledger::AHEAD_MAX;
use fleet::lines;
use fleet::wire::Partition;
use futures_util::{FutureExt, StreamExt};
use redis::Msg;
use redis::aio::PubSub;
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use super::super::{BACKOFF_MAX, BACKOFF_MIN, Lost, REDIS, RedisSource, backoff};
use crate::hub::Hub;
use crate::relay::PARTITIONS;

/// Most messages that are read at once, before others have their turn.
const TURN: usize = 64;
/// Most bytes that are read in one second, some 80,000 news: what comes beyond is dropped unread.
const PER_SECOND_BYTES_MAX: usize = 8 * 1024 * 1024;
/// As how many bytes a message counts at least.
const MESSAGE_BYTES_MIN: usize = 64;
/// The pause after Redis has refused the subscription.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// How much was read in this second.
#[derive(Debug, Default)]
struct Pace {
    second: u64,
    bytes: usize,
}

impl Pace {
    /// Whether one more message of so many bytes may be read; `now` is the daemon's steady clock.
    fn admits(&mut self, bytes: usize, now: Duration) -> bool {
        if now.as_secs() != self.second {
            *self = Self { second: now.as_secs(), bytes: 0 };
        }
        self.bytes = self.bytes.saturating_add(bytes.max(MESSAGE_BYTES_MIN));
        self.bytes <= PER_SECOND_BYTES_MAX
    }
}

impl RedisSource {
    /// Listens, again and again.
    pub(super) async fn hear_news_forever(&self, hub: &Hub) {
        let channels: Vec<_> =
            (0..PARTITIONS).map(|number| self.ledger.channel(Partition(number))).collect();
        let (mut pauses, mut is_said) = (backoff(), false);
        loop {
            let mut pause = pauses.next().unwrap_or(BACKOFF_MAX);
            let mut was_heard = false;
            let lost = match self.servers.subscribe(&channels).await {
                Ok(pubsub) => {
                    (pauses, pause, was_heard) = (backoff(), BACKOFF_MIN, true);
                    info!(source = REDIS, "news of the fleet's buckets are heard");
                    self.hear_news(hub, pubsub, &channels).await
                }
                Err(lost) => {
                    if is_refused(&lost) {
                        pause = REFUSED_PAUSE;
                    }
                    lost
                }
            };
            // Once for each loss, as for calls.
            if was_heard || !std::mem::replace(&mut is_said, true) {
                let what = "news of the fleet's buckets are not heard";
                warn!(source = REDIS, part = "news", cause = %lost, "{what}");
            }
            sleep(pause).await;
        }
    }

    async fn hear_news(&self, hub: &Hub, pubsub: PubSub, channels: &[String]) -> Lost {
        let (mut sink, mut stream) = pubsub.split();
        let patience = self.config.dead_after;
        let keep_alive = async {
            let mut ticks = interval(self.config.ping_interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                match timeout(patience, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return Lost::from(error),
                    Err(_) => return Lost::Silent,
                }
            }
        };
        let hear = async {
            let mut pace = Pace::default();
            loop {
                let Some(first) = stream.next().await else { return Lost::Closed };
                take_in(hub, &first, channels, &mut pace);
                // The library reads ahead: what it has goes at once to where it is bounded.
                for _ in 1..TURN {
                    match stream.next().now_or_never() {
                        Some(Some(message)) => take_in(hub, &message, channels, &mut pace),
                        Some(None) => return Lost::Closed,
                        None => break,
                    }
                }
                yield_now().await;
            }
        };
        tokio::select! {
            lost = keep_alive => lost,
            lost = hear => lost,
        }
    }
}

/// Whoever can publish can publish anything, as often as it likes.
fn take_in(hub: &Hub, message: &Msg, channels: &[String], pace: &mut Pace) {
    let now = hub.now().mono;
    if !pace.admits(message.get_payload_bytes().len(), now) {
        hub.metrics.ledger.dropped(1);
        return;
    }
    let channel = message.get_channel_name();
    let at = channels.iter().position(|one| one == channel);
    let Some(number) = at.and_then(|at| u16::try_from(at).ok()) else { return };
    let last = hub.common_time().saturating_add(AHEAD_MAX);
    let heard = lines::message(message.get_payload_bytes(), Partition(number), PARTITIONS, last);
    hub.metrics.ledger.heard(heard.news.len(), heard.malformed);
    if heard.malformed > 0
        && let Some(left_out) = hub.throttles.fleet_limits.admit("news", now)
    {
        let lines = heard.malformed;
        warn!(
            source = REDIS,
            lines, left_out, "what is no news was published as news of the fleet"
        );
    }
    hub.relay.hear(heard.news, now);
}

/// Whether it is a right that is missing, which does not come back within a moment.
fn is_refused(lost: &Lost) -> bool {
    matches!(lost, Lost::Redis(error) if error.code() == Some("NOPERM"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flood_so_much_is_read_in_a_second() {
        let mut pace = Pace::default();
        let mut count = |bytes, ms| {
            let now = Duration::from_millis(ms);
            (0..200_000).filter(|_| pace.admits(bytes, now)).count()
        };
        assert_eq!(count(8_192, 1_500), 1_024);
        assert_eq!(count(1, 1_999), 0);
        assert_eq!(count(1, 2_000), PER_SECOND_BYTES_MAX / MESSAGE_BYTES_MIN);
    }
}
