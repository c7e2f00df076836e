//! The cache: keys, leases and purges over one backend.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::{
    canonical::{Canonical, check_context},
    config::{BackendConfig, Config},
    error::{Error, ErrorCode},
    events::Observer,
    expected_size::ExpectedSize,
    key::{Key, Signer},
    lease::{LeaseToken, Lookup},
    memory::{Memory, Versioned},
    redis::Redis,
    stats::{Counters, Stats},
};

/// What a value is stored with.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// The time to live, exact; `None` is the configured one, spread by ± 10 %.
    pub ttl: Option<Duration>,
    /// The lease that a lookup gave: the value is stored only while it stands (`protocol.md` §5).
    pub lease: Option<LeaseToken>,
}

/// What a purge deletes (`protocol.md` §4).
#[derive(Clone, Copy, Debug)]
pub enum Purge<'a> {
    /// The entry of one call, under every live secret.
    Entry(&'a Canonical),
    /// A whole context: all parameters, all users, all revs.
    Context(&'a str),
}

/// A cache; cheap to clone, and all clones are the same cache.
///
/// Futures of the memory backend are ready at their first poll. Those of the Redis backend need a Tokio runtime; none
/// of them takes longer than the command's deadline, but for a broad purge, whose every command has one. The only
/// error of any method is [`ErrorCode::Closed`], but for a purge's target: trouble with Redis is a miss, a value not
/// stored, or a purge that is kept and retried.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    signer: Signer,
    previous_signers: Vec<Signer>,
    backend: Backend,
    ttl: Duration,
    lease_time: Duration,
    max_value_bytes: usize,
    counters: Arc<Counters>,
    closed: AtomicBool,
}

enum Backend {
    Memory(Box<Memory>),
    Redis(Redis),
}

impl Cache {
    /// A cache. No connection is made before the first call.
    ///
    /// # Errors
    /// `Secret` or `Option`, for what is out of range.
    pub fn new(config: &Config) -> Result<Self, Error> {
        config.validate()?;
        let counters = Arc::<Counters>::default();
        let backend = match &config.backend {
            BackendConfig::Memory { max_bytes } => Backend::Memory(Box::new(Memory::new(*max_bytes))),
            BackendConfig::Redis(redis) => {
                Backend::Redis(Redis::new(redis, config.max_value_bytes, Arc::clone(&counters))?)
            }
        };
        let previous_signers = config.previous_secrets.iter().map(|secret| Signer::new(secret));
        Ok(Self {
            inner: Arc::new(Inner {
                signer: Signer::new(&config.secret)?,
                previous_signers: previous_signers.collect::<Result<_, _>>()?,
                backend,
                ttl: config.ttl,
                lease_time: config.lease_time,
                max_value_bytes: config.max_value_bytes,
                counters,
                closed: AtomicBool::new(false),
            }),
        })
    }

    /// The key of a call, under the current secret.
    #[must_use]
    pub fn key(&self, canonical: &Canonical) -> Key {
        self.inner.signer.key(canonical)
    }

    /// The value, if this process has it in memory; never a round trip.
    #[must_use]
    pub fn peek(&self, canonical: &Canonical) -> Option<Bytes> {
        self.peek_versioned(canonical).map(|found| found.value)
    }

    /// What [`peek`](Self::peek) finds, with its version.
    #[must_use]
    pub fn peek_versioned(&self, canonical: &Canonical) -> Option<Versioned> {
        if self.inner.closed.load(Relaxed) {
            return None;
        }
        let found = match &self.inner.backend {
            Backend::Memory(memory) => memory.get_versioned(&self.inner.signer.digest(canonical)),
            Backend::Redis(redis) => redis.peek(&self.key(canonical)),
        };
        // One that finds nothing is followed by the read that counts as the miss.
        if found.is_some() {
            self.inner.counters.hits.increment();
        }
        found
    }

    /// The value, without taking a lease.
    ///
    /// # Errors
    /// `Closed`.
    pub fn get(&self, canonical: &Canonical) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send + 'static {
        self.get_expecting(canonical, ExpectedSize::Unknown)
    }

    /// The value, without taking a lease, whose size is expected.
    ///
    /// # Errors
    /// `Closed`.
    pub fn get_expecting(
        &self,
        canonical: &Canonical,
        size: ExpectedSize,
    ) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        let key = self.key(canonical);
        let open = inner.check_open();
        async move {
            open?;
            let value = match &inner.backend {
                Backend::Memory(memory) => memory.get(&key),
                Backend::Redis(redis) => redis.get(vec![key], size).await.pop().flatten(),
            };
            Ok(inner.count_read(value))
        }
    }

    /// The values of many calls in their order, without taking leases; on Redis together, by one deadline. Their
    /// keys are derived at the first poll.
    ///
    /// # Errors
    /// `Closed`.
    pub fn get_many(
        &self,
        calls: Vec<Canonical>,
    ) -> impl Future<Output = Result<Vec<Option<Bytes>>, Error>> + Send + use<> + 'static {
        let inner = Arc::clone(&self.inner);
        let open = inner.check_open();
        async move {
            open?;
            let keys: Vec<Key> = calls.iter().map(|call| inner.signer.key(call)).collect();
            let values = match &inner.backend {
                Backend::Memory(memory) => keys.iter().map(|key| memory.get(key)).collect(),
                Backend::Redis(redis) => redis.get(keys, ExpectedSize::Unknown).await,
            };
            Ok(values.into_iter().map(|value| inner.count_read(value)).collect())
        }
    }

    /// The value, or a lease to fill it with, or the token of the lease that another holds.
    ///
    /// # Errors
    /// `Closed`.
    pub fn lookup(&self, canonical: &Canonical) -> impl Future<Output = Result<Lookup, Error>> + Send + 'static {
        self.lookup_expecting(canonical, ExpectedSize::Unknown)
    }

    /// What [`lookup`](Self::lookup) finds, where the size of the value is expected.
    ///
    /// # Errors
    /// `Closed`.
    pub fn lookup_expecting(
        &self,
        canonical: &Canonical,
        size: ExpectedSize,
    ) -> impl Future<Output = Result<Lookup, Error>> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        let key = self.key(canonical);
        let open = inner.check_open();
        async move {
            open?;
            let looked_up = match &inner.backend {
                Backend::Memory(memory) => memory.lookup(&key, inner.lease_time),
                Backend::Redis(redis) => {
                    let looked_up = redis.get_or_lease(vec![key], inner.lease_time, size).await.pop();
                    looked_up.unwrap_or(Lookup::Miss)
                }
            };
            Ok(inner.count_lookup(looked_up))
        }
    }

    /// What [`lookup`](Self::lookup) finds for many calls, in their order; on Redis together, by one deadline. Their
    /// keys are derived at the first poll.
    ///
    /// # Errors
    /// `Closed`.
    pub fn lookup_many(
        &self,
        calls: Vec<Canonical>,
    ) -> impl Future<Output = Result<Vec<Lookup>, Error>> + Send + use<> + 'static {
        let inner = Arc::clone(&self.inner);
        let open = inner.check_open();
        async move {
            open?;
            let keys: Vec<Key> = calls.iter().map(|call| inner.signer.key(call)).collect();
            let looked_up = match &inner.backend {
                Backend::Memory(memory) => keys.iter().map(|key| memory.lookup(key, inner.lease_time)).collect(),
                Backend::Redis(redis) => redis.get_or_lease(keys, inner.lease_time, ExpectedSize::Unknown).await,
            };
            Ok(looked_up.into_iter().map(|it| inner.count_lookup(it)).collect())
        }
    }

    /// Whether the value was stored: not if its lease no longer stands, nor if it is larger than the configured
    /// bound; then what stood in its place goes too.
    ///
    /// # Errors
    /// `Closed`.
    pub fn put(
        &self,
        canonical: &Canonical,
        value: Bytes,
        options: PutOptions,
    ) -> impl Future<Output = Result<bool, Error>> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        let key = self.key(canonical);
        // Both are done before this returns, so that what a caller stores in one go is bounded, too.
        let value = (value.len() <= inner.max_value_bytes).then_some(value);
        let room = match (&inner.backend, &value) {
            (Backend::Redis(redis), Some(value)) => redis.room_for(value.len()),
            _ => None,
        };
        let open = inner.check_open();
        async move {
            open?;
            let ttl = options.ttl.unwrap_or_else(|| spread(inner.ttl));
            let stored = match (&inner.backend, value) {
                (Backend::Memory(memory), Some(value)) => memory.set(&key, &value, ttl, options.lease.as_ref()),
                (Backend::Redis(redis), Some(value)) => redis.set(key, value, ttl, options.lease, room).await,
                (_, None) => {
                    // What stood there is no longer the answer of this call.
                    inner.delete(vec![key]).await;
                    false
                }
            };
            let counter = if stored {
                &inner.counters.stores
            } else {
                &inner.counters.refused_stores
            };
            counter.increment();
            Ok(stored)
        }
    }

    /// How many entries went, leases included; 0 also where the purge had to be kept for later.
    ///
    /// # Errors
    /// `Context`, besides `Closed`.
    pub fn purge(&self, target: Purge<'_>) -> impl Future<Output = Result<u64, Error>> + Send + use<> + 'static {
        let inner = Arc::clone(&self.inner);
        let target = match target {
            Purge::Entry(canonical) => Ok(Target::Keys(inner.keys(canonical))),
            Purge::Context(context) => check_context(context).map(|()| Target::Context(context.into())),
        };
        let open = inner.check_open();
        async move {
            open?;
            inner.counters.purges.increment();
            let deleted = match (&inner.backend, target?) {
                (_, Target::Keys(keys)) => inner.delete(keys).await,
                (Backend::Memory(memory), Target::Context(context)) => memory.delete_by_prefix(&context),
                (Backend::Redis(redis), Target::Context(context)) => redis.delete_by_prefix(&context).await,
            };
            inner.counters.purged_entries.add(deleted);
            Ok(deleted)
        }
    }

    /// How many entries went: all of this protocol, of every context, and nothing else.
    ///
    /// # Errors
    /// `Closed`.
    pub fn clear(&self) -> impl Future<Output = Result<u64, Error>> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        let open = inner.check_open();
        async move {
            open?;
            inner.counters.purges.increment();
            let deleted = match &inner.backend {
                Backend::Memory(memory) => memory.clear(),
                Backend::Redis(redis) => redis.clear().await,
            };
            inner.counters.purged_entries.add(deleted);
            Ok(deleted)
        }
    }

    /// Whether operations ask Redis at this moment.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(&self.inner.backend, Backend::Redis(redis) if redis.is_connected())
    }

    /// The counters and sizes of this moment; no I/O.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let counters = &self.inner.counters;
        let redis = match &self.inner.backend {
            Backend::Memory(_) => None,
            Backend::Redis(redis) => Some(redis),
        };
        let (entries, bytes) = match &self.inner.backend {
            Backend::Memory(memory) => (memory.entries(), memory.bytes()),
            Backend::Redis(redis) => redis.local_sizes(),
        };
        Stats {
            hits: counters.hits.get(),
            local_hits: counters.local_hits.get(),
            misses: counters.misses.get(),
            stores: counters.stores.get(),
            refused_stores: counters.refused_stores.get(),
            purges: counters.purges.get(),
            purged_entries: counters.purged_entries.get(),
            failed_reads: counters.failed_reads.get(),
            failed_writes: counters.failed_writes.get(),
            postponed_purges: counters.postponed_purges.get(),
            kept_purges: redis.map_or(0, Redis::kept_purges) as u64,
            timeouts: counters.timeouts.get(),
            reconnects: counters.connections.get().saturating_sub(1),
            in_flight: redis.map_or(0, Redis::in_flight) as u64,
            entries,
            bytes,
            circuit: redis.map(Redis::circuit),
            latency: counters.latency.snapshot(),
        }
    }

    /// Tells an observer of events from now on, for as long as somebody else keeps it. Says whether there can be any: a
    /// cache in memory has none.
    pub fn observe(&self, observer: &Arc<dyn Observer>) -> bool {
        match &self.inner.backend {
            Backend::Memory(_) => false,
            Backend::Redis(redis) => {
                redis.observe(observer);
                true
            }
        }
    }

    /// Delivers kept purges within a bound, then disconnects. Every call after this one fails with `Closed`; closing
    /// again does nothing more.
    pub fn close(&self) -> impl Future<Output = ()> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        inner.closed.store(true, Relaxed);
        async move {
            match &inner.backend {
                Backend::Memory(memory) => {
                    memory.clear();
                }
                Backend::Redis(redis) => redis.close().await,
            }
        }
    }
}

enum Target {
    Keys(Vec<Key>),
    Context(Box<str>),
}

impl Inner {
    fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Relaxed) {
            return Err(Error::new(ErrorCode::Closed, "the cache was closed"));
        }
        Ok(())
    }

    fn keys(&self, canonical: &Canonical) -> Vec<Key> {
        let previous = self.previous_signers.iter().map(|signer| signer.key(canonical));
        std::iter::once(self.signer.key(canonical)).chain(previous).collect()
    }

    async fn delete(&self, keys: Vec<Key>) -> u64 {
        match &self.backend {
            Backend::Memory(memory) => memory.delete(&keys),
            Backend::Redis(redis) => redis.delete(keys).await,
        }
    }

    fn count_read(&self, value: Option<Bytes>) -> Option<Bytes> {
        match value {
            Some(_) => self.counters.hits.increment(),
            None => self.counters.misses.increment(),
        }
        value
    }

    fn count_lookup(&self, looked_up: Lookup) -> Lookup {
        match looked_up {
            Lookup::Hit(_) => self.counters.hits.increment(),
            _ => self.counters.misses.increment(),
        }
        looked_up
    }
}

/// A time to live spread by ± 10 %, so that what was stored together does not expire together.
fn spread(ttl: Duration) -> Duration {
    // Where the system has no randomness to give, everything keeps the middle of the range.
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    ttl.mul_f64(0.9 + 0.2 * (f64::from(random) / f64::from(u32::MAX)))
}
