//! A cluster of three primaries.

use bytes::Bytes;
use mizan_cache_core::{
    canonical::Canonical,
    config::{BackendConfig, Config, Topology},
    events::Event,
    shared_cache::{PutOptions, Request},
};
use redis::Value;

use crate::{
    host::{Host, Owned},
    server::{Server, call, config, until},
};

const VALUE: &[u8] = br#"{"name":"Ada"}"#;

struct Cluster {
    servers: Vec<Server>,
    ports: Vec<String>,
}

impl Cluster {
    fn start() -> Self {
        let ports: Vec<String> = (0..3).map(|_| free_port().to_string()).collect();
        let servers: Vec<Server> = ports
            .iter()
            .map(|port| {
                Server::start(&[
                    "--port",
                    port,
                    "--bind",
                    "127.0.0.1",
                    "--cluster-enabled",
                    "yes",
                    "--cluster-node-timeout",
                    "1000",
                    "--cluster-require-full-coverage",
                    "no",
                ])
            })
            .collect();
        for (index, server) in servers.iter().enumerate() {
            let (first, last) = (index * 5_462, (index * 5_462 + 5_461).min(16_383));
            server.ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
            server.ask(&["CLUSTER", "MEET", "127.0.0.1", &ports[0]]);
        }
        let cluster = Self { servers, ports };
        for server in &cluster.servers {
            until("the cluster to be complete", || {
                let info = text(server.ask(&["CLUSTER", "INFO"]));
                info.contains("cluster_state:ok") && info.contains("cluster_slots_assigned:16384")
            });
        }
        cluster
    }

    fn urls(&self) -> Vec<String> {
        self.ports
            .iter()
            .map(|port| format!("redis://127.0.0.1:{port}"))
            .collect()
    }

    fn config(&self) -> Config {
        let mut config = config("");
        if let BackendConfig::Redis(redis) = &mut config.backend {
            redis.topology = Topology::Cluster { urls: self.urls() };
        }
        config
    }

    fn sizes(&self) -> Vec<i64> {
        let size = |server: &Server| match server.ask(&["DBSIZE"]) {
            Value::Int(size) => size,
            other => panic!("{other:?}"),
        };
        self.servers.iter().map(size).collect()
    }
}

fn text(value: Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).expect("text"),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text,
        other => panic!("{other:?}"),
    }
}

/// A port that nobody listens at now, below the range in which the cluster's second port would be out of bounds.
fn free_port() -> u16 {
    loop {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        if port < 55_000 {
            return port;
        }
    }
}

fn put(call: &Canonical) -> Request<'_> {
    Request::Put(call, Bytes::from_static(VALUE), PutOptions::default())
}

fn fill(host: &mut Host, calls: &[Canonical]) {
    let answers = host.call(calls.iter().map(put).collect());
    assert!(
        answers.iter().all(|answer| *answer == Owned::Stored(true)),
        "{answers:?}"
    );
}

fn calls(context: &str, count: i128) -> Vec<Canonical> {
    (0..count).map(|id| call(context, id)).collect()
}

#[test]
fn calls_go_to_the_node_of_their_key_and_broad_purges_to_all() {
    let cluster = Cluster::start();
    let mut host = Host::new(&cluster.config());
    let (users, orders) = (calls("user", 600), calls("order", 60));
    fill(&mut host, &users);
    fill(&mut host, &orders);
    assert!(cluster.sizes().iter().all(|size| *size > 100), "keys are spread");
    let answers = host.call(users.iter().map(Request::Lookup).collect());
    assert!(answers.iter().all(|answer| *answer == Owned::Hit(VALUE.to_vec())));
    assert_eq!(host.call(vec![Request::PurgeContext("user")]), [Owned::Purged(600)]);
    assert_eq!(host.call(vec![Request::Clear]), [Owned::Purged(60)]);
    assert_eq!(cluster.sizes(), [0, 0, 0]);
    host.close();
}

#[test]
fn one_address_that_is_a_cluster_is_one() {
    let cluster = Cluster::start();
    let mut host = Host::new(&config(&cluster.urls()[1]));
    let users = calls("user", 100);
    // The first calls find out what they talk to.
    host.until("a call to be taken", |host| {
        host.call(vec![put(&users[0])]) == [Owned::Stored(true)]
    });
    fill(&mut host, &users);
    assert!(cluster.sizes().iter().all(|size| *size > 10), "keys are spread");
    assert_eq!(host.call(vec![Request::PurgeContext("user")]), [Owned::Purged(100)]);
}

#[test]
fn a_dead_node_fails_what_is_in_its_slots_and_nothing_else() {
    let mut cluster = Cluster::start();
    let mut host = Host::new(&cluster.config());
    let users = calls("user", 300);
    fill(&mut host, &users);
    let before = host.call(users.iter().map(Request::Purge).collect());
    assert!(before.iter().all(|answer| *answer == Owned::Purged(1)));
    fill(&mut host, &users);
    cluster.servers[2].kill();
    let is_dead = |host: &mut Host| {
        host.call(users.iter().map(Request::Get).collect())
            .contains(&Owned::Value(None))
    };
    host.until("the dead node to be noticed", is_dead);
    let found = host.call(users.iter().map(Request::Get).collect());
    let alive = found.iter().filter(|answer| **answer != Owned::Value(None)).count();
    assert!((150..290).contains(&alive), "{alive} of 300");
    // Scoped and broad purges are pending where they could not be done, and only there.
    host.call(users.iter().map(Request::Purge).collect());
    let pending = host.shared.stats(None).pending_purges;
    assert_eq!(pending, 300 - alive as u64);
    host.call(vec![Request::PurgeContext("user")]);
    let refilled = host.call(users.iter().map(put).collect());
    let stored = refilled.iter().filter(|answer| **answer == Owned::Stored(true)).count();
    assert_eq!(stored, alive, "entries on other nodes can be stored");
    let found = host.call(users.iter().map(Request::Get).collect());
    assert_eq!(
        found.iter().filter(|answer| **answer != Owned::Value(None)).count(),
        alive
    );
    cluster.servers[2].restart();
    host.until("all pending purges to be delivered", |host| {
        host.shared.stats(None).pending_purges == 0
    });
    fill(&mut host, &users);
}

#[test]
fn slots_that_move_are_followed_and_purged() {
    let cluster = Cluster::start();
    let mut host = Host::new(&cluster.config());
    let users = calls("user", 300);
    fill(&mut host, &users);
    let ids: Vec<String> = cluster
        .servers
        .iter()
        .map(|server| text(server.ask(&["CLUSTER", "MYID"])))
        .collect();
    // All slots that the first has with keys in them go to the second.
    for slot in 0..200 {
        let slot = slot.to_string();
        cluster.servers[1].ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &ids[0]]);
        cluster.servers[0].ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &ids[1]]);
        let Value::Array(keys) = cluster.servers[0].ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]) else {
            panic!("keys")
        };
        for key in keys {
            cluster.servers[0].ask(&["MIGRATE", "127.0.0.1", &cluster.ports[1], &text(key), "0", "5000"]);
        }
    }
    // While they are being moved: ASK.
    let found = host.call(users.iter().map(Request::Get).collect());
    assert!(found.iter().all(|answer| *answer == Owned::Value(Some(VALUE.to_vec()))));
    let deleted = host.call(vec![Request::PurgeContext("user")]);
    assert_eq!(deleted, [Owned::Purged(300)]);
    fill(&mut host, &users);
    for slot in 0..200 {
        for server in [1, 0, 2] {
            cluster.servers[server].ask(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &ids[1]]);
        }
    }
    // And when they have moved: MOVED. Whoever took them over may not have heard of the purge.
    host.until("what is owed to be noticed", |host| {
        host.call(users.iter().map(Request::Get).collect());
        host.events.iter().any(|event| matches!(event, Event::PurgesPending(_)))
    });
    host.until("it to be delivered", |host| host.shared.stats(None).pending_purges == 0);
    fill(&mut host, &users);
    assert_eq!(host.call(vec![Request::PurgeContext("user")]), [Owned::Purged(300)]);
}
