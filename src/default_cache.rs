//! The process's default cache, which its worker threads share.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use mizan_cache_core::{
    cache::Cache,
    config::{BackendConfig, Config},
    error::{Error, ErrorCode},
};

/// A cache as the functions of one or more environments hold it.
#[derive(Clone)]
pub struct Held {
    /// The cache.
    pub cache: Cache,
    /// Whether its operations need the runtime.
    pub is_remote: bool,
    /// Whether it may have copies in this process of what is in Redis.
    pub has_copies: bool,
    /// Whether it was closed.
    pub closed: Arc<AtomicBool>,
}

impl Held {
    /// A new cache.
    ///
    /// # Errors
    /// `Secret` or `Option`, for what is out of range.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let has_copies = match &config.backend {
            BackendConfig::Memory { .. } => false,
            BackendConfig::Redis(redis) => redis.local_max_bytes.is_some(),
        };
        Ok(Self {
            cache: Cache::new(config)?,
            is_remote: matches!(config.backend, BackendConfig::Redis(_)),
            has_copies,
            closed: Arc::default(),
        })
    }
}

struct Default {
    config: Config,
    held: Held,
}

static DEFAULT: Mutex<Option<Default>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Default>> {
    DEFAULT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the cache of this configuration the default: the present one if it was made with an equal configuration and
/// is open, otherwise a new one.
///
/// # Errors
/// `Secret` or `Option`, for what is out of range.
pub fn configure(config: Config) -> Result<Held, Error> {
    let mut default = lock();
    if let Some(present) = &*default
        && present.config == config
        && !present.held.closed.load(Relaxed)
    {
        return Ok(present.held.clone());
    }
    let held = Held::open(&config)?;
    *default = Some(Default {
        config,
        held: held.clone(),
    });
    Ok(held)
}

/// The default cache.
///
/// # Errors
/// `NotConfigured` if there is none yet.
pub fn current() -> Result<Held, Error> {
    let none = || {
        Error::new(
            ErrorCode::NotConfigured,
            "no default cache yet: call configureCache first",
        )
    };
    lock().as_ref().map(|present| present.held.clone()).ok_or_else(none)
}
