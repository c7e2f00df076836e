//! The memory backend under loom: every order in which threads can come to its lock. Run with `npm run model`.
//!
//! Each thread is somebody that uses the cache rightly: readers look up, load, and fill with their lease; a writer
//! commits, then purges. What the memory holds must never be older than a purge that has completed.
#![cfg(mizan_model)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use loom::thread;
use mizan_cache_core::{
    canonical::Canonical,
    key::{Key, Signer},
    lease::{LeaseToken, Lookup},
    memory::Memory,
};

const LONG: Duration = Duration::from_secs(3_600);

/// What is true of the one row that everybody reads.
#[derive(Default)]
struct Row {
    committed: u8,
    /// What was committed when the newest completed purge began.
    purged: u8,
}

struct World {
    memory: Memory,
    /// loom does not know this lock, so a thread goes on from here to its next use of the memory: it has loaded as early
    /// as it could, and a purge counts as soon as it is done. Nothing later is harder for the memory.
    row: Mutex<Row>,
    key: Key,
}

impl World {
    fn new() -> Self {
        let canonical = Canonical::new("user", &[], None, 0).unwrap();
        Self {
            memory: Memory::new(1 << 20),
            row: Mutex::default(),
            key: Signer::new(b"secret").unwrap().key(&canonical),
        }
    }

    /// Reads the entry, as any caller does, and checks it.
    fn check(&self) {
        let purged = self.row.lock().unwrap().purged;
        if let Some(value) = self.memory.get(&self.key) {
            assert!(value[0] >= purged, "stale: {} after the purge of {purged}", value[0]);
        }
    }

    /// Takes a lease and loads; the lease of another, or a hit, is no load.
    fn load(&self, lease_time: Duration) -> Option<(LeaseToken, u8)> {
        let Lookup::Leased(lease) = self.memory.lookup(&self.key, lease_time) else {
            return None;
        };
        Some((lease, self.row.lock().unwrap().committed))
    }

    fn read_through(&self, lease_time: Duration) -> bool {
        let filled = self
            .load(lease_time)
            .is_some_and(|(lease, version)| self.memory.set(&self.key, &[version], LONG, Some(&lease)));
        self.check();
        filled
    }

    fn write(&self, purge: Purge) {
        let committed = {
            let mut row = self.row.lock().unwrap();
            row.committed += 1;
            row.committed
        };
        purge(&self.memory, &self.key);
        let mut row = self.row.lock().unwrap();
        row.purged = row.purged.max(committed);
        drop(row);
        self.check();
    }
}

type Purge = fn(&Memory, &Key) -> u64;

const PURGES: [Purge; 3] = [
    |memory, key| memory.delete(std::slice::from_ref(key)),
    |memory, key| memory.delete_by_prefix(key.context()),
    |memory, _| memory.clear(),
];

/// Tries every order of a reader and others, and checks after each.
fn in_every_order<const COUNT: usize>(reader: fn(&World), others: [fn(&World); COUNT]) {
    loom::model(move || {
        let world = Arc::new(World::new());
        let threads = others.map(|actor| {
            let world = Arc::clone(&world);
            thread::spawn(move || actor(&world))
        });
        // In this thread for speed: one thread more costs five times as many orders. It cannot be a writer, whose first
        // step is one that loom does not see, and so would come first in all orders.
        reader(&world);
        for thread in threads {
            thread.join().unwrap();
        }
        world.check();
    });
}

/// How often something happened over all orders: what never does is not tested.
struct Count(AtomicUsize);

impl Count {
    const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    fn add(&self, happened: bool) {
        self.0.fetch_add(usize::from(happened), Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

#[test]
fn no_fill_survives_a_purge_of_any_kind() {
    static FILLED: Count = Count::new();
    fn reader(world: &World) {
        FILLED.add(world.read_through(LONG));
    }
    in_every_order(reader, [reader, |world| world.write(PURGES[0])]);
    in_every_order(reader, [reader, |world| world.write(PURGES[1])]);
    in_every_order(reader, [reader, |world| world.write(PURGES[2])]);
    assert!(FILLED.get() > 0);
}

#[test]
fn nor_two_purges() {
    static FILLED: Count = Count::new();
    in_every_order(
        |world| FILLED.add(world.read_through(LONG)),
        [|world| world.write(PURGES[0]), |world| world.write(PURGES[1])],
    );
    assert!(FILLED.get() > 0);
}

#[test]
fn a_lease_that_expired_fills_nothing_also_when_the_next_stands() {
    static FILLED: Count = Count::new();
    in_every_order(
        |world| assert!(!world.read_through(Duration::ZERO)),
        [
            |world| FILLED.add(world.read_through(LONG)),
            |world| world.write(PURGES[0]),
        ],
    );
    assert!(FILLED.get() > 0);
}

/// What loom is for: it finds the order in which the same readers go wrong without leases.
#[test]
#[should_panic(expected = "stale: 0 after the purge of 1")]
fn without_the_lease_the_stale_fill_is_found() {
    in_every_order(
        |world| {
            if let Some((_, version)) = world.load(LONG) {
                let _ = world.memory.set(&world.key, &[version], LONG, None);
            }
        },
        [|world| world.write(PURGES[0])],
    );
}
