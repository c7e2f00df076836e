//! Purges that Redis does not have yet (`protocol.md` §8).
//!
//! A purge that failed is kept here and retried until Redis has it; until then this process treats what it covers as
//! missing. The bounds degrade to broader purges, never to fewer: too many entries become their contexts, too many
//! contexts become everything.
//!
//! Redis having a purge is not the end of it: a replica that takes over, or a server that starts again from an older
//! snapshot, may not have it. So what was purged of late is remembered, and owed again to every server that is
//! connected to after another. Only a purge that Redis takes makes older ones forgotten: however long Redis is gone,
//! what was purged before is still known when it is back.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::key::Key;

/// Beyond this many kept entries their contexts are kept instead.
const MAX_KEYS: usize = 10_000;
/// Beyond this many kept contexts everything is kept instead.
const MAX_CONTEXTS: usize = 1_000;

/// Purges are remembered for at least this long: longer than a primary that only its clients can still reach goes on
/// taking writes before another is in its place, which by the defaults is 15 s in a cluster and 30 s behind sentinels.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What a purge deletes.
#[derive(Clone)]
pub(super) enum Target {
    Keys(Vec<Key>),
    Context(Box<str>),
    Everything,
}

/// What is kept, each with the stamp of its newest request: a delivery that began before that request does not settle
/// it.
#[derive(Clone, Default)]
pub(super) struct Kept {
    keys: HashMap<Key, u64>,
    contexts: HashMap<Box<str>, u64>,
    everything: Option<u64>,
    next_stamp: u64,
}

impl Kept {
    pub fn keys(&self) -> Vec<Key> {
        self.keys.keys().cloned().collect()
    }

    pub fn contexts(&self) -> impl Iterator<Item = &str> {
        self.contexts.keys().map(AsRef::as_ref)
    }

    pub fn is_everything(&self) -> bool {
        self.everything.is_some()
    }

    pub fn len(&self) -> usize {
        self.keys.len() + self.contexts.len() + usize::from(self.everything.is_some())
    }

    fn stamp(&mut self) -> u64 {
        self.next_stamp += 1;
        self.next_stamp
    }

    fn keep(&mut self, target: Target) {
        match target {
            Target::Keys(keys) => keys.into_iter().for_each(|key| self.keep_key(key)),
            Target::Context(context) => self.keep_context(&context),
            Target::Everything => self.keep_everything(),
        }
    }

    fn keep_all_of(&mut self, other: Self) {
        other.keys.into_keys().for_each(|key| self.keep_key(key));
        other
            .contexts
            .into_keys()
            .for_each(|context| self.keep_context(&context));
        if other.everything.is_some() {
            self.keep_everything();
        }
    }

    fn keep_key(&mut self, key: Key) {
        if self.everything.is_some() {
            self.keep_everything();
        } else if self.contexts.contains_key(key.context()) {
            self.keep_context(key.context());
        } else {
            let stamp = self.stamp();
            self.keys.insert(key, stamp);
            if self.keys.len() > MAX_KEYS {
                for key in std::mem::take(&mut self.keys).into_keys() {
                    self.keep_context(key.context());
                }
            }
        }
    }

    fn keep_context(&mut self, context: &str) {
        if self.everything.is_some() {
            self.keep_everything();
            return;
        }
        let stamp = self.stamp();
        self.contexts.insert(context.into(), stamp);
        if self.contexts.len() > MAX_CONTEXTS {
            self.keep_everything();
        }
    }

    fn keep_everything(&mut self) {
        let stamp = self.stamp();
        self.everything = Some(stamp);
        self.keys.clear();
        self.contexts.clear();
    }
}

/// The kept purges of one cache.
#[derive(Default)]
pub(super) struct KeptPurges {
    kept: Mutex<Kept>,
    /// Whether anything is kept, so that a read on a healthy Redis takes no lock.
    any: AtomicBool,
    changed: Notify,
    recent: Mutex<Recent>,
}

/// What was purged of late, in two ages, so that all of one is forgotten at once.
struct Recent {
    newer: Kept,
    older: Kept,
    since: Instant,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            newer: Kept::default(),
            older: Kept::default(),
            since: Instant::now(),
        }
    }
}

impl Recent {
    fn forget_old(&mut self) {
        if self.since.elapsed() >= REMEMBERED {
            self.older = std::mem::take(&mut self.newer);
            self.since = Instant::now();
        }
    }
}

impl KeptPurges {
    /// Owes a purge to Redis.
    pub fn keep(&self, target: Target) {
        self.change(|kept| kept.keep(target));
    }

    /// Remembers a purge that Redis is about to be given: its server may be gone before its answer is read.
    pub fn remember(&self, target: Target) {
        self.recent().newer.keep(target);
    }

    /// Remembers a purge that Redis took, which may have taken long, and forgets old ones.
    pub fn remember_taken(&self, target: Target) {
        let mut recent = self.recent();
        recent.forget_old();
        recent.newer.keep(target);
    }

    /// Owes again what another server may not have.
    pub fn keep_recent(&self) {
        let recent = self.recent();
        let (newer, older) = (recent.newer.clone(), recent.older.clone());
        drop(recent);
        if newer.len() + older.len() > 0 {
            self.change(|kept| {
                kept.keep_all_of(older);
                kept.keep_all_of(newer);
            });
        }
    }

    /// Whether an entry must be treated as missing.
    pub fn covers(&self, key: &Key) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let kept = self.lock();
        kept.everything.is_some() || kept.contexts.contains_key(key.context()) || kept.keys.contains_key(key)
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// What is kept now, once there is anything.
    pub async fn waiting(&self) -> Kept {
        loop {
            let changed = self.changed.notified();
            let kept = self.lock().clone();
            if kept.len() > 0 {
                return kept;
            }
            changed.await;
        }
    }

    /// Resolves once nothing is kept.
    pub async fn delivered(&self) {
        loop {
            let changed = self.changed.notified();
            if self.len() == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Forgets what was delivered, unless it was asked for again since; how much that was.
    pub fn settle(&self, delivered: &Kept) -> usize {
        self.change(|kept| {
            let owed = kept.len();
            kept.keys.retain(|key, stamp| delivered.keys.get(key) != Some(stamp));
            kept.contexts
                .retain(|context, stamp| delivered.contexts.get(context) != Some(stamp));
            if kept.everything == delivered.everything {
                kept.everything = None;
            }
            owed - kept.len()
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        let mut kept = self.lock();
        let changed = change(&mut kept);
        self.any.store(kept.len() > 0, Ordering::Release);
        drop(kept);
        self.changed.notify_waiters();
        changed
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::{
        canonical::{Canonical, ParamValue},
        key::Signer,
    };

    fn key(context: &str, id: usize) -> Key {
        let params = [("id".to_owned(), ParamValue::Integer(id as i128))];
        let canonical = Canonical::new(context, &params, None, 0).expect("a legal call");
        Signer::new(&[7; 32]).expect("a legal secret").key(&canonical)
    }

    #[test]
    fn covers_exactly_what_is_kept() {
        let purges = KeptPurges::default();
        purges.keep(Target::Keys(vec![key("user", 1)]));
        assert!(purges.covers(&key("user", 1)));
        assert!(!purges.covers(&key("user", 2)));
        purges.keep(Target::Context("user".into()));
        assert!(purges.covers(&key("user", 2)));
        assert!(!purges.covers(&key("users", 1)));
        purges.keep(Target::Everything);
        assert!(purges.covers(&key("users", 1)));
    }

    #[test]
    fn too_many_entries_become_their_contexts() {
        let purges = KeptPurges::default();
        let context = |id| if id % 2 == 0 { "even" } else { "odd" };
        purges.keep(Target::Keys((0..=MAX_KEYS).map(|id| key(context(id), id)).collect()));
        assert_eq!(purges.len(), 2);
        assert!((0..=MAX_KEYS).all(|id| purges.covers(&key(context(id), id))));
        assert!(!purges.covers(&key("other", 1)));
    }

    #[test]
    fn too_many_contexts_become_everything() {
        let purges = KeptPurges::default();
        (0..=MAX_CONTEXTS).for_each(|number| purges.keep(Target::Context(format!("c{number}").into())));
        assert_eq!(purges.len(), 1);
        assert!(purges.covers(&key("anything", 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_without_redis_makes_nothing_forgotten() {
        let purges = KeptPurges::default();
        purges.remember_taken(Target::Keys(vec![key("user", 1)]));
        advance(REMEMBERED * 100).await;
        // Redis is gone: these are asked for and not taken.
        purges.remember(Target::Keys(vec![key("user", 2)]));
        advance(REMEMBERED * 100).await;
        purges.remember(Target::Context("order".into()));
        purges.keep_recent();
        assert!(purges.covers(&key("user", 1)));
        assert!(purges.covers(&key("user", 2)));
        assert!(purges.covers(&key("order", 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn purges_are_forgotten_no_sooner_than_they_may_and_at_last() {
        let purges = KeptPurges::default();
        let take = |id| purges.remember_taken(Target::Keys(vec![key("user", id)]));
        take(1);
        advance(REMEMBERED / 2).await;
        take(2);
        advance(REMEMBERED / 3 * 2).await;
        take(3);
        purges.keep_recent();
        assert!((1..=3).all(|id| purges.covers(&key("user", id))));

        let owed = purges.lock().clone();
        purges.settle(&owed);
        advance(REMEMBERED).await;
        take(4);
        purges.keep_recent();
        assert!(!purges.covers(&key("user", 1)));
        assert!(purges.covers(&key("user", 3)));
    }

    #[test]
    fn a_purge_asked_for_again_during_its_delivery_is_still_owed() {
        let purges = KeptPurges::default();
        purges.keep(Target::Keys(vec![key("user", 1), key("user", 2)]));
        let delivered = purges.lock().clone();
        purges.keep(Target::Keys(vec![key("user", 1)]));
        assert_eq!(purges.settle(&delivered), 1);
        assert!(purges.covers(&key("user", 1)));
        assert!(!purges.covers(&key("user", 2)));
    }

    #[test]
    fn a_broader_purge_kept_during_a_delivery_is_still_owed() {
        let purges = KeptPurges::default();
        purges.keep(Target::Keys(vec![key("user", 1)]));
        let delivered = purges.lock().clone();
        purges.keep(Target::Everything);
        purges.settle(&delivered);
        assert!(purges.covers(&key("user", 1)));
    }
}
