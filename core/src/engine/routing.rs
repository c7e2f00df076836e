//! Which server a call goes to: the only one, the primary that sentinels name, or a node of a cluster.
//!
//! A cluster is known by the map of its slots (`CLUSTER SLOTS`), which is asked for again every second, and soon after
//! anything that makes it look old. Any node that answers is asked, each in turn; what a node says that is behind in its
//! epoch, because the others cannot reach it, is not believed. A node that is gone fails what is in its slots and nothing
//! else.

use std::{sync::Arc, time::Duration};

use redis::Value;

use super::{
    Engine, Failure, Moment, Turn,
    address::{Address, Server, Servers},
    broad_pass::text,
    calls::CallId,
    command::Command,
    link::{Link, LinkId, Purpose},
    purge_ledger::Identity,
    resp::{self, Frame, Frames},
    rules::{Rule, holds},
    slots::{SLOTS, SlotSet, slot_of},
    upkeep::{Lost, info_field},
};
use crate::{events::Reason, key::Key, stats::Circuit};

/// How often the map of a cluster is asked for, and a sentinel who the primary is: a primary that is being replaced goes
/// on taking writes for some ten seconds, and what it takes then is lost.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two questions.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// A server, or whoever takes its place.
pub(super) struct Node {
    pub main: LinkId,
    pub bulk: Option<LinkId>,
    /// Connections to it that were lost with unanswered writes.
    pub lost: Vec<Lost>,
}

/// How the servers are found.
pub(super) enum Routing {
    /// There is one.
    One,
    Sentinels(Sentinels),
    Cluster(Cluster),
}

pub(super) struct Sentinels {
    all: Vec<Server>,
    name: Arc<str>,
    /// Which of them is asked.
    current: usize,
    link: LinkId,
    next_ask: Moment,
    /// Sentinels in a row that could not be asked or did not know.
    failures: usize,
    /// Whether the primary is known.
    is_found: bool,
}

pub(super) struct Cluster {
    /// How a node is asked of which only the address is known.
    template: Server,
    /// The node of each slot, once any map is known.
    map: Option<Vec<Option<usize>>>,
    /// The newest epoch that any node told.
    epoch: u64,
    /// The epoch that the node told whose map is on its way.
    told_epoch: Option<u64>,
    is_asking: bool,
    asked_last: usize,
    asked_at: Moment,
    next_ask: Moment,
    /// Calls that wait for the first map.
    waiting: Vec<CallId>,
}

impl Engine {
    /// Begins to connect.
    pub(super) fn start_links(&mut self, now: Moment) {
        match self.redis().servers.clone() {
            Servers::One(server) => {
                self.add_node(server, now);
            }
            Servers::Cluster(servers) => {
                let template = servers[0].clone();
                for server in servers {
                    self.add_node(server, now);
                }
                self.routing = Routing::Cluster(Cluster::new(template, now));
            }
            Servers::Sentinels {
                sentinels,
                name,
                credentials,
                database,
                tls,
            } => {
                let unknown = Server {
                    address: Address::Tcp {
                        host: String::new(),
                        port: 0,
                        tls,
                    },
                    credentials,
                    database,
                };
                let main = self.add_link(0, Purpose::Main, unknown);
                self.links[main.0].awaits_address = true;
                self.nodes.push(Node::new(main));
                let link = self.add_link(0, Purpose::Sentinel, sentinels[0].clone());
                self.links[link.0].want(now);
                self.routing = Routing::Sentinels(Sentinels {
                    all: sentinels,
                    name: name.into(),
                    current: 0,
                    link,
                    next_ask: now,
                    failures: 0,
                    is_found: false,
                });
                self.attempt(link, now);
            }
        }
    }

    fn add_node(&mut self, server: Server, now: Moment) -> usize {
        let node = self.nodes.len();
        let main = self.add_link(node, Purpose::Main, server);
        self.nodes.push(Node::new(main));
        self.links[main.0].want(now);
        self.attempt(main, now);
        node
    }

    pub(super) fn add_link(&mut self, node: usize, purpose: Purpose, server: Server) -> LinkId {
        self.links.push(Link::new(node, purpose, server));
        LinkId(self.links.len() - 1)
    }

    /// Whether calls wait for the first map.
    pub(super) const fn has_waiting(&self) -> bool {
        matches!(&self.routing, Routing::Cluster(cluster) if !cluster.waiting.is_empty())
    }

    pub(super) const fn is_clustered(&self) -> bool {
        matches!(self.routing, Routing::Cluster(_))
    }

    /// One address that is a cluster is a cluster of which that address is the only one known.
    pub(super) fn become_cluster(&mut self, now: Moment) {
        if matches!(self.routing, Routing::One) {
            let template = self.links[self.nodes[0].main.0].server.clone();
            self.routing = Routing::Cluster(Cluster::new(template, now));
        }
    }

    /// The node that has a key.
    pub(super) fn node_of(&self, key: &Key) -> Option<usize> {
        match &self.routing {
            Routing::Cluster(cluster) => cluster.map.as_ref()?[usize::from(slot_of(key.as_ref()))],
            _ => Some(0),
        }
    }

    /// The node of each slot.
    pub(super) fn slot_map(&self) -> Option<&[Option<usize>]> {
        match &self.routing {
            Routing::Cluster(cluster) => cluster.map.as_deref(),
            _ => None,
        }
    }

    /// A call whose node is not known waits for the first map, and fails where there is one.
    pub(super) fn wait_for_map(&mut self, id: CallId, turn: &mut Turn<'_>) {
        let may_come = self.links.iter().any(Link::takes_commands);
        match &mut self.routing {
            Routing::Cluster(cluster) if cluster.map.is_none() && may_come => cluster.waiting.push(id),
            _ => self.fail(id, Failure::Unavailable, turn),
        }
    }

    /// The link to the node that MOVED or ASK names.
    pub(super) fn link_named(&mut self, from: LinkId, is_moved: bool, error: &[u8], now: Moment) -> Option<LinkId> {
        let Routing::Cluster(_) = self.routing else { return None };
        let mut words = std::str::from_utf8(error).ok()?.split(' ').skip(1);
        let slot: usize = words.next()?.parse().ok()?;
        let (host, port) = words.next()?.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let node = self.node_at(from, host, port, now);
        if let Routing::Cluster(cluster) = &mut self.routing
            && is_moved
        {
            let owner = cluster.map.as_mut().and_then(|map| map.get_mut(slot));
            if let Some(owner) = owner.filter(|owner| **owner != Some(node)) {
                *owner = Some(node);
                // What was purged at the old one may be lost with it.
                let slots = u16::try_from(slot).into_iter().collect();
                self.owe(from, &slots, now);
            }
        }
        self.refresh_soon(now);
        Some(self.nodes[node].main)
    }

    fn node_at(&mut self, from: LinkId, host: &str, port: u16, now: Moment) -> usize {
        let from = self.links[from.0].server.clone();
        let (own_host, tls) = match &from.address {
            Address::Tcp { host, tls, .. } => (host.clone(), *tls),
            Address::Unix(_) => (String::new(), false),
        };
        // A node that does not know its own name is where it was asked.
        let host = if host.is_empty() || host == "?" {
            own_host
        } else {
            host.to_owned()
        };
        let address = Address::Tcp { host, port, tls };
        let known = self
            .nodes
            .iter()
            .position(|node| self.links[node.main.0].server.address == address);
        let template = match &self.routing {
            Routing::Cluster(cluster) => cluster.template.clone(),
            _ => from,
        };
        match known {
            Some(node) => {
                let main = self.nodes[node].main;
                self.links[main.0].want(now);
                node
            }
            None => self.add_node(Server { address, ..template }, now),
        }
    }

    /// Whether a link must lead to a primary, as sentinels say it does.
    pub(super) fn needs_primary(&self, link: LinkId) -> bool {
        matches!(self.routing, Routing::Sentinels(_)) && self.links[link.0].purpose != Purpose::Sentinel
    }

    /// A link stands.
    pub(super) fn link_is_up(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        if self.links[link.0].purpose == Purpose::Sentinel
            && let Routing::Sentinels(sentinels) = &mut self.routing
        {
            sentinels.next_ask = turn.now;
        }
        if let Routing::Cluster(cluster) = &mut self.routing
            && cluster.map.is_none()
        {
            cluster.next_ask = turn.now;
        }
        self.tick_routing(turn);
    }

    /// A link broke, or could not be made.
    pub(super) fn link_is_down(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        let purpose = self.links[link.0].purpose;
        let is_down = !self.links.iter().any(Link::takes_commands);
        match &mut self.routing {
            Routing::One => {}
            Routing::Sentinels(sentinels) if purpose == Purpose::Sentinel => {
                sentinels.failures += 1;
                self.ask_next_sentinel(turn);
            }
            Routing::Sentinels(sentinels) => sentinels.next_ask = sentinels.next_ask.min(turn.now),
            Routing::Cluster(cluster) => {
                cluster.is_asking = false;
                let waiting = if is_down {
                    std::mem::take(&mut cluster.waiting)
                } else {
                    Vec::new()
                };
                self.refresh_soon(turn.now);
                for id in waiting {
                    self.fail(id, Failure::Unavailable, turn);
                }
            }
        }
    }

    fn ask_next_sentinel(&mut self, turn: &mut Turn<'_>) {
        let Routing::Sentinels(sentinels) = &mut self.routing else {
            return;
        };
        sentinels.current = (sentinels.current + 1) % sentinels.all.len();
        let (link, server) = (sentinels.link, sentinels.all[sentinels.current].clone());
        let has_asked_all = sentinels.failures >= sentinels.all.len();
        let is_found = sentinels.is_found;
        self.links[link.0].server = server;
        if !has_asked_all {
            // The next has failed no attempt yet.
            self.links[link.0].next_attempt = Some(turn.now);
        } else if !is_found {
            // Calls wait for the first answer only.
            for link in [Some(self.nodes[0].main), self.nodes[0].bulk].into_iter().flatten() {
                for command in self.links[link.0].give_up_first() {
                    self.end_unsent(&command);
                    self.fail_command(command, Failure::Unavailable, turn);
                }
            }
        }
    }

    /// Takes who the primary is, or that the sentinel does not know.
    pub(super) fn take_primary(&mut self, frame: Option<&[u8]>, turn: &mut Turn<'_>) {
        let Routing::Sentinels(sentinels) = &mut self.routing else {
            return;
        };
        let Some((host, port)) = frame.and_then(primary_address) else {
            sentinels.failures += 1;
            let link = sentinels.link;
            return self.drop_link(link, Reason::Refused, turn);
        };
        sentinels.failures = 0;
        sentinels.is_found = true;
        let main = self.nodes[0].main;
        let place = &mut self.links[main.0];
        let Address::Tcp { tls, .. } = place.server.address else {
            return;
        };
        let address = Address::Tcp { host, port, tls };
        if place.server.address == address {
            return;
        }
        let links = [Some(main), self.nodes[0].bulk];
        for link in links.into_iter().flatten() {
            self.links[link.0].server.address = address.clone();
            self.links[link.0].awaits_address = false;
            self.drop_link(link, Reason::Refused, turn);
            let attempts: Vec<_> = self.links[link.0].attempts.iter().map(|attempt| attempt.id).collect();
            self.links[link.0].failures = 0;
            for id in attempts {
                self.forget_attempt(link, id);
            }
            self.links[link.0].is_wanted = true;
            self.links[link.0].next_attempt = None;
            self.attempt(link, turn.now);
        }
    }

    fn forget_attempt(&mut self, link: LinkId, id: super::ConnectionId) {
        self.links[link.0].attempts.retain(|attempt| attempt.id != id);
        self.by_connection.remove(&id);
        self.effects.push(super::Effect::Close { connection: id });
    }

    /// The map looks old.
    pub(super) fn refresh_soon(&mut self, now: Moment) {
        match &mut self.routing {
            Routing::Cluster(cluster) => {
                let soon = now.max(cluster.asked_at + ASK_AGAIN);
                cluster.next_ask = cluster.next_ask.min(soon);
            }
            Routing::Sentinels(sentinels) => sentinels.next_ask = sentinels.next_ask.min(now),
            Routing::One => {}
        }
    }

    /// The node that was asked for the map did not answer.
    pub(super) fn fail_refresh(&mut self, now: Moment) {
        if let Routing::Cluster(cluster) = &mut self.routing {
            cluster.is_asking = false;
        }
        self.refresh_soon(now);
    }

    /// Asks for the map, or for the primary, where that is due.
    pub(super) fn tick_routing(&mut self, turn: &mut Turn<'_>) {
        match &mut self.routing {
            Routing::One => {}
            Routing::Sentinels(sentinels) => {
                let (link, name) = (sentinels.link, Arc::clone(&sentinels.name));
                if sentinels.next_ask <= turn.now && self.links[link.0].up.is_some() {
                    sentinels.next_ask = turn.now + ASK_EVERY;
                    self.send(link, Command::Primary(name), turn);
                }
            }
            Routing::Cluster(cluster) => {
                if cluster.next_ask > turn.now || cluster.is_asking {
                    return;
                }
                let count = self.nodes.len();
                let after = cluster.asked_last;
                let mains = (1..=count).map(|step| (after + step) % count);
                let mut nodes = mains.map(|node| (node, self.nodes[node].main));
                // One that has not answered for a while is asked last.
                let is_up = |link: LinkId| self.links[link.0].up.as_ref().map(|up| up.silent);
                let quiet = nodes.clone().find(|(_, link)| is_up(*link) == Some(0));
                if let Some((node, link)) = quiet.or_else(|| nodes.find(|(_, link)| is_up(*link).is_some())) {
                    cluster.is_asking = true;
                    cluster.asked_last = node;
                    cluster.asked_at = turn.now;
                    cluster.told_epoch = None;
                    cluster.next_ask = turn.now + ASK_EVERY;
                    self.send(link, Command::Epoch, turn);
                    self.send(link, Command::Slots, turn);
                }
            }
        }
    }

    /// When routing is due next.
    pub(super) fn next_of_routing(&self) -> Option<Moment> {
        match &self.routing {
            Routing::One => None,
            Routing::Sentinels(sentinels) => self.links[sentinels.link.0].up.as_ref().map(|_| sentinels.next_ask),
            Routing::Cluster(cluster) => {
                let mut mains = self.nodes.iter().map(|node| &self.links[node.main.0]);
                (!cluster.is_asking && mains.any(|link| link.up.is_some())).then_some(cluster.next_ask)
            }
        }
    }

    pub(super) fn take_epoch(&mut self, frame: &[u8]) {
        if let Routing::Cluster(cluster) = &mut self.routing {
            cluster.told_epoch = info_field(frame, "cluster_current_epoch").and_then(|epoch| epoch.parse().ok());
        }
    }

    /// Takes the map.
    pub(super) fn take_slots(&mut self, link: LinkId, frame: &[u8], turn: &mut Turn<'_>) {
        let ranges = resp::value(frame).and_then(slot_ranges);
        let Routing::Cluster(cluster) = &mut self.routing else {
            return;
        };
        cluster.is_asking = false;
        let told = cluster.told_epoch.take();
        let Some(ranges) = ranges.filter(|_| told.is_none_or(|told| told >= cluster.epoch) || !holds(Rule::OldViews))
        else {
            return self.refresh_soon(turn.now);
        };
        cluster.epoch = cluster.epoch.max(told.unwrap_or_default());
        let mut map = vec![None; SLOTS];
        for (first, last, host, port) in ranges {
            let node = self.node_at(link, &host, port, turn.now);
            for owner in &mut map[usize::from(first)..=usize::from(last)] {
                *owner = Some(node);
            }
        }
        let Routing::Cluster(cluster) = &mut self.routing else {
            return;
        };
        let is_whole = map.iter().all(Option::is_some);
        let before = cluster.map.replace(map.clone());
        let waiting = std::mem::take(&mut cluster.waiting);
        if let Some(before) = before {
            let mut moved = SlotSet::none();
            let changed = before.iter().zip(map.iter()).enumerate();
            for (slot, _) in changed.filter(|(_, (before, now))| now.is_some() && before != now) {
                moved.insert(u16::try_from(slot).unwrap_or_default());
            }
            if !moved.is_empty() {
                self.owe(link, &moved, turn.now);
            }
        }
        self.retire_nodes(&map, turn);
        if !is_whole {
            self.refresh_soon(turn.now);
        }
        for id in waiting {
            self.send_call(id, false, turn);
        }
        self.next_delivery = turn.now;
    }

    /// Lets the connections to nodes go that have no slot, once nothing is in flight there.
    fn retire_nodes(&mut self, map: &[Option<usize>], turn: &mut Turn<'_>) {
        for node in 0..self.nodes.len() {
            if map.contains(&Some(node)) {
                continue;
            }
            for link in [Some(self.nodes[node].main), self.nodes[node].bulk]
                .into_iter()
                .flatten()
            {
                let place = &mut self.links[link.0];
                let is_idle = place.queue.is_empty()
                    && place
                        .up
                        .as_ref()
                        .is_none_or(|up| up.in_flight.iter().all(|sent| !sent.is_counted));
                if place.is_wanted && is_idle {
                    place.is_wanted = false;
                    place.next_attempt = None;
                    place.failures = 0;
                    place.was_up = false;
                    let attempts: Vec<_> = place.attempts.iter().map(|attempt| attempt.id).collect();
                    for id in attempts {
                        self.forget_attempt(link, id);
                    }
                    self.retire_link(link, turn);
                }
            }
        }
    }

    /// A connection to a node was made: what it may have forgotten is owed.
    pub(super) fn meet(&mut self, node: usize, identity: Option<Identity>, heard: Moment, now: Moment) {
        let slots = self.slots_of(node);
        let name = match self.routing {
            Routing::Cluster(_) => self.links[self.nodes[node].main.0].server.address.to_string(),
            _ => "primary".to_owned(),
        };
        let since = if heard == Moment::ZERO { now } else { heard };
        let owed = self.redis().ledger.meet(&name, identity, since, now, &slots);
        self.note_owed(owed, now);
    }

    /// These slots have another primary: what was purged there is owed.
    fn owe(&mut self, heard_by: LinkId, slots: &SlotSet, now: Moment) {
        if !holds(Rule::OwedWhereMoved) {
            return;
        }
        let since = self.links[heard_by.0].heard.min(self.heard());
        let owed = self.redis().ledger.owe(since, now, slots);
        self.note_owed(owed, now);
    }

    fn note_owed(&mut self, owed: usize, now: Moment) {
        if owed > 0 {
            self.news.pending += owed as u64;
            self.next_delivery = now;
        }
    }

    fn slots_of(&self, node: usize) -> SlotSet {
        match self.slot_map() {
            None => SlotSet::ALL,
            Some(map) => {
                let slots = map.iter().enumerate().filter(|(_, owner)| **owner == Some(node));
                slots.filter_map(|(slot, _)| u16::try_from(slot).ok()).collect()
            }
        }
    }

    /// Until when all servers that are to be reached were heard.
    pub(super) fn heard(&self) -> Moment {
        let mains = self.nodes.iter().map(|node| &self.links[node.main.0]);
        let wanted = mains.filter(|link| link.is_wanted || link.awaits_address);
        wanted.map(|link| link.heard).min().unwrap_or_default()
    }

    /// Whether Redis is asked at this moment.
    pub(super) fn circuit_now(&self) -> Circuit {
        let mut mains = self.nodes.iter().map(|node| &self.links[node.main.0]);
        let knows_map = !self.is_clustered() || self.slot_map().is_some();
        if mains.clone().any(|link| link.up.is_some()) && knows_map {
            Circuit::Closed
        } else if self.nodes.is_empty() {
            Circuit::Idle
        } else if mains.any(|link| link.is_first() || link.up.is_some()) {
            Circuit::Connecting
        } else {
            Circuit::Open
        }
    }
}

impl Node {
    const fn new(main: LinkId) -> Self {
        Self {
            main,
            bulk: None,
            lost: Vec::new(),
        }
    }
}

impl Cluster {
    fn new(template: Server, now: Moment) -> Self {
        Self {
            template,
            map: None,
            epoch: 0,
            told_epoch: None,
            is_asking: false,
            asked_last: 0,
            asked_at: Moment::ZERO,
            next_ask: now,
            waiting: Vec::new(),
        }
    }
}

fn primary_address(frame: &[u8]) -> Option<(String, u16)> {
    let mut frames = Frames::new(frame);
    let (Some(Frame::Array(2)), Some(Frame::Text(host)), Some(Frame::Text(port))) =
        (frames.next_frame(), frames.next_frame(), frames.next_frame())
    else {
        return None;
    };
    let port = std::str::from_utf8(port).ok()?.parse().ok()?;
    Some((String::from_utf8(host.to_vec()).ok()?, port))
}

/// The slots of each primary: first, last, host, port.
fn slot_ranges(answer: Value) -> Option<Vec<(u16, u16, String, u16)>> {
    let Value::Array(ranges) = answer else { return None };
    let range = |range| {
        let Value::Array(fields) = range else { return None };
        let mut fields = fields.into_iter();
        let (Some(Value::Int(first)), Some(Value::Int(last)), Some(Value::Array(primary))) =
            (fields.next(), fields.next(), fields.next())
        else {
            return None;
        };
        let mut primary = primary.into_iter();
        let host = match primary.next()? {
            Value::Nil => String::new(),
            host => text(host)?,
        };
        let Some(Value::Int(port)) = primary.next() else {
            return None;
        };
        let (first, last) = (u16::try_from(first).ok()?, u16::try_from(last).ok()?);
        (first <= last && usize::from(last) < SLOTS).then_some((first, last, host, u16::try_from(port).ok()?))
    };
    ranges.into_iter().map(range).collect()
}
