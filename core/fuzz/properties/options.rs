//! Options from outside: a cache is made of them, without any connection, or an error names the option and shows
//! neither the secret nor the address, which may hold a password.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use mizan_cache_core::{
    cache::Cache,
    config::{BackendConfig, Config, RedisConfig, TlsConfig, Topology},
    error::ErrorCode,
};

#[derive(Arbitrary, Debug)]
struct Options {
    secrets: Vec<Vec<u8>>,
    backend: Backend,
    milliseconds: [u64; 4],
    counts: [u64; 3],
    local_max_bytes: Option<u64>,
}

#[derive(Arbitrary, Debug)]
enum Backend {
    Memory,
    Standalone(String),
    Cluster(Vec<String>),
    Sentinel {
        urls: Vec<String>,
        name: String,
        username: Option<String>,
        password: Option<String>,
        database: u32,
        tls: bool,
    },
}

pub fn check(bytes: &[u8]) {
    let Ok(options) = Options::arbitrary(&mut Unstructured::new(bytes)) else {
        return;
    };
    let [ttl, lease_time, command_timeout, connect_timeout] = options.milliseconds.map(Duration::from_millis);
    let [max_bytes, max_value_bytes, max_in_flight] = options.counts;
    let topology = match options.backend {
        Backend::Memory => None,
        Backend::Standalone(url) => Some(Topology::Standalone { url }),
        Backend::Cluster(urls) => Some(Topology::Cluster { urls }),
        Backend::Sentinel {
            urls,
            name,
            username,
            password,
            database,
            tls,
        } => Some(Topology::Sentinel {
            urls,
            name,
            username,
            password,
            database,
            tls,
        }),
    };
    let (secret, previous_secrets) = match options.secrets.split_first() {
        Some((secret, previous)) => (secret.clone(), previous.to_vec()),
        None => (vec![7; 32], Vec::new()),
    };
    let secret_is_short = std::iter::once(&secret)
        .chain(&previous_secrets)
        .any(|secret| secret.len() < 32);
    let config = Config {
        secret,
        previous_secrets,
        backend: match topology {
            None => BackendConfig::Memory { max_bytes },
            Some(topology) => BackendConfig::Redis(RedisConfig {
                topology,
                command_timeout,
                connect_timeout,
                max_in_flight: usize::try_from(max_in_flight).unwrap_or(usize::MAX),
                local_max_bytes: options.local_max_bytes,
                asks_for_credentials: false,
                tls: TlsConfig::default(),
            }),
        },
        ttl,
        lease_time,
        max_value_bytes: usize::try_from(max_value_bytes).unwrap_or(usize::MAX),
    };
    match Cache::new(&config) {
        Ok(cache) => {
            assert!(!secret_is_short);
            assert_eq!(cache.stats().reconnects, 0);
        }
        Err(error) => {
            assert!(matches!(error.code(), ErrorCode::Option | ErrorCode::Secret), "{error}");
            assert_eq!(error.code() == ErrorCode::Secret, secret_is_short);
            assert!(error.message().starts_with("options."), "{error}");
            // As in redis://user:password@host.
            assert!(!error.message().contains('@'), "{error}");
        }
    }
}
