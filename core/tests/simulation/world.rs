//! The world: processes with engines, servers, the network between them, and time, all from one seed.

use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    sync::Arc,
    time::Duration,
};

use mizan_cache_core::{
    config::{BackendConfig, Config, DEFAULT_TTL, RedisConfig, TlsConfig, Topology as Where},
    engine::{Answer, Answers, ConnectionId, Effect, Engine, Moment, Operation, Ticket, address::Address},
    events::{Event as News, Reason},
    key::Key,
    lease::LeaseToken,
    shared_cache::SharedCache,
};

use crate::{
    application::{self, Call, Follow, KeyInfo},
    clock::Clock,
    faults::{self, Fault},
    invariants::{Oracle, State},
    network::{Connection, Parcel, Pipe},
    random::Random,
    server::{ClusterNode, Deed, MILLISECOND, Micros, PORT, Redis, SECOND, SLOTS, Sentinel, View, host},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    One,
    Sentinels,
    Cluster,
}

/// What an answer says, of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owned {
    Value(Option<Vec<u8>>),
    Hit(Vec<u8>),
    Leased(LeaseToken),
    Held(LeaseToken),
    Miss,
    Stored(bool),
    Released(bool),
    Purged(u64),
    Closed,
}

#[derive(Default)]
struct Collected(Vec<(Ticket, Owned)>);

impl Answers for Collected {
    fn answer(&mut self, ticket: Ticket, answer: Answer<'_>) {
        let owned = match answer {
            Answer::Value(value) => Owned::Value(value.map(<[u8]>::to_vec)),
            Answer::Hit(value) => Owned::Hit(value.to_vec()),
            Answer::Leased(lease) => Owned::Leased(lease),
            Answer::Held(lease) => Owned::Held(lease),
            Answer::Miss => Owned::Miss,
            Answer::Stored(stored) => Owned::Stored(stored),
            Answer::Released(released) => Owned::Released(released),
            Answer::Purged(deleted) => Owned::Purged(deleted),
            Answer::Closed => Owned::Closed,
        };
        self.0.push((ticket, owned));
    }
}

/// What is to happen at some moment.
#[derive(Debug)]
pub enum Event {
    /// A thread's application asks for something.
    Turn(usize),
    /// A thread's application goes on.
    Go(usize, u64, Follow),
    Tick(usize, u64),
    Accept(usize),
    Opened(usize),
    Refused(usize),
    ToServer(usize),
    ToClient(usize),
    Unblock(usize),
    Fault,
    End(Fault, usize, u64),
    Learn(usize),
    Cron,
}

struct Due {
    at: Micros,
    order: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// What waits for a thread that is busy.
#[derive(Debug)]
enum Inbound {
    Opened(usize),
    Refused(usize),
    Arrived(usize),
}

pub struct Thread {
    pub process: usize,
    pub engine: Option<Engine>,
    /// Which engine this is, one after the other.
    pub life: u64,
    pub connections: BTreeMap<ConnectionId, usize>,
    pub blocked_until: Micros,
    inbox: VecDeque<Inbound>,
    wake: Option<Moment>,
    wake_number: u64,
    is_tick_due: bool,
    pub calls: BTreeMap<Ticket, Call>,
    pub next_ticket: Ticket,
    /// When connections were opened lately, for each server.
    opened: VecDeque<(Duration, usize)>,
    /// Whether a recovery check failed its first try.
    pub has_asked: bool,
    /// Since when it runs without having been blocked.
    pub runs_since: Micros,
}

pub struct Process {
    pub shared: Arc<SharedCache>,
    pub config: Config,
    pub clock: Clock,
    pub has_copies: bool,
    /// Purges told to be pending, of which those that were not done at once are counted by the cache.
    told_pending: u64,
    /// Loads that go on: which token they hold, and who waits for them.
    pub loads: BTreeMap<String, Vec<application::Waiter>>,
    /// Tokens that lookups of this process took at a server, and since when by its clock.
    pub taken: BTreeMap<Vec<u8>, Duration>,
    /// Deletions that were asked for: when, by its clock.
    pub asked_entries: BTreeMap<usize, Duration>,
    pub asked_contexts: BTreeMap<usize, Duration>,
    pub scans_began: BTreeMap<usize, u64>,
}

pub struct Server {
    pub redis: Redis,
    pub is_up: bool,
    /// Connections to it hang instead of being refused while it is down.
    pub hangs: bool,
    pub stopped_until: Micros,
    pub refuses_until: Micros,
    /// Whether another has taken its place without its knowing.
    pub is_deposed: bool,
}

/// What a run is to do differently.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub seed: u64,
    pub steps: u64,
    pub skipped_faults: BTreeSet<u64>,
    pub skipped_turns: BTreeSet<u64>,
    pub traces: bool,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    pub steps: u64,
    pub failure: Option<String>,
    pub failed_at: u64,
    pub coverage: BTreeMap<&'static str, u64>,
    pub trace: Vec<String>,
    pub faults: u64,
    pub turns: u64,
    /// A digest of all that happened.
    pub digest: u64,
}

pub struct World {
    pub plan: Plan,
    pub now: Micros,
    order: u64,
    queue: BinaryHeap<Due>,
    pub random: Random,
    network: Random,
    pub topology: Topology,
    pub threads: Vec<Thread>,
    pub processes: Vec<Process>,
    pub servers: Vec<Server>,
    pub connections: Vec<Connection>,
    pub keys: Vec<KeyInfo>,
    pub oracle: Oracle,
    pub report: Report,
    pub truth: View,
    /// The primary that the sentinels agreed on.
    pub primary: usize,
    pub healed_at: Option<Micros>,
    pub delay: (Micros, Micros),
    pub slow_until: Micros,
    /// Which processes cannot reach which servers, and until when.
    pub partitions: BTreeMap<(usize, usize), Micros>,
    /// Whether any server may have forgotten anything, or does not tell who it is.
    pub has_changed_identity: bool,
    pub was_refused: bool,
    pub fence_is_refused: bool,
    pub longest_gap: Duration,
    pub turn_pause: (Micros, Micros),
    pub next_unique: u64,
    pub is_calm: bool,
    pub lease_time: Duration,
    pub command_timeout: Duration,
}

impl Process {
    pub fn replace(&mut self, shared: Arc<SharedCache>) {
        self.shared = shared;
        // The counters of the new cache begin anew.
        self.told_pending = 0;
    }

    pub fn config_timeout(&self) -> Duration {
        match &self.config.backend {
            BackendConfig::Redis(redis) => redis.command_timeout,
            BackendConfig::Memory { .. } => Duration::ZERO,
        }
    }
}

const SECRET: &[u8] = b"a secret for tests, of 32 bytes.";

impl World {
    pub fn new(plan: Plan) -> Self {
        let seed = plan.seed;
        let mut random = Random::new(seed, 1);
        let topology = match random.below(10) {
            0..=4 => Topology::One,
            5..=7 => Topology::Sentinels,
            _ => Topology::Cluster,
        };
        let owners: Vec<u8> = (0..SLOTS)
            .map(|slot| u8::try_from(slot * 3 / SLOTS).unwrap_or_default())
            .collect();
        let truth = View {
            epoch: 1,
            owners: Arc::new(owners),
        };
        let count = match topology {
            Topology::One => 1,
            Topology::Sentinels => 5,
            Topology::Cluster => 6,
        };
        let servers = (0..count)
            .map(|index| {
                let mut redis = Redis::new(index, Random::new(seed, 100 + index as u64));
                match topology {
                    Topology::One => {}
                    Topology::Sentinels => {
                        redis.is_replica = index == 1 || index == 2;
                        redis.sentinel = (index > 2).then_some(Sentinel { primary: Some(0) });
                    }
                    Topology::Cluster => {
                        redis.is_replica = index > 2;
                        redis.cluster = Some(ClusterNode::new(index, truth.clone()));
                    }
                }
                Server {
                    redis,
                    is_up: true,
                    hangs: false,
                    stopped_until: 0,
                    refuses_until: 0,
                    is_deposed: false,
                }
            })
            .collect();
        let lease_time = Duration::from_millis([100, 500, 2_000, 10_000][random.index(4)]);
        let command_timeout = Duration::from_millis([100, 300, 500][random.index(3)]);
        let mut processes = Vec::new();
        let mut threads = Vec::new();
        for process in 0..1 + random.index(3) {
            let has_copies = random.percent(60);
            let config = Config {
                secret: SECRET.to_vec(),
                previous_secrets: Vec::new(),
                backend: BackendConfig::Redis(RedisConfig {
                    topology: match topology {
                        Topology::One => Where::Standalone {
                            url: format!("redis://{}:{PORT}", host(0)),
                        },
                        Topology::Sentinels => Where::Sentinel {
                            urls: (3..5).map(|index| format!("redis://{}:{PORT}", host(index))).collect(),
                            name: "mizan".to_owned(),
                            username: None,
                            password: None,
                            database: 0,
                            tls: false,
                        },
                        // One address that is a cluster is one too.
                        Topology::Cluster if random.one_in(3) => Where::Standalone {
                            url: format!("redis://{}:{PORT}", host(1)),
                        },
                        Topology::Cluster => Where::Cluster {
                            urls: (0..2 + random.index(2))
                                .map(|index| format!("redis://{}:{PORT}", host(index)))
                                .collect(),
                        },
                    },
                    command_timeout,
                    connect_timeout: Duration::from_secs(2),
                    max_in_flight: if random.one_in(10) { 6 } else { 10_000 },
                    local_max_bytes: has_copies.then_some(if random.one_in(5) { 4_096 } else { 1 << 20 }),
                    asks_for_credentials: false,
                    tls: TlsConfig::default(),
                }),
                ttl: if random.one_in(6) {
                    Duration::from_millis(300)
                } else {
                    DEFAULT_TTL
                },
                lease_time,
                max_value_bytes: 1 << 20,
            };
            let shared = Arc::new(SharedCache::new(&config, None).expect("a legal configuration"));
            let gains = i64::try_from(random.below(2_000)).unwrap_or_default() - 1_000;
            processes.push(Process {
                shared,
                config,
                clock: Clock::new(SECOND + random.below(1_000 * SECOND), gains),
                has_copies,
                told_pending: 0,
                loads: BTreeMap::new(),
                taken: BTreeMap::new(),
                asked_entries: BTreeMap::new(),
                asked_contexts: BTreeMap::new(),
                scans_began: BTreeMap::new(),
            });
            for _ in 0..1 + random.index(2) {
                threads.push(Thread {
                    process,
                    engine: None,
                    life: 0,
                    connections: BTreeMap::new(),
                    blocked_until: 0,
                    inbox: VecDeque::new(),
                    wake: None,
                    wake_number: 0,
                    is_tick_due: false,
                    calls: BTreeMap::new(),
                    next_ticket: 0,
                    opened: VecDeque::new(),
                    has_asked: false,
                    runs_since: 0,
                });
            }
        }
        let keys = application::keys(&processes[0].shared, threads.len());
        let base = [20, 100, 500][random.index(3)];
        let mut world = Self {
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            network: Random::new(seed, 2),
            topology,
            servers,
            connections: Vec::new(),
            oracle: Oracle::new(keys.len()),
            keys,
            report: Report::default(),
            truth,
            primary: 0,
            healed_at: None,
            delay: (base, base * [2, 10][random.index(2)]),
            slow_until: 0,
            partitions: BTreeMap::new(),
            has_changed_identity: false,
            was_refused: false,
            fence_is_refused: false,
            longest_gap: Duration::ZERO,
            turn_pause: [(200, 2_000), (1_000, 20_000), (10_000, 100_000)][random.index(3)],
            next_unique: 0,
            is_calm: random.one_in(8),
            lease_time,
            command_timeout,
            random,
            threads,
            processes,
            plan,
        };
        for thread in 0..world.threads.len() {
            world.new_engine(thread);
            let at = world.random.below(5 * MILLISECOND);
            world.at(at, Event::Turn(thread));
        }
        let first = world.random.between(1, 20) * world.turn_pause.1;
        world.at(first, Event::Fault);
        world.at(100 * MILLISECOND, Event::Cron);
        world
    }

    pub fn at(&mut self, at: Micros, event: Event) {
        self.order += 1;
        self.queue.push(Due {
            at: at.max(self.now),
            order: self.order,
            event,
        });
    }

    pub fn cover(&mut self, what: &'static str) {
        *self.report.coverage.entry(what).or_default() += 1;
    }

    pub fn fail(&mut self, what: String) {
        if self.report.failure.is_none() {
            self.trace(|_| format!("FAILED: {what}"));
            self.report.failed_at = self.report.steps;
            self.report.failure = Some(what);
        }
    }

    pub fn trace(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.plan.traces {
            let line = format!("{:>10.3} ms  {}", milliseconds(self.now), line(self));
            self.report.trace.push(line);
        }
    }

    /// Runs all of the plan, and then the time in which everything must recover.
    pub fn run(mut self) -> Report {
        while self.report.failure.is_none() && self.report.steps < self.plan.steps {
            self.step();
        }
        if self.report.failure.is_none() {
            self.recover();
        }
        let digest = self.report.digest;
        self.report.digest = digest ^ self.now ^ self.order << 20;
        self.report
    }

    pub fn step(&mut self) {
        let Some(Due { at, event, .. }) = self.queue.pop() else {
            self.fail("nothing is left to happen".to_owned());
            return;
        };
        self.now = at;
        self.report.steps += 1;
        if std::env::var("EV").is_ok() {
            eprintln!("{at} {event:?}");
        }
        self.report.digest = self.report.digest.rotate_left(7) ^ at.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.happen(event);
        self.watch_purges();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn(thread) => {
                let is_blocked = self.is_blocked(thread);
                let pause = if self.is_calm && self.random.one_in(200) && self.healed_at.is_none() {
                    self.cover("nothing asked for a minute and a half");
                    90 * SECOND
                } else if self.healed_at.is_some() {
                    self.random.between(30, 150) * MILLISECOND
                } else {
                    self.random.between(self.turn_pause.0, self.turn_pause.1)
                };
                self.at(self.now + pause, Event::Turn(thread));
                let is_over = self.healed_at.is_some_and(|healed| healed + SECOND < self.now);
                if !is_blocked && !is_over {
                    application::turn(self, thread);
                }
            }
            Event::Go(thread, life, follow) => {
                if self.is_blocked(thread) {
                    let until = self.threads[thread].blocked_until;
                    self.at(until + 1, Event::Go(thread, life, follow));
                } else if self.threads[thread].life == life || follow.outlives_engine() {
                    application::go_on(self, thread, follow);
                }
            }
            Event::Tick(thread, number) => {
                if self.threads[thread].wake_number != number {
                    return;
                }
                if self.is_blocked(thread) {
                    self.threads[thread].is_tick_due = true;
                } else {
                    self.tick(thread);
                }
            }
            Event::Accept(connection) => self.accept(connection),
            Event::Opened(connection) => self.deliver(connection, Inbound::Opened(connection)),
            Event::Refused(connection) => self.deliver(connection, Inbound::Refused(connection)),
            Event::ToServer(connection) => self.pump_to_server(connection),
            Event::ToClient(connection) => self.pump_to_client(connection),
            Event::Unblock(thread) => self.unblock(thread),
            Event::Fault => {
                if self.healed_at.is_none() {
                    faults::inject(self);
                    let pause = self.random.between(1, 20) * self.random.between(self.turn_pause.0, self.turn_pause.1);
                    self.at(self.now + pause, Event::Fault);
                }
            }
            Event::End(fault, first, second) => faults::end(self, fault, first, second),
            Event::Learn(server) => {
                let truth = self.truth.clone();
                if let Some(node) = &mut self.servers[server].redis.cluster {
                    node.learn(&truth);
                }
            }
            Event::Cron => {
                let now = self.now;
                for index in 0..self.servers.len() {
                    if self.servers[index].is_up && self.servers[index].stopped_until <= now {
                        self.servers[index].redis.expire_some(now);
                        self.flush_server(index);
                    }
                }
                self.at(now + 100 * MILLISECOND, Event::Cron);
            }
        }
    }

    // Threads.

    pub fn is_blocked(&self, thread: usize) -> bool {
        self.threads[thread].blocked_until > self.now
    }

    pub fn moment(&self, thread: usize) -> Moment {
        self.processes[self.threads[thread].process].clock.moment(self.now)
    }

    /// A new engine in a thread.
    pub fn new_engine(&mut self, thread: usize) {
        let life = self.threads[thread].life + 1;
        let process = self.threads[thread].process;
        let mut random = Random::new(self.plan.seed, 1_000 + thread as u64 * 1_000 + life);
        let entropy = Box::new(move |bytes: &mut [u8]| {
            random.fill(bytes);
            true
        });
        let engine = Engine::new(Arc::clone(&self.processes[process].shared), entropy);
        self.drop_engine(thread);
        let place = &mut self.threads[thread];
        place.life = life;
        place.engine = Some(engine);
        place.wake = None;
        place.wake_number += 1;
        place.is_tick_due = false;
        self.drive(thread, |_, _, _| {});
    }

    /// Whether a process has a connection to a primary that was replaced, by which it may purge what counts for nothing
    /// until it notices.
    fn asks_replaced(&self, process: usize) -> bool {
        let threads = self.threads.iter().filter(|thread| thread.process == process);
        threads.flat_map(|thread| thread.connections.values()).any(|index| {
            let server = self.connections[*index].server;
            !self.authority_of_any(server) && self.connections[*index].is_established
        })
    }

    /// The engine of a thread ends without a word.
    pub fn drop_engine(&mut self, thread: usize) {
        let connections = std::mem::take(&mut self.threads[thread].connections);
        for connection in connections.into_values() {
            self.close_from_client(connection);
        }
        self.threads[thread].engine = None;
        application::forget_calls(self, thread);
    }

    /// Has the engine of a thread do something, and does what it asks for.
    pub fn drive(&mut self, thread: usize, act: impl FnOnce(&mut Engine, Moment, &mut dyn Answers)) {
        let now = self.moment(thread);
        let Some(engine) = &mut self.threads[thread].engine else {
            return;
        };
        let mut collected = Collected::default();
        act(engine, now, &mut collected);
        let effects = engine.effects();
        // A call is answered once, and its effects are not older than its answer.
        for effect in effects {
            self.do_effect(thread, effect, now);
        }
        for (ticket, answer) in collected.0 {
            application::answered(self, thread, ticket, answer);
        }
        self.check_deadlines(thread, now);
    }

    fn do_effect(&mut self, thread: usize, effect: Effect, now: Moment) {
        match effect {
            Effect::Open { connection, address } => self.open(thread, connection, &address, now),
            Effect::Send { connection, bytes } => {
                if let Some(index) = self.threads[thread].connections.get(&connection).copied() {
                    self.send(index, bytes);
                }
            }
            Effect::Close { connection } => {
                if let Some(index) = self.threads[thread].connections.remove(&connection) {
                    self.trace(|_| format!("thread {thread} closes connection {index}"));
                    self.close_from_client(index);
                }
            }
            Effect::WakeAt(moment) => {
                let place = &mut self.threads[thread];
                if place.wake.is_none_or(|wake| moment < wake) {
                    place.wake = Some(moment);
                    self.set_alarm(thread);
                }
            }
            Effect::Event(news) => self.note_news(thread, &news),
        }
    }

    /// Has the thread called when its clock shows what it asked for.
    pub fn set_alarm(&mut self, thread: usize) {
        if let Some(wake) = self.threads[thread].wake {
            let at = self.processes[self.threads[thread].process].clock.when(wake, self.now);
            self.threads[thread].wake_number += 1;
            let number = self.threads[thread].wake_number;
            self.at(at, Event::Tick(thread, number));
        }
    }

    fn tick(&mut self, thread: usize) {
        let now = self.moment(thread);
        let Some(wake) = self.threads[thread].wake else { return };
        if wake > now {
            // The clock was late.
            return self.set_alarm(thread);
        }
        self.threads[thread].wake = None;
        self.threads[thread].is_tick_due = false;
        self.drive(thread, |engine, now, answers| engine.tick(now, answers));
    }

    fn note_news(&mut self, thread: usize, news: &News) {
        self.trace(|_| format!("thread {thread} tells {news:?}"));
        let process = self.threads[thread].process;
        match news {
            News::PurgesPending(count) => {
                self.processes[process].told_pending += count;
                let deferred = self.processes[process].shared.stats(None).deferred_purges;
                if self.processes[process].told_pending > deferred
                    && !self.has_changed_identity
                    && self.topology != Topology::Cluster
                {
                    self.fail(format!(
                        "process {process} repeats purges, and no server has forgotten any"
                    ));
                }
            }
            News::FenceRefused => self.fence_is_refused = true,
            _ => {}
        }
    }

    /// Blocks a thread: what comes meanwhile waits.
    pub fn block(&mut self, thread: usize, until: Micros) {
        let place = &mut self.threads[thread];
        place.blocked_until = place.blocked_until.max(until);
        let until = place.blocked_until;
        self.at(until, Event::Unblock(thread));
    }

    fn unblock(&mut self, thread: usize) {
        if self.is_blocked(thread) {
            return;
        }
        self.threads[thread].runs_since = self.now;
        let process = self.threads[thread].process;
        let timeouts = self.processes[process].shared.stats(None).timeouts;
        // Bytes first, then the clock.
        while let Some(inbound) = self.threads[thread].inbox.pop_front() {
            self.take_inbound(inbound);
            if self.report.failure.is_some() {
                return;
            }
        }
        if self.processes[process].shared.stats(None).timeouts > timeouts {
            self.fail(format!(
                "thread {thread} judged a deadline before it had read what had arrived"
            ));
        }
        if self.threads[thread].is_tick_due {
            self.tick(thread);
        }
    }

    fn deliver(&mut self, connection: usize, inbound: Inbound) {
        let thread = self.connections[connection].thread;
        if self.is_blocked(thread) {
            self.threads[thread].inbox.push_back(inbound);
        } else {
            self.take_inbound(inbound);
        }
    }

    fn take_inbound(&mut self, inbound: Inbound) {
        let (Inbound::Opened(index) | Inbound::Refused(index) | Inbound::Arrived(index)) = inbound;
        let Connection {
            thread,
            life,
            id,
            is_open,
            ..
        } = self.connections[index];
        if !is_open || self.threads[thread].life != life {
            return;
        }
        match inbound {
            Inbound::Opened(_) => {
                self.connections[index].is_established = true;
                self.drive(thread, |engine, now, answers| engine.opened(id, None, now, answers));
            }
            Inbound::Refused(_) => {
                self.connections[index].is_open = false;
                self.threads[thread].connections.remove(&id);
                self.drive(thread, |engine, now, answers| {
                    engine.closed(id, Reason::Refused, now, answers);
                });
            }
            Inbound::Arrived(_) => self.read_all(index),
        }
    }

    /// Hands over what has arrived by a connection.
    fn read_all(&mut self, index: usize) {
        while self.connections[index].is_open {
            let now = self.now;
            let Connection { thread, id, .. } = self.connections[index];
            match self.connections[index].to_client.read(now) {
                None => break,
                Some(Parcel::Bytes(bytes)) => {
                    self.drive(thread, |engine, now, answers| {
                        engine.received(id, &bytes, now, answers);
                    });
                }
                Some(Parcel::Close) => {
                    self.trace(|_| format!("thread {thread} sees connection {index} end"));
                    self.connections[index].is_open = false;
                    self.threads[thread].connections.remove(&id);
                    self.drive(thread, |engine, now, answers| {
                        engine.closed(id, Reason::Broken, now, answers);
                    });
                }
            }
        }
    }

    // The network.

    fn delay(&mut self) -> Micros {
        let factor = if self.slow_until > self.now { 20 } else { 1 };
        self.network.between(self.delay.0, self.delay.1) * factor
    }

    fn is_parted(&self, process: usize, server: usize) -> bool {
        self.partitions
            .get(&(process, server))
            .is_some_and(|until| *until > self.now)
    }

    fn open(&mut self, thread: usize, id: ConnectionId, address: &Address, now: Moment) {
        let Address::Tcp { host: name, .. } = address else {
            return;
        };
        let server = (0..self.servers.len()).find(|index| host(*index) == *name);
        let Some(server) = server else {
            return self.fail(format!("thread {thread} connects to {address}, which is nobody"));
        };
        self.check_opening(thread, server, now);
        let process = self.threads[thread].process;
        let index = self.connections.len();
        self.connections.push(Connection {
            thread,
            life: self.threads[thread].life,
            id,
            server,
            client: None,
            run: 0,
            is_open: true,
            is_established: false,
            to_server: Pipe::default(),
            to_client: Pipe::default(),
            dead_since: None,
        });
        self.threads[thread].connections.insert(id, index);
        self.trace(|_| format!("thread {thread} opens connection {index} to server {server}"));
        if self.is_parted(process, server) {
            return;
        }
        let at = self.now + self.delay();
        self.at(at, Event::Accept(index));
    }

    fn accept(&mut self, index: usize) {
        let Connection { server, is_open, .. } = self.connections[index];
        let now = self.now;
        let delay = self.delay();
        let place = &mut self.servers[server];
        if !place.is_up && place.hangs {
            return;
        }
        if !place.is_up || place.refuses_until > now {
            return self.at(now + delay, Event::Refused(index));
        }
        if !is_open {
            return;
        }
        let client = place.redis.connect(index);
        let run = place.redis.run;
        self.connections[index].client = Some(client);
        self.connections[index].run = run;
        self.at(now + delay, Event::Opened(index));
    }

    fn send(&mut self, index: usize, bytes: Vec<u8>) {
        let now = self.now;
        self.trace(|world| {
            let Connection { thread, server, .. } = world.connections[index];
            format!("thread {thread} → server {server} ({index}): {}", show(&bytes))
        });
        if self.connections[index].dead_since.is_some() {
            let process = self.threads[self.connections[index].thread].process;
            let server = self.connections[index].server;
            if self.healed_at.is_some() && !self.is_parted(process, server) {
                // Whoever writes to a connection that the other side has forgotten is told.
                self.reset(index);
            }
            return;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = if self.network.one_in(10) {
                1 + self.network.index(rest.len())
            } else {
                rest.len()
            };
            let at = now + self.delay();
            if let Some(at) = self.connections[index]
                .to_server
                .write(Parcel::Bytes(rest[..length].to_vec()), at)
            {
                self.at(at, Event::ToServer(index));
            }
            rest = &rest[length..];
        }
    }

    /// The client learns that a connection is no more.
    pub fn reset(&mut self, index: usize) {
        let at = self.now + self.delay();
        let pipe = &mut self.connections[index].to_client;
        pipe.is_lost = false;
        pipe.frozen_until = 0;
        if let Some(at) = pipe.write(Parcel::Close, at) {
            self.at(at, Event::ToClient(index));
        }
    }

    fn pump_to_server(&mut self, index: usize) {
        let now = self.now;
        let server = self.connections[index].server;
        if self.servers[server].stopped_until > now {
            let until = self.servers[server].stopped_until;
            return self.at(until, Event::ToServer(index));
        }
        while let Some(parcel) = self.connections[index].to_server.read(now) {
            let Some(client) = self.connections[index].client else {
                break;
            };
            if self.servers[server].redis.run != self.connections[index].run || !self.servers[server].is_up {
                break;
            }
            match parcel {
                Parcel::Bytes(bytes) => self.servers[server].redis.receive(client, &bytes, now),
                Parcel::Close => self.servers[server].redis.disconnect(client),
            }
        }
        if let Some(next) = self.connections[index].to_server.next()
            && self.connections[index].to_server.frozen_until > now
        {
            self.at(next, Event::ToServer(index));
        }
        self.flush_server(server);
    }

    /// Sends what a server has for its clients, and looks at what it did.
    pub fn flush_server(&mut self, server: usize) {
        let deeds = std::mem::take(&mut self.servers[server].redis.deeds);
        for (client, deed) in deeds {
            self.note_deed(server, client, deed);
        }
        let outputs: Vec<_> = self.servers[server]
            .redis
            .clients
            .values_mut()
            .filter(|client| !client.output.is_empty())
            .map(|client| (client.connection, std::mem::take(&mut client.output)))
            .collect();
        for (index, bytes) in outputs {
            self.trace(|world| {
                let thread = world.connections[index].thread;
                format!("server {server} → thread {thread} ({index}): {}", show(&bytes))
            });
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let length = if self.network.one_in(10) {
                    1 + self.network.index(rest.len())
                } else {
                    rest.len()
                };
                let at = self.now + self.delay();
                if let Some(at) = self.connections[index]
                    .to_client
                    .write(Parcel::Bytes(rest[..length].to_vec()), at)
                {
                    self.at(at, Event::ToClient(index));
                }
                rest = &rest[length..];
            }
        }
        for index in self.servers[server].redis.take_killed() {
            self.close_from_server(index);
        }
    }

    fn pump_to_client(&mut self, index: usize) {
        let now = self.now;
        if self.connections[index].to_client.frozen_until > now {
            let until = self.connections[index].to_client.frozen_until;
            return self.at(until, Event::ToClient(index));
        }
        self.deliver(index, Inbound::Arrived(index));
    }

    /// The client closes a connection; the server hears of it if anything gets there.
    fn close_from_client(&mut self, index: usize) {
        self.connections[index].is_open = false;
        let at = self.now + self.delay();
        if let Some(at) = self.connections[index].to_server.write(Parcel::Close, at) {
            self.at(at, Event::ToServer(index));
        }
    }

    /// The server closes a connection.
    pub fn close_from_server(&mut self, index: usize) {
        let at = self.now + self.delay();
        self.connections[index].to_server.lose_all();
        if let Some(at) = self.connections[index].to_client.write(Parcel::Close, at) {
            self.at(at, Event::ToClient(index));
        }
    }

    // Authority.

    /// The server whose data count for a key.
    pub fn authority(&self, key: usize) -> usize {
        match self.topology {
            Topology::One => 0,
            Topology::Sentinels => self.primary,
            Topology::Cluster => usize::from(self.truth.owners[usize::from(self.keys[key].slot)]),
        }
    }

    pub fn clocks(&self) -> Vec<Duration> {
        self.processes
            .iter()
            .map(|process| process.clock.moment(self.now))
            .collect()
    }

    /// Whether a primary serves a key that was replaced and does not know it.
    pub fn is_split(&self, key: usize) -> bool {
        let authority = self.authority(key);
        self.servers.iter().enumerate().any(|(index, server)| {
            index != authority
                && server.is_deposed
                && server
                    .redis
                    .cluster
                    .as_ref()
                    .is_none_or(|node| usize::from(node.view.owners[usize::from(self.keys[key].slot)]) == index)
        })
    }

    /// Whether the data of a server count for anything.
    pub fn authority_of_any(&self, server: usize) -> bool {
        match self.topology {
            Topology::One => server == 0,
            Topology::Sentinels => server == self.primary || server > 2,
            Topology::Cluster => self.truth.owners.iter().any(|owner| usize::from(*owner) == server),
        }
    }

    // What is watched.

    /// Follows purges that are pending or forgotten.
    fn watch_purges(&mut self) {
        if self.servers.iter().any(|server| server.is_deposed) {
            let clocks = self.clocks();
            for key in 0..self.keys.len() {
                if self.is_split(key) {
                    self.oracle.splits.insert(key, (self.now, clocks.clone()));
                }
            }
        }
        if self.oracle.undone.is_empty() {
            return;
        }
        for index in self.oracle.undone.clone() {
            let mutation = &self.oracle.mutations[index];
            let key: &Key = &self.keys[mutation.key].key;
            let is_pending = self.processes[mutation.process].shared.is_purge_pending(key);
            match mutation.state {
                State::Pending if !is_pending => self.purge_is_done(index),
                State::Forgotten { with_split } if is_pending => {
                    if with_split {
                        self.oracle.mutations[index].misled_until = Some(self.now);
                    }
                    self.oracle.set_undone(index, State::Pending);
                }
                _ => {}
            }
        }
    }

    /// Redis has a purge, as its process says.
    pub fn purge_is_done(&mut self, index: usize) {
        let mutation = &self.oracle.mutations[index];
        let key = mutation.key;
        // A primary that was replaced may have taken it, which is as good as nothing.
        let was_split = self
            .oracle
            .splits
            .get(&key)
            .is_some_and(|(until, _)| *until >= mutation.asked);
        if let Some(with_split) = mutation.lost
            && !mutation.is_effective
        {
            return self.oracle.set_undone(index, State::Forgotten { with_split });
        }
        let is_misled = was_split || self.is_split(key) || self.asks_replaced(mutation.process);
        if is_misled && !mutation.is_effective {
            return self.oracle.set_undone(index, State::Forgotten { with_split: true });
        }
        self.trace(|world| format!("the purge {:?} is done", world.oracle.mutations[index]));
        let clocks = self.clocks();
        self.oracle.set_done(index, self.now, clocks);
        self.check_data(key);
    }

    /// What the server in authority has must not be older than what was purged.
    pub fn check_data(&mut self, key: usize) {
        let authority = self.authority(key);
        let Some(version) = self.stored_version(authority, key) else {
            return;
        };
        if let Some(late) = self.oracle.judge_stored(key, version) {
            let what = format!(
                "server {authority} has version {version} of key {key} after the purge of version {} by process {}",
                late.version, late.process
            );
            self.fail(what);
        }
    }

    pub fn stored_version(&self, server: usize, key: usize) -> Option<u64> {
        let entry = self.servers[server].redis.databases[0].get(self.keys[key].key.as_ref())?;
        let over = entry.expires.is_some_and(|at| at <= self.now);
        match &entry.content {
            crate::server::Content::Text(text) if !over => application::version_of(text),
            _ => None,
        }
    }

    fn note_deed(&mut self, server: usize, client: u64, deed: Deed) {
        let thread = self.servers[server]
            .redis
            .clients
            .get(&client)
            .map(|client| self.connections[client.connection].thread);
        match deed {
            Deed::Stored { key, value } => {
                let Some(key) = self.key_of(&key) else { return };
                if self.authority(key) != server {
                    return;
                }
                let Some(version) = application::version_of(&value) else {
                    return;
                };
                let late = self.oracle.judge_stored(key, version);
                // Where the fence is refused, a put that was given up may come late.
                let is_excused = self.fence_is_refused && self.keys[key].owner.is_some();
                if let Some(late) = late
                    && !is_excused
                {
                    let what = format!(
                        "version {version} of key {key} is stored after the purge of version {} by process {}",
                        late.version, late.process
                    );
                    self.fail(what);
                }
            }
            Deed::Leased { token, .. } => {
                if let Some(thread) = thread {
                    let process = self.threads[thread].process;
                    let at = self.moment(thread);
                    self.processes[process].taken.insert(token, at);
                }
            }
            Deed::Unlinked { key, was_there } => {
                let (Some(key), Some(thread)) = (self.key_of(&key), thread) else {
                    return;
                };
                self.check_unlinked(thread, key, was_there);
                let process = self.threads[thread].process;
                if self.authority(key) == server {
                    for mutation in &mut self.oracle.mutations {
                        if mutation.key == key && mutation.process == process {
                            mutation.is_effective = true;
                        }
                    }
                    let done: Vec<_> = self
                        .oracle
                        .undone
                        .iter()
                        .copied()
                        .filter(|index| {
                            let mutation = &self.oracle.mutations[*index];
                            mutation.key == key
                                && mutation.process == process
                                && matches!(mutation.state, State::Forgotten { .. })
                        })
                        .collect();
                    for index in done {
                        let clocks = self.clocks();
                        self.oracle.set_done(index, self.now, clocks);
                    }
                }
            }
            Deed::ScanBegan => {
                if let Some(thread) = thread {
                    *self.processes[self.threads[thread].process]
                        .scans_began
                        .entry(thread)
                        .or_default() += 1;
                }
            }
            Deed::Killed { .. } => self.cover("an old connection was ended by its client"),
            Deed::Denied { command } => {
                if command == "CLIENT|KILL" {
                    self.fence_is_refused = true;
                }
            }
        }
    }

    pub fn key_of(&self, text: &[u8]) -> Option<usize> {
        self.keys.iter().position(|info| info.key.as_ref() == text)
    }

    /// Nothing is deleted that no purge covers, nor for a purge that is not recent any more.
    fn check_unlinked(&mut self, thread: usize, key: usize, was_there: bool) {
        let process = &self.processes[self.threads[thread].process];
        let asked = process.asked_entries.get(&key).copied();
        let broad = process.asked_contexts.get(&self.keys[key].context).copied();
        let newest = asked.max(broad);
        let now = self.moment(thread);
        let limit = Duration::from_secs(75) + self.longest_gap;
        let is_pending = process.shared.is_purge_pending(&self.keys[key].key);
        match newest {
            None => self.fail(format!(
                "thread {thread} deletes key {key} (there: {was_there}), which nobody has purged"
            )),
            Some(asked) if is_pending && asked + limit < now && self.oracle_has_settled(thread, key) => {
                self.fail(format!(
                    "thread {thread} repeats a purge of key {key} that was asked for {:?} ago",
                    now.saturating_sub(asked)
                ));
            }
            Some(_) => {}
        }
    }

    /// Whether no purge of a key has been pending since it was asked for.
    fn oracle_has_settled(&self, thread: usize, key: usize) -> bool {
        let process = self.threads[thread].process;
        let limit = (75 + self.longest_gap.as_secs()) * SECOND;
        self.oracle
            .mutations
            .iter()
            .filter(|mutation| mutation.key == key && mutation.process == process)
            .all(|mutation| match mutation.state {
                State::Done(at) => at + limit < self.now,
                // It was done and is owed again.
                State::Pending | State::Forgotten { .. } => mutation.is_effective,
                State::Asked => false,
                State::Void => true,
            })
    }

    /// Connections to one server are bounded, and are not made without a pause.
    fn check_opening(&mut self, thread: usize, server: usize, now: Moment) {
        let place = &mut self.threads[thread];
        while place
            .opened
            .front()
            .is_some_and(|(at, _)| *at + Duration::from_secs(1) < now)
        {
            place.opened.pop_front();
        }
        place.opened.push_back((now, server));
        let lately = place.opened.iter().filter(|(_, of)| *of == server).count();
        let open = place
            .connections
            .values()
            .filter(|index| self.connections[**index].server == server)
            .count();
        if lately > MOST_OPENED {
            self.fail(format!(
                "thread {thread} connects to server {server} {lately} times within a second"
            ));
        } else if open > MOST_OPEN {
            self.fail(format!("thread {thread} holds {open} connections to server {server}"));
        }
    }

    /// No call is unanswered past its deadline.
    fn check_deadlines(&mut self, thread: usize, now: Moment) {
        if self.is_blocked(thread) || self.threads[thread].wake.is_some_and(|wake| wake <= now) {
            return;
        }
        let late = self.threads[thread].calls.iter().find(|(_, call)| call.deadline < now);
        if let Some((ticket, call)) = late {
            let what = format!(
                "thread {thread}: call {ticket} ({:?}) is unanswered past its deadline",
                call.kind
            );
            self.fail(what);
        }
    }

    /// Submits operations of a thread.
    pub fn submit(&mut self, thread: usize, calls: Vec<(Call, Operation)>) {
        let mut operations = Vec::with_capacity(calls.len());
        for (call, operation) in calls {
            let place = &mut self.threads[thread];
            let ticket = place.next_ticket;
            place.next_ticket += 1;
            self.trace(|world| format!("thread {thread} asks {ticket}: {}", world.describe(&operation)));
            self.threads[thread].calls.insert(ticket, call);
            operations.push((ticket, operation));
        }
        self.drive(thread, |engine, now, answers| engine.submit(operations, now, answers));
    }

    fn describe(&self, operation: &Operation) -> String {
        let name = |key: &Key| {
            self.key_of(key.as_ref())
                .map_or_else(|| "?".to_owned(), |key| format!("key {key}"))
        };
        match operation {
            Operation::Get(key) => format!("get {}", name(key)),
            Operation::Lookup(key) => format!("lookup {}", name(key)),
            Operation::Set { key, value, lease, .. } => {
                let version = application::version_of(value);
                let lease = lease.as_ref().map(|lease| lease.as_str()[..6].to_owned());
                format!("set {} to version {version:?} with lease {lease:?}", name(key))
            }
            Operation::Discard(keys) => format!("discard {}", name(&keys[0])),
            Operation::Release(key, lease) => format!("release {} {}", name(key), &lease.as_str()[..6]),
            Operation::Purge(keys) => format!("purge {}", name(&keys[0])),
            Operation::PurgeContext(context) => format!("purge context {context}"),
            Operation::Clear => "clear".to_owned(),
        }
    }
}

/// A good server is asked for a connection by one thread at most this often within a second.
const MOST_OPENED: usize = 45;
/// A thread holds at most so many connections to one server: two links, each with some attempts beside each other.
const MOST_OPEN: usize = 10;

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
pub fn milliseconds(micros: Micros) -> f64 {
    micros as f64 / 1_000.0
}

/// Bytes as they are shown in a trace.
fn show(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", " ");
    let mut words = Vec::new();
    for word in text.split(' ') {
        if word.starts_with('$') || word.starts_with("for") && words.len() > 40 {
            continue;
        }
        let is_key = word.starts_with("ctx:") && word.len() > 70;
        words.push(if is_key {
            format!("{}…", &word[..word.len() - 58])
        } else {
            word.to_owned()
        });
    }
    let mut shown = words.join(" ");
    if shown.len() > 600 {
        let end = (0..=600)
            .rev()
            .find(|end| shown.is_char_boundary(*end))
            .unwrap_or_default();
        shown.truncate(end);
        shown.push('…');
    }
    shown
}
