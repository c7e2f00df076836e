//! Copies of what this process read (`protocol.md` §5, the local tier).
//!
//! Redis tracks the keys that a connection reads and tells that connection of every change, in the order of its other
//! answers. So a copy is right from the answer that brought it until Redis says otherwise, for as long as that
//! connection lives. What makes it hold:
//! - **A read announces its copy before it is sent**, by a lease in the same table. Whatever deletes the key here,
//!   Redis's word of a change or an own purge, takes the announcement along, and an answer without one is not kept. An
//!   answer that overtakes the word of a later change is so no danger, nor is one that arrives after it.
//! - **Copies are trusted for 2 s after a heartbeat was sent that was answered.** A network that dies silently cannot
//!   say that it did.
//! - **All copies go with the connection** that they were read on.
//!
//! A copy lives no longer than its entry was going to live when it was read.

use std::{
    slice,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use ::redis::Value;
use bytes::Bytes;

use crate::{
    key::Key,
    lease::{LeaseToken, Lookup},
    memory::{Memory, Versioned},
};

/// How long after a heartbeat copies are trusted.
const TRUSTED: Duration = Duration::from_secs(2);

pub(super) struct LocalTier {
    copies: Memory,
    /// How long a read may be under way.
    read_time: Duration,
    started: Instant,
    /// Until when copies are trusted, in nanoseconds since `started`.
    trusted_until: AtomicU64,
}

impl LocalTier {
    pub fn new(max_bytes: u64, command_timeout: Duration) -> Self {
        Self {
            copies: Memory::new(max_bytes),
            read_time: command_timeout,
            started: Instant::now(),
            trusted_until: AtomicU64::new(0),
        }
    }

    pub fn get(&self, key: &Key) -> Option<Versioned> {
        if self.is_trusted() {
            self.copies.get_versioned(key.digest())
        } else {
            None
        }
    }

    /// Announces a read of a key that is about to be sent. `None` if its answer will not be kept.
    pub fn announce(&self, key: &Key) -> Option<LeaseToken> {
        let Lookup::Leased(announcement) = self.copies.lookup(key, self.read_time) else {
            return None;
        };
        // Asked after the announcement: a link that is lost from here on takes it along with all copies.
        if self.is_trusted() {
            return Some(announcement);
        }
        self.copies.delete(slice::from_ref(key));
        None
    }

    /// Keeps the answer of a read that was announced, unless the key was changed since.
    pub fn keep(&self, key: &Key, announcement: &LeaseToken, value: &Bytes, lives: Duration) {
        let _ = self.copies.set(key, value, lives, Some(announcement));
    }

    pub fn forget(&self, keys: &[Key]) {
        self.copies.delete(keys);
    }

    pub fn forget_context(&self, context: &str) {
        self.copies.delete_by_prefix(context);
    }

    pub fn forget_everything(&self) {
        self.copies.clear();
    }

    /// Does what Redis says in an invalidation: the keys that changed, or nothing where everything did.
    pub fn invalidate(&self, message: &[Value]) {
        let [Value::Array(keys)] = message else {
            return self.forget_everything();
        };
        for key in keys {
            // Other keys are not of this protocol, and there are no copies of them.
            if let Value::BulkString(key) = key
                && let Some(key) = Key::parse(key)
            {
                self.copies.delete(&[key]);
            }
        }
    }

    /// A heartbeat that was sent at this moment was answered.
    pub fn trust(&self, sent: Instant) {
        let until = (sent + TRUSTED).duration_since(self.started);
        self.trusted_until.fetch_max(nanoseconds(until), Ordering::AcqRel);
    }

    /// The connection is lost.
    pub fn distrust(&self) {
        self.trusted_until.store(0, Ordering::Release);
        self.copies.clear();
    }

    pub fn entries(&self) -> u64 {
        self.copies.entries()
    }

    pub fn bytes(&self) -> u64 {
        self.copies.bytes()
    }

    fn is_trusted(&self) -> bool {
        nanoseconds(self.started.elapsed()) < self.trusted_until.load(Ordering::Acquire)
    }
}

/// Saturates after 584 years.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(all(test, mizan_model))]
mod tests;
