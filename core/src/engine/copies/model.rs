//! The copies under loom: every order of a read, a change, a purge of another thread, and the loss of the connection. Run
//! with `npm run model`.
//!
//! The engine that owns the copies is one thread: it sends its reads, takes their replies and Redis's word of changes,
//! and looks for copies. Changes of the server and purges of other threads come at any time.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex as Unseen},
};

use loom::thread;

use super::*;
use crate::{canonical::Canonical, key::Signer};

const LONG: Duration = Duration::from_secs(3_600);
const NOW: Moment = Duration::ZERO;

/// What Redis sends on a connection, in this order.
enum Frame {
    Reply(u8),
    Invalidation,
}

/// What Redis has. loom does not know this lock: a thread goes on from here to its next use of the copies.
#[derive(Default)]
struct Server {
    version: u8,
    /// What was sent on the connection, and not read yet.
    sent: VecDeque<Frame>,
    /// Whether the key was read on the connection, so that its next change is told.
    is_tracked: bool,
    /// What was committed when the newest completed purge of this process began.
    purged: u8,
}

struct World {
    copies: Copies,
    server: Unseen<Server>,
    key: Key,
}

impl World {
    fn new() -> Self {
        let canonical = Canonical::new("user", &[], None, 0).unwrap();
        Self {
            copies: Copies::new(1 << 20),
            server: Unseen::default(),
            key: Signer::new(b"secret").unwrap().key(&canonical),
        }
    }

    fn server(&self) -> std::sync::MutexGuard<'_, Server> {
        self.server.lock().unwrap()
    }

    /// What the engine's thread does: two reads, each of which it may find answered by a copy.
    fn engine(&self) {
        for connection in 1..=2 {
            self.check();
            let announced = self.copies.announce(self.key.digest());
            {
                let mut server = self.server();
                server.is_tracked = true;
                let version = server.version;
                server.sent.push_back(Frame::Reply(version));
            }
            // A use of the copies, at which loom lets others go on.
            let _ = self.copies.sizes();
            self.take_frames(connection, announced);
            self.check();
            if connection == 1 {
                self.lose_connection(connection);
            }
        }
    }

    fn take_frames(&self, connection: u32, announced: Announcement) {
        loop {
            let Some(frame) = self.server().sent.pop_front() else {
                return;
            };
            match frame {
                Frame::Reply(version) => self
                    .copies
                    .keep(&self.key, announced, &[version], connection, LONG, NOW),
                Frame::Invalidation => self.copies.drop_entry(&self.key),
            }
        }
    }

    fn lose_connection(&self, connection: u32) {
        {
            let mut server = self.server();
            server.is_tracked = false;
            server.sent.clear();
        }
        self.copies.drop_owner(connection);
    }

    /// A change by another process.
    fn change(&self) {
        let _ = self.copies.sizes();
        let mut server = self.server();
        server.version += 1;
        if std::mem::take(&mut server.is_tracked) {
            server.sent.push_back(Frame::Invalidation);
        }
    }

    /// A purge of another thread of this process: it has completed when the copies are gone. Redis tells the connection
    /// too, but who waits for that?
    fn purge(&self) {
        let version = {
            let mut server = self.server();
            server.version += 1;
            server.version
        };
        self.copies.drop_entry(&self.key);
        self.server().purged = version;
    }

    /// The same of a whole context.
    fn purge_context(&self) {
        let version = {
            let mut server = self.server();
            server.version += 1;
            server.version
        };
        self.copies.drop_context("user");
        self.server().purged = version;
    }

    /// Whoever looks for a copy finds none that is older than a completed purge, nor one whose change was told already.
    fn check(&self) {
        let purged = self.server().purged;
        let copy = self.copies.get(self.key.digest(), NOW);
        if let Some((copy, _)) = copy {
            assert!(
                copy.value[0] >= purged,
                "stale: {} after the purge of {purged}",
                copy.value[0]
            );
        }
    }
}

fn in_every_order<const COUNT: usize>(others: [fn(&World); COUNT]) {
    loom::model(move || {
        let world = Arc::new(World::new());
        let threads = others.map(|other| {
            let world = Arc::clone(&world);
            thread::spawn(move || other(&world))
        });
        world.engine();
        for thread in threads {
            thread.join().unwrap();
        }
        world.take_frames(2, world.copies.announce(world.key.digest()));
        world.check();
        let server = world.server();
        if let Some((copy, owner)) = world.copies.get(world.key.digest(), NOW) {
            assert_eq!(owner, 2, "the copies of a lost connection are gone");
            assert_eq!(copy.value[0], server.version, "Redis has told of every change");
        }
    });
}

#[test]
fn a_copy_goes_with_a_change_that_redis_tells_of() {
    in_every_order([World::change]);
    in_every_order([World::change, World::change]);
}

#[test]
fn a_copy_goes_with_a_purge_of_another_thread() {
    in_every_order([World::purge]);
    in_every_order([World::purge_context]);
    in_every_order([World::purge, World::change]);
}

/// What loom is for: it finds the order in which the same thread goes wrong if it announces nothing.
#[test]
#[should_panic(expected = "stale: 0 after the purge of 1")]
fn without_the_announcement_a_stale_copy_is_found() {
    loom::model(|| {
        let world = Arc::new(World::new());
        let purging = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.purge())
        };
        let version = world.server().version;
        let _ = world.copies.sizes();
        let announced = world.copies.announce(world.key.digest());
        world.copies.keep(&world.key, announced, &[version], 1, LONG, NOW);
        purging.join().unwrap();
        world.check();
    });
}
