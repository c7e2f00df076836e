//! What a cache counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{
    events::Operation,
    histogram::{Histogram, Recorder},
};

/// Whether Redis is asked at all (`protocol.md` §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Circuit {
    /// Not used yet: the connection is made by the first call.
    Idle,
    /// The first connection is being made; calls wait for it within their deadline.
    Connecting,
    /// Connected.
    Closed,
    /// No connection: calls return at once while a connection is being made.
    Open,
}

impl Circuit {
    /// The name as users see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Closed => "closed",
            Self::Open => "open",
        }
    }
}

/// A snapshot of a cache's counters and sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Reads that found a value.
    pub hits: u64,
    /// Hits among them on copies in this process of what is in Redis.
    pub local_hits: u64,
    /// Reads that found none, for whatever reason; a peek that finds none is not counted.
    pub misses: u64,
    /// Values stored.
    pub stores: u64,
    /// Values not stored: the lease no longer stood, the value was too large, or Redis was not to be had.
    pub refused_stores: u64,
    /// Purges asked for.
    pub purges: u64,
    /// Entries that purges deleted, leases included.
    pub purged_entries: u64,
    /// Reads that Redis did not answer, or answered with an error; counted as misses too.
    pub failed_reads: u64,
    /// Writes that Redis did not answer, or answered with an error; counted as refused stores too.
    pub failed_writes: u64,
    /// Purges that could not be done at once and became pending.
    pub deferred_purges: u64,
    /// Pending purges: Redis does not have them yet.
    pub pending_purges: u64,
    /// Calls that ran into their deadline.
    pub timeouts: u64,
    /// Connections made again after one was lost.
    pub reconnects: u64,
    /// Calls in flight.
    pub in_flight: u64,
    /// Entries in memory, leases included; with Redis the copies in this process.
    pub entries: u64,
    /// Bytes in memory, or of copies, by the bound's own measure.
    pub bytes: u64,
    /// Whether Redis is asked; `None` for the memory backend.
    pub circuit: Option<Circuit>,
    /// How long calls took that Redis was asked for, those that failed included.
    pub latency: Latency,
}

/// How long calls on Redis took, from call to answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Of reads.
    pub read: Histogram,
    /// Of writes.
    pub write: Histogram,
    /// Of purges.
    pub purge: Histogram,
}

/// The counters behind [`Stats`].
#[derive(Default)]
pub(crate) struct Counters {
    pub hits: Counter,
    pub local_hits: Counter,
    pub misses: Counter,
    pub stores: Counter,
    pub refused_stores: Counter,
    pub purges: Counter,
    pub purged_entries: Counter,
    pub failed_reads: Counter,
    pub failed_writes: Counter,
    pub deferred_purges: Counter,
    pub timeouts: Counter,
    pub reconnects: Counter,
    pub latency: LatencyRecorder,
}

impl Counters {
    pub fn count_read(&self, is_hit: bool) {
        let counter = if is_hit { &self.hits } else { &self.misses };
        counter.increment();
    }

    pub fn count_store(&self, stored: bool) {
        let counter = if stored { &self.stores } else { &self.refused_stores };
        counter.increment();
    }
}

#[derive(Default)]
pub(crate) struct LatencyRecorder {
    read: Recorder,
    write: Recorder,
    purge: Recorder,
}

impl LatencyRecorder {
    pub fn of(&self, operation: Operation) -> &Recorder {
        match operation {
            Operation::Read => &self.read,
            Operation::Write => &self.write,
            Operation::Purge => &self.purge,
        }
    }

    pub fn snapshot(&self) -> Latency {
        Latency {
            read: self.read.snapshot(),
            write: self.write.snapshot(),
            purge: self.purge.snapshot(),
        }
    }
}

/// A number that only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn increment(&self) {
        self.add(1);
    }

    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
