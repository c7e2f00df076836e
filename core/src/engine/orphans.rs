//! Leases that nobody knows (`protocol.md` §5): those of lookups whose answer was lost.
//!
//! Whoever looks the entry up next, in whatever thread of the process, and is told that just this lease stands is given
//! it, once. That is safe: the lease stood without a gap, its first caller never had it, and the load begins after the
//! new lookup.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::{
    Moment,
    rules::{Rule, holds},
};
use crate::lease::LeaseToken;

/// Beyond so many the oldest are forgotten, whose leases expire by themselves.
const MOST: usize = 100_000;

/// The tokens of lost answers, each until its lease has expired.
#[derive(Default)]
pub struct Orphans {
    expires: Mutex<HashMap<LeaseToken, Moment>>,
    count: AtomicUsize,
}

impl Orphans {
    /// Remembers a token until its lease has expired.
    pub fn add(&self, token: LeaseToken, expires: Moment, now: Moment) {
        let mut all = self.expires.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, expires| now < *expires);
        }
        if all.len() < MOST {
            all.insert(token, expires);
        }
        self.count.store(all.len(), Relaxed);
    }

    /// Hands a token over, if it is one of these: from now on it is somebody's.
    pub fn take(&self, token: &LeaseToken, now: Moment) -> bool {
        if self.count.load(Relaxed) == 0 || !holds(Rule::Orphans) {
            return false;
        }
        let mut all = self.expires.lock().unwrap_or_else(PoisonError::into_inner);
        let expires = all.remove(token);
        self.count.store(all.len(), Relaxed);
        expires.is_some_and(|expires| now < expires)
    }
}
