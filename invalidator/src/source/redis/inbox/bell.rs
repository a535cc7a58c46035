//! Tells that something has come into an inbox: Redis says which keys have changed, to who asks for it as
//! a client that caches them (`CLIENT TRACKING`). So nothing has to be asked again and again, and no
//! command has to wait for an event and bring it along, however large it is.
//!
//! A ring that is missed costs time, and no event: inboxes are looked into all the same, and often while
//! the bell cannot be heard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::violation::Violation;
use redis::aio::AsyncPushSender;
use redis::{
    Cmd, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisError, ServerErrorKind, Value,
};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use super::super::config::Config;
use super::super::connect::{Link, Servers};
use super::super::layout::Layout;
use super::super::write::ends_connection;
use super::super::{BACKOFF_MAX, Lost, REDIS, RedisSource, backoff};

/// The pause after Redis has said that it does not ring for us.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// What Redis says if it rings for this connection already.
const RINGS_ALREADY: &str = "overlaps with an existing prefix";

/// See the module's description.
#[derive(Debug, Default)]
pub(in super::super) struct Bell {
    /// The name of each inbox's key, and who waits for it, in the order of the configuration.
    lines: Vec<(Vec<u8>, Notify)>,
    hears: AtomicBool,
}

impl Bell {
    pub(in super::super) fn new(config: &Config, layout: &Layout) -> Self {
        let key = |inbox: &access::Inbox| layout.inbox(&inbox.name).inbox.into_bytes();
        let lines = config.inboxes.iter().map(|inbox| (key(inbox), Notify::new()));
        Self { lines: lines.collect(), hears: AtomicBool::new(false) }
    }

    /// A line for each inbox.
    pub(super) fn lines(&self) -> impl Iterator<Item = &Notify> {
        self.lines.iter().map(|(_, line)| line)
    }

    /// Whether it is heard, as far as is known.
    pub(super) fn hears(&self) -> bool {
        self.hears.load(Ordering::Relaxed)
    }

    fn ring_all(&self) {
        self.lines().for_each(Notify::notify_one);
    }

    /// Rings for what has changed. When Redis has lost everything it names no keys.
    fn ring(&self, push: &PushInfo) {
        if push.kind != PushKind::Invalidate {
            return;
        }
        let Some(Value::Array(changed)) = push.data.first() else { return self.ring_all() };
        for key in changed {
            let Value::BulkString(key) = key else { continue };
            let line = self.lines.iter().find(|(known, _)| known == key);
            if let Some((_, line)) = line {
                line.notify_one();
            }
        }
    }
}

/// Servers that push news, if there are inboxes that news can be about.
pub(in super::super) fn servers(config: &Config) -> Result<Option<Servers>, Violation> {
    let any = !config.inboxes.is_empty();
    any.then(|| Servers::new(config, ProtocolVersion::RESP3)).transpose()
}

impl RedisSource {
    /// Hears the bell, again and again.
    pub(in super::super) async fn hear_bell_forever(&self) {
        let Some(servers) = &self.bell_servers else { return std::future::pending().await };
        let mut pauses = backoff();
        loop {
            let lost = self.hear_bell(servers).await;
            let heard = self.bell.hears.swap(false, Ordering::Relaxed);
            if heard {
                pauses = backoff();
            }
            // From now on they are looked into more often.
            self.bell.ring_all();
            let pause = match &lost {
                Lost::Redis(error) if !ends_connection(error) => REFUSED_PAUSE,
                _ => pauses.next().unwrap_or(BACKOFF_MAX),
            };
            let looks = "inboxes are looked into every 50 ms until Redis tells of what comes there";
            warn!(source = REDIS, part = "inboxes", cause = %lost, "{looks}");
            sleep(pause).await;
        }
    }

    async fn hear_bell(&self, servers: &Servers) -> Lost {
        let bell = Arc::clone(&self.bell);
        let hear = move |push: PushInfo| {
            bell.ring(&push);
            Ok::<(), RedisError>(())
        };
        let pushes: Arc<dyn AsyncPushSender> = Arc::new(hear);
        let patience = self.config.dead_after;
        let mut link = match servers.connect_and_hear(patience, Some(pushes)).await {
            Ok(link) => link,
            Err(lost) => return lost,
        };
        let mut ticks = interval(self.config.ping_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // Also to who has it already: a Cluster's connections are made anew without a word.
            match timeout(patience, self.ask_to_ring(&mut link)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.into(),
                Err(_) => return Lost::Silent,
            }
            if !self.bell.hears.swap(true, Ordering::Relaxed) {
                info!(source = REDIS, part = "inboxes", "Redis tells of what comes into inboxes");
                self.bell.ring_all();
            }
        }
    }

    async fn ask_to_ring(&self, link: &mut Link) -> Result<(), RedisError> {
        let prefix = self.scripts.layout.inboxes();
        let mut track: Cmd = redis::cmd("CLIENT");
        track.arg("TRACKING").arg("ON").arg("BCAST").arg("PREFIX").arg(&prefix);
        match link.ask_server_of::<()>(&prefix, track).await {
            Err(error) if rings_already(&error) => Ok(()),
            asked => asked,
        }
    }
}

fn rings_already(error: &RedisError) -> bool {
    let is_answer = error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError);
    is_answer && error.detail().is_some_and(|detail| detail.contains(RINGS_ALREADY))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn bell() -> Bell {
        let lines = ["{p}:inbox:a", "{p}:inbox:b"].map(|key| (key.into(), Notify::new()));
        Bell { lines: lines.into(), hears: AtomicBool::new(true) }
    }

    /// Which lines have been rung since the last call.
    fn rung(bell: &Bell) -> Vec<bool> {
        bell.lines().map(|line| line.notified().now_or_never().is_some()).collect()
    }

    fn push(kind: PushKind, data: Value) -> PushInfo {
        PushInfo { kind, data: vec![data] }
    }

    #[test]
    fn it_rings_for_what_has_changed() {
        let bell = bell();
        assert_eq!(rung(&bell), [false, false]);
        let changed = |keys: &[&str]| {
            let keys = keys.iter().map(|key| Value::BulkString(key.as_bytes().to_vec()));
            push(PushKind::Invalidate, Value::Array(keys.collect()))
        };
        bell.ring(&changed(&["{p}:inbox:b", "{p}:inbox:c"]));
        bell.ring(&changed(&["{p}:inbox:b"]));
        assert_eq!(rung(&bell), [false, true]);
        assert_eq!(rung(&bell), [false, false], "once is enough");
        bell.ring(&push(PushKind::Invalidate, Value::Nil));
        assert_eq!(rung(&bell), [true, true], "all is lost");
        bell.ring(&push(PushKind::Message, Value::Nil));
        assert_eq!(rung(&bell), [false, false]);
    }
}
