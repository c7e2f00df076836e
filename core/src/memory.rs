//! The memory backend (`protocol.md` §3): entries and leases of this process, bounded in bytes.
//!
//! Guarantees:
//! - The sum of what the entries weigh never exceeds the bound. An entry weighs its key, its value and [`ENTRY_OVERHEAD`],
//!   which is more than what an entry takes. Not counted is what a context takes, some 200 bytes, nor the holes that an
//!   allocator is left with when values of one size give way to values of another.
//! - Whatever must go to make room is chosen by `quick_cache`'s CLOCK-Pro: one pass over many keys does not push out what
//!   is read again and again. What goes is lost like any cache entry; an evicted lease only means that its fill is not
//!   stored.
//! - What was deleted, replaced or has expired is never returned. A fill is stored only while its own lease stands.
//! - Everything happens under one lock that is held for no I/O and never for longer than the operation's own work.
//!
//! Costs: every operation on one key takes constant time. Deleting a context takes time for its own entries only, because
//! the keys of each context are kept together. [`Memory::clear`] visits every entry.

pub(crate) mod sync;
pub(crate) mod table;

use crate::{
    key::{Digest, Key},
    lease::{LeaseToken, Lookup},
};
use bytes::Bytes;
use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};
use sync::{Mutex, MutexGuard};
use table::{Content, Found, NO_OWNER, Table};

pub use table::ENTRY_OVERHEAD;

/// A value in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The value.
    pub value: Bytes,
    /// A number that no other value has that was stored in this process, in whatever memory.
    pub version: u64,
}

/// Entries and leases in memory. Shared by reference between threads.
pub struct Memory {
    table: Mutex<Table>,
    max_bytes: u64,
    started: Instant,
}

impl Memory {
    /// An empty memory that holds at most `max_bytes`. Allocates nothing yet.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        Self {
            table: Mutex::new(Table::new(max_bytes)),
            max_bytes,
            started: Instant::now(),
        }
    }

    /// The value at a key. Costs no copy of it.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Bytes> {
        self.get_versioned(key.digest()).map(|found| found.value)
    }

    /// The value at the key with this digest, and its version.
    #[must_use]
    pub fn get_versioned(&self, digest: &Digest) -> Option<Versioned> {
        let Found { content, version, .. } = self.table().find(digest, self.now())?;
        match content {
            Content::Value(value) => Some(Versioned { value, version }),
            Content::Lease(_) => None,
        }
    }

    /// The value at a key, or the lease that stands there, or a new lease for the caller, which stands for `lease_time`.
    /// [`Lookup::Miss`] only if not even a lease fits into the bound.
    #[must_use]
    pub fn lookup(&self, key: &Key, lease_time: Duration) -> Lookup {
        let now = self.now();
        let mut table = self.table();
        match table.find(key.digest(), now).map(|found| found.content) {
            Some(Content::Value(value)) => return Lookup::Hit(value),
            Some(Content::Lease(token)) => return Lookup::Held(token),
            None => {}
        }
        let Ok(token) = LeaseToken::new() else {
            return Lookup::Miss;
        };
        if table.store(key, Content::Lease(token.clone()), NO_OWNER, after(now, lease_time)) {
            Lookup::Leased(token)
        } else {
            Lookup::Miss
        }
    }

    /// Stores a value, and returns whether it did. With a lease, only while just that lease stands at the key; without
    /// one, whatever stands there.
    ///
    /// A value that does not fit into the bound is not stored, and what stood at the key goes all the same.
    ///
    /// Costs a copy of the value: a slice of a larger buffer would keep all of that buffer in memory.
    #[must_use]
    pub fn set(&self, key: &Key, value: &[u8], ttl: Duration, lease: Option<&LeaseToken>) -> bool {
        let value = Bytes::copy_from_slice(value);
        let now = self.now();
        let mut table = self.table();
        if lease.is_some_and(|token| !table.stands(key, token, now)) {
            return false;
        }
        table.store(key, Content::Value(value), NO_OWNER, after(now, ttl))
    }

    /// Deletes a lease, and returns whether it stood: never a value, nor the lease of another.
    pub fn release(&self, key: &Key, lease: &LeaseToken) -> bool {
        let now = self.now();
        let mut table = self.table();
        table.stands(key, lease, now) && table.delete(key, now)
    }

    /// Deletes these keys and returns how many were there, leases included.
    pub fn delete(&self, keys: &[Key]) -> u64 {
        let now = self.now();
        let mut table = self.table();
        keys.iter().map(|key| u64::from(table.delete(key, now))).sum()
    }

    /// Deletes every key of a context, `ctx:{context}:…`, and returns how many there were, leases included.
    pub fn delete_by_prefix(&self, context: &str) -> u64 {
        self.table().delete_context(context, self.now())
    }

    /// Deletes everything and returns how much there was, leases included.
    pub fn clear(&self) -> u64 {
        let mut table = self.table();
        let count = table.standing(self.now());
        *table = Table::new(self.max_bytes);
        count
    }

    /// How many entries are held: leases as well, and what has expired without having been asked for since.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.table().entries()
    }

    /// What the entries weigh together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.table().bytes()
    }

    /// After a panic in the middle of a change nothing in the table can be trusted: it starts over, empty.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(|poisoned: PoisonError<_>| {
            let mut table = poisoned.into_inner();
            *table = Table::new(self.max_bytes);
            self.table.clear_poison();
            table
        })
    }

    /// Nanoseconds since this memory was made.
    fn now(&self) -> u64 {
        nanoseconds(self.started.elapsed())
    }
}

fn after(now: u64, time: Duration) -> u64 {
    now.saturating_add(nanoseconds(time))
}

/// Saturates after 584 years.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{canonical::Canonical, key::Signer};

    #[test]
    fn a_panic_under_the_lock_empties_the_memory_and_no_more() {
        let memory = Memory::new(1 << 20);
        let key = Signer::new(b"secret")
            .unwrap()
            .key(&Canonical::new("user", &[], None, 0).unwrap());
        let store = || memory.set(&key, b"value", Duration::from_secs(60), None);
        assert!(store());
        let panicked = std::thread::scope(|scope| {
            let panicking = scope.spawn(|| {
                let _table = memory.table();
                panic!("on purpose");
            });
            panicking.join().is_err()
        });
        assert!(panicked);
        assert_eq!(memory.get(&key), None);
        assert!(store());
        assert!(memory.get(&key).is_some());
    }
}
