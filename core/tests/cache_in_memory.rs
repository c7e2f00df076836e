//! A cache in memory: what is called is done when the call returns, without any runtime.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use mizan_cache_core::{
    cache::{Cache, Purge, PutOptions},
    canonical::Canonical,
    config::{BackendConfig, Config, DEFAULT_LEASE_TIME, DEFAULT_TTL},
    error::ErrorCode,
    lease::Lookup,
};

const VALUE: Bytes = Bytes::from_static(b"{}");

/// The answer of a call, which must be there.
fn now<T>(call: impl Future<Output = T>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("a cache in memory waits for nothing"),
    }
}

fn config() -> Config {
    Config {
        secret: vec![1; 32],
        previous_secrets: vec![vec![2; 32]],
        backend: BackendConfig::Memory { max_bytes: 1 << 20 },
        ttl: DEFAULT_TTL,
        lease_time: DEFAULT_LEASE_TIME,
        max_value_bytes: 1_000,
    }
}

fn cache() -> Cache {
    Cache::new(&config()).expect("a legal configuration")
}

fn call(rev: u64) -> Canonical {
    Canonical::new("user", &[], None, rev).expect("a legal call")
}

fn put(cache: &Cache, rev: u64) -> bool {
    now(cache.put(&call(rev), VALUE, PutOptions::default())).expect("an open cache")
}

#[test]
fn stores_reads_fills_releases_and_purges() {
    let cache = cache();
    let Ok(Lookup::Leased(lease)) = now(cache.lookup(&call(1))) else {
        panic!("a lease was to be had");
    };
    assert_eq!(now(cache.lookup(&call(1))), Ok(Lookup::Held(lease.clone())));
    assert_eq!(now(cache.release(&call(1), lease.clone())), Ok(true));
    let options = PutOptions {
        lease: Some(lease),
        ..PutOptions::default()
    };
    assert_eq!(now(cache.put(&call(1), VALUE, options)), Ok(false));
    assert!(put(&cache, 1) && put(&cache, 2));
    assert_eq!(cache.peek(&call(1)), Some(VALUE));
    let values = now(cache.get_many(&[call(0), call(1), call(2)]));
    assert_eq!(values, Ok(vec![None, Some(VALUE), Some(VALUE)]));
    let found = now(cache.lookup_many(&[call(1), call(2)]));
    assert_eq!(found, Ok(vec![Lookup::Hit(VALUE), Lookup::Hit(VALUE)]));
    assert_eq!(now(cache.purge(Purge::Entry(&call(1)))), Ok(1));
    assert_eq!(now(cache.purge(Purge::Context("user"))), Ok(1));
    let refused = now(cache.purge(Purge::Context("no context"))).map_err(|error| error.code());
    assert_eq!(refused, Err(ErrorCode::Context));
    assert!(put(&cache, 1));
    assert_eq!(now(cache.clear()), Ok(1));
    let stats = cache.stats();
    assert_eq!(
        (stats.hits, stats.misses, stats.stores, stats.refused_stores),
        (5, 3, 3, 1)
    );
    assert_eq!((stats.purges, stats.purged_entries, stats.circuit), (3, 3, None));
}

#[test]
fn what_is_called_is_done_although_its_future_is_dropped() {
    let cache = cache();
    drop(cache.put(&call(1), VALUE, PutOptions::default()));
    assert_eq!(cache.peek(&call(1)), Some(VALUE));
    drop(cache.purge(Purge::Entry(&call(1))));
    assert_eq!(cache.peek(&call(1)), None);
}

#[test]
fn a_value_that_is_too_large_leaves_nothing_older_in_its_place() {
    let cache = cache();
    assert!(put(&cache, 1));
    let large = Bytes::from(vec![b' '; 1_001]);
    assert_eq!(now(cache.put(&call(1), large, PutOptions::default())), Ok(false));
    assert_eq!(now(cache.get(&call(1))), Ok(None));
}

#[test]
fn an_entry_lives_as_long_as_it_was_told_to() {
    let cache = cache();
    let options = PutOptions {
        ttl: Some(Duration::from_millis(1)),
        lease: None,
    };
    assert_eq!(now(cache.put(&call(1), VALUE, options)), Ok(true));
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(now(cache.get(&call(1))), Ok(None));
}

#[test]
fn a_closed_cache_holds_nothing_and_does_nothing() {
    let cache = cache();
    let clone = cache.clone();
    assert!(put(&cache, 1));
    drop(cache.close());
    assert_eq!(clone.peek(&call(1)), None);
    assert_eq!((clone.stats().entries, clone.stats().bytes), (0, 0));
    let refused = now(clone.get(&call(1))).map_err(|error| error.code());
    assert_eq!(refused, Err(ErrorCode::Closed));
    now(clone.close());
    assert!(!clone.is_connected());
}

#[test]
fn a_call_of_a_closed_cache_fails_in_all_its_forms() {
    let cache = cache();
    now(cache.close());
    let closed = |result: Result<(), mizan_cache_core::error::Error>| {
        assert_eq!(result.map_err(|error| error.code()), Err(ErrorCode::Closed));
    };
    closed(now(cache.get_many(&[call(1)])).map(drop));
    closed(now(cache.lookup(&call(1))).map(drop));
    closed(now(cache.lookup_many(&[call(1)])).map(drop));
    closed(now(cache.put(&call(1), VALUE, PutOptions::default())).map(drop));
    closed(now(cache.purge(Purge::Context("user"))).map(drop));
    closed(now(cache.clear()).map(drop));
}
