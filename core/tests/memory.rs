//! The memory backend through its public methods, also from many threads.

use bytes::Bytes;
use mizan_cache_core::{
    canonical::Canonical,
    key::{Key, Signer},
    lease::{LeaseToken, Lookup},
    memory::Memory,
};
use std::{thread, time::Duration};

const LONG: Duration = Duration::from_secs(3_600);

/// The key of a context's call with this rev.
fn key(context: &str, rev: u64) -> Key {
    let canonical = Canonical::new(context, &[], None, rev).unwrap();
    Signer::new(b"secret").unwrap().key(&canonical)
}

fn take_lease(memory: &Memory, key: &Key) -> LeaseToken {
    match memory.lookup(key, LONG) {
        Lookup::Leased(token) => token,
        other => panic!("a lease was to be had, not {other:?}"),
    }
}

#[test]
fn a_value_is_returned_until_it_is_deleted() {
    let memory = Memory::new(1 << 20);
    let key = key("user", 0);
    assert_eq!(memory.get(&key), None);
    assert!(memory.set(&key, b"one", LONG, None));
    assert!(memory.set(&key, b"two", LONG, None));
    assert_eq!(memory.get(&key), Some(Bytes::from_static(b"two")));
    assert_eq!(memory.lookup(&key, LONG), Lookup::Hit(Bytes::from_static(b"two")));
    assert_eq!(memory.entries(), 1);
    assert_eq!(memory.delete(std::slice::from_ref(&key)), 1);
    assert_eq!(memory.delete(std::slice::from_ref(&key)), 0);
    assert_eq!(memory.get(&key), None);
    assert_eq!((memory.entries(), memory.bytes()), (0, 0));
}

#[test]
fn what_lives_for_no_time_is_not_there() {
    let memory = Memory::new(1 << 20);
    let key = key("user", 0);
    assert!(memory.set(&key, b"value", Duration::ZERO, None));
    assert_eq!(memory.get(&key), None);
    let Lookup::Leased(expired) = memory.lookup(&key, Duration::ZERO) else {
        panic!("nothing stands there")
    };
    assert!(!memory.set(&key, b"value", LONG, Some(&expired)));
    let Lookup::Leased(standing) = memory.lookup(&key, Duration::MAX) else {
        panic!("the first lease has expired")
    };
    assert_ne!(standing, expired);
    assert!(memory.set(&key, b"value", Duration::MAX, Some(&standing)));
    assert!(memory.get(&key).is_some());
}

#[test]
fn a_fill_is_stored_only_while_its_own_lease_stands() {
    let memory = Memory::new(1 << 20);
    let key = key("user", 0);
    let first = take_lease(&memory, &key);
    assert_eq!(memory.lookup(&key, LONG), Lookup::Held(first.clone()));
    assert_eq!(memory.get(&key), None);

    // A purge while the first reader still loads, and a second reader after it.
    assert_eq!(memory.delete(std::slice::from_ref(&key)), 1);
    assert!(!memory.set(&key, b"stale", LONG, Some(&first)));
    let second = take_lease(&memory, &key);
    assert_ne!(first, second);
    assert!(!memory.set(&key, b"stale", LONG, Some(&first)));
    assert_eq!(memory.lookup(&key, LONG), Lookup::Held(second.clone()));
    assert!(memory.set(&key, b"fresh", LONG, Some(&second)));
    assert!(!memory.set(&key, b"again", LONG, Some(&second)));
    assert_eq!(memory.get(&key), Some(Bytes::from_static(b"fresh")));
}

#[test]
fn a_write_without_a_lease_revokes_the_lease_that_stands() {
    let memory = Memory::new(1 << 20);
    let key = key("user", 0);
    let lease = take_lease(&memory, &key);
    assert!(memory.set(&key, b"written", LONG, None));
    assert!(!memory.set(&key, b"loaded", LONG, Some(&lease)));
    assert_eq!(memory.get(&key), Some(Bytes::from_static(b"written")));
}

#[test]
fn a_context_is_deleted_with_its_leases_and_without_its_neighbours() {
    let memory = Memory::new(1 << 20);
    for context in ["user", "users", "user.x", "user_profile"] {
        assert!((0..10).all(|rev| memory.set(&key(context, rev), b"value", LONG, None)));
    }
    let lease = take_lease(&memory, &key("user", 10));
    assert_eq!(memory.delete_by_prefix("user"), 11);
    assert_eq!(memory.delete_by_prefix("user"), 0);
    assert_eq!(memory.delete_by_prefix("us"), 0);
    assert!(!memory.set(&key("user", 10), b"stale", LONG, Some(&lease)));
    assert!((0..10).all(|rev| memory.get(&key("user", rev)).is_none()));
    assert!((0..10).all(|rev| memory.get(&key("users", rev)).is_some()));
    assert_eq!(memory.entries(), 30);
    assert_eq!(memory.clear(), 30);
    assert_eq!((memory.entries(), memory.bytes()), (0, 0));
    assert!(memory.set(&key("user", 0), b"value", LONG, None));
}

#[test]
fn a_value_that_does_not_fit_leaves_nothing_behind() {
    let memory = Memory::new(2_000);
    let (key, other) = (key("user", 0), key("user", 1));
    assert!(memory.set(&other, b"other", LONG, None));
    assert!(memory.set(&key, b"old", LONG, None));
    assert!(!memory.set(&key, &[0; 2_000], LONG, None));
    assert_eq!(memory.get(&key), None);

    let lease = take_lease(&memory, &key);
    assert!(!memory.set(&key, &[0; 2_000], LONG, Some(&lease)));
    assert_ne!(take_lease(&memory, &key), lease);
    assert!(memory.get(&other).is_some());

    let nothing = Memory::new(0);
    assert!(!nothing.set(&key, b"", LONG, None));
    assert_eq!(nothing.lookup(&key, LONG), Lookup::Miss);
    assert_eq!(nothing.entries(), 0);
}

#[test]
fn what_is_read_outlives_what_is_only_written() {
    let memory = Memory::new(100_000);
    let read = key("user", 0);
    assert!(memory.set(&read, b"read", LONG, None));
    for rev in 1..10_000 {
        assert!(memory.set(&key("user", rev), b"written", LONG, None));
        assert!(memory.bytes() <= 100_000);
        assert!(memory.get(&read).is_some());
    }
    assert!(memory.entries() < 400);
}

/// Each thread owns a context, so it knows what stands there although all share one bound that none of them fills.
#[test]
fn threads_see_their_own_writes() {
    let memory = Memory::new(1 << 24);
    thread::scope(|scope| {
        for context in ["a", "b", "c", "d"] {
            let memory = &memory;
            scope.spawn(move || {
                for round in 0..20_u8 {
                    for rev in 0..50 {
                        let key = key(context, rev);
                        let lease = take_lease(memory, &key);
                        assert!(memory.set(&key, &[round], LONG, Some(&lease)));
                    }
                    assert!((0..50).all(|rev| memory.get(&key(context, rev)).as_deref() == Some(&[round])));
                    assert_eq!(memory.delete_by_prefix(context), 50);
                }
            });
        }
    });
    assert_eq!((memory.entries(), memory.bytes()), (0, 0));
}
