//! What may go wrong with connections and servers.

use std::time::Duration;

use bytes::Bytes;
use mizan_cache_core::{
    canonical::Canonical,
    config::{BackendConfig, Config, Topology},
    events::{ConnectionEvent, Event, Operation, Reason},
    shared_cache::{PutOptions, Request, SharedCache},
    stats::Circuit,
};
use redis::Value;
use std::sync::Arc;

use crate::{
    host::{Host, Owned},
    server::{Server, call, config, until},
};

fn put<'a>(call: &'a Canonical, value: &[u8]) -> Request<'a> {
    Request::Put(call, Bytes::copy_from_slice(value), PutOptions::default())
}

fn with_copies(server: &Server) -> Config {
    let mut config = config(&server.url());
    if let BackendConfig::Redis(redis) = &mut config.backend {
        redis.local_max_bytes = Some(1 << 20);
    }
    config
}

fn text(value: Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).expect("text"),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text,
        other => panic!("{other:?}"),
    }
}

/// How often a command was executed.
fn executed(server: &Server, command: &str) -> u64 {
    let stats = text(server.ask(&["INFO", "commandstats"]));
    let line = stats
        .lines()
        .find(|line| line.starts_with(&format!("cmdstat_{command}:")));
    line.map_or(0, |line| {
        let count = line.split("calls=").nth(1).and_then(|rest| rest.split(',').next());
        count.and_then(|count| count.parse().ok()).expect("a count")
    })
}

#[test]
fn a_put_that_was_given_up_is_not_executed_after_a_purge_that_came_later() {
    let server = Server::start(&[]);
    let mut host = Host::new(&config(&server.url()));
    let one = call("user", 1);
    assert_eq!(host.get(&one), None);
    server.pause();
    // Written to a server that stands still, and given up; the link is dropped in the end.
    assert_eq!(host.call(vec![put(&one, b"old")]), [Owned::Stored(false)]);
    host.until("the link to be dropped", |host| {
        host.engine.circuit() != Circuit::Closed
    });
    host.call(vec![Request::Purge(&one)]);
    server.resume();
    host.until("the purge to be delivered", |host| {
        host.engine.circuit() == Circuit::Closed && host.shared.stats(None).pending_purges == 0
    });
    assert!(executed(&server, "client|kill") >= 1, "the old connection is ended");
    let key = host.shared.key(&one);
    assert_eq!(server.ask(&["EXISTS", key.as_str()]), Value::Int(0));
    assert_eq!(host.get(&one), None);
}

#[test]
fn a_server_that_was_started_anew_is_not_asked_to_end_connections_of_its_own() {
    let mut server = Server::start(&[]);
    let mut host = Host::new(&config(&server.url()));
    let one = call("user", 1);
    assert_eq!(host.get(&one), None);
    server.pause();
    host.submit(vec![put(&one, b"old")]);
    server.restart();
    host.until("a new connection", |host| {
        host.call(vec![put(&one, b"new")]) == [Owned::Stored(true)]
    });
    assert_eq!(executed(&server, "client|kill"), 0);
}

#[test]
fn where_redis_refuses_writes_lookups_find_what_is_there() {
    let server = Server::start(&[]);
    let mut host = Host::new(&config(&server.url()));
    let calls: Vec<Canonical> = (0..40).map(|id| call("user", id)).collect();
    host.call(calls[..20].iter().map(|call| put(call, b"{}")).collect());
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    for _ in 0..3 {
        let found = host.call(calls.iter().map(Request::Lookup).collect());
        assert!(
            found[..20].iter().all(|answer| *answer == Owned::Hit(b"{}".to_vec())),
            "{found:?}"
        );
        assert!(found[20..].iter().all(|answer| *answer == Owned::Miss));
    }
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let found = host.call(calls.iter().map(Request::Lookup).collect());
    assert!(found[..20].iter().all(|answer| *answer == Owned::Hit(b"{}".to_vec())));
    assert!(found[20..].iter().all(|answer| *answer == Owned::Miss));
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    assert!(matches!(
        host.call(vec![Request::Lookup(&calls[30])])[0],
        Owned::Leased(_)
    ));
}

#[test]
fn a_broad_purge_that_may_not_scan_holds_up_nothing() {
    let server = Server::start(&[]);
    server.ask(&["ACL", "SETUSER", "default", "-scan"]);
    let mut host = Host::new(&config(&server.url()));
    let (one, two) = (call("user", 1), call("order", 1));
    host.call(vec![put(&one, b"{}"), put(&two, b"{}")]);
    assert_eq!(host.call(vec![Request::PurgeContext("user")]), [Owned::Purged(0)]);
    assert_eq!(host.get(&one), None, "what it covers is treated as missing");
    assert_eq!(host.get(&two).as_deref(), Some(&b"{}"[..]));
    assert_eq!(host.call(vec![Request::Purge(&two)]), [Owned::Purged(1)]);
    server.ask(&["ACL", "SETUSER", "default", "+scan"]);
    host.until("the purge to be delivered", |host| {
        host.shared.stats(None).pending_purges == 0
    });
    assert_eq!(server.ask(&["DBSIZE"]), Value::Int(0));
}

#[test]
fn a_value_that_cuts_its_connection_is_refused_and_cuts_nobody_elses() {
    let server = Server::start(&["--proto-max-bulk-len", "1mb"]);
    let mut host = Host::new(&config(&server.url()));
    let (one, two) = (call("user", 1), call("user", 2));
    assert_eq!(host.call(vec![put(&two, b"{}")]), [Owned::Stored(true)]);
    let large = vec![b'x'; 2 << 20];
    let refused = Event::CallRefused(Operation::Write);
    host.until("the call to be refused", |host| {
        assert_eq!(host.call(vec![put(&one, &large)]), [Owned::Stored(false)]);
        assert_eq!(host.get(&two).as_deref(), Some(&b"{}"[..]));
        host.events.contains(&refused)
    });
    let opened = host.opened;
    assert_eq!(host.call(vec![put(&one, &large)]), [Owned::Stored(false)]);
    assert!(host.opened <= opened + 1, "it is not sent any more");
    assert_eq!(host.shared.stats(None).reconnects, 0, "the main link stands");
}

#[test]
fn copies_are_dropped_by_the_servers_word_and_by_own_purges() {
    let server = Server::start(&[]);
    let mut host = Host::new(&with_copies(&server));
    let one = call("user", 1);
    host.call(vec![put(&one, b"a")]);
    assert_eq!(host.get(&one).as_deref(), Some(&b"a"[..]));
    assert_eq!(host.peek(&one).as_deref(), Some(&b"a"[..]));
    let key = host.shared.key(&one);
    server.ask(&["SET", key.as_str(), "b", "PX", "60000"]);
    host.until("the copy to go", |host| host.peek(&one).is_none());
    assert_eq!(host.get(&one).as_deref(), Some(&b"b"[..]));
    assert_eq!(host.peek(&one).as_deref(), Some(&b"b"[..]));
    // Another thread's purge drops it before it resolves.
    let mut other = Host::of(Arc::clone(&host.shared));
    assert_eq!(other.call(vec![Request::Purge(&one)]), [Owned::Purged(1)]);
    assert_eq!(host.peek(&one), None);
    host.call(vec![put(&one, b"c")]);
    host.get(&one);
    assert!(host.peek(&one).is_some());
    // A server that stands still is trusted no longer than two seconds.
    server.pause();
    host.until("trust to end", |host| host.peek(&one).is_none());
    server.resume();
}

#[test]
fn what_another_cache_still_owes_is_inherited() {
    let mut server = Server::start(&[]);
    let mut host = Host::new(&config(&server.url()));
    let one = call("user", 1);
    host.call(vec![put(&one, b"a")]);
    server.pause();
    assert_eq!(host.call(vec![Request::Purge(&one)]), [Owned::Purged(0)]);
    let next = Arc::new(SharedCache::new(&config(&server.url()), Some(&host.shared)).expect("a legal configuration"));
    drop(host);
    server.resume();
    let mut host = Host::of(next);
    assert_eq!(host.get(&one), None);
    host.until("the inherited purge to be delivered", |host| {
        host.shared.stats(None).pending_purges == 0
    });
    assert_eq!(server.ask(&["DBSIZE"]), Value::Int(0));
    server.kill();
}

#[test]
fn reads_and_close_in_one_turn_are_answered() {
    let server = Server::start(&[]);
    let mut host = Host::new(&config(&server.url()));
    let one = call("user", 1);
    host.call(vec![put(&one, b"a")]);
    let tickets = host.submit(vec![Request::Get(&one)]);
    host.close();
    assert_eq!(host.wait_for(tickets[0]), Owned::Value(Some(b"a".to_vec())));
}

#[test]
fn a_connection_that_cannot_be_made_says_why_and_is_not_tried_without_a_pause() {
    let server = Server::start(&["--requirepass", "secret"]);
    let mut host = Host::new(&config(&server.url()));
    assert_eq!(host.get(&call("user", 1)), None);
    let failed = Event::Connection(ConnectionEvent::Failed(Reason::Credentials));
    host.until("the reason", |host| host.events.contains(&failed));
    let began = std::time::Instant::now();
    host.until("some time to pass", |_| began.elapsed() > Duration::from_millis(800));
    assert!(host.opened < 10, "{} attempts", host.opened);
    assert_eq!(host.events.iter().filter(|event| **event == failed).count(), 1);

    let mut config = config(&server.url());
    if let BackendConfig::Redis(redis) = &mut config.backend {
        redis.topology = Topology::Standalone {
            url: format!("{}?pass=secret", server.url()),
        };
    }
    let mut host = Host::new(&config);
    assert_eq!(host.call(vec![put(&call("user", 1), b"a")]), [Owned::Stored(true)]);
}

#[test]
fn a_user_with_just_the_documented_rights_can_do_everything() {
    let server = Server::start(&[]);
    server.ask(&[
        "ACL",
        "SETUSER",
        "mizan",
        "on",
        ">secret",
        "~ctx:*",
        "resetchannels",
        "-@all",
    ]);
    let rights = "+mget +get +set +unlink +scan +evalsha +eval +hget +hsetnx +pexpire +pttl +ping +info +select \
                  +client|tracking +client|kill";
    for right in rights.split_whitespace() {
        server.ask(&["ACL", "SETUSER", "mizan", right]);
    }
    let mut config = with_copies(&server);
    if let BackendConfig::Redis(redis) = &mut config.backend {
        redis.topology = Topology::Standalone {
            url: format!("{}?user=mizan&pass=secret&db=3", server.url()),
        };
    }
    let mut host = Host::new(&config);
    let (one, two) = (call("user", 1), call("user", 2));
    host.call(vec![put(&one, b"a")]);
    assert_eq!(host.get(&one).as_deref(), Some(&b"a"[..]));
    assert!(host.peek(&one).is_some(), "copies");
    let Owned::Leased(lease) = host.call(vec![Request::Lookup(&two)]).remove(0) else {
        panic!("a lease")
    };
    let options = PutOptions {
        ttl: None,
        lease: Some(lease),
    };
    assert_eq!(
        host.call(vec![Request::Put(&two, Bytes::from_static(b"b"), options)]),
        [Owned::Stored(true)]
    );
    assert_eq!(host.call(vec![Request::Purge(&two)]), [Owned::Purged(1)]);
    assert_eq!(host.call(vec![Request::PurgeContext("user")]), [Owned::Purged(1)]);
    let log = text_of_log(&server);
    assert!(log.is_empty(), "refused: {log}");
    server.pause();
    host.call(vec![put(&one, b"old")]);
    host.until("the link to be dropped", |host| {
        host.engine.circuit() != Circuit::Closed
    });
    server.resume();
    host.until("another", |host| host.engine.circuit() == Circuit::Closed);
    assert!(!host.events.contains(&Event::FenceRefused));
    let mut told = String::new();
    until("the log to be read", || {
        told = text_of_log(&server);
        true
    });
    assert!(told.is_empty(), "refused: {told}");
}

/// What Redis refused to anybody.
fn text_of_log(server: &Server) -> String {
    match server.ask(&["ACL", "LOG"]) {
        Value::Array(entries) if entries.is_empty() => String::new(),
        other => format!("{other:?}"),
    }
}

#[test]
fn an_engine_that_has_ended_opens_no_connection() {
    let mut server = Server::start(&[]);
    let mut host = Host::new(&config(&server.url()));
    host.call(vec![put(&call("user", 1), b"a")]);
    server.kill();
    host.until("the link to be lost", |host| host.engine.circuit() != Circuit::Closed);
    host.close();
    let opened = host.opened;
    let began = std::time::Instant::now();
    host.until("some turns", |host| {
        host.tick();
        began.elapsed() > Duration::from_millis(600)
    });
    assert_eq!(host.opened, opened);
}
