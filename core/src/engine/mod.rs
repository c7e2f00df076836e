//! The Redis side of a cache: one state machine that does no I/O, has no thread and asks no clock (`protocol.md` §§5, 8).
//!
//! A host gives it what one turn of its event loop asked for, bytes that arrived, connections that opened or broke, and
//! the time. It gives back [`Effect`]s (connections to open, bytes to send, the moment of the next [`Engine::tick`],
//! events) and answers. Each thread that uses a cache has an engine of its own; they share a
//! [`SharedCache`].

pub mod address;
mod batch;
mod broad_pass;
mod calls;
mod command;
pub mod copies;
mod lease_scripts;
mod link;
pub mod orphans;
pub mod purge_ledger;
pub mod resp;
mod routing;
pub mod rules;
pub mod slots;
mod struck;
mod upkeep;

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;

use self::{
    address::{Address, Credentials},
    batch::Batch,
    broad_pass::BroadPasses,
    calls::{Asked, Calls},
    command::{Command, EntryPurge},
    copies::Copies,
    link::{Link, LinkId},
    purge_ledger::{EngineId, Target},
    routing::{Node, Routing},
    rules::{Rule, holds},
    slots::SlotSet,
    struck::Struck,
    upkeep::News,
};
use crate::{
    events::{ConnectionEvent, Event, Reason},
    key::{Digest, Key},
    lease::LeaseToken,
    memory::Versioned,
    shared_cache::{SharedCache, SharedRedis},
    stats::Circuit,
};

/// The time since some fixed moment of the process, the same for all its threads; it never goes back.
pub type Moment = Duration;

/// By what the host knows a call: it chooses the number, which must not be in use, and is given it back with the answer.
pub type Ticket = u32;

/// A connection, by the number that the engine gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u32);

/// What is asked of Redis.
#[derive(Clone, Debug)]
pub enum Operation {
    /// The value.
    Get(Key),
    /// The value, or a lease.
    Lookup(Key),
    /// Stores a value, with a lease only while it stands.
    Set {
        /// Where.
        key: Key,
        /// The value.
        value: Bytes,
        /// The exact time to live; `None` is the configured one, spread.
        ttl: Option<Duration>,
        /// The lease.
        lease: Option<LeaseToken>,
    },
    /// Stores nothing, because the value is too large; what stood there goes.
    Discard(Vec<Key>),
    /// Gives a lease back.
    Release(Key, LeaseToken),
    /// Deletes entries.
    Purge(Vec<Key>),
    /// Deletes a context.
    PurgeContext(Arc<str>),
    /// Deletes everything of this protocol.
    Clear,
}

/// What an operation comes to. Values stand where they arrived: whoever needs one copies it.
#[derive(Debug)]
pub enum Answer<'a> {
    /// Of `Get`: the value, or nothing.
    Value(Option<&'a [u8]>),
    /// Of `Lookup`: the value.
    Hit(&'a [u8]),
    /// Of `Lookup`: a lease of the caller's own.
    Leased(LeaseToken),
    /// Of `Lookup`: the lease that another holds.
    Held(LeaseToken),
    /// Of `Lookup`: nothing, and no lease; the caller loads for itself and stores nothing.
    Miss,
    /// Of `Set` and `Discard`: whether the value was stored.
    Stored(bool),
    /// Of `Release`: whether the lease stood.
    Released(bool),
    /// Of purges: how many entries went, leases included; 0 where the purge is pending.
    Purged(u64),
    /// Of [`Engine::close`].
    Closed,
}

/// Who is given the answers.
pub trait Answers {
    /// Called once for each ticket.
    fn answer(&mut self, ticket: Ticket, answer: Answer<'_>);
}

/// What the host is to do, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Connect, and then call [`Engine::opened`], or [`Engine::closed`] where that fails.
    Open {
        /// By what the connection is known.
        connection: ConnectionId,
        /// Where.
        address: Address,
    },
    /// Send these bytes.
    Send {
        /// By which connection.
        connection: ConnectionId,
        /// What.
        bytes: Vec<u8>,
    },
    /// Destroy the connection, opened or not. [`Engine::closed`] is not called for it.
    Close {
        /// Which.
        connection: ConnectionId,
    },
    /// Call [`Engine::tick`] at this moment, instead of any later one that was named before.
    WakeAt(Moment),
    /// Tell who observes.
    Event(Event),
}

/// Bytes that nobody can guess: fills the slice, or says that there are none to be had.
pub type Entropy = Box<dyn FnMut(&mut [u8]) -> bool + Send>;

/// Why a call has no answer of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// There is no connection.
    Unavailable,
    /// The deadline passed.
    TimedOut,
    /// Redis answered with an error.
    Refused,
    /// Redis answered that it cannot do this now.
    NotNow,
    /// The connection broke.
    Broken,
    /// As many calls were in flight as may be.
    Overload,
}

/// What the host hands over with every call of the engine.
struct Turn<'a> {
    now: Moment,
    answers: &'a mut dyn Answers,
}

/// The end of an engine, while it is waited for.
struct Closing {
    tickets: Vec<Ticket>,
    until: Moment,
}

/// Random bytes are asked for so many at a time.
const RANDOM_BYTES: usize = 1_024;
/// How long nobody else delivers what an engine has claimed, in times of a command's.
const CLAIMED: u32 = 2;
/// The pause between deliveries that found nothing they could reach.
const DELIVER_EVERY: Duration = Duration::from_millis(100);

/// The Redis side of a cache in one thread.
pub struct Engine {
    cache: Arc<SharedCache>,
    id: EngineId,
    copies: Option<Arc<Copies>>,
    entropy: Entropy,
    random: Vec<u8>,
    calls: Calls,
    links: Vec<Link>,
    nodes: Vec<Node>,
    by_connection: HashMap<ConnectionId, LinkId>,
    last_connection: u32,
    routing: Routing,
    passes: BroadPasses,
    /// Puts without a lease that wait or are in flight, by the beginnings of their keys' digests.
    puts: HashMap<u64, u32>,
    struck: Struck,
    /// Whether most of those that were last looked up together were missing.
    expects_misses: bool,
    /// When pending purges are looked through next.
    next_delivery: Moment,
    closing: Option<Closing>,
    has_ended: bool,
    effects: Vec<Effect>,
    news: News,
    told_circuit: Circuit,
    told_fence: bool,
    told_wake: Option<Moment>,
    last_turn: Moment,
}

impl Engine {
    /// An engine for a cache on Redis. It connects with the first operation, or with the first tick where the process has
    /// pending purges, for which it asks in its first effects.
    ///
    /// # Panics
    /// If the cache is in memory.
    #[must_use]
    pub fn new(cache: Arc<SharedCache>, entropy: Entropy) -> Self {
        let redis = cache.redis().expect("an engine is of a cache on Redis");
        let effects = if redis.ledger.any() {
            vec![Effect::WakeAt(Moment::ZERO)]
        } else {
            Vec::new()
        };
        Self {
            id: SharedRedis::new_engine(),
            copies: redis.new_copies(),
            entropy,
            random: Vec::new(),
            calls: Calls::default(),
            links: Vec::new(),
            nodes: Vec::new(),
            by_connection: HashMap::new(),
            last_connection: 0,
            routing: Routing::One,
            passes: BroadPasses::default(),
            puts: HashMap::new(),
            struck: Struck::default(),
            expects_misses: false,
            next_delivery: Moment::ZERO,
            closing: None,
            has_ended: false,
            effects,
            news: News::default(),
            told_circuit: Circuit::Idle,
            told_fence: false,
            told_wake: None,
            last_turn: Moment::ZERO,
            cache,
        }
    }

    /// Takes what one turn of the event loop asked for, in the order of the calls. What needs no answer of Redis is
    /// answered at once.
    pub fn submit(
        &mut self,
        operations: impl IntoIterator<Item = (Ticket, Operation)>,
        now: Moment,
        answers: &mut dyn Answers,
    ) {
        let mut turn = Turn { now, answers };
        self.start(now);
        let mut batch = Batch::default();
        for (ticket, operation) in operations {
            self.take(ticket, operation, &mut batch, &mut turn);
        }
        self.send_batch(&mut batch, &mut turn);
        self.end_turn(&mut turn);
    }

    /// A socket is connected, and its TLS is up. With credentials where the host was to be asked for them.
    pub fn opened(
        &mut self,
        connection: ConnectionId,
        credentials: Option<Credentials>,
        now: Moment,
        answers: &mut dyn Answers,
    ) {
        self.greet(connection, credentials, now);
        self.end_turn(&mut Turn { now, answers });
    }

    /// Bytes arrived.
    pub fn received(&mut self, connection: ConnectionId, bytes: &[u8], now: Moment, answers: &mut dyn Answers) {
        let mut turn = Turn { now, answers };
        self.take_bytes(connection, bytes, &mut turn);
        self.end_turn(&mut turn);
    }

    /// A connection could not be made, or broke.
    pub fn closed(&mut self, connection: ConnectionId, why: Reason, now: Moment, answers: &mut dyn Answers) {
        let mut turn = Turn { now, answers };
        self.lose(connection, why, &mut turn);
        self.end_turn(&mut turn);
    }

    /// Does what is due. The host must have handed over all that arrived before: only then are deadlines judged.
    pub fn tick(&mut self, now: Moment, answers: &mut dyn Answers) {
        let mut turn = Turn { now, answers };
        self.told_wake = None;
        if self.has_ended {
            return self.end_turn(&mut turn);
        }
        if self.redis().ledger.any() {
            // Also those that this engine found when it came.
            self.start(now);
        }
        self.judge_deadlines(&mut turn);
        self.tick_links(&mut turn);
        self.tick_routing(&mut turn);
        if self.redis().ledger.any() {
            // Other threads may have had purges that they could not deliver.
            self.next_delivery = self.next_delivery.min(now + DELIVER_EVERY);
        }
        if !self.nodes.is_empty() {
            let heard = self.heard();
            self.redis().ledger.hear(self.id, heard);
        }
        self.end_turn(&mut turn);
    }

    /// Ends the engine, once calls in flight are answered and pending purges delivered, or the bound for that is over.
    /// Then the ticket is answered, and every connection closed.
    pub fn close(&mut self, ticket: Ticket, now: Moment, answers: &mut dyn Answers) {
        let mut turn = Turn { now, answers };
        if self.redis().ledger.any() {
            self.start(now);
        }
        let config = &self.redis().config;
        let until = now + config.connect_timeout + config.command_timeout;
        let closing = self.closing.get_or_insert(Closing {
            tickets: Vec::new(),
            until,
        });
        closing.tickets.push(ticket);
        self.told_wake = None;
        self.end_turn(&mut turn);
    }

    /// The copy in this thread of a value, if its connection is trusted and no pending purge covers it; counts a hit.
    #[must_use]
    pub fn peek(&self, key: &Digest, context: &str, now: Moment) -> Option<Versioned> {
        let (found, owner) = self.copies.as_ref()?.get(key, now)?;
        let ledger = &self.redis().ledger;
        if !self.is_trusted(owner, now) || (ledger.any() && ledger.covers(&Key::new(context, *key))) {
            return None;
        }
        self.cache.counters.hits.increment();
        self.cache.counters.local_hits.increment();
        Some(found)
    }

    /// Whether Redis is asked at this moment.
    #[must_use]
    pub fn circuit(&self) -> Circuit {
        if self.has_ended {
            Circuit::Open
        } else {
            self.circuit_now()
        }
    }

    /// What the host is to do since it was asked last.
    pub fn effects(&mut self) -> Vec<Effect> {
        mem::take(&mut self.effects)
    }

    /// Whether nothing is in flight and no purge is pending, so that nothing is lost when the engine is dropped.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty() && !self.redis().ledger.any()
    }

    /// The cache that the engine is of.
    #[must_use]
    pub const fn cache(&self) -> &Arc<SharedCache> {
        &self.cache
    }

    fn start(&mut self, now: Moment) {
        if self.nodes.is_empty() && !self.has_ended {
            self.start_links(now);
        }
    }

    /// Fails calls whose deadline has passed. Their commands may be answered yet.
    fn judge_deadlines(&mut self, turn: &mut Turn<'_>) {
        let limit = self.redis().config.command_timeout;
        while let Some((id, call)) = self.calls.oldest()
            && call.asked_at + limit <= turn.now
        {
            if matches!(call.asked, Asked::Purge { .. }) {
                self.cache.counters.timeouts.increment();
                for purge in self.unanswered_purges(id) {
                    self.pend_entry(&purge, Failure::TimedOut, turn);
                }
            }
            self.fail(id, Failure::TimedOut, turn);
        }
    }

    /// The purges of a call that are on their way.
    fn unanswered_purges(&self, id: calls::CallId) -> Vec<EntryPurge> {
        let of_call = |purge: &&EntryPurge| purge.call == Some(id);
        self.entry_purges().filter(of_call).cloned().collect()
    }

    fn entry_purges(&self) -> impl Iterator<Item = &EntryPurge> {
        let commands = self.links.iter().flat_map(|link| {
            let sent = link
                .up
                .iter()
                .flat_map(|up| up.in_flight.iter().map(|sent| &sent.command));
            sent.chain(link.queue.iter().map(|queued| &queued.command))
        });
        let purges = commands.filter_map(|command| match command {
            Command::Unlink(purges) => Some(purges),
            _ => None,
        });
        purges.flatten()
    }

    /// Delivers the pending purges that are due, of those whose servers can be reached.
    fn deliver_pending(&mut self, turn: &mut Turn<'_>) {
        let ledger = Arc::clone(&self.redis().ledger);
        if !ledger.any() || turn.now < self.next_delivery || self.has_ended {
            return;
        }
        self.end_abandoned(turn.now);
        let is_up = |node: usize| self.links[self.nodes[node].main.0].up.is_some();
        let can_reach = |key: &Key| self.node_of(key).is_some_and(is_up);
        let can_pass = |slots: &SlotSet| match self.slot_map() {
            None => !self.is_clustered() && is_up(0),
            Some(map) => map.iter().enumerate().any(|(slot, node)| {
                u16::try_from(slot).is_ok_and(|slot| slots.contains(slot)) && node.is_some_and(is_up)
            }),
        };
        if self.nodes.is_empty() || !(0..self.nodes.len()).any(is_up) {
            // The connection that is made next has it done.
            self.next_delivery = Moment::MAX;
            return;
        }
        let until = turn.now + self.redis().config.command_timeout * CLAIMED;
        let claimed = ledger.claim(self.id, turn.now, until, can_reach, can_pass);
        self.next_delivery = match ledger.next_due() {
            Some(due) if claimed.is_empty() => due.max(turn.now + DELIVER_EVERY),
            _ => turn.now + DELIVER_EVERY,
        };
        let mut entries = Vec::new();
        for delivery in claimed {
            match delivery.target {
                Target::Entry(key) => {
                    let purge = EntryPurge {
                        key,
                        stamp: delivery.stamp,
                        call: None,
                    };
                    if self.is_clustered() || self.is_on_bulk_link(&purge.key) {
                        self.send_entry_purge(purge, turn);
                    } else {
                        entries.push(purge);
                    }
                }
                target => self.request_pass(target, delivery.stamp, delivery.slots, None, turn),
            }
        }
        let main = self.nodes[0].main;
        self.send_unlinks(main, entries, turn);
    }

    /// Does what a change may have made due, and collects what the host is to do.
    fn end_turn(&mut self, turn: &mut Turn<'_>) {
        self.last_turn = turn.now;
        self.start_round(turn);
        self.deliver_pending(turn);
        self.end_if_closed(turn);
        for link in &mut self.links {
            for connection in link.up.iter_mut().chain(&mut link.attempts) {
                if !connection.output.is_empty() {
                    self.effects.push(Effect::Send {
                        connection: connection.id,
                        bytes: mem::take(&mut connection.output),
                    });
                }
            }
        }
        let circuit = self.circuit();
        if circuit != self.told_circuit {
            self.told_circuit = circuit;
            self.news.other.push(Event::Circuit(circuit));
        }
        self.news.tell(&mut self.effects);
        if let Some(next) = self.next_wake()
            && self.told_wake.is_none_or(|told| next < told)
        {
            self.told_wake = Some(next);
            self.effects.push(Effect::WakeAt(next));
        }
    }

    fn next_wake(&self) -> Option<Moment> {
        if self.has_ended {
            return None;
        }
        let config = &self.redis().config;
        let deadline = self
            .calls
            .oldest()
            .map(|(_, call)| call.asked_at + config.command_timeout);
        let delivery = Some(self.next_delivery).filter(|next| *next < Moment::MAX && self.redis().ledger.any());
        let closing = self.closing.as_ref().map(|closing| closing.until);
        let others = [
            deadline,
            delivery,
            closing,
            self.passes.next_round(),
            self.next_of_routing(),
        ];
        others.into_iter().flatten().chain(self.next_of_links()).min()
    }

    fn end_if_closed(&mut self, turn: &mut Turn<'_>) {
        if self.has_ended {
            return self.answer_closed(turn);
        }
        let is_due = match &self.closing {
            Some(closing) => self.is_idle() || closing.until <= turn.now,
            // Another thread closed the cache, and sees to what is pending.
            None => self.cache.is_closed() && self.calls.is_empty(),
        };
        if is_due {
            self.end(turn);
        }
    }

    fn end(&mut self, turn: &mut Turn<'_>) {
        let was_up = self.circuit() == Circuit::Closed;
        self.has_ended = true;
        self.abandon_connections();
        // To end is no trouble that is to be told.
        self.told_circuit = self.circuit();
        for index in 0..self.links.len() {
            let link = &mut self.links[index];
            let connections = link.up.iter().chain(&link.attempts).map(|connection| connection.id);
            self.effects
                .extend(connections.map(|connection| Effect::Close { connection }));
            let sent = link.up.take().map(|up| up.in_flight).unwrap_or_default();
            let queued = mem::take(&mut link.queue).into_iter().map(|queued| queued.command);
            link.attempts.clear();
            link.is_wanted = false;
            link.next_attempt = None;
            link.end_all();
            for command in sent
                .into_iter()
                .map(|sent| sent.command)
                .chain(queued)
                .collect::<Vec<_>>()
            {
                self.fail_command(command, Failure::Unavailable, turn);
            }
        }
        self.by_connection.clear();
        self.end_passes(turn);
        for id in self.calls.ids() {
            self.fail(id, Failure::Unavailable, turn);
        }
        if let Some(copies) = &self.copies {
            copies.drop_all();
        }
        if was_up {
            self.news.other.push(Event::Connection(ConnectionEvent::Closed));
        }
        let ledger = &self.redis().ledger;
        ledger.leave(self.id);
        let lost = ledger.pending() as u64;
        // A cache that took this one's place goes on owing what is pending.
        if lost > 0 && self.closing.is_some() && Arc::strong_count(ledger) == 1 {
            self.news.other.push(Event::PurgesLost(lost));
        }
        self.answer_closed(turn);
    }

    fn answer_closed(&mut self, turn: &mut Turn<'_>) {
        for ticket in self.closing.take().map(|closing| closing.tickets).unwrap_or_default() {
            turn.answers.answer(ticket, Answer::Closed);
        }
    }

    fn fill_random(&mut self, bytes: &mut [u8]) -> bool {
        if self.random.len() < bytes.len() {
            let mut more = vec![0; RANDOM_BYTES];
            if !(self.entropy)(&mut more) {
                return false;
            }
            self.random = more;
        }
        let rest = self.random.len() - bytes.len();
        bytes.copy_from_slice(&self.random[rest..]);
        self.random.truncate(rest);
        true
    }

    fn new_token(&mut self) -> Option<LeaseToken> {
        let mut bits = [0; 16];
        if !holds(Rule::TokenIsNew) {
            return Some(LeaseToken::from_bits([1; 16]));
        }
        self.fill_random(&mut bits).then(|| LeaseToken::from_bits(bits))
    }

    /// Where the host has no randomness to give, the middle of the range.
    fn spread_ttl(&mut self) -> Duration {
        let mut bits = [0; 4];
        let random = if self.fill_random(&mut bits) {
            u32::from_ne_bytes(bits)
        } else {
            u32::MAX / 2
        };
        self.cache.spread_ttl(random)
    }
}

impl Drop for Engine {
    /// A thread may end at any time: what it had not done of its purges is pending, for others to deliver.
    fn drop(&mut self) {
        self.abandon_connections();
        let redis = self.redis();
        if !holds(Rule::LeftToOthers) {
            return;
        }
        for purge in self.entry_purges() {
            let target = Target::Entry(purge.key.clone());
            redis.ledger.pend(&target, purge.stamp, &SlotSet::ALL, self.last_turn);
        }
        for (target, stamp, slots) in self.passes.unfinished() {
            redis.ledger.pend(target, stamp, slots, self.last_turn);
        }
        redis.ledger.leave(self.id);
        for id in self.calls.ids() {
            if let Some(call) = self.calls.get(id) {
                redis.in_flight.fetch_sub(1, Relaxed);
                if let Asked::Set { value, .. } = &call.asked {
                    redis.bytes_in_flight.fetch_sub(value.len(), Relaxed);
                }
            }
        }
    }
}
