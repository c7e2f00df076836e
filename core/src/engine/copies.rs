//! Copies of what one thread read (`protocol.md` §5, the local tier).
//!
//! Redis tracks the keys that a connection reads and tells that connection of every change, in the order of its other
//! replies. So a copy is right from the reply that brought it until Redis says otherwise, for as long as that
//! connection lives. What makes it hold:
//! - **A copy belongs to the connection it was read by.** It is found only while that connection is trusted, and goes
//!   with it; others stay.
//! - **A read announces its copy before it is sent**, by the count of what was dropped until then. If anything with the
//!   same beginning was dropped since (by Redis's word, or by a purge of any thread), the reply is not copied.
//!
//! A copy lives no longer than its entry was going to live when it was read.

use std::{
    sync::{
        PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;

use super::{
    Moment,
    rules::{Rule, holds},
};
use crate::{
    key::{Digest, Key},
    memory::{
        Versioned,
        sync::{Mutex, MutexGuard},
        table::{Content, Found, Table},
    },
};

/// Counters of drops: two keys that share one cost no more than a copy that is not made.
const COUNTERS: usize = 1024;

/// How many drops there had been when a read was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Announcement {
    of_key: u32,
    of_all: u32,
}

/// The copies of one thread; others drop from it what they purge.
pub struct Copies {
    table: Mutex<Bounded>,
    /// Changed only under the table's lock.
    drops: Box<[AtomicU32]>,
    broad_drops: AtomicU32,
}

struct Bounded {
    table: Table,
    max_bytes: u64,
}

impl Copies {
    /// None yet, of which there may be so many bytes.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        Self {
            table: Mutex::new(Bounded {
                table: Table::new(max_bytes),
                max_bytes,
            }),
            drops: (0..COUNTERS).map(|_| AtomicU32::new(0)).collect(),
            broad_drops: AtomicU32::new(0),
        }
    }

    /// The copy of an entry, and the connection that it belongs to.
    #[must_use]
    pub fn get(&self, digest: &Digest, now: Moment) -> Option<(Versioned, u32)> {
        let Found {
            content,
            version,
            owner,
        } = self.lock().table.find(digest, nanoseconds(now))?;
        match content {
            Content::Value(value) => Some((Versioned { value, version }, owner)),
            Content::Lease(_) => None,
        }
    }

    /// Announces a read that is about to be sent.
    #[must_use]
    pub fn announce(&self, digest: &Digest) -> Announcement {
        Announcement {
            of_key: self.drops[counter(digest)].load(Relaxed),
            of_all: self.broad_drops.load(Relaxed),
        }
    }

    /// Copies what an announced read brought, unless anything was dropped since that may have been this.
    pub fn keep(&self, key: &Key, announced: Announcement, value: &[u8], owner: u32, lives: Duration, now: Moment) {
        let mut bounded = self.lock();
        if self.announce(key.digest()) == announced || !holds(Rule::Announced) {
            let content = Content::Value(Bytes::copy_from_slice(value));
            bounded.table.store(key, content, owner, nanoseconds(now + lives));
        }
    }

    /// Drops the copy of an entry.
    pub fn drop_entry(&self, key: &Key) {
        let mut bounded = self.lock();
        self.drops[counter(key.digest())].fetch_add(1, Relaxed);
        bounded.table.delete(key, 0);
    }

    /// Drops the copies of a context.
    pub fn drop_context(&self, context: &str) {
        let mut bounded = self.lock();
        self.broad_drops.fetch_add(1, Relaxed);
        bounded.table.delete_context(context, 0);
    }

    /// Drops all copies.
    pub fn drop_all(&self) {
        let mut bounded = self.lock();
        self.broad_drops.fetch_add(1, Relaxed);
        bounded.table = Table::new(bounded.max_bytes);
    }

    /// Drops the copies of a connection that was lost.
    pub fn drop_owner(&self, owner: u32) {
        if !holds(Rule::CopiesOfTheirLink) {
            return;
        }
        self.lock().table.delete_owner(owner);
    }

    /// Another bound, with which no copies are held for now.
    pub fn resize(&self, max_bytes: u64) {
        let mut bounded = self.lock();
        if bounded.max_bytes != max_bytes {
            bounded.max_bytes = max_bytes;
            bounded.table = Table::new(max_bytes);
        }
    }

    /// How many copies there are, and their bytes.
    #[must_use]
    pub fn sizes(&self) -> (u64, u64) {
        let bounded = self.lock();
        (bounded.table.entries(), bounded.table.bytes())
    }

    /// After a panic in the middle of a change nothing in the table can be trusted: it starts over, empty.
    fn lock(&self) -> MutexGuard<'_, Bounded> {
        self.table.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
            let mut bounded = poisoned.into_inner();
            bounded.table = Table::new(bounded.max_bytes);
            self.table.clear_poison();
            bounded
        })
    }
}

fn counter(digest: &Digest) -> usize {
    let [first, second, ..] = digest.as_bytes();
    (usize::from(*first) << 8 | usize::from(*second)) % COUNTERS
}

/// Saturates after 584 years.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(all(test, mizan_model))]
mod model;
#[cfg(all(test, not(mizan_model)))]
mod tests;
