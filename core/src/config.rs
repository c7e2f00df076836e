//! What a cache is made with. Everything is checked before the cache exists; nothing is checked later.

use std::time::Duration;

use crate::{
    error::{Error, ErrorCode},
    key::MIN_SECRET_BYTES,
};

/// The default time to live: a day.
pub const DEFAULT_TTL: Duration = Duration::from_secs(86_400);
/// The longest time to live: ten years.
pub const MAX_TTL: Duration = Duration::from_secs(315_360_000);
/// How long a lease is held by default.
pub const DEFAULT_LEASE_TIME: Duration = Duration::from_secs(10);
/// The default bound of the memory backend, in bytes.
pub const DEFAULT_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// The default bound of copies in this process of what is in Redis, in bytes.
pub const DEFAULT_LOCAL_MAX_BYTES: u64 = 32 * 1024 * 1024;
/// The largest value that is stored by default, in bytes.
pub const DEFAULT_MAX_VALUE_BYTES: usize = 8 * 1024 * 1024;
/// The default deadline of one Redis command, from call to answer.
pub const DEFAULT_COMMAND_TIMEOUT: Duration = Duration::from_millis(500);
/// The default deadline of one attempt to connect.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How many Redis calls may be under way at once by default.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 10_000;

/// The largest value that Redis can hold.
const MAX_VALUE_BYTES: usize = 512 * 1024 * 1024;
const MAX_TIMEOUT: Duration = Duration::from_secs(600);
const MAX_IN_FLIGHT: usize = 1_000_000;
/// The largest integer that JavaScript's numbers count to without a gap.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// The configuration of a [`Cache`](crate::cache::Cache).
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// The secret that signs keys, at least 32 bytes (`protocol.md` §1.10).
    pub secret: Vec<u8>,
    /// Secrets that other processes may still use; scoped purges delete under each (§4).
    pub previous_secrets: Vec<Vec<u8>>,
    /// Where entries live.
    pub backend: BackendConfig,
    /// The time to live of an entry that is stored without one of its own; it is spread by ± 10 % (§2).
    pub ttl: Duration,
    /// How long a lease is held (§5).
    pub lease_time: Duration,
    /// A larger value is not stored.
    pub max_value_bytes: usize,
}

/// Where entries live.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one for each cache")]
pub enum BackendConfig {
    /// In this process, bounded in bytes.
    Memory {
        /// The bound.
        max_bytes: u64,
    },
    /// In Redis.
    Redis(RedisConfig),
}

/// How Redis is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// Which servers.
    pub topology: Topology,
    /// The deadline of a command, from call to answer (§8).
    pub command_timeout: Duration,
    /// The deadline of one attempt to connect.
    pub connect_timeout: Duration,
    /// Beyond this many calls at once reads miss, writes are dropped and purges are pending.
    pub max_in_flight: usize,
    /// The bound in bytes of copies in this process of what it read (§5, the local tier); `None` keeps no copies.
    pub local_max_bytes: Option<u64>,
    /// Whether the host is asked for credentials at each connection: those of the configuration are not used then.
    pub asks_for_credentials: bool,
    /// How servers are verified and this client shows who it is, where connections are made by TLS.
    pub tls: TlsConfig,
}

/// Certificates of a TLS connection, in PEM. Sockets are the host's, and so is their use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Authorities to trust instead of the host's own.
    pub ca: Option<Vec<u8>>,
    /// The certificate, with its chain, that this client shows.
    pub cert: Option<Vec<u8>>,
    /// The private key of that certificate.
    pub key: Option<Vec<u8>>,
    /// The name to find in the server's certificate instead of the host's.
    pub servername: Option<String>,
}

/// Which Redis servers.
#[derive(Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server: `redis://`, `rediss://` (TLS) or `unix://`.
    Standalone {
        /// Its URL.
        url: String,
    },
    /// A cluster.
    Cluster {
        /// URLs of some of its nodes.
        urls: Vec<String>,
    },
    /// The primary that a Sentinel group names.
    Sentinel {
        /// URLs of the sentinels.
        urls: Vec<String>,
        /// The name under which they know the primary.
        name: String,
        /// The user at the primary.
        username: Option<String>,
        /// The password at the primary.
        password: Option<String>,
        /// The database at the primary.
        database: u32,
        /// Whether the primary is reached by TLS.
        tls: bool,
    },
}

impl Config {
    /// Refuses what is out of range. Whether a URL can be read is found when the backend is made.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        check_secret("options.secret", &self.secret)?;
        for (index, secret) in self.previous_secrets.iter().enumerate() {
            check_secret(&format!("options.previousSecrets[{index}]"), secret)?;
        }
        check_range("ttl", self.ttl.as_secs_f64(), 0.001, MAX_TTL.as_secs_f64(), "seconds")?;
        check_milliseconds("leaseMs", self.lease_time)?;
        check_range(
            "maxValueBytes",
            to_f64(self.max_value_bytes as u64),
            1.0,
            to_f64(MAX_VALUE_BYTES as u64),
            "bytes",
        )?;
        match &self.backend {
            BackendConfig::Memory { max_bytes } => check_memory(*max_bytes),
            BackendConfig::Redis(redis) => {
                if let Some(max_bytes) = redis.local_max_bytes {
                    check_local(max_bytes)?;
                }
                check_redis(redis.command_timeout, redis.connect_timeout, redis.max_in_flight)
            }
        }
    }
}

/// Refuses a bound of the memory backend that is out of range.
///
/// # Errors
/// `Option`.
pub fn check_memory(max_bytes: u64) -> Result<(), Error> {
    check_range("maxBytes", to_f64(max_bytes), 1.0, MAX_SAFE_INTEGER, "bytes")
}

/// Refuses a bound of copies that is out of range.
///
/// # Errors
/// `Option`.
pub fn check_local(max_bytes: u64) -> Result<(), Error> {
    check_range("local.maxBytes", to_f64(max_bytes), 1.0, MAX_SAFE_INTEGER, "bytes")
}

/// Refuses limits of the Redis backend that are out of range.
///
/// # Errors
/// `Option`.
pub fn check_redis(command_timeout: Duration, connect_timeout: Duration, max_in_flight: usize) -> Result<(), Error> {
    check_milliseconds("commandTimeoutMs", command_timeout)?;
    check_milliseconds("connectTimeoutMs", connect_timeout)?;
    let most = to_f64(MAX_IN_FLIGHT as u64);
    check_range("maxInFlight", to_f64(max_in_flight as u64), 1.0, most, "calls")
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the bounds compared with are exact, and far below what is rounded"
)]
fn to_f64(number: u64) -> f64 {
    number as f64
}

fn check_secret(path: &str, secret: &[u8]) -> Result<(), Error> {
    if secret.len() < MIN_SECRET_BYTES {
        return Err(Error::new(
            ErrorCode::Secret,
            format!("{path} must have at least {MIN_SECRET_BYTES} bytes"),
        ));
    }
    Ok(())
}

fn check_milliseconds(name: &str, duration: Duration) -> Result<(), Error> {
    check_range(
        name,
        duration.as_secs_f64() * 1_000.0,
        1.0,
        MAX_TIMEOUT.as_secs_f64() * 1_000.0,
        "milliseconds",
    )
}

fn check_range(name: &str, number: f64, least: f64, most: f64, unit: &str) -> Result<(), Error> {
    if (least..=most).contains(&number) {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::Option,
        format!("options.{name} must be from {least} to {most} {unit}"),
    ))
}
