//! What goes wrong. Each fault has a number and randomness of its own, so that one can be left out and the others stay.

use std::time::Duration;

use crate::{
    random::Random,
    server::{MILLISECOND, Micros, SECOND, View},
    world::{Event, Topology, World},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Cut,
    CutByServer,
    HalfOpen,
    Freeze,
    LoseWritten,
    LoseAnswers,
    Slow,
    Partition,
    StopServer,
    RefuseConnections,
    Restart,
    Memory,
    Replicas,
    Loading,
    Permissions,
    Failover,
    Migrate,
    Block,
    Jump,
    Suspend,
    Evict,
    Flush,
    ForgetScripts,
    ReplaceEngine,
    ReplaceCache,
    StaleSentinel,
    Down,
}

pub const ALL: [Fault; 26] = [
    Fault::Cut,
    Fault::CutByServer,
    Fault::HalfOpen,
    Fault::Freeze,
    Fault::LoseWritten,
    Fault::LoseAnswers,
    Fault::Slow,
    Fault::Partition,
    Fault::StopServer,
    Fault::RefuseConnections,
    Fault::Restart,
    Fault::Memory,
    Fault::Replicas,
    Fault::Loading,
    Fault::Permissions,
    Fault::Failover,
    Fault::Migrate,
    Fault::Block,
    Fault::Jump,
    Fault::Suspend,
    Fault::Evict,
    Fault::Flush,
    Fault::ForgetScripts,
    Fault::ReplaceEngine,
    Fault::ReplaceCache,
    Fault::StaleSentinel,
];

impl Fault {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cut => "a connection is cut",
            Self::CutByServer => "a server closes a connection",
            Self::HalfOpen => "a connection is half open",
            Self::Freeze => "a connection stands still",
            Self::LoseWritten => "what was written is lost",
            Self::LoseAnswers => "answers are lost",
            Self::Slow => "the network is slow",
            Self::Partition => "a process cannot reach a server",
            Self::StopServer => "a server stands still",
            Self::RefuseConnections => "connections are refused",
            Self::Restart => "a server restarts",
            Self::Memory => "a server is out of memory",
            Self::Replicas => "a server has too few replicas",
            Self::Loading => "a server is loading",
            Self::Permissions => "a server denies commands",
            Self::Failover => "a replica takes over",
            Self::Migrate => "a slot moves",
            Self::Block => "a thread is busy",
            Self::Jump => "a clock jumps",
            Self::Suspend => "a process and its clock stand still",
            Self::Evict => "a key is evicted",
            Self::Flush => "everything is deleted",
            Self::ForgetScripts => "a server forgets its scripts",
            Self::ReplaceEngine => "a thread ends, another begins",
            Self::ReplaceCache => "a cache is configured again",
            Self::StaleSentinel => "a sentinel does not know",
            Self::Down => "a server is down",
        }
    }
}

/// Does some harm.
pub fn inject(world: &mut World) {
    let number = world.report.faults;
    world.report.faults += 1;
    if world.plan.skipped_faults.contains(&number) {
        return;
    }
    let mut random = Random::new(world.plan.seed, 2 << 40 | number);
    if world.is_calm && random.percent(90) {
        return;
    }
    let fault = ALL[random.index(ALL.len())];
    if harm(world, fault, &mut random) {
        world.cover(fault.name());
        world.trace(|_| format!("FAULT {number}: {}", fault.name()));
    }
}

fn any_connection(world: &World, random: &mut Random) -> Option<usize> {
    let open: Vec<_> = world
        .threads
        .iter()
        .flat_map(|thread| thread.connections.values().copied())
        .filter(|index| world.connections[*index].client.is_some())
        .collect();
    (!open.is_empty()).then(|| open[random.index(open.len())])
}

fn a_while(random: &mut Random) -> Micros {
    match random.below(3) {
        0 => random.between(1, 100) * MILLISECOND,
        1 => random.between(100, 1_000) * MILLISECOND,
        _ => random.between(1_000, 6_000) * MILLISECOND,
    }
}

fn any_data_server(world: &World, random: &mut Random) -> usize {
    match world.topology {
        Topology::One => 0,
        Topology::Sentinels => world.primary,
        Topology::Cluster => {
            let key = random.index(world.keys.len());
            world.authority(key)
        }
    }
}

#[expect(clippy::too_many_lines, reason = "a list of what may happen")]
fn harm(world: &mut World, fault: Fault, random: &mut Random) -> bool {
    let now = world.now;
    let server = any_data_server(world, random);
    let thread = random.index(world.threads.len());
    let process = world.threads[thread].process;
    let until = now + a_while(random);
    match fault {
        Fault::Cut => {
            let Some(index) = any_connection(world, random) else {
                return false;
            };
            world.close_from_server(index);
            if let Some(client) = world.connections[index].client {
                let server = world.connections[index].server;
                if world.servers[server].redis.run == world.connections[index].run {
                    world.servers[server].redis.disconnect(client);
                }
            }
        }
        Fault::CutByServer => {
            // The server forgets the client after what it has written.
            let Some(index) = any_connection(world, random) else {
                return false;
            };
            let server = world.connections[index].server;
            if world.servers[server].redis.run != world.connections[index].run {
                return false;
            }
            if let Some(client) = world.connections[index].client {
                world.servers[server].redis.disconnect(client);
            }
            world.close_from_server(index);
        }
        Fault::HalfOpen => {
            // The client is told that the connection is gone, and the server is not: what is on the way still arrives.
            let Some(index) = any_connection(world, random) else {
                return false;
            };
            if random.one_in(2) {
                world.connections[index].to_server.frozen_until = now + random.between(1, 3_000) * MILLISECOND;
            }
            world.reset(index);
            let at = world.connections[index].to_server.next();
            if let Some(at) = at {
                world.at(at, Event::ToServer(index));
            }
        }
        Fault::Freeze => {
            let Some(index) = any_connection(world, random) else {
                return false;
            };
            match random.below(3) {
                0 => world.connections[index].to_server.frozen_until = until,
                1 => world.connections[index].to_client.frozen_until = until,
                _ => {
                    world.connections[index].to_server.frozen_until = until;
                    world.connections[index].to_client.frozen_until = until;
                }
            }
            world.at(until, Event::ToServer(index));
            world.at(until, Event::ToClient(index));
        }
        Fault::LoseWritten => {
            let Some(index) = any_connection(world, random) else {
                return false;
            };
            world.connections[index].to_server.lose_all();
            world.connections[index].dead_since = Some(now);
        }
        Fault::LoseAnswers => {
            let Some(index) = any_connection(world, random) else {
                return false;
            };
            world.connections[index].to_client.lose_all();
            world.connections[index].dead_since = Some(now);
        }
        Fault::Slow => world.slow_until = until,
        Fault::Partition => {
            let server = random.index(world.servers.len());
            world.partitions.insert((process, server), until);
            for index in 0..world.connections.len() {
                let connection = &world.connections[index];
                if connection.server == server
                    && connection.is_open
                    && world.threads[connection.thread].process == process
                {
                    let connection = &mut world.connections[index];
                    connection.to_server.lose_all();
                    connection.to_client.lose_all();
                    connection.dead_since = Some(now);
                }
            }
        }
        Fault::StopServer => world.servers[server].stopped_until = until,
        Fault::RefuseConnections => {
            let server = random.index(world.servers.len());
            world.servers[server].refuses_until = until;
        }
        Fault::Restart => {
            let place = &world.servers[server];
            if !place.is_up {
                return false;
            }
            down(world, server, random);
            let kind = random.below(3);
            let lag = random.between(0, 3 * SECOND);
            world.at(
                until.min(now + 2 * SECOND),
                Event::End(Fault::Restart, server, kind << 32 | lag),
            );
        }
        Fault::Memory => {
            world.servers[server].redis.refuses.memory = true;
            world.was_refused = true;
            world.at(until, Event::End(fault, server, 0));
        }
        Fault::Replicas => {
            world.servers[server].redis.refuses.replicas = true;
            world.was_refused = true;
            world.at(until, Event::End(fault, server, 0));
        }
        Fault::Loading => {
            world.servers[server].redis.refuses.loading = true;
            world.at(until, Event::End(fault, server, 0));
        }
        Fault::Permissions => {
            let all = [
                "UNLINK",
                "SCAN",
                "CLIENT|KILL",
                "CLIENT|TRACKING",
                "INFO",
                "EVAL",
                "EVALSHA",
                "MGET",
                "SET",
                "PTTL",
            ];
            let denied = all[random.index(all.len())];
            if denied == "INFO" {
                world.has_changed_identity = true;
            }
            world.was_refused = true;
            world.servers[server].redis.refuses.denied.insert(denied.to_owned());
            world.at(until, Event::End(fault, server, 0));
        }
        Fault::Failover => return fail_over(world, server, random),
        Fault::Migrate => return migrate(world, random),
        Fault::Block => world.block(thread, until),
        Fault::Jump => {
            world.processes[process].clock.jump(random.between(1, 5 * SECOND), now);
            for other in 0..world.threads.len() {
                if world.threads[other].process == process {
                    world.set_alarm(other);
                }
            }
        }
        Fault::Suspend => {
            world.processes[process].clock.stop(now);
            for other in 0..world.threads.len() {
                if world.threads[other].process == process {
                    world.block(other, until);
                }
            }
            // Before the threads go on.
            world.at(until - 1, Event::End(fault, process, 0));
        }
        Fault::Evict => {
            let key = random.index(world.keys.len());
            let authority = world.authority(key);
            let text = world.keys[key].key.as_ref().to_vec();
            if world.servers[authority].redis.remove(&text, now).is_none() {
                return false;
            }
            world.flush_server(authority);
        }
        Fault::Flush => {
            world.servers[server].redis.flush(now);
            world.flush_server(server);
        }
        Fault::ForgetScripts => world.servers[server].redis.forget_scripts(),
        Fault::ReplaceEngine => world.new_engine(thread),
        Fault::ReplaceCache => {
            let old = &world.processes[process];
            let shared = mizan_cache_core::shared_cache::SharedCache::new(&old.config, Some(&old.shared));
            world.processes[process].replace(std::sync::Arc::new(shared.expect("a legal configuration")));
            for other in 0..world.threads.len() {
                if world.threads[other].process == process {
                    world.new_engine(other);
                }
            }
        }
        Fault::StaleSentinel => {
            if world.topology != Topology::Sentinels {
                return false;
            }
            let sentinel = 3 + random.index(2);
            if let Some(sentinel) = &mut world.servers[sentinel].redis.sentinel {
                sentinel.primary = random.one_in(2).then(|| random.index(3));
            }
            world.at(until, Event::End(fault, sentinel, 0));
        }
        Fault::Down => return false,
    }
    true
}

/// A server goes down: its connections end, or hang.
fn down(world: &mut World, server: usize, random: &mut Random) {
    let hangs = random.one_in(3);
    let now = world.now;
    world.servers[server].is_up = false;
    world.servers[server].hangs = hangs;
    for index in 0..world.connections.len() {
        if world.connections[index].server != server || world.connections[index].client.is_none() {
            continue;
        }
        if world.connections[index].run != world.servers[server].redis.run {
            continue;
        }
        if hangs {
            let connection = &mut world.connections[index];
            connection.to_server.lose_all();
            connection.to_client.lose_all();
            connection.dead_since = Some(now);
        } else {
            world.close_from_server(index);
        }
    }
}

fn up(world: &mut World, server: usize) {
    world.servers[server].is_up = true;
    world.servers[server].redis.start();
}

/// A replica takes the place of a primary.
fn fail_over(world: &mut World, old: usize, random: &mut Random) -> bool {
    if world.topology == Topology::One || world.servers[old].is_deposed {
        return false;
    }
    let (now, topology) = (world.now, world.topology);
    let candidates: Vec<usize> = match topology {
        Topology::Sentinels => (0..3).collect(),
        _ => vec![(old + 3) % 6],
    };
    let new = candidates.into_iter().find(|index| {
        *index != old
            && world.servers[*index].is_up
            && world.servers[*index].redis.is_replica
            && !world.servers[*index].is_deposed
    });
    let Some(new) = new else { return false };
    let lag = random.between(0, 2 * SECOND);
    let is_split = world.servers[old].is_up && random.one_in(2);
    world.has_changed_identity = true;
    world.servers[old].redis.catch_up(now.saturating_sub(lag));
    let data = world.servers[old].redis.shadow.clone();
    let place = &mut world.servers[new].redis;
    place.replace_data(data.clone());
    place.shadow = data;
    place.log.clear();
    place.is_replica = false;
    place.replication = random.next();
    if is_split {
        world.servers[old].is_deposed = true;
    } else if world.servers[old].is_up {
        down(world, old, random);
    }
    match topology {
        Topology::Sentinels => {
            world.primary = new;
            for sentinel in 3..5 {
                if let Some(sentinel) = &mut world.servers[sentinel].redis.sentinel {
                    sentinel.primary = Some(new);
                }
            }
        }
        _ => {
            let mut owners = world.truth.owners.to_vec();
            for owner in owners.iter_mut().filter(|owner| usize::from(**owner) == old) {
                *owner = u8::try_from(new).unwrap_or_default();
            }
            world.truth = View {
                epoch: world.truth.epoch + 1,
                owners: owners.into(),
            };
            abort_migrations(world, old);
            abort_migrations(world, new);
            learn(world, new);
            for server in (0..world.servers.len()).filter(|server| *server != new) {
                if server != old || !is_split {
                    let after = random.between(1, 800) * MILLISECOND;
                    world.at(now + after, Event::Learn(server));
                }
            }
        }
    }
    let concerned: Vec<bool> = (0..world.keys.len()).map(|key| world.authority(key) == new).collect();
    world
        .oracle
        .forget(now.saturating_sub(lag), is_split, |key| concerned[key]);
    if is_split {
        world.cover("a primary that was replaced goes on for a while");
    }
    world.trace(|_| format!("server {new} takes the place of server {old}, {lag} µs behind; split: {is_split}"));
    world.at(
        now + random.between(200, 4_000) * MILLISECOND,
        Event::End(Fault::Failover, old, random.below(2)),
    );
    world.flush_server(new);
    true
}

fn learn(world: &mut World, server: usize) {
    let truth = world.truth.clone();
    if let Some(node) = &mut world.servers[server].redis.cluster {
        node.learn(&truth);
    }
}

/// Slots that a server hands over or takes over stay where they are.
fn abort_migrations(world: &mut World, server: usize) {
    for index in 0..world.servers.len() {
        if let Some(node) = &mut world.servers[index].redis.cluster {
            if index == server {
                node.migrating.clear();
                node.importing.clear();
            }
            node.migrating.retain(|_, to| *to != server);
            node.importing.retain(|_, from| *from != server);
        }
    }
}

/// A slot begins to move from one primary to another.
fn migrate(world: &mut World, random: &mut Random) -> bool {
    if world.topology != Topology::Cluster {
        return false;
    }
    let key = random.index(world.keys.len());
    let slot = world.keys[key].slot;
    let from = world.authority(key);
    let others: Vec<usize> = (0..world.servers.len())
        .filter(|index| *index != from && !world.servers[*index].redis.is_replica && world.servers[*index].is_up)
        .filter(|index| !world.servers[*index].is_deposed)
        .collect();
    let place = &world.servers[from];
    let is_moving = place.redis.cluster.as_ref().is_none_or(|node| {
        node.migrating.contains_key(&slot) || usize::from(node.view.owners[usize::from(slot)]) != from
    });
    if others.is_empty() || is_moving || !place.is_up || place.is_deposed {
        return false;
    }
    let to = others[random.index(others.len())];
    let learnt = world.servers[to]
        .redis
        .cluster
        .as_ref()
        .is_some_and(|node| usize::from(node.view.owners[usize::from(slot)]) == from);
    if !learnt {
        return false;
    }
    if let Some(node) = &mut world.servers[to].redis.cluster {
        node.importing.insert(slot, from);
    }
    if let Some(node) = &mut world.servers[from].redis.cluster {
        node.migrating.insert(slot, to);
    }
    world.has_changed_identity = true;
    let begins = world.now + random.between(0, 60) * MILLISECOND;
    let ends = begins + random.between(0, 60) * MILLISECOND;
    let detail = u64::from(slot) << 8 | to as u64;
    world.at(begins, Event::End(Fault::Migrate, from, detail));
    world.at(ends, Event::End(Fault::Migrate, from, 1 << 32 | detail));
    true
}

/// Keys of a slot that moves are handed over; in the end the slot is.
fn go_on_migrating(world: &mut World, from: usize, detail: u64) {
    let (is_end, slot) = (
        detail >> 32 == 1,
        u16::try_from(detail >> 8 & 0xFFFF).unwrap_or_default(),
    );
    let to = usize::try_from(detail & 0xFF).unwrap_or_default();
    let now = world.now;
    let goes_on = world.servers[from].is_up
        && world.servers[to].is_up
        && world.servers[from]
            .redis
            .cluster
            .as_ref()
            .is_some_and(|node| node.migrating.get(&slot) == Some(&to));
    if !goes_on {
        if is_end {
            if let Some(node) = &mut world.servers[from].redis.cluster {
                node.migrating.remove(&slot);
            }
            if let Some(node) = &mut world.servers[to].redis.cluster {
                node.importing.remove(&slot);
            }
            // What was handed over already comes back.
            let owner = usize::from(world.truth.owners[usize::from(slot)]);
            if owner != to {
                let texts: Vec<_> = world
                    .keys
                    .iter()
                    .filter(|info| info.slot == slot)
                    .map(|info| info.key.as_ref().to_vec())
                    .collect();
                for text in texts {
                    world.servers[to].redis.remove(&text, now);
                }
            }
        }
        return;
    }
    let keys: Vec<Vec<u8>> = world.servers[from].redis.databases[0]
        .keys()
        .filter(|key| crate::server::slot_of(key) == slot)
        .cloned()
        .collect();
    for key in keys {
        if let Some(entry) = world.servers[from].redis.remove(&key, now) {
            world.servers[to].redis.restore(&key, entry, now);
        }
    }
    if is_end {
        let mut owners = world.truth.owners.to_vec();
        owners[usize::from(slot)] = u8::try_from(to).unwrap_or_default();
        world.truth = View {
            epoch: world.truth.epoch + 1,
            owners: owners.into(),
        };
        learn(world, to);
        learn(world, from);
        let count = world.servers.len();
        for server in 0..count {
            let after = world.random.between(0, 200) * MILLISECOND;
            if !world.servers[server].is_deposed {
                world.at(now + after, Event::Learn(server));
            }
        }
        world.cover("a slot has moved");
    }
    world.flush_server(from);
    world.flush_server(to);
}

/// A fault is over.
pub fn end(world: &mut World, fault: Fault, index: usize, detail: u64) {
    let now = world.now;
    match fault {
        Fault::Restart => {
            if world.servers[index].is_up {
                return;
            }
            if world.servers[index].redis.is_replica {
                up(world, index);
                learn(world, index);
                return;
            }
            world.has_changed_identity = true;
            let lag = detail & 0xFFFF_FFFF;
            let place = &mut world.servers[index].redis;
            match detail >> 32 {
                0 => {
                    for database in &mut place.databases {
                        database.clear();
                    }
                    place.shadow.clear();
                    place.log.clear();
                    world.cover("a server restarts empty");
                }
                1 => {
                    place.catch_up(now.saturating_sub(lag));
                    place.databases[0] = place.shadow.clone();
                    place.log.clear();
                    let concerned: Vec<bool> = (0..world.keys.len()).map(|key| world.authority(key) == index).collect();
                    world
                        .oracle
                        .forget(now.saturating_sub(lag), false, |key| concerned[key]);
                    world.cover("a server restarts from an older snapshot");
                }
                _ => world.cover("a server restarts with its data"),
            }
            up(world, index);
            world.trace(|_| format!("server {index} is up again ({detail:x})"));
        }
        Fault::Memory => world.servers[index].redis.refuses.memory = false,
        Fault::Replicas => world.servers[index].redis.refuses.replicas = false,
        Fault::Loading => world.servers[index].redis.refuses.loading = false,
        Fault::Permissions => world.servers[index].redis.refuses.denied.clear(),
        Fault::Failover => {
            // The old primary learns that it is none any more.
            if world.authority_of_any(index) {
                return;
            }
            let was_deposed = world.servers[index].is_deposed;
            world.servers[index].is_deposed = false;
            world.servers[index].redis.is_replica = true;
            if world.servers[index].is_up && was_deposed {
                world.servers[index]
                    .redis
                    .replace_data(std::collections::BTreeMap::new());
                learn(world, index);
                world.flush_server(index);
                if world.topology == Topology::Sentinels && detail == 0 {
                    // Sentinels end the connections of a primary that they make a replica.
                    for connection in 0..world.connections.len() {
                        let place = &world.connections[connection];
                        if place.server == index
                            && place.run == world.servers[index].redis.run
                            && let Some(client) = place.client
                        {
                            world.servers[index].redis.disconnect(client);
                            world.close_from_server(connection);
                        }
                    }
                }
            } else if !world.servers[index].is_up {
                world.servers[index]
                    .redis
                    .replace_data(std::collections::BTreeMap::new());
                up(world, index);
                learn(world, index);
            }
        }
        Fault::Migrate => go_on_migrating(world, index, detail),
        Fault::Suspend => {
            world.processes[index].clock.go_on(now);
            for other in 0..world.threads.len() {
                if world.threads[other].process == index {
                    world.set_alarm(other);
                }
            }
        }
        Fault::StaleSentinel => {
            let primary = world.primary;
            if let Some(sentinel) = &mut world.servers[index].redis.sentinel {
                sentinel.primary = Some(primary);
            }
        }
        _ => {}
    }
}

/// All faults end.
pub fn heal(world: &mut World) {
    let now = world.now;
    world.trace(|_| "all faults end".to_owned());
    world.slow_until = 0;
    world.partitions.clear();
    for index in 0..world.servers.len() {
        let place = &mut world.servers[index];
        place.stopped_until = place.stopped_until.min(now);
        place.refuses_until = 0;
        place.redis.refuses = crate::server::Refusals::default();
        if !place.is_up || place.is_deposed {
            let fault = if world.authority_of_any(index) {
                Fault::Restart
            } else {
                Fault::Failover
            };
            end(world, fault, index, 2 << 32);
        }
        if world.servers[index].redis.sentinel.is_some() {
            end(world, Fault::StaleSentinel, index, 0);
        }
        learn(world, index);
    }
    for index in 0..world.connections.len() {
        let connection = &mut world.connections[index];
        connection.to_server.frozen_until = 0;
        connection.to_client.frozen_until = 0;
        world.at(now, Event::ToServer(index));
        world.at(now, Event::ToClient(index));
    }
    for process in 0..world.processes.len() {
        end(world, Fault::Suspend, process, 0);
    }
    for thread in 0..world.threads.len() {
        if world.is_blocked(thread) {
            world.threads[thread].blocked_until = now;
            world.at(now, Event::Unblock(thread));
        }
    }
}

/// How long a fault may keep a process from its servers.
pub const LONGEST: Duration = Duration::from_secs(10);
