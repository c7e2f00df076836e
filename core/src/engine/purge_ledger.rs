//! The purges of one cache in one process (`protocol.md` §8): those that Redis does not have yet, and those of the last
//! minute, which it may forget.
//!
//! - A **pending** purge is delivered until Redis took it. Each has a delivery of its own: one that Redis goes on refusing
//!   backs off by itself and holds up no other. What it covers is treated as missing meanwhile, and nothing else.
//! - A **recent** purge becomes pending again (it is *owed*) only where the server it went to may have forgotten it:
//!   another server, or one that continues other data. It keeps the time at which it was asked for, so repeating it makes
//!   it no younger.
//! - [`EXACT`] entries are held exactly. Beyond that the context with the most entries is purged as a whole (pending), or
//!   will be if it must be repeated (recent); with many small contexts several are. Never does a purge become narrower.
//!
//! The ledger is shared by the threads of a process, each of which has an engine. Deliveries are claimed by one engine
//! for a bounded time, so that none is done twice while all is well, and none is lost with its thread.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet, VecDeque},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    Moment,
    rules::{Rule, holds},
    slots::{SlotSet, slot_of},
};
use crate::key::{Digest, Key};

/// So many entries are held exactly, pending and recent ones each.
pub const EXACT: usize = 131_072;
/// So many are left exact once contexts degrade: to find out which takes a look at all entries.
const EXACT_AFTER: usize = EXACT / 8 * 7;
/// Beyond so many contexts everything is purged instead.
const MAX_CONTEXTS: usize = 10_000;
/// How long a purge is recent: longer than a primary that only its clients can still reach goes on taking writes before
/// another is in its place, which by the defaults is 15 s in a cluster and 30 s behind sentinels.
pub const RECENT: Duration = Duration::from_secs(60);
/// The first pause after a refusal; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long recent purges are left alone before the old ones among them are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(5);

/// What a purge deletes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// One entry.
    Entry(Key),
    /// All entries of a context.
    Context(Arc<str>),
    /// All entries of this protocol.
    Everything,
}

/// Orders the requests for purges: what was delivered before a request does not settle it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

/// Which data a server continues: another value means that it may have forgotten purges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// New at each start of the server.
    pub run: String,
    /// New when a replica takes over.
    pub replication: String,
}

/// An engine that shares the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EngineId(pub u64);

/// A purge to be delivered now.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What it deletes.
    pub target: Target,
    /// Its newest request.
    pub stamp: Stamp,
    /// Where it is still to be done; of an entry all.
    pub slots: SlotSet,
}

struct Pending {
    stamp: Stamp,
    /// Where a broad purge is still to be done; of an entry all.
    slots: SlotSet,
    /// When it was asked for, if Redis had it once and may have forgotten it.
    owed: Option<Moment>,
    due: Moment,
    pause: Duration,
    claim: Option<(EngineId, Moment)>,
    /// The only engine that may deliver it, if an older put may still be on its way there.
    reserved: Option<EngineId>,
}

impl Pending {
    fn is_due_for(&self, engine: EngineId, now: Moment) -> bool {
        self.reserved.is_none_or(|by| by == engine)
            && self.due <= now
            && self.claim.is_none_or(|(_, until)| until <= now)
    }

    fn due_at(&self) -> Moment {
        self.claim.map_or(self.due, |(_, until)| until.max(self.due))
    }
}

struct PendingEntry {
    context: Arc<str>,
    pending: Pending,
}

/// A connection whose engine ended with unanswered writes, which its server may execute yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abandoned {
    /// Where it was.
    pub server: String,
    /// The server's number of it.
    pub client: u64,
    /// The run of the server that knows it.
    pub run: Option<String>,
}

/// Beyond so many the oldest are forgotten.
const MOST_ABANDONED: usize = 1_000;

#[derive(Default)]
struct State {
    abandoned: VecDeque<Abandoned>,
    last_stamp: u64,
    /// The names of contexts, so that many entries of one hold it once.
    names: HashSet<Arc<str>>,
    entries: HashMap<Digest, PendingEntry>,
    contexts: HashMap<Arc<str>, Pending>,
    everything: Option<Pending>,
    recent_entries: HashMap<Digest, (Arc<str>, Moment)>,
    recent_contexts: HashMap<Arc<str>, Moment>,
    recent_everything: Option<Moment>,
    pruned_at: Moment,
    /// What each node said last of its data; `None` where it does not tell.
    nodes: HashMap<String, Option<Identity>>,
    /// Until when each engine has heard of all its servers.
    heard: HashMap<EngineId, Moment>,
}

/// The ledger.
#[derive(Default)]
pub struct PurgeLedger {
    state: Mutex<State>,
    /// Whether anything is pending, so that a read on a healthy Redis takes no lock.
    any: AtomicBool,
    /// Whether there are abandoned connections.
    has_abandoned: AtomicBool,
}

impl PurgeLedger {
    /// Remembers a purge that is about to be sent: its server may be gone before it answers.
    pub fn ask(&self, target: &Target, now: Moment) -> Stamp {
        let mut state = self.lock();
        state.remember(target, now);
        state.stamp()
    }

    /// Redis took the purge as it was asked for by this stamp. `true` if it was pending and is not any more.
    pub fn settle(&self, target: &Target, stamp: Stamp, now: Moment) -> bool {
        self.change(|state| {
            let settled = state.take_pending(target, |pending| pending.stamp <= stamp);
            let asked = settled.as_ref().and_then(|pending| pending.owed).unwrap_or(now);
            state.remember(target, asked);
            settled.is_some()
        })
    }

    /// Redis took a broad purge for these slots. `true` if it was pending, and now all of it is done.
    pub fn settle_slots(&self, target: &Target, stamp: Stamp, slots: &SlotSet, now: Moment) -> bool {
        let rest = self.change(|state| {
            let pending = state.pending_of(target).filter(|pending| pending.stamp <= stamp)?;
            pending.slots.remove_all(slots);
            Some(pending.slots.is_empty())
        });
        rest == Some(true) && self.settle(target, stamp, now)
    }

    /// Redis could not be asked, or did not answer: the purge is pending, for these slots, and due at once.
    pub fn pend(&self, target: &Target, stamp: Stamp, slots: &SlotSet, now: Moment) {
        self.change(|state| state.pend(target, stamp, slots, None, now));
    }

    /// Redis refused the purge, which pauses by itself. Says for how long, if it is pending.
    pub fn refuse(&self, target: &Target, stamp: Stamp, slots: &SlotSet, now: Moment) -> Option<Duration> {
        self.change(|state| {
            // What is pending already may be an older request, which does not settle this one.
            state.pend(target, stamp, slots, None, now);
            // What degraded to something broader pauses as that.
            let pending = state.pending_of(target)?;
            pending.pause = (pending.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            pending.due = now + pending.pause;
            pending.claim = None;
            Some(pending.pause)
        })
    }

    /// A pending purge is not due before a pause: it has just failed, and may fail again.
    pub fn pause(&self, target: &Target, now: Moment) {
        if let Some(pending) = self.lock().pending_of(target) {
            pending.due = pending.due.max(now + FIRST_PAUSE);
        }
    }

    /// Only this engine delivers a pending purge, for as long as it lives: an older put of its own may be executed yet.
    pub fn reserve(&self, target: &Target, engine: EngineId) {
        if let Some(pending) = self.lock().pending_of(target) {
            pending.reserved = Some(engine);
        }
    }

    /// Whether an entry was purged at this moment or later, of the purges that are recent.
    pub fn was_purged_since(&self, key: &Key, since: Moment) -> bool {
        let state = self.lock();
        let entry = state.recent_entries.get(key.digest()).map(|(_, asked)| *asked);
        let context = state.recent_contexts.get(key.context()).copied();
        [entry, context, state.recent_everything]
            .into_iter()
            .flatten()
            .any(|asked| since <= asked)
    }

    /// Gives a claimed delivery back that came to nothing, which is due at once.
    pub fn unclaim(&self, target: &Target, now: Moment) {
        if let Some(pending) = self.lock().pending_of(target) {
            pending.claim = None;
            pending.due = pending.due.min(now);
        }
    }

    /// What is due, of the entries that can be reached. Nobody else is given it until `until`, unless it is given back.
    pub fn claim(
        &self,
        engine: EngineId,
        now: Moment,
        until: Moment,
        can_reach: impl Fn(&Key) -> bool,
        can_pass: impl Fn(&SlotSet) -> bool,
    ) -> Vec<Delivery> {
        if !self.any() {
            return Vec::new();
        }
        let mut state = self.lock();
        let State {
            entries,
            contexts,
            everything,
            ..
        } = &mut *state;
        let is_paused = |pending: &Pending| now < pending.due && pending.pause > Duration::ZERO;
        if !holds(Rule::DeliveredApart) && entries.values().any(|entry| is_paused(&entry.pending)) {
            return Vec::new();
        }
        let mut claimed = Vec::new();
        // In an order of their own, so that the same inputs have the same effects.
        let mut due: Vec<_> = entries
            .iter_mut()
            .filter(|(_, entry)| entry.pending.is_due_for(engine, now))
            .collect();
        due.sort_unstable_by_key(|(digest, _)| **digest);
        for (digest, entry) in due {
            let key = Key::new(&entry.context, *digest);
            if can_reach(&key) {
                entry.pending.claim = Some((engine, until));
                claimed.push(Delivery {
                    target: Target::Entry(key),
                    stamp: entry.pending.stamp,
                    slots: SlotSet::ALL,
                });
            }
        }
        let mut contexts: Vec<_> = contexts.iter_mut().collect();
        contexts.sort_unstable_by_key(|(context, _)| Arc::clone(context));
        let contexts = contexts
            .into_iter()
            .map(|(context, pending)| (Target::Context(Arc::clone(context)), pending));
        let everything = everything.iter_mut().map(|pending| (Target::Everything, pending));
        for (target, pending) in contexts.chain(everything) {
            if pending.is_due_for(engine, now) && can_pass(&pending.slots) {
                pending.claim = Some((engine, until));
                claimed.push(Delivery {
                    target,
                    stamp: pending.stamp,
                    slots: pending.slots.clone(),
                });
            }
        }
        claimed
    }

    /// When the next pending purge is due.
    pub fn next_due(&self) -> Option<Moment> {
        if !self.any() {
            return None;
        }
        let state = self.lock();
        let entries = state.entries.values().map(|entry| &entry.pending);
        let all = entries.chain(state.contexts.values()).chain(&state.everything);
        all.map(Pending::due_at).min()
    }

    /// Whether an entry must be treated as missing.
    pub fn covers(&self, key: &Key) -> bool {
        holds(Rule::PendingIsMissing) && self.is_pending(key)
    }

    /// Whether a purge of an entry is pending.
    pub fn is_pending(&self, key: &Key) -> bool {
        if !self.any() {
            return false;
        }
        let state = self.lock();
        let includes = |pending: &Pending| pending.slots.is_all() || pending.slots.contains(slot_of(key.as_ref()));
        state.everything.as_ref().is_some_and(includes)
            || state.contexts.get(key.context()).is_some_and(includes)
            || state.entries.contains_key(key.digest())
    }

    /// Whether anything is pending.
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// How many purges are pending.
    pub fn pending(&self) -> usize {
        self.lock().pending()
    }

    /// A connection to a node was made, which says whose data it continues, or does not tell. Where it may have forgotten
    /// purges, those of its slots that were asked for since `since` are owed; says how many were not pending before.
    pub fn meet(&self, node: &str, identity: Option<Identity>, since: Moment, now: Moment, slots: &SlotSet) -> usize {
        self.change(|state| {
            let is_known = identity.is_some() && state.nodes.values().any(|known| *known == identity);
            let may_have_forgotten = match state.nodes.get(node) {
                // The only one who can tell is the node: by what it is now, or by saying nothing again.
                Some(before) => *before != identity || identity.is_none(),
                None => !is_known && !state.nodes.is_empty() && identity.is_some(),
            };
            state.nodes.insert(node.to_owned(), identity);
            let may_have_forgotten = may_have_forgotten && holds(Rule::OwedWhereForgotten);
            if may_have_forgotten || !holds(Rule::RunIds) {
                state.owe(since, now, slots)
            } else {
                0
            }
        })
    }

    /// These slots have another primary now: what was purged in them is owed; says how much was not pending before.
    pub fn owe(&self, since: Moment, now: Moment, slots: &SlotSet) -> usize {
        self.change(|state| state.owe(since, now, slots))
    }

    /// An engine has heard of all its servers until a moment: purges that were old by then, for every engine, are not
    /// recent any more.
    pub fn hear(&self, engine: EngineId, until: Moment) {
        let mut state = self.lock();
        state.heard.insert(engine, until);
        let heard = state.heard.values().copied().min().unwrap_or(until);
        if heard.saturating_sub(state.pruned_at) >= PRUNE_EVERY {
            state.prune(heard);
        }
    }

    /// An engine is gone; others may deliver what it claimed.
    pub fn leave(&self, engine: EngineId) {
        let mut state = self.lock();
        state.heard.remove(&engine);
        let State {
            entries,
            contexts,
            everything,
            ..
        } = &mut *state;
        let entries = entries.values_mut().map(|entry| &mut entry.pending);
        for pending in entries.chain(contexts.values_mut()).chain(everything) {
            if pending.claim.is_some_and(|(by, _)| by == engine) {
                pending.claim = None;
            }
            if pending.reserved == Some(engine) {
                pending.reserved = None;
            }
        }
    }

    /// An engine ended: others have its connection ended by the server before they purge there.
    pub fn abandon(&self, connection: Abandoned) {
        let mut state = self.lock();
        state.abandoned.push_back(connection);
        if state.abandoned.len() > MOST_ABANDONED {
            state.abandoned.pop_front();
        }
        self.has_abandoned.store(true, Ordering::Release);
    }

    /// Hands over the abandoned connections to a server.
    pub fn adopt(&self, server: &str) -> Vec<Abandoned> {
        if !self.has_abandoned.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut state = self.lock();
        let (adopted, rest) = mem::take(&mut state.abandoned)
            .into_iter()
            .partition(|connection: &Abandoned| connection.server == server);
        state.abandoned = rest;
        self.has_abandoned.store(!state.abandoned.is_empty(), Ordering::Release);
        adopted.into()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let changed = change(&mut state);
        self.any.store(state.pending() > 0, Ordering::Release);
        changed
    }

    /// No change leaves the state half made in a way that loses a purge, so a panic elsewhere does not either.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn stamp(&mut self) -> Stamp {
        self.last_stamp += 1;
        Stamp(self.last_stamp)
    }

    fn pending(&self) -> usize {
        self.entries.len() + self.contexts.len() + usize::from(self.everything.is_some())
    }

    fn pending_of(&mut self, target: &Target) -> Option<&mut Pending> {
        match target {
            Target::Entry(key) => self.entries.get_mut(key.digest()).map(|entry| &mut entry.pending),
            Target::Context(context) => self.contexts.get_mut(context),
            Target::Everything => self.everything.as_mut(),
        }
    }

    fn take_pending(&mut self, target: &Target, settles: impl Fn(&Pending) -> bool) -> Option<Pending> {
        if !self.pending_of(target).is_some_and(|pending| settles(pending)) {
            return None;
        }
        match target {
            Target::Entry(key) => self.entries.remove(key.digest()).map(|entry| entry.pending),
            Target::Context(context) => self.contexts.remove(context),
            Target::Everything => self.everything.take(),
        }
    }

    fn pend(&mut self, target: &Target, stamp: Stamp, slots: &SlotSet, owed: Option<Moment>, now: Moment) {
        if let Some(pending) = self.pending_of(target) {
            // What is owed and asked for anew is no older than the new request.
            pending.owed = pending.owed.and(owed);
            // Also of an older request: the newer one may concern other slots.
            pending.stamp = pending.stamp.max(stamp);
            pending.slots.insert_all(slots);
            pending.claim = None;
            if owed.is_none() && pending.pause == Duration::ZERO {
                pending.due = pending.due.min(now);
            }
            return;
        }
        let pending = Pending {
            stamp,
            // An entry has one, which its key tells.
            slots: match target {
                Target::Entry(_) => SlotSet::ALL,
                _ => slots.clone(),
            },
            owed,
            due: now,
            pause: Duration::ZERO,
            claim: None,
            reserved: None,
        };
        match target {
            Target::Entry(key) => {
                let context = self.context_name(key.context());
                self.entries.insert(*key.digest(), PendingEntry { context, pending });
                if self.entries.len() > EXACT {
                    self.degrade_entries(now);
                }
            }
            Target::Context(context) => {
                self.contexts.insert(Arc::clone(context), pending);
                if self.contexts.len() > MAX_CONTEXTS {
                    self.contexts.clear();
                    let stamp = self.stamp();
                    self.pend(&Target::Everything, stamp, &SlotSet::ALL, None, now);
                }
            }
            Target::Everything => self.everything = Some(pending),
        }
    }

    /// The name of a context, held once for all entries of it.
    fn context_name(&mut self, context: &str) -> Arc<str> {
        if let Some(name) = self.names.get(context) {
            return Arc::clone(name);
        }
        if self.names.len() >= MAX_CONTEXTS {
            self.names.clear();
        }
        let name: Arc<str> = context.into();
        self.names.insert(Arc::clone(&name));
        name
    }

    fn degrade_entries(&mut self, now: Moment) {
        let contexts = largest(self.entries.values().map(|entry| &entry.context), EXACT_AFTER);
        self.entries.retain(|_, entry| !contexts.contains(&entry.context));
        for context in contexts {
            let stamp = self.stamp();
            self.pend(&Target::Context(context), stamp, &SlotSet::ALL, None, now);
        }
    }

    fn remember(&mut self, target: &Target, asked: Moment) {
        match target {
            Target::Entry(key) => {
                if let Some((_, at)) = self.recent_entries.get_mut(key.digest()) {
                    *at = (*at).max(asked);
                    return;
                }
                let context = self.context_name(key.context());
                self.recent_entries.insert(*key.digest(), (context, asked));
                if self.recent_entries.len() > EXACT {
                    self.degrade_recent_entries();
                }
            }
            Target::Context(context) => {
                let at = self.recent_contexts.entry(Arc::clone(context)).or_insert(asked);
                *at = (*at).max(asked);
                if self.recent_contexts.len() > MAX_CONTEXTS {
                    let newest = self.recent_contexts.drain().map(|(_, at)| at).max();
                    self.recent_everything = self.recent_everything.max(newest);
                }
            }
            Target::Everything => self.recent_everything = self.recent_everything.max(Some(asked)),
        }
    }

    fn degrade_recent_entries(&mut self) {
        let contexts = largest(self.recent_entries.values().map(|(context, _)| context), EXACT_AFTER);
        let mut newest: HashMap<Arc<str>, Moment> = HashMap::new();
        self.recent_entries.retain(|_, (context, asked)| {
            let degrades = contexts.contains(context);
            if degrades {
                let newest = newest.entry(Arc::clone(context)).or_default();
                *newest = (*newest).max(*asked);
            }
            !degrades
        });
        for (context, asked) in newest {
            self.remember(&Target::Context(context), asked);
        }
    }

    fn owe(&mut self, since: Moment, now: Moment, slots: &SlotSet) -> usize {
        if slots.is_empty() {
            // Such a node could not take them, so they would be pending for ever.
            return 0;
        }
        let recent = |asked: Moment| asked + RECENT >= since || !holds(Rule::RecentForAMinute);
        let mut owed = Vec::new();
        for (digest, (context, asked)) in &self.recent_entries {
            let key = Key::new(context, *digest);
            if recent(*asked) && (slots.is_all() || slots.contains(slot_of(key.as_ref()))) {
                owed.push((Target::Entry(key), *asked));
            }
        }
        let contexts = self.recent_contexts.iter().filter(|(_, asked)| recent(**asked));
        owed.extend(contexts.map(|(context, asked)| (Target::Context(Arc::clone(context)), *asked)));
        owed.extend(
            self.recent_everything
                .filter(|asked| recent(*asked))
                .map(|asked| (Target::Everything, asked)),
        );
        let before = self.pending();
        for (target, asked) in owed {
            let stamp = self.stamp();
            self.pend(&target, stamp, slots, Some(asked), now);
        }
        self.pending().saturating_sub(before)
    }

    fn prune(&mut self, heard: Moment) {
        self.pruned_at = heard;
        let recent = |asked: &Moment| *asked + RECENT >= heard || !holds(Rule::RecentForAMinute);
        self.recent_entries.retain(|_, (_, asked)| recent(asked));
        self.recent_contexts.retain(|_, asked| recent(asked));
        self.recent_everything = self.recent_everything.filter(recent);
        if self.recent_entries.len() < self.recent_entries.capacity() / 4 {
            let room = self.recent_entries.len() * 2;
            self.recent_entries.shrink_to(room);
        }
    }
}

/// The names that stand there most often: as many as must go for no more than `rest` entries to be left.
fn largest<'a>(names: impl Iterator<Item = &'a Arc<str>>, rest: usize) -> HashSet<Arc<str>> {
    let mut counts: HashMap<&Arc<str>, usize> = HashMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let mut left: usize = counts.values().sum();
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by_key(|(_, count)| Reverse(*count));
    let mut largest = HashSet::new();
    for (name, count) in counts {
        if left <= rest {
            break;
        }
        left -= count;
        largest.insert(Arc::clone(name));
    }
    largest
}

#[cfg(test)]
mod tests;
