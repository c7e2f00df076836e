//! What applications do with the cache: they read, load and store, and change what is in the database.
//!
//! - A reader looks up; on a miss it loads and stores with the lease, or gives the lease back, or forgets it. A caller that
//!   finds a lease standing waits for the load that has it, if that is in its own process.
//! - A mutation commits, then purges, then answers.
//! - Some keys belong to one thread, which stores them without a lease. Only such a thread changes them, in the order of
//!   its calls, so that what it stored before a purge must be gone after it.
//! - Another origin knows no leases: it reads with GET, stores with SET what is in the database, and purges with UNLINK.

use std::time::Duration;

use bytes::Bytes;
use mizan_cache_core::{
    canonical::{Canonical, ParamValue},
    engine::{Operation, Ticket},
    key::Key,
    lease::LeaseToken,
    shared_cache::SharedCache,
};

use crate::{
    invariants::{Read, Source, State},
    random::Random,
    server::{MILLISECOND, Micros, SECOND, slot_of},
    world::{Event, Owned, World},
};

pub struct KeyInfo {
    pub key: Key,
    pub context: usize,
    pub slot: u16,
    /// The only thread that stores and changes it.
    pub owner: Option<usize>,
}

const CONTEXTS: [&str; 2] = ["user", "order"];
const SHARED_KEYS: usize = 6;

/// The keys of a world: some for all threads, and one for each.
pub fn keys(cache: &SharedCache, threads: usize) -> Vec<KeyInfo> {
    let new = |id: usize, owner: Option<usize>| {
        let context = id % CONTEXTS.len();
        let params = [(
            "id".to_owned(),
            ParamValue::Integer(i128::try_from(id).unwrap_or_default()),
        )];
        let canonical = Canonical::new(CONTEXTS[context], &params, None, 0).expect("a legal call");
        let key = cache.key(&canonical);
        KeyInfo {
            slot: slot_of(key.as_ref()),
            key,
            context,
            owner,
        }
    };
    let shared = (0..SHARED_KEYS).map(|id| new(id, None));
    shared
        .chain((0..threads).map(|thread| new(SHARED_KEYS + thread, Some(thread))))
        .collect()
}

/// What a call is for.
#[derive(Clone, Debug)]
pub enum CallKind {
    Get {
        key: usize,
    },
    Lookup {
        key: usize,
        tries: u32,
    },
    Fill,
    Put,
    Discard,
    Release,
    Purge {
        mutations: Vec<usize>,
        is_broad: bool,
    },
    /// After the faults: must be stored.
    ProbePut {
        key: usize,
    },
    /// After the faults: must be found.
    ProbeGet {
        key: usize,
    },
}

#[derive(Clone, Debug)]
pub struct Call {
    pub kind: CallKind,
    pub began: Micros,
    pub began_by_clock: Duration,
    pub deadline: Duration,
    /// Scans that the thread had begun when it was asked.
    pub scans: u64,
    pub life: u64,
}

/// A caller that waits for the load of another.
#[derive(Clone, Copy, Debug)]
pub struct Waiter {
    began: Micros,
    began_by_clock: Duration,
}

/// How an application goes on.
#[derive(Clone, Debug)]
pub enum Follow {
    Purge {
        mutations: Vec<usize>,
        key: usize,
        is_broad: bool,
    },
    LoadBegins {
        key: usize,
        lease: LeaseToken,
    },
    LoadEnds {
        key: usize,
        lease: LeaseToken,
        version: u64,
    },
    Lookup {
        key: usize,
        tries: u32,
    },
    Get {
        key: usize,
    },
    Probe,
    ProbeGet {
        key: usize,
    },
}

impl Follow {
    /// A mutation goes on when its engine was replaced; what was committed must be purged.
    pub const fn outlives_engine(&self) -> bool {
        matches!(self, Self::Purge { .. })
    }
}

/// A value: the key, the version, and what makes it unlike any other.
fn value(world: &mut World, key: usize, version: u64, random: &mut Random) -> Bytes {
    world.next_unique += 1;
    let mut text = format!("{key}:{version}:{}", world.next_unique).into_bytes();
    if random.one_in(60) {
        text.push(b' ');
        text.resize(70_000, b'x');
        world.cover("a large value");
    }
    text.into()
}

pub fn version_of(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    text.split(':').nth(1)?.parse().ok()
}

fn call(world: &World, thread: usize, kind: CallKind) -> Call {
    let process = world.threads[thread].process;
    let began_by_clock = world.moment(thread);
    let limit = match kind {
        // Each of its commands has a deadline; together they are bounded too.
        CallKind::Purge { is_broad: true, .. } => Duration::from_secs(60),
        _ => world.processes[process].config_timeout(),
    };
    Call {
        scans: world.processes[process]
            .scans_began
            .get(&thread)
            .copied()
            .unwrap_or_default(),
        life: world.threads[thread].life,
        kind,
        began: world.now,
        began_by_clock,
        deadline: began_by_clock + limit,
    }
}

/// One turn of a thread's event loop.
pub fn turn(world: &mut World, thread: usize) {
    let number = world.report.turns;
    world.report.turns += 1;
    if world.plan.skipped_turns.contains(&number) || world.threads[thread].engine.is_none() {
        return;
    }
    let mut random = Random::new(world.plan.seed, 1 << 40 | number);
    let mut calls = Vec::new();
    let count = if random.one_in(40) { 40 } else { random.between(1, 3) };
    for _ in 0..count {
        act(world, thread, &mut random, &mut calls);
    }
    world.submit(thread, calls);
}

fn act(world: &mut World, thread: usize, random: &mut Random, calls: &mut Vec<(Call, Operation)>) {
    let shared = random.index(SHARED_KEYS);
    let own = SHARED_KEYS + thread;
    let any = random.index(world.keys.len());
    match random.below(100) {
        0..=34 => look_up(world, thread, shared, 0, calls),
        35..=47 => get(world, thread, any, calls),
        48..=61 => mutate(world, thread, shared, random, calls),
        62..=79 => {
            let version = world.oracle.current(own);
            let value = value(world, own, version, random);
            let operation = Operation::Set {
                key: world.keys[own].key.clone(),
                value,
                ttl: None,
                lease: None,
            };
            calls.push((call(world, thread, CallKind::Put), operation));
        }
        80..=89 => {
            let version = world.oracle.commit(own);
            let process = world.threads[thread].process;
            let mutation = world.oracle.ask(own, version, process, false, world.now);
            calls.push(purge(world, thread, vec![mutation], own, false));
        }
        90..=92 => mutate_context(world, thread, random, calls),
        93 => {
            let process = world.threads[thread].process;
            let at = world.moment(thread);
            world.processes[process].asked_entries.insert(own, at);
            let operation = Operation::Discard(vec![world.keys[own].key.clone()]);
            calls.push((call(world, thread, CallKind::Discard), operation));
        }
        _ => foreign(world, random, shared),
    }
}

/// A copy is looked for first, as hosts do.
fn peeks(world: &mut World, thread: usize, key: usize) -> bool {
    let (now, process) = (world.moment(thread), world.threads[thread].process);
    if !world.processes[process].has_copies {
        return false;
    }
    let Some(engine) = &world.threads[thread].engine else {
        return false;
    };
    let info = &world.keys[key];
    let found = engine.peek(info.key.digest(), info.key.context(), now);
    let Some(version) = found.and_then(|found| version_of(&found.value)) else {
        return false;
    };
    world.cover("a copy was read");
    world.trace(|_| format!("thread {thread} reads a copy of key {key}: version {version}"));
    let began = world.now;
    judge(world, thread, key, version, began, now, Source::Copy);
    true
}

fn judge(
    world: &mut World,
    thread: usize,
    key: usize,
    version: u64,
    began: Micros,
    began_by_clock: Duration,
    source: Source,
) {
    let read = Read {
        process: world.threads[thread].process,
        key,
        version,
        began,
        began_by_clock,
        source,
    };
    if let Some(what) = world.oracle.judge(&read) {
        world.fail(what);
    }
}

fn look_up(world: &mut World, thread: usize, key: usize, tries: u32, calls: &mut Vec<(Call, Operation)>) {
    if !peeks(world, thread, key) {
        let operation = Operation::Lookup(world.keys[key].key.clone());
        calls.push((call(world, thread, CallKind::Lookup { key, tries }), operation));
    }
}

fn get(world: &mut World, thread: usize, key: usize, calls: &mut Vec<(Call, Operation)>) {
    if !peeks(world, thread, key) {
        let operation = Operation::Get(world.keys[key].key.clone());
        calls.push((call(world, thread, CallKind::Get { key }), operation));
    }
}

fn mutate(world: &mut World, thread: usize, key: usize, random: &mut Random, calls: &mut Vec<(Call, Operation)>) {
    let version = world.oracle.commit(key);
    let process = world.threads[thread].process;
    let mutation = world.oracle.ask(key, version, process, false, world.now);
    world.trace(|_| format!("thread {thread} commits version {version} of key {key}"));
    if random.one_in(2) {
        calls.push(purge(world, thread, vec![mutation], key, false));
    } else {
        let follow = Follow::Purge {
            mutations: vec![mutation],
            key,
            is_broad: false,
        };
        go_later(world, thread, random.between(0, 5_000), follow);
    }
}

fn mutate_context(world: &mut World, thread: usize, random: &mut Random, calls: &mut Vec<(Call, Operation)>) {
    let process = world.threads[thread].process;
    let context = random.index(CONTEXTS.len());
    let is_all = random.one_in(6);
    let mut mutations = Vec::new();
    for key in 0..SHARED_KEYS {
        if is_all || world.keys[key].context == context {
            let version = world.oracle.commit(key);
            mutations.push(world.oracle.ask(key, version, process, true, world.now));
            world.trace(|_| format!("thread {thread} commits version {version} of key {key}"));
        }
    }
    if is_all {
        let at = world.moment(thread);
        for context in 0..CONTEXTS.len() {
            world.processes[process].asked_contexts.insert(context, at);
        }
        let kind = CallKind::Purge {
            mutations,
            is_broad: true,
        };
        calls.push((call(world, thread, kind), Operation::Clear));
    } else {
        // Many that wait for each other share their passes.
        if random.one_in(3) {
            for _ in 0..12 {
                calls.push(purge(world, thread, Vec::new(), context, true));
            }
        }
        calls.push(purge(world, thread, mutations, context, true));
    }
}

/// A purge: of a key, or of the context of a key.
fn purge(world: &mut World, thread: usize, mutations: Vec<usize>, key: usize, is_broad: bool) -> (Call, Operation) {
    let process = world.threads[thread].process;
    let at = world.moment(thread);
    let info = &world.keys[key];
    let operation = if is_broad {
        Operation::PurgeContext(CONTEXTS[info.context].into())
    } else {
        Operation::Purge(vec![info.key.clone()])
    };
    if is_broad {
        world.processes[process].asked_contexts.insert(info.context, at);
    } else {
        world.processes[process].asked_entries.insert(key, at);
    }
    (call(world, thread, CallKind::Purge { mutations, is_broad }), operation)
}

/// Another origin, that knows no leases, works on the server itself.
fn foreign(world: &mut World, random: &mut Random, key: usize) {
    let server = world.authority(key);
    let (now, place) = (world.now, &world.servers[server]);
    if !place.is_up || place.stopped_until > now || place.redis.refuses.memory || place.redis.refuses.replicas {
        return;
    }
    if place
        .redis
        .cluster
        .as_ref()
        .is_some_and(|node| node.migrating.contains_key(&world.keys[key].slot))
    {
        return;
    }
    world.cover("an origin without leases");
    let text = world.keys[key].key.as_ref().to_vec();
    match random.below(3) {
        0 => {
            if let Some(version) = world.stored_version(server, key)
                && let Some(late) = world.oracle.judge_stored(key, version)
            {
                let what = format!("another origin finds version {version} of key {key} after {late:?}");
                world.fail(what);
            }
        }
        1 => {
            let version = world.oracle.current(key);
            let value = value(world, key, version, random);
            world.servers[server].redis.foreign_set(&text, &value, 60_000, now);
        }
        _ => {
            // It commits, purges and answers at once. Whatever happens to it later is its own affair.
            let version = world.oracle.commit(key);
            world.trace(|_| format!("another origin purges key {key} for version {version}"));
            world.servers[server].redis.unlink(0, 0, &text, now);
        }
    }
    world.flush_server(server);
}

fn go_later(world: &mut World, thread: usize, after: Micros, follow: Follow) {
    let (at, life) = (world.now + after, world.threads[thread].life);
    world.at(at, Event::Go(thread, life, follow));
}

pub fn go_on(world: &mut World, thread: usize, follow: Follow) {
    let mut calls = Vec::new();
    match follow {
        Follow::Purge {
            mutations,
            key,
            is_broad,
        } => calls.push(purge(world, thread, mutations, key, is_broad)),
        Follow::Lookup { key, tries } => look_up(world, thread, key, tries, &mut calls),
        Follow::Get { key } => get(world, thread, key, &mut calls),
        Follow::LoadBegins { key, lease } => {
            let version = world.oracle.current(key);
            let after = if world.random.one_in(20) {
                world.random.between(1, 2_000) * MILLISECOND
            } else {
                world.random.between(0, 30) * MILLISECOND
            };
            go_later(world, thread, after, Follow::LoadEnds { key, lease, version });
        }
        Follow::LoadEnds { key, lease, version } => end_load(world, thread, key, lease, version, &mut calls),
        Follow::Probe => probe(world, thread, &mut calls),
        Follow::ProbeGet { key } => {
            let operation = Operation::Get(world.keys[key].key.clone());
            calls.push((call(world, thread, CallKind::ProbeGet { key }), operation));
        }
    }
    world.submit(thread, calls);
}

fn end_load(
    world: &mut World,
    thread: usize,
    key: usize,
    lease: LeaseToken,
    version: u64,
    calls: &mut Vec<(Call, Operation)>,
) {
    let process = world.threads[thread].process;
    let waiters = world.processes[process]
        .loads
        .remove(lease.as_str())
        .unwrap_or_default();
    let mut random = Random::new(world.random.next(), 0);
    match random.below(20) {
        0..=1 => {
            world.cover("a load that failed");
            let operation = Operation::Release(world.keys[key].key.clone(), lease);
            calls.push((call(world, thread, CallKind::Release), operation));
            return;
        }
        2 => {
            world.cover("a lease that its holder forgot");
            return;
        }
        _ => {}
    }
    for waiter in waiters {
        world.cover("a load was shared");
        judge(
            world,
            thread,
            key,
            version,
            waiter.began,
            waiter.began_by_clock,
            Source::Load,
        );
    }
    let value = value(world, key, version, &mut random);
    let ttl = random.one_in(10).then(|| Duration::from_millis(random.between(1, 200)));
    let operation = Operation::Set {
        key: world.keys[key].key.clone(),
        value,
        ttl,
        lease: Some(lease),
    };
    calls.push((call(world, thread, CallKind::Fill), operation));
}

/// The calls of an engine that ended are not answered any more.
pub fn forget_calls(world: &mut World, thread: usize) {
    let process = world.threads[thread].process;
    let calls = std::mem::take(&mut world.threads[thread].calls);
    for call in calls.into_values() {
        if let CallKind::Purge { mutations, .. } = call.kind {
            for mutation in mutations {
                // The process has it yet, and delivers it.
                world.oracle.set_undone(mutation, State::Pending);
            }
        }
    }
    // Whoever held a lease is gone with its thread, or goes on without an engine.
    world.processes[process].loads.clear();
}

/// An answer.
pub fn answered(world: &mut World, thread: usize, ticket: Ticket, answer: Owned) {
    let Some(call) = world.threads[thread].calls.remove(&ticket) else {
        return world.fail(format!("thread {thread} is answered {ticket} twice"));
    };
    world.trace(|_| {
        let answer = match &answer {
            Owned::Hit(value) | Owned::Value(Some(value)) => format!("version {:?}", version_of(value)),
            other => format!("{other:?}"),
        };
        format!("thread {thread} is answered {ticket}: {answer}")
    });
    match (call.kind.clone(), answer) {
        (CallKind::Get { key }, Owned::Value(Some(value))) | (CallKind::Lookup { key, .. }, Owned::Hit(value)) => {
            let Some(version) = version_of(&value) else {
                return world.fail(format!("thread {thread} read what nobody wrote of key {key}"));
            };
            world.cover("a hit");
            judge(
                world,
                thread,
                key,
                version,
                call.began,
                call.began_by_clock,
                Source::Redis,
            );
        }
        (CallKind::Get { .. }, Owned::Value(None)) | (CallKind::Lookup { .. }, Owned::Miss) => {}
        (CallKind::Lookup { key, .. }, Owned::Leased(lease)) => leased(world, thread, key, lease),
        (CallKind::Lookup { key, tries }, Owned::Held(lease)) => held(world, thread, key, tries, &call, &lease),
        (CallKind::Purge { mutations, is_broad }, Owned::Purged(_)) => {
            purged(world, thread, &call, &mutations, is_broad)
        }
        (CallKind::Fill | CallKind::Put | CallKind::Discard, Owned::Stored(stored)) => {
            if stored {
                world.cover("a value was stored");
            }
        }
        (CallKind::Release, Owned::Released(_)) => {}
        (CallKind::ProbePut { key }, Owned::Stored(true)) => {
            go_later(world, thread, 1, Follow::ProbeGet { key });
        }
        (CallKind::ProbeGet { .. }, Owned::Value(Some(_))) => world.threads[thread].has_asked = true,
        (CallKind::ProbePut { .. } | CallKind::ProbeGet { .. }, answer) => {
            let what = format!(
                "thread {thread}: the faults are over, and still {:?} is answered {answer:?}",
                call.kind
            );
            world.fail(what);
        }
        (kind, answer) => world.fail(format!("thread {thread}: {kind:?} is answered {answer:?}")),
    }
}

fn leased(world: &mut World, thread: usize, key: usize, lease: LeaseToken) {
    let process = world.threads[thread].process;
    let token = lease.as_str().as_bytes().to_vec();
    if let Some(other) = world.oracle.holders.insert(token, thread) {
        return world.fail(format!("threads {other} and {thread} hold the same lease of key {key}"));
    }
    world.cover("a lease was taken");
    world.processes[process]
        .loads
        .insert(lease.as_str().to_owned(), Vec::new());
    let after = world.random.between(0, 3_000);
    go_later(world, thread, after, Follow::LoadBegins { key, lease });
}

fn held(world: &mut World, thread: usize, key: usize, tries: u32, call: &Call, lease: &LeaseToken) {
    let process = world.threads[thread].process;
    let waiter = Waiter {
        began: call.began,
        began_by_clock: call.began_by_clock,
    };
    if let Some(waiters) = world.processes[process].loads.get_mut(lease.as_str()) {
        waiters.push(waiter);
        return;
    }
    check_orphan(world, thread, key, lease);
    if tries < 4 {
        let after = world.random.between(1, 25) * MILLISECOND;
        go_later(world, thread, after, Follow::Lookup { key, tries: tries + 1 });
    }
}

/// A lease that this process took, whose lookup was answered without it, is given to whoever asks next.
fn check_orphan(world: &mut World, thread: usize, key: usize, lease: &LeaseToken) {
    let process = world.threads[thread].process;
    let token = lease.as_str().as_bytes();
    let Some(taken) = world.processes[process].taken.get(token).copied() else {
        return;
    };
    if world.oracle.holders.contains_key(token) {
        return;
    }
    // Some lookup may still have its answer on the way, here or in another thread.
    let in_flight = world.threads.iter().any(|other| {
        other.process == process
            && other
                .calls
                .values()
                .any(|call| matches!(call.kind, CallKind::Lookup { key: of, .. } if of == key))
    });
    let is_young = world.moment(thread) < taken + world.lease_time.saturating_sub(Duration::from_millis(20));
    let same_life = world
        .threads
        .iter()
        .filter(|other| other.process == process)
        .all(|other| other.life == 1);
    if !in_flight && is_young && same_life {
        world.fail(format!(
            "process {process} took a lease of key {key} that nobody holds, and does not give it to thread {thread}"
        ));
    }
}

fn purged(world: &mut World, thread: usize, call: &Call, mutations: &[usize], is_broad: bool) {
    let process = world.threads[thread].process;
    if is_broad {
        let began = world.processes[process]
            .scans_began
            .get(&thread)
            .copied()
            .unwrap_or_default()
            - call.scans;
        // One pass may run, and one be queued that serves all.
        if world.report.faults == 0 && world.servers.len() == 1 && began > 2 {
            return world.fail(format!("thread {thread} begins {began} scans for one purge"));
        }
    }
    for mutation in mutations {
        world.oracle.mutations[*mutation].answered = Some(world.now);
        let key = &world.keys[world.oracle.mutations[*mutation].key].key;
        if world.processes[process].shared.is_purge_pending(key) {
            world.cover("a purge was pending");
            world.oracle.set_undone(*mutation, State::Pending);
        } else {
            world.cover("a purge was done");
            world.purge_is_done(*mutation);
        }
    }
    if let Some(mutation) = mutations.first()
        && world.random.one_in(3)
    {
        // Whoever changed something looks at it.
        let key = world.oracle.mutations[*mutation].key;
        go_later(world, thread, 0, Follow::Get { key });
    }
}

/// After the faults everything is as without them.
fn probe(world: &mut World, thread: usize, calls: &mut Vec<(Call, Operation)>) {
    let key = SHARED_KEYS + thread;
    let version = world.oracle.current(key);
    let mut random = Random::new(world.plan.seed, 7);
    let value = value(world, key, version, &mut random);
    let operation = Operation::Set {
        key: world.keys[key].key.clone(),
        value,
        ttl: Some(Duration::from_secs(60)),
        lease: None,
    };
    calls.push((call(world, thread, CallKind::ProbePut { key }), operation));
}

/// More does not happen until all is as before.
const MOST_STEPS: u64 = 100_000;

impl World {
    /// After the faults: what must be the case, and when.
    pub fn recover(&mut self) {
        crate::faults::heal(self);
        let healed = self.now;
        self.healed_at = Some(healed);
        for thread in 0..self.threads.len() {
            // Whoever has no connection makes one.
            let life = self.threads[thread].life;
            self.at(healed + SECOND, Event::Go(thread, life, Follow::Get { key: 0 }));
        }
        // A purge that was refused waits for its turn, up to thirty seconds; one that was not is delivered at once.
        let limit = if self.was_refused { 33 * SECOND } else { 0 };
        self.run_until(healed + 1_300 * MILLISECOND);
        while self.report.failure.is_none() && self.pending() > 0 && self.now < healed + limit {
            let next = self.now + 100 * MILLISECOND;
            self.run_until(next);
        }
        for thread in 0..self.threads.len() {
            let life = self.threads[thread].life;
            self.at(self.now, Event::Go(thread, life, Follow::Probe));
        }
        let next = self.now + 1_200 * MILLISECOND;
        self.run_until(next);
        if self.report.failure.is_some() {
            return;
        }
        if self.pending() > 0 {
            let pending = self.pending();
            return self.fail(format!("the faults are over, and {pending} purges are still pending"));
        }
        if let Some(thread) = self.threads.iter().position(|thread| !thread.has_asked) {
            return self.fail(format!("the faults are over, and thread {thread} has no answer"));
        }
        for key in 0..self.keys.len() {
            let authority = self.authority(key);
            let newest = self
                .oracle
                .newest_purged(key)
                .map(|mutation| (mutation.version, mutation.process));
            if let (Some(version), Some((newest, process))) = (self.stored_version(authority, key), newest)
                && version < newest
            {
                self.fail(format!(
                    "in the end server {authority} has version {version} of key {key}, which process {process} purged for version {newest}"
                ));
            }
        }
    }

    fn pending(&self) -> u64 {
        let pending = self
            .processes
            .iter()
            .map(|process| process.shared.stats(None).pending_purges);
        pending.sum()
    }

    pub fn run_until(&mut self, until: Micros) {
        while self.report.failure.is_none() && self.now < until {
            self.step();
            if self.report.steps > self.plan.steps + MOST_STEPS {
                self.fail("so much happens that time does not pass".to_owned());
            }
        }
    }
}
