//! Links are connected, watched, dropped, and made again.
//!
//! - **Fence.** A connection that was lost with unanswered writes may still have them executed by Redis. So it is ended
//!   there (`CLIENT KILL ID`) before the next connection to that server is used, and at once by the node's other link.
//!   A server that was started anew meanwhile knows none of its connections, and is not asked.
//! - **Trust.** The heartbeat keeps copies trusted, and sees a primary that became a replica.

use std::{mem, time::Duration};

use super::{
    ConnectionId, Effect, Engine, Failure, Moment, Turn,
    address::{Credentials, error_code},
    command::Command,
    link::{Connection, LinkId, OVERDUE_TO_DROP, Purpose, Queued, Sent},
    purge_ledger::Abandoned,
    resp::{self, Frame, Frames, Measure},
    rules::{Rule, holds},
};
use crate::{
    events::{ConnectionEvent, Event, Operation as CallKind, Reason},
    key::Key,
};

/// How often a link is asked whether it lives, where copies depend on it.
const HEARTBEAT_FOR_COPIES: Duration = Duration::from_millis(500);
/// How often where none do.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A link that stood for less is not replaced for having led to a replica: another attempt would lead there again.
const SETTLED: Duration = Duration::from_secs(1);

/// A connection that was lost with unanswered writes.
pub(super) struct Lost {
    /// The server's number of it.
    client: u64,
    /// The run of the server that knows it.
    run: Option<String>,
    /// Puts without a lease among those writes.
    puts: Vec<u64>,
}

impl Engine {
    /// Sends a command, or has it wait for the first connection or for the node's other link; or fails it.
    pub(super) fn send(&mut self, link: LinkId, command: Command, turn: &mut Turn<'_>) {
        let barrier = self.barrier(link, &command);
        let place = &mut self.links[link.0];
        if !place.takes_commands() {
            return self.fail_command(command, Failure::Unavailable, turn);
        }
        place.enqueued += 1;
        if let Command::Set(_, short) = command {
            *self.puts.entry(short).or_default() += 1;
        }
        if place.purpose == Purpose::Bulk
            && let Some(key) = single_key(&self.calls, &command)
        {
            place.keys.insert(key.digest().short(), place.enqueued);
        }
        place.queue.push_back(Queued {
            command,
            at: turn.now,
            barrier,
        });
        self.send_queue(link, turn.now);
    }

    /// So many commands of the node's other link must have ended before this one is sent: of one key the order of the
    /// calls holds across both.
    fn barrier(&self, link: LinkId, command: &Command) -> u64 {
        let node = &self.nodes[self.links[link.0].node];
        if !holds(Rule::OrderAcrossLinks) {
            return 0;
        }
        match (self.links[link.0].purpose, command) {
            (Purpose::Bulk, _) => self.links[node.main.0].enqueued,
            (Purpose::Main, Command::Scan { .. }) => node.bulk.map_or(0, |bulk| self.links[bulk.0].enqueued),
            _ => 0,
        }
    }

    fn send_queue(&mut self, link: LinkId, now: Moment) {
        let node = &self.nodes[self.links[link.0].node];
        let other = match self.links[link.0].purpose {
            Purpose::Main => node.bulk,
            Purpose::Bulk => Some(node.main),
            Purpose::Sentinel => None,
        };
        let ended = other.map_or(u64::MAX, |other| self.links[other.0].ended);
        let place = &mut self.links[link.0];
        let Some(up) = &mut place.up else { return };
        let mut unsent = Vec::new();
        while let Some(next) = place.queue.front() {
            if next.barrier > ended {
                break;
            }
            let Some(Queued { mut command, .. }) = place.queue.pop_front() else {
                break;
            };
            match command.write(
                &self.calls,
                self.cache.lease_time,
                &mut up.knows_scripts,
                &mut up.output,
            ) {
                0 => {
                    place.ended += 1;
                    if let Command::Set(_, short) = command {
                        unsent.push(short);
                    }
                }
                replies => up.note_sent(command, replies, now),
            }
        }
        place.forget_ended_keys();
        for short in unsent {
            self.end_put(short);
        }
    }

    /// A command of the queue is not sent.
    pub(super) fn end_unsent(&mut self, command: &Command) {
        if let Command::Set(_, short) = command {
            self.end_put(*short);
        }
    }

    /// Whether a call of this key waits or is in flight on the bulk link of its node.
    pub(super) fn is_on_bulk_link(&self, key: &Key) -> bool {
        let Some(bulk) = self.node_of(key).and_then(|node| self.nodes[node].bulk) else {
            return false;
        };
        let place = &self.links[bulk.0];
        !place.keys.is_empty()
            && holds(Rule::OrderAcrossLinks)
            && place
                .keys
                .get(&key.digest().short())
                .is_some_and(|last| *last > place.ended)
    }

    /// The link by which a call goes; `None` while nobody is known to have its key, or its link is being made again.
    pub(super) fn link_of(&mut self, key: &Key, is_large: bool, now: Moment) -> Option<LinkId> {
        let node = self.node_of(key)?;
        let main = self.nodes[node].main;
        if !is_large && !self.is_on_bulk_link(key) {
            return Some(main);
        }
        let bulk = self.bulk_link(node, now);
        let can_do = self.links[bulk.0].takes_commands() || self.struck.is_struck(key);
        Some(if can_do { bulk } else { main })
    }

    fn bulk_link(&mut self, node: usize, now: Moment) -> LinkId {
        let bulk = self.nodes[node].bulk.unwrap_or_else(|| {
            let server = self.links[self.nodes[node].main.0].server.clone();
            self.add_link(node, Purpose::Bulk, server)
        });
        self.nodes[node].bulk = Some(bulk);
        if self.links[self.nodes[node].main.0].awaits_address {
            // Both are connected when a sentinel has said where.
            self.links[bulk.0].awaits_address = true;
        } else if !self.links[bulk.0].is_wanted {
            self.links[bulk.0].want(now);
            self.attempt(bulk, now);
        }
        bulk
    }

    /// Makes an attempt to connect.
    pub(super) fn attempt(&mut self, link: LinkId, now: Moment) {
        self.last_connection += 1;
        let id = ConnectionId(self.last_connection);
        let place = &mut self.links[link.0];
        place.next_attempt = None;
        place.attempts.push(Connection::new(id, self.last_connection, now));
        self.effects.push(Effect::Open {
            connection: id,
            address: place.server.address.clone(),
        });
        self.by_connection.insert(id, link);
    }

    /// Begins the handshake.
    pub(super) fn greet(&mut self, id: ConnectionId, credentials: Option<Credentials>, now: Moment) {
        let Some(link) = self.by_connection.get(&id).copied() else {
            return;
        };
        let wants_copies = self.copies.is_some();
        let place = &mut self.links[link.0];
        let credentials = match place.purpose {
            Purpose::Sentinel => place.credentials().cloned(),
            _ => credentials.or_else(|| place.credentials().cloned()),
        };
        let mut commands = vec![Command::Hello(credentials)];
        if place.purpose != Purpose::Sentinel {
            if place.server.database != 0 {
                commands.push(Command::Select(place.server.database));
            }
            commands.extend([Command::Run, Command::Replication]);
            if wants_copies {
                commands.push(Command::Track);
            }
        }
        self.write_now(link, id, commands, now);
    }

    /// Writes commands past the queue.
    fn write_now(&mut self, link: LinkId, id: ConnectionId, commands: Vec<Command>, now: Moment) {
        let Some(connection) = self.links[link.0].connection(id) else {
            return;
        };
        for mut command in commands {
            let mut none = [false; 3];
            let replies = command.write(&self.calls, self.cache.lease_time, &mut none, &mut connection.output);
            connection.in_flight.push_back(Sent {
                command,
                at: now,
                replies,
                is_counted: false,
            });
        }
    }

    /// Takes what arrived.
    pub(super) fn take_bytes(&mut self, id: ConnectionId, bytes: &[u8], turn: &mut Turn<'_>) {
        let Some(link) = self.by_connection.get(&id).copied() else {
            return;
        };
        if !holds(Rule::ReadBeforeDeadline) {
            self.judge_deadlines(turn);
        }
        let Some(connection) = self.links[link.0].connection(id) else {
            return;
        };
        let mut all = Vec::new();
        let Some(mut rest) = connection.receive(bytes, &mut all) else {
            return;
        };
        loop {
            match resp::measure(rest) {
                Measure::Whole(length) => {
                    let (frame, after) = rest.split_at(length);
                    rest = after;
                    self.take_frame(link, id, frame, turn);
                }
                Measure::Needs(needs) => {
                    if let Some(connection) = self.links[link.0].connection(id) {
                        connection.input.extend_from_slice(rest);
                        connection.needs = needs;
                    }
                    return;
                }
                Measure::Malformed => return self.drop_connection(link, id, Reason::Protocol, turn),
            }
            // What was answered may have had it dropped.
            if !self.by_connection.contains_key(&id) {
                return;
            }
        }
    }

    fn take_frame(&mut self, link: LinkId, id: ConnectionId, frame: &[u8], turn: &mut Turn<'_>) {
        if frame.first() == Some(&b'>') {
            return self.take_push(frame);
        }
        let place = &mut self.links[link.0];
        let is_up = place.up.as_ref().is_some_and(|up| up.id == id);
        let Some(connection) = place.connection(id) else { return };
        let Some(first) = connection.in_flight.front_mut() else {
            // Nobody asked.
            return self.drop_connection(link, id, Reason::Protocol, turn);
        };
        first.replies -= 1;
        if first.replies > 0 {
            if let Command::Read { lives: Some(lives), .. } = &mut first.command {
                lives.push(Frames::new(frame).next_frame().and_then(super::batch::time_left));
            }
            return;
        }
        let Some(Sent {
            command,
            at,
            is_counted,
            ..
        }) = connection.in_flight.pop_front()
        else {
            return;
        };
        connection.note_answered(at, turn.now);
        if is_up {
            place.heard = turn.now;
            if is_counted {
                place.ended += 1;
            }
        }
        if is_up {
            self.take_reply(link, command, frame, turn);
        } else {
            self.take_greeting(link, id, &command, frame, turn);
        }
        // The other link may have waited for this.
        let node = &self.nodes[self.links[link.0].node];
        if let Some(bulk) = node.bulk {
            let main = node.main;
            self.send_queue(if link == bulk { main } else { bulk }, turn.now);
        }
    }

    fn take_push(&mut self, frame: &[u8]) {
        let Some(copies) = &self.copies else { return };
        let mut frames = Frames::new(frame);
        if !matches!(frames.next_frame(), Some(Frame::Push(2)))
            || frames.next_frame() != Some(Frame::Text(b"invalidate"))
        {
            return;
        }
        match frames.next_frame() {
            Some(Frame::Array(count)) => {
                for _ in 0..count {
                    // Other keys are not of this protocol, and there are no copies of them.
                    if let Some(Frame::Text(key)) = frames.next_frame()
                        && let Some(key) = Key::parse(key)
                    {
                        copies.drop_entry(&key);
                    }
                }
            }
            // Everything changed.
            _ => copies.drop_all(),
        }
    }

    /// Takes a reply of a link that stands.
    fn take_reply(&mut self, link: LinkId, command: Command, frame: &[u8], turn: &mut Turn<'_>) {
        if let Command::Set(_, short) = command {
            self.end_put(short);
        }
        let head = Frames::new(frame).next_frame();
        if let Some(Frame::Error(error)) = head {
            return match &command {
                Command::Replication => {
                    if let Some(up) = &mut self.links[link.0].up {
                        up.replication = None;
                    }
                }
                Command::Kill(client) => self.note_killed(link, *client, Some(error)),
                Command::Primary(_) => self.take_primary(None, turn),
                // Such a cluster does not tell; its map is taken as it is.
                Command::Epoch => {}
                Command::Ping | Command::Asking if &*error_code(error) == "NOAUTH" => {
                    self.drop_link(link, Reason::Credentials, turn);
                }
                _ => self.take_refusal(link, command, error, turn),
            };
        }
        match command {
            Command::Read { calls, lives } => self.take_values(link, &calls, lives.as_deref(), frame, turn),
            Command::LookUp(calls) => self.take_look_ups(link, &calls, frame, turn),
            Command::Fill(calls) => {
                self.note_written(&calls);
                self.take_fills(&calls, frame, turn);
            }
            Command::Set(id, _) => {
                self.note_written(&[id]);
                self.take_stored(id, true, turn);
            }
            Command::Release(id) => {
                let released = matches!(head, Some(Frame::Integer(1)));
                self.answer(id, super::Answer::Released(released), turn);
            }
            Command::Unlink(purges) => match head {
                Some(Frame::Integer(deleted)) => {
                    self.take_unlinked(&purges, u64::try_from(deleted).unwrap_or_default(), turn);
                }
                _ => self.fail_command(Command::Unlink(purges), Failure::Refused, turn),
            },
            Command::UnlinkFound { scan, context, .. } => {
                let deleted = match head {
                    Some(Frame::Integer(deleted)) => u64::try_from(deleted).unwrap_or_default(),
                    _ => 0,
                };
                self.take_unlinked_of_scan(scan, &context, deleted, turn);
            }
            Command::Kill(client) => self.note_killed(link, client, None),
            Command::Scan { scan, .. } => self.take_page(scan, frame, turn),
            Command::OwnSlots(scan) => self.take_own_slots(scan, frame, turn),
            Command::Replication => self.take_replication(link, frame, turn),
            Command::Primary(_) => self.take_primary(Some(frame), turn),
            Command::Epoch => self.take_epoch(frame),
            Command::Slots => self.take_slots(link, frame, turn),
            _ => {}
        }
    }

    fn note_written(&mut self, calls: &[super::calls::CallId]) {
        for id in calls {
            if let Some(key) = self.calls.get(*id).and_then(|call| call.asked.key()) {
                self.struck.note_answered(key, CallKind::Write);
            }
        }
    }

    fn note_killed(&mut self, link: LinkId, client: u64, error: Option<&[u8]>) {
        let node = self.links[link.0].node;
        let ended = self.nodes[node].lost.extract_if(.., |lost| lost.client == client);
        for short in ended.flat_map(|lost| lost.puts).collect::<Vec<_>>() {
            self.end_put(short);
        }
        let Some(error) = error else { return };
        // A connection that is gone by itself needs not be ended.
        if &*error_code(error) == "NOPERM" && !self.told_fence {
            self.told_fence = true;
            self.news.other.push(Event::FenceRefused);
        }
    }

    /// Takes a reply of the handshake.
    fn take_greeting(&mut self, link: LinkId, id: ConnectionId, command: &Command, frame: &[u8], turn: &mut Turn<'_>) {
        let error = match Frames::new(frame).next_frame() {
            Some(Frame::Error(error)) => Some(error),
            _ => None,
        };
        let Some(connection) = self.links[link.0].connection(id) else {
            return;
        };
        match (command, error) {
            (Command::Hello(_), None) if !take_hello(connection, frame) => {
                return self.drop_connection(link, id, Reason::Protocol, turn);
            }
            (Command::Hello(_) | Command::Select(_), Some(error)) => {
                let reason = match &*error_code(error) {
                    "WRONGPASS" | "NOAUTH" => Reason::Credentials,
                    "NOPERM" => Reason::Permission,
                    "NOPROTO" => Reason::Protocol,
                    "ERR" if error.starts_with(b"ERR unknown command") => Reason::Protocol,
                    "ERR" if error.starts_with(b"ERR AUTH") => Reason::Credentials,
                    _ => Reason::Refused,
                };
                return self.drop_connection(link, id, reason, turn);
            }
            (Command::Run, None) => connection.run = info_field(frame, "run_id"),
            (Command::Replication, None) => connection.replication = info_field(frame, "master_replid"),
            // A user who may not have this, or a server that does not know it, is one without copies.
            (Command::Track, None) => connection.is_tracked = true,
            (Command::Kill(client), error) => self.note_killed(link, *client, error),
            _ => {}
        }
        let Some(connection) = self.links[link.0].connection(id) else {
            return;
        };
        if connection.in_flight.is_empty() {
            self.end_greeting(link, id, turn);
        }
    }

    fn end_greeting(&mut self, link: LinkId, id: ConnectionId, turn: &mut Turn<'_>) {
        let node = self.links[link.0].node;
        if self.needs_primary(link)
            && !self.links[link.0]
                .connection(id)
                .is_some_and(|connection| connection.is_primary)
        {
            return self.drop_connection(link, id, Reason::Refused, turn);
        }
        let Some(connection) = self.links[link.0].connection(id) else {
            return;
        };
        let run = connection.run.clone();
        self.adopt(node);
        // Before anything else: a server that is another run by now knows none of them. Until the server has answered
        // they are not forgotten, because this connection may break too.
        let is_known = |lost: &Lost| lost.run.is_none() || run.is_none() || lost.run == run;
        let gone = self.nodes[node].lost.extract_if(.., |lost| !is_known(lost));
        for short in gone.flat_map(|lost| lost.puts).collect::<Vec<_>>() {
            self.end_put(short);
        }
        let kills: Vec<_> = self.nodes[node]
            .lost
            .iter()
            .map(|lost| Command::Kill(lost.client))
            .collect();
        if kills.is_empty() {
            self.use_connection(link, id, turn);
        } else {
            self.write_now(link, id, kills, turn.now);
        }
    }

    /// The connection is ready, and the link stands.
    fn use_connection(&mut self, link: LinkId, id: ConnectionId, turn: &mut Turn<'_>) {
        let place = &mut self.links[link.0];
        let Some(index) = place.attempts.iter().position(|attempt| attempt.id == id) else {
            return;
        };
        let mut connection = place.attempts.swap_remove(index);
        let others = mem::take(&mut place.attempts);
        connection.next_heartbeat = turn.now
            + if connection.is_tracked {
                HEARTBEAT_FOR_COPIES
            } else {
                HEARTBEAT
            };
        if connection.is_tracked {
            connection.trusted_until = connection.since + super::link::TRUSTED;
        }
        connection.since = turn.now;
        let (identity, since) = (connection.identity(), place.heard);
        let is_cluster = connection.is_cluster;
        place.up = Some(connection);
        place.next_attempt = None;
        place.heard = turn.now;
        place.told = None;
        let was_up = mem::replace(&mut place.was_up, true);
        let (purpose, node) = (place.purpose, place.node);
        for other in others {
            self.by_connection.remove(&other.id);
            self.effects.push(Effect::Close { connection: other.id });
        }
        if purpose == Purpose::Main {
            if was_up {
                self.cache.counters.reconnects.increment();
            }
            self.news.other.push(Event::Connection(ConnectionEvent::Made));
            self.meet(node, identity, since, turn.now);
        }
        if is_cluster && purpose == Purpose::Main {
            self.become_cluster(turn.now);
        }
        self.link_is_up(link, turn);
        self.send_queue(link, turn.now);
        self.next_delivery = turn.now;
    }

    fn take_replication(&mut self, link: LinkId, frame: &[u8], turn: &mut Turn<'_>) {
        let place = &mut self.links[link.0];
        let (node, since) = (place.node, place.heard);
        let Some(up) = &mut place.up else { return };
        let replication = info_field(frame, "master_replid");
        let is_primary = info_field(frame, "role").as_deref() != Some("slave");
        if replication.is_some() && replication != up.replication {
            up.replication = replication;
            let identity = up.identity();
            self.meet(node, identity, since, turn.now);
        }
        if !is_primary {
            self.note_demoted(link, turn);
        }
    }

    /// The server of a link turned out to be no primary.
    pub(super) fn note_demoted(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        self.refresh_soon(turn.now);
        let up = self.links[link.0].up.as_ref();
        // One that was a replica from the start would be again.
        if up.is_some_and(|up| up.is_primary && turn.now.saturating_sub(up.since) > SETTLED) && !self.is_clustered() {
            self.drop_link(link, Reason::Refused, turn);
        }
    }

    /// A connection broke, or could not be made.
    pub(super) fn lose(&mut self, id: ConnectionId, why: Reason, turn: &mut Turn<'_>) {
        let Some(link) = self.by_connection.remove(&id) else {
            return;
        };
        let place = &mut self.links[link.0];
        if let Some(index) = place.attempts.iter().position(|attempt| attempt.id == id) {
            place.attempts.swap_remove(index);
            if place.up.is_none() {
                self.fail_attempt(link, why, turn);
            }
            return;
        }
        let Some(mut up) = place.up.take() else { return };
        place.fail(turn.now.saturating_sub(up.since), turn.now);
        let (node, purpose) = (place.node, place.purpose);
        if let Some(copies) = self.copies.as_ref().filter(|_| up.is_tracked) {
            copies.drop_owner(up.owner);
        }
        self.fence(link, &up, turn.now);
        if why == Reason::Broken
            && let Some(first) = up.in_flight.front()
        {
            let command = &first.command;
            self.strike_keys(link, command, turn.now);
        }
        if purpose == Purpose::Main {
            self.news.other.push(Event::Connection(ConnectionEvent::Lost));
        }
        let queue = mem::take(&mut self.links[link.0].queue);
        for queued in &queue {
            self.end_unsent(&queued.command);
        }
        let unanswered = mem::take(&mut up.in_flight).into_iter().map(|sent| sent.command);
        self.links[link.0].end_all();
        let failure = if why == Reason::Timeout {
            Failure::TimedOut
        } else {
            Failure::Broken
        };
        for command in unanswered.chain(queue.into_iter().map(|queued| queued.command)) {
            self.fail_command(command, failure, turn);
        }
        self.link_is_down(link, turn);
        // The other link may have waited for this one.
        let other = [Some(self.nodes[node].main), self.nodes[node].bulk];
        for other in other.into_iter().flatten().filter(|other| *other != link) {
            self.send_queue(other, turn.now);
        }
    }

    /// Has a connection that was lost ended by its server, if Redis may still execute what was written to it.
    fn fence(&mut self, link: LinkId, lost: &Connection, now: Moment) {
        let puts = lost.in_flight.iter().filter_map(|sent| match sent.command {
            Command::Set(_, short) => Some(short),
            _ => None,
        });
        let puts: Vec<_> = puts.collect();
        let may_write = lost.in_flight.iter().any(|sent| sent.command.may_write());
        let Some(client) = lost.client.filter(|_| may_write && holds(Rule::Fence)) else {
            for short in puts {
                self.end_put(short);
            }
            return;
        };
        let place = &self.links[link.0];
        let node = &mut self.nodes[place.node];
        let other = if link == node.main { node.bulk } else { Some(node.main) };
        node.lost.push(Lost {
            client,
            run: lost.run.clone(),
            puts,
        });
        if let Some(other) = other
            && let Some(up) = &self.links[other.0].up
        {
            let id = up.id;
            self.write_now(other, id, vec![Command::Kill(client)], now);
        }
    }

    /// Leaves connections with unanswered writes to the other engines of the process, which end them first.
    pub(super) fn abandon_connections(&self) {
        let ledger = &self.redis().ledger;
        if !holds(Rule::AbandonedAreEnded) {
            return;
        }
        for node in &self.nodes {
            let server = self.links[node.main.0].server.address.to_string();
            let links = [Some(node.main), node.bulk].into_iter().flatten();
            let ups = links.filter_map(|link| self.links[link.0].up.as_ref());
            let unanswered = ups.filter(|up| up.in_flight.iter().any(|sent| sent.command.may_write()));
            let unanswered = unanswered.filter_map(|up| Some((up.client?, up.run.clone())));
            let lost = node.lost.iter().map(|lost| (lost.client, lost.run.clone()));
            for (client, run) in unanswered.chain(lost) {
                ledger.abandon(Abandoned {
                    server: server.clone(),
                    client,
                    run,
                });
            }
        }
    }

    /// Takes over the connections to a node that other engines have abandoned.
    fn adopt(&mut self, node: usize) {
        let server = self.links[self.nodes[node].main.0].server.address.to_string();
        let adopted = self.redis().ledger.adopt(&server).into_iter().map(|connection| Lost {
            client: connection.client,
            run: connection.run,
            puts: Vec::new(),
        });
        let adopted: Vec<_> = adopted.collect();
        self.nodes[node].lost.extend(adopted);
    }

    /// Has abandoned connections ended by the servers that are connected, before purges are sent there.
    pub(super) fn end_abandoned(&mut self, now: Moment) {
        for node in 0..self.nodes.len() {
            let main = self.nodes[node].main;
            let Some(up) = &self.links[main.0].up else { continue };
            let id = up.id;
            let known = self.nodes[node].lost.len();
            self.adopt(node);
            let kills: Vec<_> = self.nodes[node].lost[known..]
                .iter()
                .map(|lost| Command::Kill(lost.client))
                .collect();
            if !kills.is_empty() {
                self.write_now(main, id, kills, now);
            }
        }
    }

    /// Closes the connection of a link that is not needed any more.
    pub(super) fn retire_link(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        let Some(up) = self.links[link.0].up.take() else { return };
        self.by_connection.remove(&up.id);
        self.effects.push(Effect::Close { connection: up.id });
        if let Some(copies) = self.copies.as_ref().filter(|_| up.is_tracked) {
            copies.drop_owner(up.owner);
        }
        if self.links[link.0].purpose == Purpose::Main {
            self.news.other.push(Event::Connection(ConnectionEvent::Closed));
        }
        for Sent { command, .. } in up.in_flight {
            self.end_unsent(&command);
            self.fail_command(command, Failure::Broken, turn);
        }
        self.links[link.0].end_all();
    }

    fn fail_attempt(&mut self, link: LinkId, why: Reason, turn: &mut Turn<'_>) {
        let place = &mut self.links[link.0];
        place.fail(Duration::ZERO, turn.now);
        let is_news = place.told != Some(why);
        place.told = Some(why);
        let queue = mem::take(&mut place.queue);
        place.end_all();
        if is_news && place.purpose != Purpose::Bulk {
            let failed = Event::Connection(ConnectionEvent::Failed(why));
            self.news.other.push(failed);
        }
        // Where no second connection is to be had, the first serves.
        let main = self.nodes[self.links[link.0].node].main;
        for Queued { command, .. } in queue {
            self.end_unsent(&command);
            if main == link {
                self.fail_command(command, Failure::Unavailable, turn);
            } else {
                self.send(main, command, turn);
            }
        }
        self.link_is_down(link, turn);
    }

    /// Closes a connection of a link, whatever it is for.
    fn drop_connection(&mut self, link: LinkId, id: ConnectionId, why: Reason, turn: &mut Turn<'_>) {
        if self.links[link.0].connection(id).is_some() {
            self.effects.push(Effect::Close { connection: id });
            self.lose(id, why, turn);
        }
    }

    /// Drops the connection by which a link stands.
    pub(super) fn drop_link(&mut self, link: LinkId, why: Reason, turn: &mut Turn<'_>) {
        if let Some(id) = self.links[link.0].up.as_ref().map(|up| up.id) {
            self.drop_connection(link, id, why, turn);
        }
    }

    /// Notes which calls a connection broke under.
    pub(super) fn strike(&mut self, link: LinkId, command: &Command, turn: &Turn<'_>) {
        self.strike_keys(link, command, turn.now);
    }

    fn strike_keys(&mut self, link: LinkId, command: &Command, now: Moment) {
        let ids: &[_] = match command {
            Command::Read { calls, .. } | Command::LookUp(calls) | Command::Fill(calls) => calls,
            Command::Set(id, _) => std::slice::from_ref(id),
            _ => return,
        };
        let is_bulk = self.links[link.0].purpose == Purpose::Bulk;
        for id in ids {
            let Some(call) = self.calls.get(*id) else { continue };
            let kind = call.asked.kind();
            if let Some(key) = call.asked.key()
                && self.struck.strike(key, kind, is_bulk, now)
            {
                self.news.other.push(Event::CallRefused(kind));
            }
        }
    }

    /// Does what is due of all links.
    pub(super) fn tick_links(&mut self, turn: &mut Turn<'_>) {
        for index in 0..self.links.len() {
            let link = LinkId(index);
            self.tick_attempts(link, turn);
            self.judge_silence(link, turn);
            self.expire_queue(link, turn);
            self.beat(link, turn.now);
        }
    }

    fn tick_attempts(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        let limit = self.redis().config.connect_timeout;
        let place = &self.links[link.0];
        let expired: Vec<_> = place
            .attempts
            .iter()
            .filter(|attempt| attempt.since + limit <= turn.now)
            .map(|attempt| attempt.id)
            .collect();
        for id in expired {
            self.drop_connection(link, id, Reason::Timeout, turn);
        }
        let place = &self.links[link.0];
        if place.attempt_is_due_at().is_some_and(|due| due <= turn.now) {
            self.attempt(link, turn.now);
        }
    }

    /// Counts what is overdue. A link on which too much is in a row is dropped.
    fn judge_silence(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        let limit = self.redis().config.command_timeout;
        let Some(up) = &mut self.links[link.0].up else { return };
        let (mut scans, mut is_map_late) = (Vec::new(), false);
        while let Some(sent) = up.in_flight.get(up.overdue).filter(|sent| sent.at + limit <= turn.now) {
            up.overdue += 1;
            up.silent += 1;
            match &sent.command {
                Command::OwnSlots(scan) | Command::Scan { scan, .. } | Command::UnlinkFound { scan, .. } => {
                    scans.push(*scan);
                }
                Command::Epoch | Command::Slots => is_map_late = true,
                _ => {}
            }
        }
        let is_silent = up.silent >= OVERDUE_TO_DROP && holds(Rule::SilentIsDropped);
        for scan in scans {
            self.fail_scan(scan, Failure::TimedOut, turn);
        }
        if is_map_late {
            self.fail_refresh(turn.now);
        }
        if is_silent {
            self.drop_link(link, Reason::Timeout, turn);
        }
    }

    /// Commands without a call that waits for them do not wait for ever.
    fn expire_queue(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        let limit = self.redis().config.command_timeout;
        while let Some(next) = self.links[link.0].queue.front() {
            if next.at + limit > turn.now {
                return;
            }
            let place = &mut self.links[link.0];
            if let Some(Queued { command, .. }) = place.queue.pop_front() {
                place.ended += 1;
                self.end_unsent(&command);
                self.fail_command(command, Failure::TimedOut, turn);
            }
        }
    }

    fn beat(&mut self, link: LinkId, now: Moment) {
        let place = &mut self.links[link.0];
        let Some(up) = place.up.as_mut().filter(|up| up.next_heartbeat <= now) else {
            return;
        };
        if !holds(Rule::Heartbeat) {
            up.next_heartbeat = Moment::MAX;
            return;
        }
        up.next_heartbeat = now + if up.is_tracked { HEARTBEAT_FOR_COPIES } else { HEARTBEAT };
        let tells = place.purpose == Purpose::Main && up.replication.is_some();
        let command = if tells { Command::Replication } else { Command::Ping };
        let id = up.id;
        self.write_now(link, id, vec![command], now);
    }

    /// Whether copies that were read by a connection are trusted.
    pub(super) fn is_trusted(&self, owner: u32, now: Moment) -> bool {
        let up = self.links.iter().filter_map(|link| link.up.as_ref());
        up.filter(|up| up.owner == owner || !holds(Rule::CopiesOfTheirLink))
            .any(|up| now < up.trusted_until || !holds(Rule::TrustEnds))
    }

    /// Whether what is read by a link is copied.
    pub(super) fn is_copied(&self, link: LinkId) -> bool {
        self.copies.is_some() && self.links[link.0].up.as_ref().is_none_or(|up| up.is_tracked)
    }

    /// When anything of the links is due.
    pub(super) fn next_of_links(&self) -> Option<Moment> {
        let config = &self.redis().config;
        let moments = self.links.iter().flat_map(|link| {
            let oldest = link.attempts.iter().map(|attempt| attempt.since).min();
            let expires = oldest.map(|oldest| oldest + config.connect_timeout);
            let attempts = expires.into_iter().chain(link.attempt_is_due_at());
            let up = link.up.iter().flat_map(|up| {
                let overdue = up.next_overdue(config.command_timeout);
                overdue.into_iter().chain([up.next_heartbeat])
            });
            let queued = link.queue.front().map(|queued| queued.at + config.command_timeout);
            attempts.chain(up).chain(queued)
        });
        moments.min()
    }
}

/// The key of a command of one call.
fn single_key<'a>(calls: &'a super::calls::Calls, command: &'a Command) -> Option<&'a Key> {
    let id = match command {
        Command::Read { calls: ids, .. } | Command::LookUp(ids) | Command::Fill(ids) => ids.first()?,
        Command::Set(id, _) | Command::Release(id) => id,
        Command::Unlink(purges) => return purges.first().map(|purge| &purge.key),
        _ => return None,
    };
    calls.get(*id)?.asked.key()
}

/// Reads what HELLO answers; `false` if that is no server of ours.
fn take_hello(connection: &mut Connection, frame: &[u8]) -> bool {
    let mut frames = Frames::new(frame);
    let Some(Frame::Map(pairs)) = frames.next_frame() else {
        return false;
    };
    let mut is_resp3 = false;
    for _ in 0..pairs {
        let Some(Frame::Text(name)) = frames.next_frame() else {
            return false;
        };
        match name {
            b"proto" => is_resp3 = frames.next_frame() == Some(Frame::Integer(3)),
            b"id" => {
                if let Some(Frame::Integer(id)) = frames.next_frame() {
                    connection.client = u64::try_from(id).ok();
                }
            }
            b"mode" => connection.is_cluster = frames.next_frame() == Some(Frame::Text(b"cluster")),
            b"role" => {
                connection.is_primary = !matches!(frames.next_frame(), Some(Frame::Text(b"replica" | b"slave")));
            }
            _ => {
                frames.skip_frame();
            }
        }
    }
    is_resp3
}

/// A field of what INFO answers.
pub(super) fn info_field(frame: &[u8], name: &str) -> Option<String> {
    let Some(Frame::Text(info)) = Frames::new(frame).next_frame() else {
        return None;
    };
    let lines = std::str::from_utf8(info).ok()?.lines();
    let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    values.next().map(str::to_owned)
}

/// Why calls failed that were told to be of this kind.
pub(super) const fn reason_of(failure: Failure) -> Option<Reason> {
    match failure {
        Failure::Unavailable => None,
        Failure::TimedOut => Some(Reason::Timeout),
        Failure::Refused | Failure::NotNow => Some(Reason::Refused),
        Failure::Broken => Some(Reason::Broken),
        Failure::Overload => Some(Reason::Overload),
    }
}

/// What happened in a turn, to be told at its end.
#[derive(Default)]
pub(super) struct News {
    failed: Vec<(CallKind, Reason, u64)>,
    pub pending: u64,
    pub delivered: u64,
    pub other: Vec<Event>,
}

impl News {
    pub fn failed(&mut self, operation: CallKind, failure: Failure, calls: u64) {
        let Some(reason) = reason_of(failure) else { return };
        let known = self
            .failed
            .iter_mut()
            .find(|(of, why, _)| *of == operation && *why == reason);
        match known {
            Some((.., count)) => *count += calls,
            None => self.failed.push((operation, reason, calls)),
        }
    }

    pub fn tell(&mut self, effects: &mut Vec<Effect>) {
        let Self {
            failed,
            pending,
            delivered,
            other,
        } = self;
        let failed = failed.drain(..).map(|(operation, reason, calls)| Event::Failed {
            operation,
            reason,
            calls,
        });
        effects.extend(failed.map(Effect::Event));
        effects.extend(other.drain(..).map(Effect::Event));
        for (count, event) in [
            (mem::take(pending), Event::PurgesPending as fn(u64) -> Event),
            (mem::take(delivered), Event::PurgesDelivered),
        ] {
            if count > 0 {
                effects.push(Effect::Event(event(count)));
            }
        }
    }
}
