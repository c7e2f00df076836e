//! The servers behind a configuration, and a link to them.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Pipeline, ProtocolVersion,
    PushInfo, PushKind, RedisConnectionInfo, RedisFuture, RedisResult, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cmd,
    io::tcp::TcpSettings,
    sentinel::{Sentinel, SentinelNodeConnectionInfo},
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use super::local_tier::LocalTier;
use crate::{
    config::{MAX_IN_FLIGHT, RedisConfig, Topology},
    error::{Error, ErrorCode},
};

/// More commands than may be under way: a sender that has to wait for room can be overtaken once there is some.
const WRITE_QUEUE: usize = 2 * MAX_IN_FLIGHT;

/// How many commands may be under way on one node of a cluster. Its queue holds 50 messages, and while the `redis` crate
/// asks for the slots it lets nobody else go on, not even who was just given a place in a queue. A place must always be
/// left for the question, or it waits for those who wait for its answer.
const COMMANDS_ON_A_NODE: usize = 49;

/// How often a sentinel is asked who the primary is. A primary that is being replaced by hand goes on taking writes for
/// some ten seconds, and what it takes then is lost.
const ASK_SENTINEL_EVERY: Duration = Duration::from_secs(1);

/// The servers to connect to, checked.
pub(super) enum Servers {
    Standalone(Box<Client>),
    Cluster(Box<ClusterClient>),
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        name: String,
        node: SentinelNodeConnectionInfo,
    },
}

impl Servers {
    pub fn new(config: &RedisConfig) -> Result<Self, Error> {
        match &config.topology {
            Topology::Standalone { url } => {
                let info = connection_info("options.redisUrl", url)?;
                let client = Client::open(info).map_err(|_| unreadable("options.redisUrl"))?;
                Ok(Self::Standalone(Box::new(client)))
            }
            Topology::Cluster { urls } => {
                let nodes = connection_infos("options.cluster", urls)?;
                ClusterClientBuilder::new(nodes)
                    .use_protocol(ProtocolVersion::RESP3)
                    // An attempt waits twice for a node that stands still: as one it was told of, and as one it found.
                    .connection_timeout(config.connect_timeout / 3)
                    .response_timeout(config.command_timeout)
                    .tcp_settings(tcp_settings())
                    .retries(3)
                    .min_retry_wait(10)
                    .max_retry_wait(100)
                    .connection_concurrency_limit(COMMANDS_ON_A_NODE)
                    .build()
                    .map(|client| Self::Cluster(Box::new(client)))
                    .map_err(|_| unreadable("options.cluster"))
            }
            Topology::Sentinel {
                urls,
                name,
                username,
                password,
                database,
                tls,
            } => {
                let mut settings = RedisConnectionInfo::default()
                    .set_protocol(ProtocolVersion::RESP3)
                    .set_db(*database);
                if let Some(username) = username {
                    settings = settings.set_username(username);
                }
                if let Some(password) = password {
                    settings = settings.set_password(password);
                }
                let mut node = SentinelNodeConnectionInfo::default()
                    .set_redis_connection_info(settings)
                    .set_tcp_settings(tcp_settings());
                if *tls {
                    node = node.set_tls_mode(TlsMode::Secure);
                }
                Ok(Self::Sentinel {
                    sentinels: connection_infos("options.sentinel.urls", urls)?,
                    name: name.clone(),
                    node,
                })
            }
        }
    }

    /// Makes a link. `lost` is notified when a link to one server breaks, also while nothing is asked of it, and when
    /// the sentinels name another primary.
    ///
    /// `attempt` says which sentinel is asked first, so that one that hangs does not stand in the way of the others.
    ///
    /// `local` is told what Redis says of the keys that it tracks for a link to one server.
    pub async fn connect(
        &self,
        attempt: usize,
        lost: Arc<Notify>,
        local: Option<&Arc<LocalTier>>,
    ) -> RedisResult<Link> {
        match self {
            Self::Standalone(client) => connect_to(client, lost, local).await,
            Self::Cluster(client) => client.get_async_connection().await.map(Link::Cluster),
            Self::Sentinel { sentinels, name, node } => {
                let mut sentinels = sentinels.clone();
                let first = attempt % sentinels.len();
                sentinels.rotate_left(first);
                let client = Sentinel::build(sentinels.clone())?
                    .async_master_for(name, Some(node))
                    .await?;
                let primary = client.get_connection_info().addr().clone();
                let watch = notify_of_failover(sentinels, name.clone(), primary, Arc::downgrade(&lost));
                let link = connect_to(&client, lost, local).await?;
                tokio::spawn(watch);
                Ok(link)
            }
        }
    }
}

async fn connect_to(client: &Client, lost: Arc<Notify>, local: Option<&Arc<LocalTier>>) -> RedisResult<Link> {
    let local = local.cloned();
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(WRITE_QUEUE)
        .set_push_sender(move |push: PushInfo| {
            match push.kind {
                PushKind::Disconnection => {
                    lost.notify_one();
                    if let Some(local) = &local {
                        local.distrust();
                    }
                }
                PushKind::Invalidate => {
                    if let Some(local) = &local {
                        local.invalidate(&push.data);
                    }
                }
                _ => {}
            }
            Ok::<(), std::convert::Infallible>(())
        });
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map(Link::Single)
}

/// Asks one sentinel, or the next when one does not answer, for as long as anybody waits to be notified.
async fn notify_of_failover(sentinels: Vec<ConnectionInfo>, name: String, primary: ConnectionAddr, lost: Weak<Notify>) {
    for sentinel in sentinels.into_iter().cycle() {
        sleep(ASK_SENTINEL_EVERY).await;
        let mut connection = None;
        if let Ok(client) = Client::open(sentinel) {
            let connected = timeout(ASK_SENTINEL_EVERY, client.get_multiplexed_async_connection()).await;
            connection = connected.ok().and_then(Result::ok);
        }
        while let Some(asked) = &mut connection {
            let Some(lost) = lost.upgrade() else { return };
            let mut question = cmd("SENTINEL");
            question.arg("GET-MASTER-ADDR-BY-NAME").arg(&name);
            match timeout(ASK_SENTINEL_EVERY, question.query_async::<(String, u16)>(asked)).await {
                Ok(Ok((host, port))) if !is_at(&primary, &host, port) => return lost.notify_one(),
                Ok(Ok(_)) => sleep(ASK_SENTINEL_EVERY).await,
                _ => connection = None,
            }
        }
        if lost.strong_count() == 0 {
            return;
        }
    }
}

fn is_at(address: &ConnectionAddr, host: &str, port: u16) -> bool {
    match address {
        ConnectionAddr::Tcp(own_host, own_port)
        | ConnectionAddr::TcpTls {
            host: own_host,
            port: own_port,
            ..
        } => own_host == host && *own_port == port,
        _ => false,
    }
}

fn connection_infos(path: &str, urls: &[String]) -> Result<Vec<ConnectionInfo>, Error> {
    if urls.is_empty() {
        return Err(Error::new(
            ErrorCode::Option,
            format!("{path} must have at least one URL"),
        ));
    }
    urls.iter()
        .enumerate()
        .map(|(index, url)| connection_info(&format!("{path}[{index}]"), url))
        .collect()
}

/// RESP3 everywhere: its push messages tell of a lost connection at once.
fn connection_info(path: &str, url: &str) -> Result<ConnectionInfo, Error> {
    let info = url.into_connection_info().map_err(|_| unreadable(path))?;
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp_settings()))
}

/// A command is sent at once, not held back until the answer to the one before it is acknowledged.
fn tcp_settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

/// The URL itself may hold a password and is not repeated.
fn unreadable(path: &str) -> Error {
    Error::new(
        ErrorCode::Option,
        format!("{path} is not a redis://, rediss:// or unix:// URL"),
    )
}

/// A connection to one server or to a cluster; cheap to clone, closed when the last clone goes.
#[derive(Clone)]
pub(super) enum Link {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// The pause before the attempt that follows `failures` failed ones: at most 400 ms, so that storing goes on within a
/// second of Redis answering again (`protocol.md` §8).
pub(super) fn pause_before_reconnecting(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        failures => Duration::from_millis((25 << failures.min(4)).min(400)),
    }
}
