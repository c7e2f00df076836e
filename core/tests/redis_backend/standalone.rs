//! The Redis backend on real servers.

use std::time::{Duration, Instant};

use crate::support::{COMMAND_TIMEOUT, Events, Server, all, cache, call, config, redis_config, until};
use bytes::Bytes;
use mizan_cache_core::{
    cache::{Cache, Purge, PutOptions},
    canonical::Canonical,
    config::BackendConfig,
    events::{ConnectionEvent, Event, Operation, Reason},
    lease::{LeaseToken, Lookup},
    stats::{Circuit, Latency},
};
use redis::AsyncCommands;

const VALUE: Bytes = Bytes::from_static(br#"{"name":"Ada"}"#);

async fn put(cache: &Cache, call: &Canonical) -> bool {
    cache
        .put(call, VALUE, PutOptions::default())
        .await
        .expect("an open cache")
}

async fn get(cache: &Cache, call: &Canonical) -> Option<Bytes> {
    cache.get(call).await.expect("an open cache")
}

async fn fill(cache: &Cache, call: &Canonical, lease: LeaseToken) -> bool {
    let options = PutOptions {
        lease: Some(lease),
        ..PutOptions::default()
    };
    cache.put(call, VALUE, options).await.expect("an open cache")
}

async fn take_lease(cache: &Cache, call: &Canonical) -> LeaseToken {
    match cache.lookup(call).await.expect("an open cache") {
        Lookup::Leased(lease) => lease,
        other => panic!("expected a lease, got {other:?}"),
    }
}

#[tokio::test]
async fn stores_reads_and_purges() {
    let server = Server::start().await;
    let cache = cache(&server);
    assert_eq!(get(&cache, &call("user", 1)).await, None);
    assert!(put(&cache, &call("user", 1)).await);
    assert_eq!(get(&cache, &call("user", 1)).await, Some(VALUE));
    assert_eq!(cache.purge(Purge::Entry(&call("user", 1))).await, Ok(1));
    assert_eq!(cache.purge(Purge::Entry(&call("user", 1))).await, Ok(0));
    assert_eq!(get(&cache, &call("user", 1)).await, None);
}

#[tokio::test]
async fn every_entry_has_a_time_to_live() {
    let server = Server::start().await;
    let cache = cache(&server);
    let mut client = server.client().await;
    put(&cache, &call("user", 1)).await;
    let day = 86_400_000;
    let ttl: i64 = client
        .pttl(cache.key(&call("user", 1)).as_str())
        .await
        .expect("a time to live");
    assert!((day * 9 / 10 - 1_000..=day * 11 / 10).contains(&ttl), "{ttl}");
    let options = PutOptions {
        ttl: Some(Duration::from_secs(60)),
        lease: None,
    };
    cache
        .put(&call("user", 2), VALUE, options)
        .await
        .expect("an open cache");
    let ttl: i64 = client
        .pttl(cache.key(&call("user", 2)).as_str())
        .await
        .expect("a time to live");
    assert!((1..=60_000).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn a_broad_purge_takes_one_context_and_nothing_else() {
    let server = Server::start().await;
    let cache = cache(&server);
    let mut client = server.client().await;
    let hex = "a".repeat(64);
    let foreign = [
        "ctx:user:meta".to_owned(),
        format!("ctx:user:{hex}:{hex}"),
        format!("ctx:user:{}", "A".repeat(64)),
        format!("ctx:user:{}", "g".repeat(64)),
        format!("ctx:user:{}", "a".repeat(63)),
        format!("ctx:user:{}", "a".repeat(65)),
        format!("ctx:users:{hex}"),
        format!("ctx:user.x:{hex}"),
        format!("ctx:user*:{hex}"),
        format!("user:{hex}"),
    ];
    for key in &foreign {
        let _: () = client.set(key, "foreign").await.expect("a stored key");
    }
    for id in 0..2_500 {
        assert!(put(&cache, &call("user", id)).await);
    }
    put(&cache, &call("user_profile", 1)).await;
    assert_eq!(cache.purge(Purge::Context("user")).await, Ok(2_500));
    let left: usize = redis::cmd("DBSIZE").query_async(&mut client).await.expect("a size");
    assert_eq!(left, foreign.len() + 1);
    assert_eq!(
        cache.clear().await,
        Ok(3),
        "the two well-formed neighbours and the other context"
    );
    let left: usize = redis::cmd("DBSIZE").query_async(&mut client).await.expect("a size");
    assert_eq!(left, foreign.len() - 2);
}

#[tokio::test]
async fn a_fill_needs_its_own_standing_lease() {
    let server = Server::start().await;
    let (one, other) = (cache(&server), cache(&server));
    let user = call("user", 1);
    let lease = take_lease(&one, &user).await;
    match other.lookup(&user).await.expect("an open cache") {
        Lookup::Held(held) => assert_eq!(held.as_str(), lease.as_str()),
        it => panic!("expected the standing lease, got {it:?}"),
    }
    assert_eq!(get(&other, &user).await, None, "a lease is not a value");
    assert!(
        !fill(&other, &user, LeaseToken::new().expect("randomness")).await,
        "another token"
    );
    assert!(fill(&one, &user, lease.clone()).await);
    assert_eq!(get(&other, &user).await, Some(VALUE));
    assert!(!fill(&one, &user, lease).await, "a lease fills once");
}

#[tokio::test]
async fn whatever_deletes_the_key_revokes_the_lease() {
    let server = Server::start().await;
    let (one, other) = (cache(&server), cache(&server));
    let mut client = server.client().await;
    let user = call("user", 1);

    let lease = take_lease(&one, &user).await;
    assert_eq!(other.purge(Purge::Entry(&user)).await, Ok(1), "the lease counts");
    assert!(!fill(&one, &user, lease.clone()).await);

    let newer = take_lease(&one, &user).await;
    assert_ne!(newer.as_str(), lease.as_str(), "every fill has its own token");
    assert!(!fill(&one, &user, lease).await, "an old token is not the new one");
    assert_eq!(other.purge(Purge::Context("user")).await, Ok(1));
    assert!(!fill(&one, &user, newer).await);

    let lease = take_lease(&one, &user).await;
    let _: () = client.del(one.key(&user).as_str()).await.expect("a deletion");
    assert!(!fill(&one, &user, lease).await);

    let lease = take_lease(&one, &user).await;
    let _: () = client.set(one.key(&user).as_str(), "theirs").await.expect("a store");
    assert!(!fill(&one, &user, lease).await);
    assert_eq!(get(&one, &user).await, Some(Bytes::from_static(b"theirs")));
    assert_eq!(get(&one, &call("user", 2)).await, None);
}

#[tokio::test]
async fn a_lease_expires() {
    let server = Server::start().await;
    let mut config = config(BackendConfig::Redis(redis_config(&server.url())));
    config.lease_time = Duration::from_millis(30);
    let cache = Cache::new(&config).expect("a legal configuration");
    let user = call("user", 1);
    let lease = take_lease(&cache, &user).await;
    let mut newer = None;
    until("the lease to expire", async || {
        newer = Some(cache.lookup(&user).await.expect("an open cache"));
        matches!(newer, Some(Lookup::Leased(_)))
    })
    .await;
    assert!(!fill(&cache, &user, lease).await);
}

#[tokio::test]
async fn a_scoped_purge_deletes_under_every_live_secret() {
    let server = Server::start().await;
    let old = cache(&server);
    let mut config = config(BackendConfig::Redis(redis_config(&server.url())));
    config.previous_secrets = vec![std::mem::replace(&mut config.secret, vec![9; 32])];
    let new = Cache::new(&config).expect("a legal configuration");
    put(&old, &call("user", 1)).await;
    put(&new, &call("user", 1)).await;
    assert_eq!(new.purge(Purge::Entry(&call("user", 1))).await, Ok(2));
    assert_eq!(get(&old, &call("user", 1)).await, None);
}

#[tokio::test]
async fn waiting_broad_purges_share_a_pass() {
    let server = Server::start().await;
    let mut redis = redis_config(&server.url());
    redis.command_timeout = Duration::from_secs(10);
    let cache = Cache::new(&config(BackendConfig::Redis(redis))).expect("a legal configuration");
    let mut client = server.client().await;
    let _: () = redis::cmd("DEBUG")
        .arg("POPULATE")
        .arg(50_000)
        .query_async(&mut client)
        .await
        .expect("foreign keys");
    for context in 0..20 {
        put(&cache, &call(&format!("context{context}"), 1)).await;
    }
    let purges = (0..20).map(|context| cache.purge(Purge::Context(&format!("context{context}"))));
    let counts = all(purges).await;
    assert!(counts.iter().all(|count| *count == Ok(1)), "{counts:?}");
    let statistics: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut client)
        .await
        .expect("statistics");
    let scans = statistics
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_scan:calls="))
        .expect("a SCAN");
    let scans: u32 = scans
        .split(',')
        .next()
        .and_then(|calls| calls.parse().ok())
        .expect("a number of calls");
    assert!(
        scans <= 2 * 70,
        "one pass runs and one is queued, of some 51 pages each: {scans}"
    );
}

#[tokio::test]
async fn a_frozen_redis_is_a_miss_and_storing_goes_on_when_it_answers_again() {
    let server = Server::start().await;
    let cache = cache(&server);
    let user = call("user", 1);
    assert!(put(&cache, &user).await);
    server.pause();
    for _ in 0..4 {
        assert_eq!(get(&cache, &user).await, None);
    }
    assert_eq!(cache.stats().circuit, Some(Circuit::Open));
    assert!(!put(&cache, &user).await, "dropped at once");
    server.resume();
    until("the circuit to close", async || {
        cache.stats().circuit == Some(Circuit::Closed)
    })
    .await;
    assert_eq!(get(&cache, &user).await, Some(VALUE));
}

#[tokio::test]
async fn a_purge_is_pending_until_redis_has_it() {
    let mut server = Server::start().await;
    let (one, other) = (cache(&server), cache(&server));
    for id in 0..3 {
        assert!(put(&one, &call("user", id)).await);
    }
    assert!(put(&one, &call("order", 1)).await);
    assert!(put(&one, &call("item", 1)).await);
    server.pause();
    assert_eq!(one.purge(Purge::Entry(&call("user", 1))).await, Ok(0));
    assert_eq!(one.purge(Purge::Context("order")).await, Ok(0));
    assert_eq!(one.stats().pending_purges, 2);
    server.resume();
    until("the purges to arrive", async || one.stats().pending_purges == 0).await;
    assert_eq!(get(&other, &call("user", 1)).await, None);
    assert_eq!(get(&other, &call("order", 1)).await, None);
    assert_eq!(get(&other, &call("user", 2)).await, Some(VALUE));
    assert_eq!(get(&one, &call("item", 1)).await, Some(VALUE));
    server.kill();
    assert_eq!(one.clear().await, Ok(0));
    assert_eq!(one.stats().pending_purges, 1);
    server.restart().await;
    until("the purges to arrive", async || one.stats().pending_purges == 0).await;
}

#[tokio::test]
async fn what_a_pending_purge_covers_is_missing_here() {
    let server = Server::start().await;
    let cache = cache(&server);
    let user = call("user", 1);
    assert!(put(&cache, &user).await);
    // An ACL that refuses only UNLINK: Redis answers, the purge cannot be done.
    let mut client = server.client().await;
    let acl = |rule: &'static str| {
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg("default").arg(rule);
        command
    };
    let _: () = acl("-unlink").query_async(&mut client).await.expect("a rule");
    assert_eq!(cache.purge(Purge::Entry(&user)).await, Ok(0));
    assert_eq!(get(&cache, &user).await, None);
    assert!(matches!(cache.lookup(&user).await, Ok(Lookup::Miss)));
    assert!(!put(&cache, &user).await);
    let _: () = acl("+unlink").query_async(&mut client).await.expect("a rule");
    until("the purge to arrive", async || cache.stats().pending_purges == 0).await;
    assert!(matches!(cache.lookup(&user).await, Ok(Lookup::Leased(_))));
}

#[tokio::test]
async fn beyond_the_calls_allowed_at_once_reads_miss_and_purges_are_pending() {
    let server = Server::start().await;
    let mut redis = redis_config(&server.url());
    redis.max_in_flight = 2;
    let cache = Cache::new(&config(BackendConfig::Redis(redis))).expect("a legal configuration");
    let user = call("user", 1);
    assert!(put(&cache, &user).await);
    let answers = all((0..10).map(|_| cache.get(&user))).await;
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Ok(Some(_)))).count(), 2);
    assert_eq!(cache.stats().failed_reads, 8);
    let purges = (0..10).map(|id| cache.purge(Purge::Entry(&call("user", id))));
    all(purges).await;
    assert!(cache.stats().deferred_purges > 0);
    until("the purges to arrive", async || cache.stats().pending_purges == 0).await;
    assert_eq!(get(&cache, &user).await, None);
}

#[tokio::test]
async fn nobody_listening_is_a_miss() {
    let server = Server::start().await;
    let url = server.url();
    drop(server);
    let cache = Cache::new(&config(BackendConfig::Redis(redis_config(&url)))).expect("a legal configuration");
    assert_eq!(cache.stats().circuit, Some(Circuit::Idle));
    assert_eq!(get(&cache, &call("user", 1)).await, None);
    assert!(!put(&cache, &call("user", 1)).await);
    assert_eq!(cache.stats().circuit, Some(Circuit::Open));
}

#[tokio::test]
async fn a_lost_connection_is_replaced_by_itself() {
    let mut server = Server::start().await;
    let cache = cache(&server);
    assert!(put(&cache, &call("user", 1)).await);
    server.restart().await;
    until("a new connection", async || cache.stats().reconnects > 0).await;
    until("storing again", async || put(&cache, &call("user", 1)).await).await;
}

#[tokio::test]
async fn nothing_is_left_connected_after_close_or_drop() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let mut connections = async || {
        let list: String = redis::cmd("CLIENT")
            .arg("LIST")
            .query_async(&mut client)
            .await
            .expect("the clients");
        list.lines().count()
    };
    let (closed, dropped) = (cache(&server), cache(&server));
    put(&closed, &call("user", 1)).await;
    put(&dropped, &call("user", 1)).await;
    assert_eq!(connections().await, 3);
    closed.close().await;
    drop(dropped);
    until("the connections to go", async || connections().await == 1).await;
    assert_eq!(
        closed
            .get(&call("user", 1))
            .await
            .map_err(|error| error.code().as_str()),
        Err("ERR_MIZAN_CLOSED")
    );
}

#[tokio::test]
async fn closing_waits_for_purges_that_are_in_flight() {
    let server = Server::start().await;
    let (closing, other) = (cache(&server), cache(&server));
    for id in 0..1_000 {
        assert!(put(&closing, &call("user", id)).await);
    }
    server.pause();
    let purge = tokio::spawn(closing.purge(Purge::Context("user")));
    until("the purge to be in flight", async || closing.stats().in_flight > 0).await;
    let close = tokio::spawn(closing.close());
    server.resume();
    close.await.expect("no panic");
    assert_eq!(closing.stats().in_flight, 0);
    assert_eq!(purge.await.expect("no panic"), Ok(1_000));
    assert_eq!(other.clear().await, Ok(0));
}

#[tokio::test]
async fn closing_delivers_pending_purges_first() {
    let server = Server::start().await;
    let (closing, other) = (cache(&server), cache(&server));
    let user = call("user", 1);
    assert!(put(&closing, &user).await);
    server.pause();
    assert_eq!(closing.purge(Purge::Entry(&user)).await, Ok(0));
    let close = tokio::spawn(closing.close());
    server.resume();
    close.await.expect("no panic");
    assert_eq!(closing.stats().pending_purges, 0);
    assert_eq!(get(&other, &user).await, None);
}

#[tokio::test]
async fn a_value_that_is_too_large_leaves_nothing_older_in_its_place() {
    let server = Server::start().await;
    let cache = cache(&server);
    let user = call("user", 1);
    assert!(put(&cache, &user).await);
    let large = Bytes::from(vec![b' '; 9 * 1024 * 1024]);
    assert_eq!(cache.put(&user, large, PutOptions::default()).await, Ok(false));
    assert_eq!(get(&cache, &user).await, None);
}

#[tokio::test]
async fn a_recent_purge_is_owed_again_to_a_server_that_may_not_have_it() {
    let mut server = Server::start().await;
    let (purging, other) = (cache(&server), cache(&server));
    let user = call("user", 1);
    assert!(put(&purging, &user).await);
    let mut client = server.client().await;
    let _: () = redis::cmd("SAVE").query_async(&mut client).await.expect("a snapshot");
    assert_eq!(purging.purge(Purge::Entry(&user)).await, Ok(1));
    // The snapshot is older than the purge.
    server.restart().await;
    until("the purge to arrive again", async || {
        purging.stats().reconnects > 0 && purging.stats().pending_purges == 0
    })
    .await;
    until("the other to be connected", async || {
        put(&other, &call("user", 2)).await
    })
    .await;
    assert_eq!(get(&other, &user).await, None);
}

#[tokio::test]
async fn broad_purges_that_wait_for_a_pass_that_fails_wait_no_longer() {
    let server = Server::start().await;
    let cache = cache(&server);
    assert!(put(&cache, &call("user", 1)).await);
    server.pause();
    let began = Instant::now();
    let first = cache.purge(Purge::Context("a"));
    until("the pass to be sent", async || cache.stats().in_flight > 0).await;
    let waiting = ["b", "c"].map(|context| cache.purge(Purge::Context(context)));
    assert_eq!(first.await, Ok(0));
    assert_eq!(all(waiting).await, [Ok(0), Ok(0)]);
    let took = began.elapsed();
    assert!(took < 2 * COMMAND_TIMEOUT, "one deadline, not two: {took:?}");
    assert_eq!(cache.stats().pending_purges, 3);
}

#[tokio::test]
async fn observers_are_told_what_happens_to_the_connection_and_to_purges() {
    let mut server = Server::start().await;
    let cache = cache(&server);
    let events = Events::of(&cache);
    assert!(put(&cache, &call("user", 1)).await);
    assert_eq!(
        events.all(),
        [
            Event::Circuit(Circuit::Connecting),
            Event::Connection(ConnectionEvent::Made),
            Event::Circuit(Circuit::Closed),
        ]
    );
    server.kill();
    until("the loss to be told", async || {
        events.has(&Event::Circuit(Circuit::Open))
    })
    .await;
    assert!(events.has(&Event::Connection(ConnectionEvent::Lost)));
    assert_eq!(cache.purge(Purge::Context("user")).await, Ok(0));
    assert!(events.has(&Event::PurgesPending(1)));
    until("an attempt to fail", async || {
        events.has(&Event::Connection(ConnectionEvent::Failed(Reason::Refused)))
    })
    .await;
    server.restart().await;
    until("the delivery to be told", async || {
        events.has(&Event::PurgesDelivered(1))
    })
    .await;
    cache.close().await;
    assert!(events.has(&Event::Connection(ConnectionEvent::Closed)));
}

#[tokio::test]
async fn what_redis_does_not_answer_is_told_and_part_of_the_latency() {
    let server = Server::start().await;
    let cache = cache(&server);
    put(&cache, &call("user", 1)).await;
    let events = Events::of(&cache);
    server.pause();
    let calls: Vec<_> = (0..5).map(|id| call("user", id)).collect();
    assert_eq!(cache.get_many(&calls).await, Ok(vec![None; 5]));
    server.resume();
    let failed = Event::Failed {
        operation: Operation::Read,
        reason: Reason::Timeout,
        calls: 5,
    };
    assert!(events.has(&failed));
    let Latency { read, write, purge } = cache.stats().latency;
    assert_eq!((read.count, write.count, purge.count), (5, 1, 0));
    // Each of them waited for its whole deadline.
    assert!(read.sum >= 5 * COMMAND_TIMEOUT, "{read:?}");
}
