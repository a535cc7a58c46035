//! The Redis source: Pub/Sub on one channel, kept alive, reconnected for as long as the daemon
//! runs.
//!
//! Pub/Sub forgets: what is published while the connection is down is not heard. That is visible
//! as the source's age, which every node is told.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::{FutureExt, StreamExt};
use redis::aio::{PubSubSink, PubSubStream};
use redis::{Client, Msg, RedisError, TlsCertificates};
use secrecy::ExposeSecret;
use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{info, warn};

use crate::config::{self, ConfigError};
use crate::intake::Origin;
use crate::server::Shutdown;
use crate::shared::Shared;
use crate::source::waiting::{TURN, Waiting, may_be_urgent};

/// Name of this source.
pub const REDIS: &str = "redis";
/// First pause before connecting again; doubled each time, with jitter.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// Longest pause before connecting again.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Why a connection ended.
#[derive(Debug, Error)]
enum Lost {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("no sign of life in time")]
    Silent,
    #[error("the connection was closed")]
    Closed,
}

/// A source that is ready to run.
#[derive(Debug)]
pub struct RedisSource {
    client: Client,
    config: config::Redis,
}

impl RedisSource {
    /// Checks what can be checked without connecting.
    ///
    /// # Errors
    /// If the library does not accept the URL or the certificates.
    pub fn new(config: config::Redis) -> Result<Self, ConfigError> {
        let url = config.url.expose_secret();
        let client = match &config.tls_ca {
            None => Client::open(url).map_err(|_| ConfigError {
                field: "sources.redis.url".to_owned(),
                rule: "must be a Redis URL".to_owned(),
            }),
            Some(pem) => {
                let tls = TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) };
                Client::build_with_tls(url, tls).map_err(|_| ConfigError {
                    field: "sources.redis.tls_ca_file".to_owned(),
                    rule: "must hold certificates in PEM form".to_owned(),
                })
            }
        }?;
        Ok(Self { client, config })
    }

    /// Hears events until the shutdown.
    pub async fn run(self, shared: Arc<Shared>, mut shutdown: Shutdown) {
        tokio::select! {
            () = self.reconnect_forever(&shared) => {}
            () = shutdown.requested() => {}
        }
    }

    async fn reconnect_forever(&self, shared: &Shared) {
        let mut pauses = backoff();
        let mut was_connected = false;
        // Shown from the start, so that the first loss is seen as a rise.
        shared.metrics.source_reconnected(REDIS, 0);
        loop {
            let lost = match self.connect().await {
                Ok((sink, stream)) => {
                    pauses = backoff();
                    shared.source_alive(REDIS);
                    shared.metrics.source_reconnected(REDIS, u64::from(was_connected));
                    was_connected = true;
                    info!(source = REDIS, channel = self.config.channel, "source connected");
                    self.listen(shared, sink, stream).await
                }
                Err(lost) => lost,
            };
            shared.engine().source_lost(REDIS);
            let pause = pauses.next().unwrap_or(BACKOFF_MAX);
            let retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            warn!(source = REDIS, cause = %lost, retry_ms, "source lost");
            sleep(pause).await;
        }
    }

    async fn connect(&self) -> Result<(PubSubSink, PubSubStream), Lost> {
        let connect = async {
            let mut pubsub = self.client.get_async_pubsub().await?;
            pubsub.subscribe(&self.config.channel).await?;
            Ok(pubsub.split())
        };
        timeout(self.config.dead_after, connect).await.unwrap_or(Err(Lost::Silent))
    }

    /// Hears events until the connection is lost.
    async fn listen(&self, shared: &Shared, sink: PubSubSink, stream: PubSubStream) -> Lost {
        tokio::select! {
            lost = self.keep_alive(shared, sink) => lost,
            lost = hear(shared, stream) => lost,
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
                Ok(Ok(_)) => shared.source_alive(REDIS),
                Ok(Err(error)) => return error.into(),
                Err(_) => return Lost::Silent,
            }
        }
    }
}

/// Hands each message over, blocks before all others. A refused one is counted and logged there,
/// and changes nothing here.
async fn hear(shared: &Shared, mut stream: PubSubStream) -> Lost {
    let take_in =
        |message: &Msg| drop(shared.ingest(Origin::live(REDIS), message.get_payload_bytes()));
    let mut waiting = Waiting::new();
    loop {
        let heard = if waiting.is_empty() {
            Some(stream.next().await)
        } else if waiting.has_room() {
            stream.next().now_or_never()
        } else {
            None
        };
        match heard {
            Some(Some(message)) if may_be_urgent(message.get_payload_bytes()) => take_in(&message),
            Some(Some(message)) => waiting.push(message.get_payload_bytes().len(), message),
            Some(None) => {
                std::iter::from_fn(|| waiting.pop()).for_each(|message| take_in(&message));
                return Lost::Closed;
            }
            None => {
                std::iter::from_fn(|| waiting.pop()).take(TURN).for_each(|m| take_in(&m));
                tokio::task::yield_now().await;
            }
        }
    }
}

fn backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(BACKOFF_MIN)
        .with_max_delay(BACKOFF_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}
