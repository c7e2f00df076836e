//! What all threads of a process share of one cache: its secrets, its counters, its memory or its ledger of purges.
//!
//! On Redis each thread has an [`Engine`](crate::engine::Engine) of its own; in memory there is nothing but this.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::{
    canonical::{Canonical, check_context},
    config::{BackendConfig, Config, RedisConfig},
    engine::{
        Operation,
        address::Servers,
        copies::Copies,
        orphans::Orphans,
        purge_ledger::{EngineId, PurgeLedger},
        rules::{Rule, holds},
    },
    error::{Error, ErrorCode},
    key::{Key, Signer},
    lease::{LeaseToken, Lookup},
    memory::{Memory, Versioned},
    stats::{Circuit, Counters, Stats},
};

/// What a value is stored with.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// The time to live, exact; `None` is the configured one, spread by ± 10 %.
    pub ttl: Option<Duration>,
    /// The lease that a lookup gave: the value is stored only while it stands (`protocol.md` §5).
    pub lease: Option<LeaseToken>,
}

/// A call of a cache.
#[derive(Clone, Debug)]
pub enum Request<'a> {
    /// The value, without taking a lease.
    Get(&'a Canonical),
    /// The value; or a lease to fill it with, or the token of the lease that another holds.
    Lookup(&'a Canonical),
    /// Stores a value.
    Put(&'a Canonical, Bytes, PutOptions),
    /// Gives a lease back whose load failed; never touches a value.
    Release(&'a Canonical, LeaseToken),
    /// Deletes the entry of one call, under every live secret (§4).
    Purge(&'a Canonical),
    /// Deletes a whole context: all parameters, all users, all revs (§4).
    PurgeContext(&'a str),
    /// Deletes every entry of this protocol.
    Clear,
}

/// What a call of a cache in memory answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Of `Get`.
    Value(Option<Bytes>),
    /// Of `Lookup`.
    Lookup(Lookup),
    /// Of `Put`: whether the value was stored.
    Stored(bool),
    /// Of `Release`: whether the lease stood.
    Released(bool),
    /// Of purges: how many entries went, leases included.
    Purged(u64),
}

/// A cache, but for the engines of its threads.
pub struct SharedCache {
    signer: Signer,
    previous_signers: Vec<Signer>,
    ttl: Duration,
    pub(crate) lease_time: Duration,
    max_value_bytes: usize,
    pub(crate) counters: Counters,
    closed: AtomicBool,
    backend: Backend,
}

enum Backend {
    Memory(Box<Memory>),
    Redis(Box<SharedRedis>),
}

/// What engines share.
pub(crate) struct SharedRedis {
    pub config: RedisConfig,
    pub servers: Servers,
    pub ledger: Arc<PurgeLedger>,
    pub orphans: Orphans,
    /// Calls in flight.
    pub in_flight: AtomicUsize,
    /// Bytes of values that are sent and not answered.
    pub bytes_in_flight: AtomicUsize,
    pub max_bytes_in_flight: usize,
    copies: Mutex<Vec<Weak<Copies>>>,
}

/// Values in flight to Redis may hold this many bytes together; a write beyond that is dropped.
const MAX_BYTES_IN_FLIGHT: usize = 64 * 1024 * 1024;

impl SharedCache {
    /// A cache. Connects to nothing. What another one, that it replaces, still owes to Redis is owed by this one too
    /// (`protocol.md` §8).
    ///
    /// # Errors
    /// `Secret` or `Option`, for what is out of range.
    pub fn new(config: &Config, replaced: Option<&Self>) -> Result<Self, Error> {
        config.validate()?;
        let backend = match &config.backend {
            BackendConfig::Memory { max_bytes } => Backend::Memory(Box::new(Memory::new(*max_bytes))),
            BackendConfig::Redis(redis) => Backend::Redis(Box::new(SharedRedis {
                config: redis.clone(),
                servers: Servers::new(redis)?,
                ledger: replaced
                    .and_then(Self::redis)
                    .filter(|_| holds(Rule::Inherited))
                    .map_or_else(Arc::default, |redis| Arc::clone(&redis.ledger)),
                orphans: Orphans::default(),
                in_flight: AtomicUsize::new(0),
                bytes_in_flight: AtomicUsize::new(0),
                max_bytes_in_flight: MAX_BYTES_IN_FLIGHT.max(config.max_value_bytes),
                copies: Mutex::default(),
            })),
        };
        let previous_signers = config.previous_secrets.iter().map(|secret| Signer::new(secret));
        Ok(Self {
            signer: Signer::new(&config.secret)?,
            previous_signers: previous_signers.collect::<Result<_, _>>()?,
            ttl: config.ttl,
            lease_time: config.lease_time,
            max_value_bytes: config.max_value_bytes,
            counters: Counters::default(),
            closed: AtomicBool::new(false),
            backend,
        })
    }

    /// The key of a call, under the current secret.
    #[must_use]
    pub fn key(&self, canonical: &Canonical) -> Key {
        self.signer.key(canonical)
    }

    /// The signer of the current secret.
    #[must_use]
    pub const fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Whether entries are in Redis, so that calls need an engine.
    #[must_use]
    pub const fn is_remote(&self) -> bool {
        matches!(self.backend, Backend::Redis(_))
    }

    /// Whether there may be copies in this process of what is in Redis.
    #[must_use]
    pub fn has_copies(&self) -> bool {
        self.redis().is_some_and(|redis| redis.config.local_max_bytes.is_some())
    }

    /// Whether the host must be asked for credentials at each connection.
    #[must_use]
    pub fn asks_for_credentials(&self) -> bool {
        self.redis().is_some_and(|redis| redis.config.asks_for_credentials)
    }

    /// Fails every later call with `Closed`. Engines finish what is in flight and then disconnect; memory is given back
    /// at once. `false` if that was done before.
    pub fn close(&self) -> bool {
        let is_first = !self.closed.swap(true, Relaxed);
        if is_first && let Backend::Memory(memory) = &self.backend {
            memory.clear();
        }
        is_first
    }

    /// Whether the cache was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// # Errors
    /// `Closed` once the cache was closed.
    pub fn check_open(&self) -> Result<(), Error> {
        if self.is_closed() {
            return Err(Error::new(ErrorCode::Closed, "the cache was closed"));
        }
        Ok(())
    }

    /// The value in this process's memory, where entries are there; counts a hit.
    #[must_use]
    pub fn peek(&self, canonical: &Canonical) -> Option<Versioned> {
        let Backend::Memory(memory) = &self.backend else {
            return None;
        };
        if self.is_closed() {
            return None;
        }
        let found = memory.get_versioned(&self.signer.digest(canonical));
        // One that finds nothing is followed by the read that counts as the miss.
        if found.is_some() {
            self.counters.hits.increment();
        }
        found
    }

    /// Answers a call of a cache in memory.
    ///
    /// # Errors
    /// `Closed`, or `Context` for a context that is none; `Internal` on a cache in Redis, whose engine answers.
    pub fn answer(&self, request: Request<'_>) -> Result<Reply, Error> {
        self.check_open()?;
        let Backend::Memory(memory) = &self.backend else {
            return Err(Error::new(ErrorCode::Internal, "an engine answers for Redis"));
        };
        Ok(match request {
            Request::Get(canonical) => {
                let value = memory.get(&self.key(canonical));
                self.counters.count_read(value.is_some());
                Reply::Value(value)
            }
            Request::Lookup(canonical) => {
                let found = memory.lookup(&self.key(canonical), self.lease_time);
                self.counters.count_read(matches!(found, Lookup::Hit(_)));
                Reply::Lookup(found)
            }
            Request::Put(canonical, value, options) => {
                let stored = if value.len() > self.max_value_bytes {
                    memory.delete(&self.keys(canonical));
                    false
                } else {
                    let ttl = options.ttl.unwrap_or_else(|| self.spread_ttl(random()));
                    memory.set(&self.key(canonical), &value, ttl, options.lease.as_ref())
                };
                self.counters.count_store(stored);
                Reply::Stored(stored)
            }
            Request::Release(canonical, lease) => Reply::Released(memory.release(&self.key(canonical), &lease)),
            Request::Purge(canonical) => Reply::Purged(self.count_purge(memory.delete(&self.keys(canonical)))),
            Request::PurgeContext(context) => {
                check_context(context)?;
                Reply::Purged(self.count_purge(memory.delete_by_prefix(context)))
            }
            Request::Clear => Reply::Purged(self.count_purge(memory.clear())),
        })
    }

    /// A call as the engine is given it.
    ///
    /// # Errors
    /// `Closed`, or `Context` for a context that is none.
    pub fn operation(&self, request: Request<'_>) -> Result<Operation, Error> {
        self.check_open()?;
        Ok(match request {
            Request::Get(canonical) => Operation::Get(self.key(canonical)),
            Request::Lookup(canonical) => Operation::Lookup(self.key(canonical)),
            // What stood there is no longer the answer of this call.
            Request::Put(canonical, value, _) if value.len() > self.max_value_bytes => {
                Operation::Discard(self.keys(canonical))
            }
            Request::Put(canonical, value, options) => Operation::Set {
                key: self.key(canonical),
                value,
                ttl: options.ttl,
                lease: options.lease,
            },
            Request::Release(canonical, lease) => Operation::Release(self.key(canonical), lease),
            Request::Purge(canonical) => Operation::Purge(self.keys(canonical)),
            Request::PurgeContext(context) => {
                check_context(context)?;
                Operation::PurgeContext(context.into())
            }
            Request::Clear => Operation::Clear,
        })
    }

    /// Whether a purge of an entry is pending, so that it is treated as missing (`protocol.md` §8).
    #[must_use]
    pub fn is_purge_pending(&self, key: &Key) -> bool {
        self.redis().is_some_and(|redis| redis.ledger.is_pending(key))
    }

    /// The counters and sizes of this moment. The circuit is that of the engine that asks.
    #[must_use]
    pub fn stats(&self, circuit: Option<Circuit>) -> Stats {
        let counters = &self.counters;
        let redis = self.redis();
        let (entries, bytes) = match &self.backend {
            Backend::Memory(memory) => (memory.entries(), memory.bytes()),
            Backend::Redis(redis) => redis.copies_sizes(),
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
            deferred_purges: counters.deferred_purges.get(),
            pending_purges: redis.map_or(0, |redis| redis.ledger.pending()) as u64,
            timeouts: counters.timeouts.get(),
            reconnects: counters.reconnects.get(),
            in_flight: redis.map_or(0, |redis| redis.in_flight.load(Relaxed)) as u64,
            entries,
            bytes,
            circuit: redis.and(circuit),
            latency: counters.latency.snapshot(),
        }
    }

    pub(crate) const fn redis(&self) -> Option<&SharedRedis> {
        match &self.backend {
            Backend::Memory(_) => None,
            Backend::Redis(redis) => Some(redis),
        }
    }

    /// The configured time to live, spread by ± 10 %, so that what was stored together does not expire together.
    pub(crate) fn spread_ttl(&self, random: u32) -> Duration {
        self.ttl.mul_f64(0.9 + 0.2 * (f64::from(random) / f64::from(u32::MAX)))
    }

    pub(crate) fn count_purge(&self, deleted: u64) -> u64 {
        self.counters.purges.increment();
        self.counters.purged_entries.add(deleted);
        deleted
    }

    fn keys(&self, canonical: &Canonical) -> Vec<Key> {
        let previous = self.previous_signers.iter().map(|signer| signer.key(canonical));
        std::iter::once(self.signer.key(canonical)).chain(previous).collect()
    }
}

impl SharedRedis {
    pub fn new_engine() -> EngineId {
        // Caches that replace each other share a ledger, in which their engines must differ.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        EngineId(NEXT.fetch_add(1, Relaxed))
    }

    /// Copies for one more engine. All engines of a process share one bound.
    pub fn new_copies(&self) -> Option<Arc<Copies>> {
        let max_bytes = self.config.local_max_bytes?;
        let mut all = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|copies| copies.strong_count() > 0);
        let share = max_bytes / (all.len() as u64 + 1);
        for copies in all.iter().filter_map(Weak::upgrade) {
            copies.resize(share);
        }
        let copies = Arc::new(Copies::new(share));
        all.push(Arc::downgrade(&copies));
        Some(copies)
    }

    /// Drops copies in all threads.
    pub fn drop_copies(&self, drop: impl Fn(&Copies)) {
        if !holds(Rule::OwnCopiesGo) {
            return;
        }
        let all = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        for copies in all.iter().filter_map(Weak::upgrade) {
            drop(&copies);
        }
    }

    fn copies_sizes(&self) -> (u64, u64) {
        let all = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        let sizes = all.iter().filter_map(Weak::upgrade).map(|copies| copies.sizes());
        sizes.fold((0, 0), |(entries, bytes), (more, of_them)| {
            (entries + more, bytes + of_them)
        })
    }
}

/// Where the system has no randomness to give, the middle of the range.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}
