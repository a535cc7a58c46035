//! Connections to Redis, whatever the installation: to one server, to the master that Sentinels
//! name, or to a Cluster.
//!
//! Nothing here tries again: whoever loses a connection asks for another one, and gets it to
//! whoever is the master then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::violation::Violation;
use redis::aio::{AsyncPushSender, ConnectionLike, MultiplexedConnection, PubSub};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo, Pipeline, ProtocolVersion, RedisFuture, RedisResult, TlsCertificates,
    TlsMode, Value,
};
use secrecy::ExposeSecret;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Lost;
use super::config::{Config, RedisMode};

/// Where to connect to.
pub(super) struct Servers {
    kind: Kind,
    patience: Duration,
}

enum Kind {
    Standalone(Client),
    Sentinel(Mutex<SentinelClient>),
    Cluster {
        client: ClusterClient,
        /// Each node named in the configuration, for Pub/Sub: any of them will do.
        nodes: Vec<Client>,
        next: AtomicUsize,
    },
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Standalone(_) => "standalone",
            Kind::Sentinel(_) => "sentinel",
            Kind::Cluster { .. } => "cluster",
        };
        f.debug_struct("Servers").field("kind", &kind).finish_non_exhaustive()
    }
}

impl Servers {
    /// Checks what can be checked without connecting. Servers push news of their own accord with RESP3
    /// only.
    pub(super) fn new(config: &Config, protocol: ProtocolVersion) -> Result<Self, Violation> {
        let infos = infos(config, protocol)?;
        let kind = match &config.mode {
            RedisMode::Standalone => {
                let first = infos.into_iter().next().ok_or_else(|| unusable("url"))?;
                Kind::Standalone(client(first, config, "url")?)
            }
            RedisMode::Sentinel { master_name } => {
                Kind::Sentinel(Mutex::new(sentinel(infos, master_name, config, protocol)?))
            }
            RedisMode::Cluster => cluster(infos, config, protocol)?,
        };
        Ok(Self { kind, patience: config.dead_after })
    }

    /// A connection for commands, which a failed answer of the server does not end. A command
    /// without an answer within `response_max` fails.
    pub(super) async fn connect(&self, response_max: Duration) -> Result<Link, Lost> {
        self.connect_and_hear(response_max, None::<Arc<dyn AsyncPushSender>>).await
    }

    /// The same, with who is told what the server pushes.
    pub(super) async fn connect_and_hear(
        &self,
        response_max: Duration,
        pushes: Option<Arc<dyn AsyncPushSender>>,
    ) -> Result<Link, Lost> {
        let config = || {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(self.patience))
                .set_response_timeout(Some(response_max));
            match &pushes {
                Some(pushes) => config.set_push_sender(Arc::clone(pushes)),
                None => config,
            }
        };
        let connect = async {
            Ok(match &self.kind {
                Kind::Standalone(client) => {
                    Link::One(client.get_multiplexed_async_connection_with_config(&config()).await?)
                }
                Kind::Sentinel(sentinel) => {
                    let client = sentinel.lock().await.async_get_client().await?;
                    Link::One(client.get_multiplexed_async_connection_with_config(&config()).await?)
                }
                Kind::Cluster { client, .. } => {
                    let config = redis::cluster::ClusterConfig::new()
                        .set_connection_timeout(self.patience)
                        .set_response_timeout(response_max);
                    let config = match &pushes {
                        Some(pushes) => config.set_push_sender(Arc::clone(pushes)),
                        None => config,
                    };
                    Link::Cluster(client.get_async_connection_with_config(config).await?)
                }
            })
        };
        timeout(self.patience, connect).await.unwrap_or(Err(Lost::Silent))
    }

    /// A connection that hears what is published on some channels.
    pub(super) async fn subscribe(&self, channels: &[String]) -> Result<PubSub, Lost> {
        let connect = async {
            let mut pubsub = match &self.kind {
                Kind::Standalone(client) => client.get_async_pubsub().await?,
                Kind::Sentinel(sentinel) => {
                    let client = sentinel.lock().await.async_get_client().await?;
                    client.get_async_pubsub().await?
                }
                Kind::Cluster { nodes, next, .. } => {
                    // The next time another one: this one may be the one that is down.
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    let turn = turn.checked_rem(nodes.len()).unwrap_or_default();
                    let node = nodes.get(turn).ok_or(Lost::Closed)?;
                    node.get_async_pubsub().await?
                }
            };
            pubsub.subscribe(channels).await?;
            Ok(pubsub)
        };
        timeout(self.patience, connect).await.unwrap_or(Err(Lost::Silent))
    }
}

fn unusable(key: &str) -> Violation {
    // The library's own message may quote the URL, and with it the password.
    Violation::new(format!("sources.redis.{key}"), "is not accepted by the Redis library")
}

/// What each URL says, with the user and password of the section in their places, except for
/// Sentinels: those have their own.
fn infos(config: &Config, protocol: ProtocolVersion) -> Result<Vec<ConnectionInfo>, Violation> {
    let field = if config.mode == RedisMode::Standalone { "url" } else { "urls" };
    let sentinels = matches!(config.mode, RedisMode::Sentinel { .. });
    let read = |url: &secrecy::SecretString| {
        let info = url.expose_secret().into_connection_info().map_err(|_| unusable(field))?;
        let mut redis = info.redis_settings().clone();
        if !sentinels {
            redis = redis.set_protocol(protocol);
            if let Some(user) = &config.user {
                redis = redis.set_username(user);
            }
            if let Some(password) = &config.password {
                redis = redis.set_password(password.expose_secret());
            }
        }
        Ok(info.set_redis_settings(redis))
    };
    config.urls.iter().map(read).collect()
}

fn certificates(config: &Config) -> Option<TlsCertificates> {
    let tls = &config.tls;
    if tls.ca.is_none() && tls.client.is_none() {
        return None;
    }
    let client_tls = tls.client.as_ref().map(|(cert, key)| ClientTlsConfig {
        client_cert: cert.clone(),
        client_key: key.expose_secret().as_bytes().to_vec(),
    });
    Some(TlsCertificates { client_tls, root_cert: tls.ca.clone() })
}

/// The field that is at fault when certificates are not accepted.
fn tls_field(config: &Config) -> Violation {
    let key = if config.tls.client.is_some() { "tls_cert_file" } else { "tls_ca_file" };
    Violation::new(format!("sources.redis.{key}"), "must hold certificates in PEM form")
}

fn client(info: ConnectionInfo, config: &Config, key: &str) -> Result<Client, Violation> {
    match certificates(config) {
        None => Client::open(info).map_err(|_| unusable(key)),
        Some(tls) => Client::build_with_tls(info, tls).map_err(|_| tls_field(config)),
    }
}

fn sentinel(
    infos: Vec<ConnectionInfo>,
    master_name: &str,
    config: &Config,
    protocol: ProtocolVersion,
) -> Result<SentinelClient, Violation> {
    let own = infos.first().map(|info| info.redis_settings().clone());
    let tls = infos.iter().any(is_tls);
    let addresses: Vec<_> = infos.iter().map(|info| info.addr().clone()).collect();
    let build = || -> RedisResult<SentinelClient> {
        let kind = SentinelServerType::Master;
        let mut builder = SentinelClientBuilder::new(addresses, master_name, kind)?
            .set_client_to_redis_protocol(protocol);
        if let Some(user) = own.as_ref().and_then(|own| own.username()) {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = own.as_ref().and_then(|own| own.password()) {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if let Some(user) = &config.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &config.password {
            builder = builder.set_client_to_redis_password(password.expose_secret());
        }
        if tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
            if let Some(tls) = certificates(config) {
                builder = builder
                    .set_client_to_sentinel_certificates(tls.clone())
                    .set_client_to_redis_certificates(tls);
            }
        }
        builder.build()
    };
    build().map_err(|_| if tls { tls_field(config) } else { unusable("urls") })
}

fn cluster(
    infos: Vec<ConnectionInfo>,
    config: &Config,
    protocol: ProtocolVersion,
) -> Result<Kind, Violation> {
    let nodes = infos.iter().map(|info| client(info.clone(), config, "urls"));
    let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
    let mut builder = ClusterClientBuilder::new(infos).use_protocol(protocol);
    if let Some(tls) = certificates(config) {
        builder = builder.certs(tls);
    }
    let client = builder.build().map_err(|_| unusable("urls"))?;
    Ok(Kind::Cluster { client, nodes, next: AtomicUsize::new(0) })
}

fn is_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. })
}

/// A connection for commands. Clones share it.
#[derive(Clone)]
pub(super) enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    /// Sends a command that names no key to the server that has this one.
    pub(super) async fn ask_server_of<T: FromRedisValue>(
        &mut self,
        key: &str,
        command: Cmd,
    ) -> RedisResult<T> {
        match self {
            Self::One(one) => command.query_async(one).await,
            Self::Cluster(cluster) => {
                let route = Route::with_key(key, SlotAddr::Master);
                let one = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(route));
                Ok(redis::from_redis_value(cluster.route_command(command, one).await?)?)
            }
        }
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(one) => one.req_packed_command(cmd),
            Self::Cluster(cluster) => cluster.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(one) => one.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(one) => one.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}
