//! The process's default cache, which its worker threads share.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use mizan_cache_core::{
    config::{BackendConfig, Config, TlsConfig},
    error::{Error, ErrorCode},
    shared_cache::SharedCache,
};

/// A cache, as the threads that use it hold it.
#[derive(Clone)]
pub struct Held {
    /// Tells it from all others of this process.
    pub id: u64,
    /// The cache.
    pub cache: Arc<SharedCache>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Held {
    /// A new cache, in the place of another if there is one.
    ///
    /// # Errors
    /// `Secret` or `Option`, for what is out of range.
    pub fn open(config: &Config, replaced: Option<&Self>) -> Result<Self, Error> {
        let replaced = replaced.map(|held| &*held.cache);
        Ok(Self {
            cache: Arc::new(SharedCache::new(config, replaced)?),
            id: NEXT_ID.fetch_add(1, SeqCst),
        })
    }
}

struct Default {
    config: Config,
    held: Held,
}

static DEFAULT: Mutex<Option<Default>> = Mutex::new(None);
/// The id of the default cache; 0 while there is none.
static CURRENT: AtomicU64 = AtomicU64::new(0);

fn lock() -> MutexGuard<'static, Option<Default>> {
    DEFAULT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the cache of this configuration the default: the present one if it was made with an equal configuration and
/// is open, otherwise a new one, which inherits what the present one still owes to Redis.
///
/// # Errors
/// `Secret` or `Option`, for what is out of range.
pub fn configure(config: Config) -> Result<Held, Error> {
    let mut default = lock();
    if let Some(present) = &*default
        && present.config == config
        && !present.held.cache.is_closed()
    {
        return Ok(present.held.clone());
    }
    let held = Held::open(&config, default.as_ref().map(|present| &present.held))?;
    CURRENT.store(held.id, SeqCst);
    *default = Some(Default {
        config,
        held: held.clone(),
    });
    Ok(held)
}

/// The id of the default cache, without a lock; 0 while there is none.
pub fn current_id() -> u64 {
    CURRENT.load(SeqCst)
}

/// The default cache, and with what certificates its TLS connections are made.
///
/// # Errors
/// `NotConfigured` if there is none yet.
pub fn current() -> Result<(Held, TlsConfig), Error> {
    let none = || {
        Error::new(
            ErrorCode::NotConfigured,
            "no default cache yet: call configureCache first",
        )
    };
    let default = lock();
    let present = default.as_ref().ok_or_else(none)?;
    let tls = match &present.config.backend {
        BackendConfig::Redis(redis) => redis.tls.clone(),
        BackendConfig::Memory { .. } => TlsConfig::default(),
    };
    Ok((present.held.clone(), tls))
}
