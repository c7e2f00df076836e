//! One server.

use bytes::Bytes;
use mizan_cache_core::{
    canonical::Canonical,
    events::{Event, PurgeScope},
    lease::LeaseToken,
    shared_cache::{PutOptions, Request},
    stats::Circuit,
};

use crate::{
    host::{Host, Owned},
    server::{Server, call, config},
};

const VALUE: &[u8] = br#"{"name":"Ada"}"#;

fn put<'a>(call: &'a Canonical, value: &'static [u8], lease: Option<LeaseToken>) -> Request<'a> {
    Request::Put(call, Bytes::from_static(value), PutOptions { ttl: None, lease })
}

fn leased(answer: Owned) -> LeaseToken {
    match answer {
        Owned::Leased(lease) => lease,
        other => panic!("expected a lease, got {other:?}"),
    }
}

#[test]
fn stores_reads_leases_and_purges() {
    let server = Server::start(&[]);
    let mut host = Host::new(&config(&server.url()));
    let (one, two) = (call("user", 1), call("user", 2));
    assert_eq!(host.get(&one), None);
    assert_eq!(host.call(vec![put(&one, VALUE, None)]), [Owned::Stored(true)]);
    assert_eq!(host.get(&one).as_deref(), Some(VALUE));
    let lease = leased(host.call(vec![Request::Lookup(&two)]).remove(0));
    assert_eq!(host.call(vec![Request::Lookup(&two)]), [Owned::Held(lease.clone())]);
    assert_eq!(
        host.call(vec![put(&two, VALUE, Some(lease.clone()))]),
        [Owned::Stored(true)]
    );
    assert_eq!(host.call(vec![put(&two, VALUE, Some(lease))]), [Owned::Stored(false)]);
    assert_eq!(
        host.call(vec![Request::Lookup(&two), Request::Lookup(&one)]),
        [Owned::Hit(VALUE.to_vec()), Owned::Hit(VALUE.to_vec())]
    );
    assert_eq!(
        host.call(vec![Request::Purge(&one), Request::Purge(&one)]),
        [Owned::Purged(1), Owned::Purged(0)]
    );
    let lease = leased(host.call(vec![Request::Lookup(&one)]).remove(0));
    assert_eq!(host.call(vec![Request::Purge(&one)]), [Owned::Purged(1)]);
    assert_eq!(
        host.call(vec![put(&one, VALUE, Some(lease.clone()))]),
        [Owned::Stored(false)]
    );
    assert_eq!(host.call(vec![Request::Release(&one, lease)]), [Owned::Released(false)]);
    let lease = leased(host.call(vec![Request::Lookup(&one)]).remove(0));
    assert_eq!(
        host.call(vec![Request::Release(&two, lease.clone())]),
        [Owned::Released(false)]
    );
    assert_eq!(host.get(&two).as_deref(), Some(VALUE), "a release touches no value");
    assert_eq!(host.call(vec![Request::Release(&one, lease)]), [Owned::Released(true)]);
    assert_eq!(host.call(vec![Request::PurgeContext("user")]), [Owned::Purged(1)]);
    host.close();
}

#[test]
fn of_one_key_the_order_of_the_calls_holds() {
    let server = Server::start(&[]);
    let mut host = Host::new(&config(&server.url()));
    let (one, two) = (call("user", 1), call("user", 2));
    let answers = host.call(vec![
        Request::Get(&one),
        put(&one, b"a", None),
        Request::Get(&one),
        put(&two, b"b", None),
        Request::Purge(&one),
        Request::Get(&one),
        put(&one, b"c", None),
        Request::PurgeContext("user"),
        Request::Get(&two),
    ]);
    assert_eq!(answers[0], Owned::Value(None));
    assert_eq!(answers[2], Owned::Value(Some(b"a".to_vec())));
    assert_eq!(answers[4], Owned::Purged(1));
    assert_eq!(answers[5], Owned::Value(None));
    assert_eq!(answers[7], Owned::Purged(2));
    host.close();
}

#[test]
fn what_one_key_is_refused_for_is_not_refused_for_others() {
    let server = Server::start(&[]);
    let mut shared = config(&server.url());
    let (allowed, forbidden) = (call("allowed", 1), call("forbidden", 1));
    server.ask(&["ACL", "SETUSER", "app", "on", ">secret", "~ctx:allowed:*", "+@all"]);
    if let mizan_cache_core::config::BackendConfig::Redis(redis) = &mut shared.backend {
        redis.topology = mizan_cache_core::config::Topology::Standalone {
            url: format!("{}?user=app&pass=secret", server.url()),
        };
    }
    let mut host = Host::new(&shared);
    assert_eq!(host.call(vec![put(&allowed, VALUE, None)]), [Owned::Stored(true)]);
    assert_eq!(
        host.call(vec![Request::Get(&forbidden), Request::Get(&allowed)]),
        [Owned::Value(None), Owned::Value(Some(VALUE.to_vec()))]
    );
    let answers = host.call(vec![Request::Lookup(&forbidden), Request::Lookup(&allowed)]);
    assert_eq!(answers, [Owned::Miss, Owned::Hit(VALUE.to_vec())]);
    // The purge that Redis goes on refusing holds up no other.
    assert_eq!(host.call(vec![Request::Purge(&forbidden)]), [Owned::Purged(0)]);
    assert_eq!(host.shared.stats(None).pending_purges, 1);
    assert!(host.events.iter().any(|event| matches!(
        event,
        Event::PurgeRefused { scope: PurgeScope::Entry, context: Some(context) } if &**context == "forbidden"
    )));
    assert_eq!(host.call(vec![Request::Purge(&allowed)]), [Owned::Purged(1)]);
    assert_eq!(host.call(vec![put(&allowed, VALUE, None)]), [Owned::Stored(true)]);
    assert_eq!(
        host.get(&allowed).as_deref(),
        Some(VALUE),
        "nothing else is treated as missing"
    );
    server.ask(&["ACL", "SETUSER", "app", "~*"]);
    host.until("the refused purge to be delivered", |host| {
        host.shared.stats(None).pending_purges == 0
    });
}

#[test]
fn a_new_connection_to_the_same_server_owes_nothing_and_one_that_started_anew_is_owed() {
    let mut server = Server::start(&[]);
    let mut host = Host::new(&config(&server.url()));
    let one = call("user", 1);
    host.call(vec![put(&one, VALUE, None)]);
    assert_eq!(host.call(vec![Request::Purge(&one)]), [Owned::Purged(1)]);
    assert_eq!(host.call(vec![put(&one, VALUE, None)]), [Owned::Stored(true)]);
    for _ in 0..3 {
        let before = host.shared.stats(None).reconnects;
        server.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        host.until("another connection", |host| host.shared.stats(None).reconnects > before);
    }
    assert_eq!(host.get(&one).as_deref(), Some(VALUE));
    assert_eq!(host.shared.stats(None).pending_purges, 0);

    server.restart();
    host.until("the connection to be lost", |host| {
        host.engine.circuit() != Circuit::Closed || host.shared.stats(None).reconnects > 3
    });
    let key = host.shared.key(&one);
    server.ask(&["SET", key.as_str(), "old"]);
    host.until("what was purged to be purged again", |_| {
        server.ask(&["EXISTS", key.as_str()]) == redis::Value::Int(0)
    });
    host.until("it to be delivered", |host| host.shared.stats(None).pending_purges == 0);
}

#[test]
fn many_purges_at_once_are_many_keys_and_never_a_context() {
    let server = Server::start(&[]);
    let mut host = Host::new(&config(&server.url()));
    let calls: Vec<Canonical> = (0..25_000).map(|id| call("user", id)).collect();
    let spared = call("user", -1);
    host.call(vec![put(&spared, VALUE, None)]);
    for some in calls.chunks(5_000) {
        assert!(
            host.call(some.iter().map(|call| put(call, VALUE, None)).collect())
                .iter()
                .all(|it| *it == Owned::Stored(true))
        );
    }
    host.call(calls.iter().map(Request::Purge).collect());
    host.until("all to be delivered", |host| {
        host.shared.stats(None).pending_purges == 0
    });
    assert_eq!(host.get(&spared).as_deref(), Some(VALUE));
    assert_eq!(server.ask(&["DBSIZE"]), redis::Value::Int(1));
}

#[test]
fn calls_on_a_server_that_stands_still_end_by_their_deadline_and_a_late_lease_is_given_out() {
    let server = Server::start(&[]);
    let mut host = Host::new(&config(&server.url()));
    let one = call("user", 1);
    assert_eq!(host.get(&one), None);
    server.pause();
    assert_eq!(host.call(vec![Request::Lookup(&one)]), [Owned::Miss]);
    server.resume();
    leased(host.call(vec![Request::Lookup(&one)]).remove(0));
    assert_eq!(host.shared.stats(None).timeouts, 1);
}
