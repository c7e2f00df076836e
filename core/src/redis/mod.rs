//! The Redis backend (`protocol.md` §§3, 5, 8): the five methods, each with a deadline, none of which ever fails.
//!
//! A read that Redis does not answer is a miss, a write is dropped; both are counted. A purge that Redis does not
//! have is kept and retried, and what it covers is a miss here until then.

mod attempts;
mod broad_purge;
mod connection;
mod fills;
mod gathering;
mod kept_purges;
mod large_link;
mod lease_scripts;
mod local_tier;
mod new_primaries;
mod primaries;
mod reads;
mod topology;

use std::{
    future::Future,
    iter, slice,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use ::redis::{RedisResult, cmd};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    time::{Instant, sleep, timeout},
};

use self::{
    broad_purge::{BroadPurges, unlink},
    connection::{Connection, Failure},
    fills::{Fill, Waiting, store},
    gathering::Gathering,
    kept_purges::{Kept, KeptPurges, Target},
    lease_scripts::milliseconds,
    local_tier::LocalTier,
    new_primaries::owe_purges_to_new_primaries,
    topology::{Link, Servers},
};
use crate::{
    config::RedisConfig,
    error::Error,
    events::{Event, Observer, Observers, Operation},
    expected_size::ExpectedSize,
    key::Key,
    lease::{LeaseToken, Lookup},
    memory::Versioned,
    run_together::run_together,
    stats::{Circuit, Counters},
};

/// Values under way to Redis may hold this many bytes together; a write beyond that is dropped.
const MAX_BYTES_UNDER_WAY: usize = 64 * 1024 * 1024;
/// Keys in one UNLINK of kept purges.
const KEYS_IN_A_DELIVERY: usize = 500;
/// The pause after a kept purge failed again.
const PAUSE_BETWEEN_DELIVERIES: Duration = Duration::from_millis(100);

/// The Redis backend. Connects on first use; without a call there is no task and no connection.
pub(crate) struct Redis {
    shared: Arc<Shared>,
}

struct Shared {
    connection: Arc<Connection>,
    local: Option<Arc<LocalTier>>,
    kept: Arc<KeptPurges>,
    broad: Arc<BroadPurges>,
    fills: Arc<Gathering<Waiting>>,
    purges: Arc<Gathering<BoxFuture<'static, ()>>>,
    /// Whether most of those that were last looked up together were missing.
    misses_expected: AtomicBool,
    in_flight: Arc<Semaphore>,
    max_in_flight: u32,
    bytes_under_way: Arc<Semaphore>,
    close_within: Duration,
    counters: Arc<Counters>,
    observers: Arc<Observers>,
    /// Notified when no cache holds this backend any more.
    abandoned: Notify,
}

/// Room for a write under way.
pub(crate) struct Room {
    _call: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Redis {
    pub fn new(config: &RedisConfig, max_value_bytes: usize, counters: Arc<Counters>) -> Result<Self, Error> {
        let servers = Servers::new(config)?;
        let kept = Arc::<KeptPurges>::default();
        let purges = Arc::clone(&kept);
        let observers = Arc::<Observers>::default();
        let local = config
            .local_max_bytes
            .map(|max_bytes| Arc::new(LocalTier::new(max_bytes, config.command_timeout)));
        let connection = Connection::new(
            servers,
            config.command_timeout,
            config.connect_timeout,
            Arc::clone(&counters),
            Arc::clone(&observers),
            local.clone(),
            Box::new(move || purges.keep_recent()),
        );
        Ok(Self {
            shared: Arc::new(Shared {
                connection: Arc::new(connection),
                local,
                kept,
                broad: Arc::default(),
                fills: Arc::default(),
                purges: Arc::default(),
                misses_expected: AtomicBool::default(),
                in_flight: Arc::new(Semaphore::new(config.max_in_flight)),
                max_in_flight: u32::try_from(config.max_in_flight).unwrap_or(u32::MAX),
                bytes_under_way: Arc::new(Semaphore::new(MAX_BYTES_UNDER_WAY.max(max_value_bytes))),
                close_within: config.connect_timeout + config.command_timeout,
                counters,
                observers,
                abandoned: Notify::new(),
            }),
        })
    }

    pub fn circuit(&self) -> Circuit {
        self.shared.connection.circuit()
    }

    pub fn observe(&self, observer: &Arc<dyn Observer>) {
        self.shared.observers.add(observer);
    }

    /// Whether commands go to Redis at this moment. Where they do not, calls return at once.
    pub fn is_connected(&self) -> bool {
        self.circuit() == Circuit::Closed
    }

    pub fn kept_purges(&self) -> usize {
        self.shared.kept.len()
    }

    pub fn in_flight(&self) -> usize {
        self.shared.max_in_flight as usize - self.shared.in_flight.available_permits()
    }

    /// Entries and bytes of copies in this process.
    pub fn local_sizes(&self) -> (u64, u64) {
        let local = self.shared.local.as_ref();
        local.map_or((0, 0), |local| (local.entries(), local.bytes()))
    }

    /// The value, if a copy of it is in this process.
    pub fn peek(&self, key: &Key) -> Option<Versioned> {
        self.shared.peek(key)
    }

    /// The values, without leases, in the order of their keys. A lease that stands at a key is a miss.
    pub fn get(&self, keys: Vec<Key>, size: ExpectedSize) -> impl Future<Output = Vec<Option<Bytes>>> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            shared.start();
            shared.get(&keys, size).await
        }
    }

    /// The values, new leases, or the tokens of leases that stand, in the order of their keys.
    pub fn get_or_lease(
        &self,
        keys: Vec<Key>,
        lease_time: Duration,
        size: ExpectedSize,
    ) -> impl Future<Output = Vec<Lookup>> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            shared.start();
            shared.get_or_lease(&keys, lease_time, size).await
        }
    }

    /// Room for a value of so many bytes, if there is any: what is under way is bounded.
    pub fn room_for(&self, bytes: usize) -> Option<Room> {
        let bytes = u32::try_from(bytes).ok()?;
        Some(Room {
            _call: Arc::clone(&self.shared.in_flight).try_acquire_owned().ok()?,
            _bytes: Arc::clone(&self.shared.bytes_under_way)
                .try_acquire_many_owned(bytes)
                .ok()?,
        })
    }

    /// Whether the value was stored: with a lease only while it stands, and only where there is room.
    pub fn set(
        &self,
        key: Key,
        value: Bytes,
        ttl: Duration,
        lease: Option<LeaseToken>,
        room: Option<Room>,
    ) -> impl Future<Output = bool> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move { shared.write(key, value, ttl, lease, room).await }
    }

    /// How many of the keys were there, leases included; 0 if the purge had to be kept.
    pub fn delete(&self, keys: Vec<Key>) -> impl Future<Output = u64> + Send + 'static {
        self.purge(Target::Keys(keys))
    }

    /// How many entries of a context went, leases included; 0 if the purge had to be kept.
    pub fn delete_by_prefix(&self, context: &str) -> impl Future<Output = u64> + Send + 'static {
        self.purge(Target::Context(context.into()))
    }

    /// How many entries of this protocol went, leases included; 0 if the purge had to be kept.
    pub fn clear(&self) -> impl Future<Output = u64> + Send + 'static {
        self.purge(Target::Everything)
    }

    /// What is under way from here on is waited for by `close`.
    fn purge(&self, target: Target) -> impl Future<Output = u64> + Send + 'static {
        let permit = Arc::clone(&self.shared.in_flight).try_acquire_owned().ok();
        Arc::clone(&self.shared).purge(target, permit)
    }

    /// Delivers kept purges for as long as one attempt to connect and one command may take, then disconnects.
    pub fn close(&self) -> impl Future<Output = ()> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        async move {
            if shared.connection.is_closed() {
                return;
            }
            // Should the time run out, what could not be delivered stays in the count of kept purges.
            let _ = timeout(shared.close_within, async {
                // With all permits in hand no purge is under way any more that could still have to be kept.
                let _all = shared.in_flight.acquire_many(shared.max_in_flight).await;
                shared.kept.delivered().await;
            })
            .await;
            let was_open = shared.connection.close();
            let lacking = shared.kept.len();
            if was_open && lacking > 0 {
                shared.observers.tell(Event::PurgesGivenUp(lacking as u64));
            }
        }
    }
}

impl Drop for Redis {
    /// A cache that nobody holds any more still owes the purges it kept; then its connection goes too.
    fn drop(&mut self) {
        self.shared.abandoned.notify_one();
    }
}

impl Shared {
    async fn write(
        self: &Arc<Self>,
        key: Key,
        value: Bytes,
        ttl: Duration,
        lease: Option<LeaseToken>,
        room: Option<Room>,
    ) -> bool {
        self.start();
        if self.kept.covers(&key) {
            return false;
        }
        let deadline = self.connection.deadline();
        let Some(_room) = room else {
            self.end(Operation::Write, deadline, 1, Some(Failure::Overload));
            return false;
        };
        let stored = match lease {
            Some(lease) => {
                let key = key.clone();
                let fill = Fill { key, value, ttl, lease };
                store(&self.fills, &self.connection, deadline, fill).await
            }
            None => self
                .connection
                .run_by(deadline, |link| set(link, &key, &value, ttl))
                .await
                .map(|()| true),
        };
        self.end(Operation::Write, deadline, 1, stored.as_ref().err().copied());
        // The link hears of its own changes only after their answer.
        if let Some(local) = &self.local {
            local.forget(slice::from_ref(&key));
        }
        stored.unwrap_or(false)
    }

    /// Counts calls of this deadline that ended, and tells why if they failed.
    fn end(&self, operation: Operation, deadline: Instant, calls: usize, failure: Option<Failure>) {
        let calls = calls as u64;
        // Those are not asked of Redis at all.
        if !matches!(failure, Some(Failure::Unavailable | Failure::Overload)) {
            let latency = self.counters.latency.of(operation);
            latency.record(self.connection.took(deadline), calls);
        }
        let Some(failure) = failure else { return };
        match operation {
            Operation::Read => self.counters.failed_reads.add(calls),
            Operation::Write => self.counters.failed_writes.add(calls),
            // A purge that failed is kept, and counted as that.
            Operation::Purge => {}
        }
        if let Some(reason) = failure.reason() {
            self.observers.tell(Event::Failed {
                operation,
                reason,
                calls,
            });
        }
    }

    /// Runs a purge so that a caller who stops waiting does not stop it, and keeps it if Redis does not have it. With too
    /// many calls under way it is kept at once.
    async fn purge(self: Arc<Self>, target: Target, permit: Option<OwnedSemaphorePermit>) -> u64 {
        self.start();
        let deadline = self.connection.deadline();
        self.kept.remember(target.clone());
        let (sender, answer) = oneshot::channel();
        let shared = Arc::clone(&self);
        let purge = async move {
            // An error says that nobody waits any more.
            let _ = sender.send(shared.purge_or_keep(deadline, target, permit).await);
        };
        self.purges.add(purge.boxed(), run_together);
        answer.await.unwrap_or_default()
    }

    async fn purge_or_keep(&self, deadline: Instant, target: Target, permit: Option<OwnedSemaphorePermit>) -> u64 {
        // Held to the end: who closes the cache waits for it, and then for what is kept.
        let deleted = match &permit {
            Some(_) => self.try_purge(deadline, &target).await,
            None => Err(Failure::Overload),
        };
        self.end(Operation::Purge, deadline, 1, deleted.as_ref().err().copied());
        // The link hears of its own changes only after their answer.
        if let Some(local) = &self.local {
            match &target {
                Target::Keys(keys) => local.forget(keys),
                Target::Context(context) => local.forget_context(context),
                Target::Everything => local.forget_everything(),
            }
        }
        if deleted.is_ok() {
            self.kept.remember_taken(target);
        } else {
            self.counters.postponed_purges.increment();
            self.kept.keep(target);
            self.observers.tell(Event::PurgesKept(1));
        }
        deleted.unwrap_or_default()
    }

    async fn try_purge(&self, deadline: Instant, target: &Target) -> Result<u64, Failure> {
        match target {
            Target::Keys(keys) => {
                self.connection
                    .run_by(deadline, |link| unlink(link, keys.clone()))
                    .await
            }
            Target::Context(context) => {
                let deleted = self.broad.purge(&self.connection, Some(iter::once(&**context))).await?;
                Ok(deleted.get(context).copied().unwrap_or_default())
            }
            Target::Everything => {
                let deleted = self.broad.purge(&self.connection, None::<iter::Empty<&str>>).await?;
                Ok(deleted.values().sum())
            }
        }
    }

    fn start(self: &Arc<Self>) {
        if self.connection.start() {
            tokio::spawn(Arc::clone(self).deliver_kept_purges());
            let (connection, kept) = (Arc::clone(&self.connection), Arc::clone(&self.kept));
            tokio::spawn(owe_purges_to_new_primaries(connection, kept));
        }
    }

    async fn deliver_kept_purges(self: Arc<Self>) {
        loop {
            let kept = tokio::select! {
                biased;
                kept = self.kept.waiting() => kept,
                () = self.abandoned.notified() => {
                    self.connection.close();
                    return;
                }
                () = self.connection.closed() => return,
            };
            if !self.connection.connected().await {
                return;
            }
            if self.deliver(&kept).await {
                // Before copies of what was covered until now can be found again.
                if let Some(local) = &self.local {
                    local.forget_everything();
                }
                let delivered = self.kept.settle(&kept);
                if delivered > 0 {
                    self.observers.tell(Event::PurgesDelivered(delivered as u64));
                }
            } else {
                sleep(PAUSE_BETWEEN_DELIVERIES).await;
            }
        }
    }

    async fn deliver(&self, kept: &Kept) -> bool {
        if kept.is_everything() {
            return self
                .broad
                .purge(&self.connection, None::<iter::Empty<&str>>)
                .await
                .is_ok();
        }
        let mut contexts = kept.contexts().peekable();
        if contexts.peek().is_some() && self.broad.purge(&self.connection, Some(contexts)).await.is_err() {
            return false;
        }
        for keys in kept.keys().chunks(KEYS_IN_A_DELIVERY) {
            if self.connection.run(|link| unlink(link, keys.to_vec())).await.is_err() {
                return false;
            }
        }
        true
    }
}

async fn set(mut link: Link, key: &Key, value: &Bytes, ttl: Duration) -> RedisResult<()> {
    cmd("SET")
        .arg(key.as_str())
        .arg(&value[..])
        .arg("PX")
        .arg(milliseconds(ttl))
        .query_async(&mut link)
        .await
}
