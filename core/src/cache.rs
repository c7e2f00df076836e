//! The cache of a Rust program: keys, leases and purges in memory or on Redis.
//!
//! # Examples
//! ```
//! use mizan_cache_core::{
//!     cache::{Cache, Purge, PutOptions},
//!     canonical::{Canonical, ParamValue},
//!     config::{BackendConfig, Config, DEFAULT_LEASE_TIME, DEFAULT_MAX_BYTES, DEFAULT_MAX_VALUE_BYTES, DEFAULT_TTL},
//!     lease::Lookup,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), mizan_cache_core::error::Error> {
//! let cache = Cache::new(&Config {
//!     secret: b"at least 32 bytes that nobody guesses".to_vec(),
//!     previous_secrets: Vec::new(),
//!     backend: BackendConfig::Memory { max_bytes: DEFAULT_MAX_BYTES },
//!     ttl: DEFAULT_TTL,
//!     lease_time: DEFAULT_LEASE_TIME,
//!     max_value_bytes: DEFAULT_MAX_VALUE_BYTES,
//! })?;
//! let user = Canonical::new("user", &[("id".to_owned(), ParamValue::Integer(5))], None, 0)?;
//!
//! // Whoever misses is given a lease, loads, and stores with it: so nothing is stored that a purge has overtaken.
//! if let Lookup::Leased(lease) = cache.lookup(&user).await? {
//!     let options = PutOptions { lease: Some(lease), ..PutOptions::default() };
//!     assert!(cache.put(&user, r#"{"name":"Ada"}"#.into(), options).await?);
//! }
//! assert!(cache.get(&user).await?.is_some());
//!
//! // Whoever changes the user purges afterwards.
//! assert_eq!(cache.purge(Purge::Entry(&user)).await?, 1);
//! assert_eq!(cache.get(&user).await?, None);
//! # Ok(())
//! # }
//! ```

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;

use crate::{
    canonical::Canonical,
    config::{BackendConfig, Config},
    drivers::{AskForCredentials, Driver},
    error::{Error, ErrorCode},
    key::Key,
    lease::{LeaseToken, Lookup},
    shared_cache::{Reply, Request, SharedCache},
    stats::{Circuit, Stats},
};
pub use crate::{drivers::Observer, engine::address::Credentials, memory::Versioned, shared_cache::PutOptions};

/// What a purge deletes (`protocol.md` §4).
#[derive(Clone, Copy, Debug)]
pub enum Purge<'a> {
    /// The entry of one call, under every live secret.
    Entry(&'a Canonical),
    /// A whole context: all parameters, all users, all revs.
    Context(&'a str),
}

/// A cache. It is cheap to clone, and all clones are the same cache.
///
/// - **A call begins when it is made.** Its future only waits for the answer; to drop it stops nothing, least of all a
///   purge. Calls of one thread are done in the order in which they were made.
/// - **In memory** a call is done when it returns, and its future is ready.
/// - **On Redis** calls need a Tokio runtime with I/O and time: the one that is entered where the first call is made, or
///   else where its future is first polled, runs the task that speaks with Redis. Until then there is no task and no
///   connection. The task ends once the cache is closed, or its last clone dropped and what was pending delivered.
/// - **No call waits longer** than [`command_timeout`](crate::config::RedisConfig::command_timeout), but for a broad
///   purge, whose every command has that time.
/// - **Trouble with Redis is no error**: it is a miss, a value that is not stored, or a purge that is pending and retried.
///   What fails is [`ErrorCode::Closed`], and [`ErrorCode::Context`] for a purge of a context that is none.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<SharedCache>,
    /// Of a cache on Redis.
    driver: Option<Driver>,
}

/// Makes a [`Cache`]: see [`Cache::builder`].
pub struct CacheBuilder<'a> {
    config: &'a Config,
    credentials: Option<AskForCredentials>,
    replaced: Option<&'a Cache>,
}

impl<'a> CacheBuilder<'a> {
    /// Sets the function that is asked for credentials at each connection, also to sentinels and nodes of a cluster: for
    /// passwords that expire. Those of the URLs are not used then. `None` fails the connection, which is tried again.
    ///
    /// # Examples
    /// ```no_run
    /// # use mizan_cache_core::{cache::{Cache, Credentials}, config::Config, error::Error};
    /// # async fn fetch_token() -> Option<String> { None }
    /// # fn connect(config: &Config) -> Result<Cache, Error> {
    /// Cache::builder(config)
    ///     .credentials(|| async {
    ///         Some(Credentials {
    ///             username: Some("app".to_owned()),
    ///             password: fetch_token().await?,
    ///         })
    ///     })
    ///     .build()
    /// # }
    /// ```
    #[must_use]
    pub fn credentials<Ask, Asked>(mut self, ask: Ask) -> Self
    where
        Ask: Fn() -> Asked + Send + Sync + 'static,
        Asked: Future<Output = Option<Credentials>> + Send + 'static,
    {
        self.credentials = Some(Arc::new(move || -> Pin<Box<dyn Future<Output = _> + Send>> {
            Box::pin(ask())
        }));
        self
    }

    /// Names the cache that this one replaces, on the same Redis: its pending and recent purges become this one's too.
    #[must_use]
    pub const fn replacing(mut self, old: &'a Cache) -> Self {
        self.replaced = Some(old);
        self
    }

    /// Makes the cache. Connects to nothing yet.
    ///
    /// # Errors
    /// [`ErrorCode::Secret`] or [`ErrorCode::Option`], for what is out of range or cannot be used.
    pub fn build(self) -> Result<Cache, Error> {
        let mut config = self.config.clone();
        let asks = self.credentials.is_some();
        match &mut config.backend {
            BackendConfig::Redis(redis) if asks || !redis.asks_for_credentials => redis.asks_for_credentials = asks,
            BackendConfig::Memory { .. } if !asks => {}
            BackendConfig::Redis(_) => return Err(refuse("needs the function that gives them")),
            BackendConfig::Memory { .. } => return Err(refuse("is of no use in memory")),
        }
        let replaced = self.replaced.map(|cache| &*cache.inner.shared);
        let shared = Arc::new(SharedCache::new(&config, replaced)?);
        let driver = match &config.backend {
            BackendConfig::Redis(redis) => Some(Driver::new(Arc::clone(&shared), redis, self.credentials)?),
            BackendConfig::Memory { .. } => None,
        };
        Ok(Cache {
            inner: Arc::new(Inner { shared, driver }),
        })
    }
}

fn refuse(reason: &str) -> Error {
    Error::new(ErrorCode::Option, format!("options.credentials {reason}"))
}

impl Cache {
    /// A cache with nothing but its configuration.
    ///
    /// # Errors
    /// As [`CacheBuilder::build`].
    pub fn new(config: &Config) -> Result<Self, Error> {
        Self::builder(config).build()
    }

    /// A cache that replaces another on the same Redis, whose pending and recent purges it inherits: with other
    /// credentials, say. The old one is closed by whoever holds it.
    ///
    /// # Errors
    /// As [`CacheBuilder::build`].
    ///
    /// # Examples
    /// ```no_run
    /// # use mizan_cache_core::{cache::Cache, config::Config, error::Error};
    /// # async fn reconfigure(old: Cache, config: &Config) -> Result<Cache, Error> {
    /// let new = Cache::replacing(config, &old)?;
    /// old.close().await;
    /// # Ok(new)
    /// # }
    /// ```
    pub fn replacing(config: &Config, old: &Self) -> Result<Self, Error> {
        Self::builder(config).replacing(old).build()
    }

    /// Begins a cache with more than its configuration.
    #[must_use]
    pub const fn builder(config: &Config) -> CacheBuilder<'_> {
        CacheBuilder {
            config,
            credentials: None,
            replaced: None,
        }
    }

    /// The key of a call, under the current secret.
    #[must_use]
    pub fn key(&self, canonical: &Canonical) -> Key {
        self.inner.shared.key(canonical)
    }

    /// The value, if this process has it in memory; never a round trip. One that is found counts as a hit.
    #[must_use]
    pub fn peek(&self, canonical: &Canonical) -> Option<Bytes> {
        self.peek_versioned(canonical).map(|found| found.value)
    }

    /// What [`peek`](Self::peek) finds, with its version.
    #[must_use]
    pub fn peek_versioned(&self, canonical: &Canonical) -> Option<Versioned> {
        let shared = &self.inner.shared;
        match &self.inner.driver {
            None => shared.peek(canonical),
            Some(driver) if driver.is_closed() || !shared.has_copies() => None,
            Some(driver) => driver.peek(&shared.signer().digest(canonical), canonical.context()),
        }
    }

    /// The value, without taking a lease.
    ///
    /// # Errors
    /// `Closed`.
    pub fn get(&self, canonical: &Canonical) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send + use<> {
        let begun = match self.copy(canonical) {
            Some(value) => Begun::Done(Ok(Reply::Value(Some(value)))),
            None => self.begin(Request::Get(canonical)),
        };
        async move { Ok(begun.reply().await?.and_then(value)) }
    }

    /// The values of many calls, in their order, without taking leases.
    ///
    /// # Errors
    /// `Closed`.
    pub fn get_many(
        &self,
        calls: &[Canonical],
    ) -> impl Future<Output = Result<Vec<Option<Bytes>>, Error>> + Send + use<> {
        let begun = self.begin_many(calls, Request::Get);
        let count = calls.len();
        async move {
            Ok(match begun.reply().await? {
                Some(replies) => replies.into_iter().map(value).collect(),
                None => vec![None; count],
            })
        }
    }

    /// The value; or a lease to fill it with; or the token of the lease that another holds; or nothing at all, where
    /// Redis could not be asked.
    ///
    /// # Errors
    /// `Closed`.
    pub fn lookup(&self, canonical: &Canonical) -> impl Future<Output = Result<Lookup, Error>> + Send + use<> {
        let begun = match self.copy(canonical) {
            Some(value) => Begun::Done(Ok(Reply::Lookup(Lookup::Hit(value)))),
            None => self.begin(Request::Lookup(canonical)),
        };
        async move { Ok(begun.reply().await?.map_or(Lookup::Miss, found)) }
    }

    /// What [`lookup`](Self::lookup) finds for many calls, in their order.
    ///
    /// # Errors
    /// `Closed`.
    pub fn lookup_many(&self, calls: &[Canonical]) -> impl Future<Output = Result<Vec<Lookup>, Error>> + Send + use<> {
        let begun = self.begin_many(calls, Request::Lookup);
        let count = calls.len();
        async move {
            Ok(match begun.reply().await? {
                Some(replies) => replies.into_iter().map(found).collect(),
                None => vec![Lookup::Miss; count],
            })
        }
    }

    /// Stores a value, and says whether it was stored. It is not if its lease no longer stands. Nor is it if it is larger
    /// than [`max_value_bytes`](Config::max_value_bytes): then what stood in its place goes, too.
    ///
    /// # Errors
    /// `Closed`.
    pub fn put(
        &self,
        canonical: &Canonical,
        value: Bytes,
        options: PutOptions,
    ) -> impl Future<Output = Result<bool, Error>> + Send + use<> {
        let begun = self.begin(Request::Put(canonical, value, options));
        async move { Ok(matches!(begun.reply().await?, Some(Reply::Stored(true)))) }
    }

    /// Gives back a lease whose load failed, so that the next who asks may load at once. Says whether it stood. It
    /// touches no value, and no lease of another.
    ///
    /// # Errors
    /// `Closed`.
    ///
    /// # Examples
    /// ```
    /// # use mizan_cache_core::{cache::{Cache, PutOptions}, canonical::Canonical, error::Error, lease::Lookup};
    /// # async fn load() -> Result<bytes::Bytes, std::io::Error> { Ok(bytes::Bytes::new()) }
    /// # async fn read(cache: &Cache, user: &Canonical) -> Result<(), Error> {
    /// if let Lookup::Leased(lease) = cache.lookup(user).await? {
    ///     match load().await {
    ///         Ok(value) => {
    ///             let options = PutOptions { lease: Some(lease), ..PutOptions::default() };
    ///             cache.put(user, value, options).await?;
    ///         }
    ///         Err(_) => {
    ///             cache.release(user, lease).await?;
    ///         }
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn release(
        &self,
        canonical: &Canonical,
        lease: LeaseToken,
    ) -> impl Future<Output = Result<bool, Error>> + Send + use<> {
        let begun = self.begin(Request::Release(canonical, lease));
        async move { Ok(matches!(begun.reply().await?, Some(Reply::Released(true)))) }
    }

    /// Deletes entries, and says how many went, leases included: 0 also where the purge is pending, because Redis could
    /// not be had. Until Redis has it, what it covers is missing here.
    ///
    /// # Errors
    /// `Context`, besides `Closed`.
    pub fn purge(&self, target: Purge<'_>) -> impl Future<Output = Result<u64, Error>> + Send + use<> {
        let begun = self.begin(match target {
            Purge::Entry(canonical) => Request::Purge(canonical),
            Purge::Context(context) => Request::PurgeContext(context),
        });
        async move { Ok(begun.reply().await?.as_ref().map_or(0, purged)) }
    }

    /// Deletes everything of this protocol, of every context, and nothing else. Says how many went, as
    /// [`purge`](Self::purge) does.
    ///
    /// # Errors
    /// `Closed`.
    pub fn clear(&self) -> impl Future<Output = Result<u64, Error>> + Send + use<> {
        let begun = self.begin(Request::Clear);
        async move { Ok(begun.reply().await?.as_ref().map_or(0, purged)) }
    }

    /// Whether Redis is asked at this moment; `false` in memory.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        let driver = self.inner.driver.as_ref();
        driver.is_some_and(|driver| driver.circuit() == Circuit::Closed)
    }

    /// The counters and sizes of this moment; no round trip.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.shared.stats(self.inner.driver.as_ref().map(Driver::circuit))
    }

    /// Tells an observer of events from now on, for as long as somebody else holds it. Says whether there can be any: a
    /// cache in memory has none.
    pub fn observe(&self, observer: &Arc<dyn Observer>) -> bool {
        let driver = self.inner.driver.as_ref();
        driver.inspect(|driver| driver.observe(observer)).is_some()
    }

    /// Closes the cache: every later call fails with `Closed`. Waits until calls in flight are answered and pending
    /// purges delivered, or the time for that is over, which is about that of one connection and one command; then
    /// disconnects. To close again waits for the same.
    pub fn close(&self) -> impl Future<Output = ()> + Send + use<> {
        let closing = self.inner.driver.as_ref().map(Driver::close);
        if closing.is_none() {
            self.inner.shared.close();
        }
        async move {
            if let Some(closing) = closing {
                closing.await;
            }
        }
    }

    /// A copy in this process of a value, if no call waits that it would overtake.
    fn copy(&self, canonical: &Canonical) -> Option<Bytes> {
        let driver = self.inner.driver.as_ref()?;
        if !self.inner.shared.has_copies() || driver.has_queued_calls() {
            return None;
        }
        self.peek(canonical)
    }

    fn begin(
        &self,
        request: Request<'_>,
    ) -> Begun<Reply, impl Future<Output = Result<Option<Reply>, Error>> + Send + use<>> {
        let shared = &self.inner.shared;
        match &self.inner.driver {
            None => Begun::Done(shared.answer(request)),
            Some(driver) => match shared.operation(request) {
                Ok(operation) => Begun::Asked(driver.call(operation)),
                Err(error) => Begun::Done(Err(error)),
            },
        }
    }

    fn begin_many<'a>(
        &self,
        calls: &'a [Canonical],
        request: fn(&'a Canonical) -> Request<'a>,
    ) -> Begun<Vec<Reply>, impl Future<Output = Result<Option<Vec<Reply>>, Error>> + Send + use<>> {
        let shared = &self.inner.shared;
        let requests = calls.iter().map(request);
        match &self.inner.driver {
            None => Begun::Done(requests.map(|request| shared.answer(request)).collect()),
            Some(driver) => match requests.map(|request| shared.operation(request)).collect() {
                Ok(operations) => Begun::Asked(driver.call_many(operations)),
                Err(error) => Begun::Done(Err(error)),
            },
        }
    }
}

/// What was asked for.
enum Begun<Answer, Asked> {
    /// It is answered.
    Done(Result<Answer, Error>),
    /// The driver has it.
    Asked(Asked),
}

impl<Answer, Asked: Future<Output = Result<Option<Answer>, Error>>> Begun<Answer, Asked> {
    /// The answer; `None` if the runtime ended before there was one.
    async fn reply(self) -> Result<Option<Answer>, Error> {
        match self {
            Self::Done(answer) => answer.map(Some),
            Self::Asked(asked) => asked.await,
        }
    }
}

fn value(reply: Reply) -> Option<Bytes> {
    match reply {
        Reply::Value(value) => value,
        _ => None,
    }
}

fn found(reply: Reply) -> Lookup {
    match reply {
        Reply::Lookup(found) => found,
        _ => Lookup::Miss,
    }
}

fn purged(reply: &Reply) -> u64 {
    match reply {
        Reply::Purged(count) => *count,
        _ => 0,
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cache").finish_non_exhaustive()
    }
}
