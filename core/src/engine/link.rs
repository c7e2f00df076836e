//! A link: one logical connection to one server, made again whenever it breaks.
//!
//! Main links, bulk links, every node of a cluster and every sentinel have the same type, with the same deadlines,
//! heartbeat, back-off and fence. Commands go out in order and are answered in order.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    time::Duration,
};

use super::{
    ConnectionId, Moment,
    address::{Credentials, Server},
    command::Command,
    purge_ledger::Identity,
    rules::{Rule, holds},
};
use crate::events::Reason;

/// An attempt that hangs may hang because a silent network swallowed its first packets, and goes on hanging when the
/// server is back. So another one is made beside it, after so long.
const ATTEMPT_EVERY: Duration = Duration::from_millis(500);
/// So many attempts to connect may be made beside each other.
const MOST_ATTEMPTS: usize = 4;
/// A link that lived this long was a good one; one that broke sooner counts as a failed attempt.
const SETTLED: Duration = Duration::from_secs(1);
/// So many commands in a row must be overdue for the link to be dropped.
pub(super) const OVERDUE_TO_DROP: u32 = 3;
/// How long after a command was sent that is answered the copies of its connection are trusted.
pub(super) const TRUSTED: Duration = Duration::from_secs(2);

/// A link of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LinkId(pub usize);

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// All that concerns one node but large values.
    Main,
    /// Large values of one node, which would delay every reply behind them.
    Bulk,
    /// To ask a sentinel who the primary is.
    Sentinel,
}

/// A command that was sent.
pub(super) struct Sent {
    pub command: Command,
    pub at: Moment,
    /// Replies that are still to come: a command may be sent with others that belong to it.
    pub replies: usize,
    /// Whether it came by the link's queue.
    pub is_counted: bool,
}

/// A command that waits to be sent.
pub(super) struct Queued {
    pub command: Command,
    pub at: Moment,
    /// So many replies must have come on the node's other link before.
    pub barrier: u64,
}

/// One socket.
pub(super) struct Connection {
    pub id: ConnectionId,
    pub since: Moment,
    /// What arrived of a frame that is not whole.
    pub input: Vec<u8>,
    /// How long `input` must be for its first frame to be whole.
    pub needs: usize,
    /// What is to be sent at the end of this turn.
    pub output: Vec<u8>,
    pub in_flight: VecDeque<Sent>,
    /// So many of those in flight, from the first on, are known to be overdue.
    pub overdue: usize,
    /// Commands in a row that were overdue.
    pub silent: u32,
    /// When a command was last answered.
    pub heard: Moment,
    /// The server's number of this connection.
    pub client: Option<u64>,
    pub is_primary: bool,
    pub is_cluster: bool,
    pub run: Option<String>,
    /// Which data the server continues, where it tells.
    pub replication: Option<String>,
    pub is_tracked: bool,
    /// What the copies that were read by it belong to.
    pub owner: u32,
    pub trusted_until: Moment,
    pub next_heartbeat: Moment,
    /// Whether the server knows the scripts by their hashes.
    pub knows_scripts: [bool; 3],
}

impl Connection {
    pub fn new(id: ConnectionId, owner: u32, now: Moment) -> Self {
        Self {
            id,
            since: now,
            input: Vec::new(),
            needs: 0,
            output: Vec::new(),
            in_flight: VecDeque::new(),
            overdue: 0,
            silent: 0,
            heard: now,
            client: None,
            is_primary: true,
            is_cluster: false,
            run: None,
            replication: None,
            is_tracked: false,
            owner,
            trusted_until: Moment::ZERO,
            next_heartbeat: Moment::MAX,
            knows_scripts: [false; 3],
        }
    }

    /// Adds what arrived. The whole of what is there, where that may hold a frame; nothing where it cannot.
    pub fn receive<'a>(&mut self, bytes: &'a [u8], all: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        if self.input.is_empty() {
            return Some(bytes);
        }
        self.input.extend_from_slice(bytes);
        if self.input.len() < self.needs {
            return None;
        }
        *all = mem::take(&mut self.input);
        Some(all)
    }

    /// Notes that a command was written to `output`.
    pub fn note_sent(&mut self, command: Command, replies: usize, now: Moment) {
        self.in_flight.push_back(Sent {
            command,
            at: now,
            replies,
            is_counted: true,
        });
    }

    /// Notes that the first command in flight has all its replies.
    pub fn note_answered(&mut self, sent_at: Moment, now: Moment) {
        self.overdue = self.overdue.saturating_sub(1);
        self.silent = 0;
        self.heard = now;
        if self.is_tracked {
            self.trusted_until = self.trusted_until.max(sent_at + TRUSTED);
        }
    }

    /// What the server says of the data that it continues.
    pub fn identity(&self) -> Option<Identity> {
        Some(Identity {
            run: self.run.clone()?,
            replication: self.replication.clone()?,
        })
    }

    /// When a command of those in flight is overdue next.
    pub fn next_overdue(&self, timeout: Duration) -> Option<Moment> {
        self.in_flight.get(self.overdue).map(|sent| sent.at + timeout)
    }
}

/// A link.
pub(super) struct Link {
    pub node: usize,
    pub purpose: Purpose,
    pub server: Server,
    /// Whether it is to be connected at all.
    pub is_wanted: bool,
    /// Whether it stood before.
    pub was_up: bool,
    pub up: Option<Connection>,
    pub attempts: Vec<Connection>,
    /// When the next attempt is made.
    pub next_attempt: Option<Moment>,
    pub failures: u32,
    /// Why the last attempt failed, as was told.
    pub told: Option<Reason>,
    /// Whether it is still to be said where it leads.
    pub awaits_address: bool,
    /// Commands that wait for the first connection, or for the node's other link.
    pub queue: VecDeque<Queued>,
    /// How many commands were ever queued, and how many of them have ended: they end in their order.
    pub enqueued: u64,
    pub ended: u64,
    /// Of a bulk link: the number of the last command of each key.
    pub keys: HashMap<u64, u64>,
    /// When its server was last heard.
    pub heard: Moment,
}

impl Link {
    pub fn new(node: usize, purpose: Purpose, server: Server) -> Self {
        Self {
            node,
            purpose,
            server,
            is_wanted: false,
            was_up: false,
            up: None,
            attempts: Vec::new(),
            next_attempt: None,
            failures: 0,
            told: None,
            awaits_address: false,
            queue: VecDeque::new(),
            enqueued: 0,
            ended: 0,
            keys: HashMap::new(),
            heard: Moment::ZERO,
        }
    }

    /// Whether its first connection is being made, for which calls wait.
    pub fn is_first(&self) -> bool {
        (self.is_wanted || self.awaits_address) && self.up.is_none() && !self.was_up && self.failures == 0
    }

    /// Whether commands can be given to it.
    pub fn takes_commands(&self) -> bool {
        self.up.is_some() || self.is_first()
    }

    pub fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.up
            .iter_mut()
            .chain(&mut self.attempts)
            .find(|connection| connection.id == id)
    }

    pub fn credentials(&self) -> Option<&Credentials> {
        self.server.credentials.as_ref()
    }

    /// When another attempt is made: after the pause that follows a failed one, or beside those that hang.
    pub fn attempt_is_due_at(&self) -> Option<Moment> {
        if !self.is_wanted || self.up.is_some() || self.attempts.len() >= MOST_ATTEMPTS {
            return None;
        }
        let newest = self.attempts.iter().map(|attempt| attempt.since).max();
        if !holds(Rule::AttemptsBeside) && newest.is_some() {
            return None;
        }
        self.next_attempt
            .or_else(|| newest.map(|newest| newest + ATTEMPT_EVERY))
    }

    /// Begins to be connected.
    pub fn want(&mut self, now: Moment) {
        if !self.is_wanted {
            self.is_wanted = true;
            self.next_attempt = Some(now);
        }
    }

    /// All commands have ended, answered or not.
    pub fn end_all(&mut self) {
        self.ended = self.enqueued;
        self.keys.clear();
    }

    /// Forgets the keys of commands once all have ended.
    pub fn forget_ended_keys(&mut self) {
        if self.ended == self.enqueued && !self.keys.is_empty() {
            self.keys.clear();
        }
    }

    /// Nothing waits for the first connection any more. Gives back what did.
    pub fn give_up_first(&mut self) -> Vec<Command> {
        self.failures = self.failures.max(1);
        self.end_all();
        mem::take(&mut self.queue)
            .into_iter()
            .map(|queued| queued.command)
            .collect()
    }

    /// Notes that the link broke, or that an attempt failed and none is left: says when the next is made.
    pub fn fail(&mut self, lived: Duration, now: Moment) {
        if lived > SETTLED {
            self.failures = 0;
        } else {
            self.failures += 1;
        }
        self.next_attempt = Some(now + pause_before_reconnecting(self.failures));
    }
}

/// The pause before the attempt that follows `failures` failed ones: at most 400 ms, so that storing goes on within a
/// second of Redis answering again (`protocol.md` §8).
fn pause_before_reconnecting(failures: u32) -> Duration {
    match failures {
        _ if !holds(Rule::BackOff) => Duration::ZERO,
        0 => Duration::ZERO,
        failures => Duration::from_millis((25 << failures.min(4)).min(400)),
    }
}
