//! The copies under loom: every order of a read, a change, and the loss of the link. Run with `npm run model`.

use std::sync::{Arc, Mutex};

use loom::thread;

use super::*;
use crate::{canonical::Canonical, key::Signer};

const LONG: Duration = Duration::from_secs(3_600);

/// What Redis has, and to whom it is connected. loom does not know this lock: a thread goes on from here to its next
/// use of the copies.
struct Server {
    version: u8,
    link: Option<u8>,
    /// On which link the key was read, so that Redis tells that link of its next change.
    read_on: Option<u8>,
}

struct World {
    local: LocalTier,
    server: Mutex<Server>,
    key: Key,
}

impl World {
    fn new() -> Self {
        let local = LocalTier::new(1 << 20, LONG);
        local.trust(Instant::now());
        let canonical = Canonical::new("user", &[], None, 0).unwrap();
        Self {
            local,
            server: Mutex::new(Server {
                version: 0,
                link: Some(1),
                read_on: None,
            }),
            key: Signer::new(b"secret").unwrap().key(&canonical),
        }
    }

    fn read(&self) {
        let announcement = self.local.announce(&self.key);
        let mut server = self.server.lock().unwrap();
        let version = server.version;
        let link = server.link;
        server.read_on = link;
        drop(server);
        match (announcement, link) {
            (Some(announcement), Some(_)) => {
                let value = Bytes::copy_from_slice(&[version]);
                self.local.keep(&self.key, &announcement, &value, LONG);
            }
            (Some(_), None) => self.local.forget(std::slice::from_ref(&self.key)),
            (None, _) => {}
        }
    }

    /// A change by another process, and Redis's word of it if there is still a link to say it on.
    fn change(&self) {
        let mut server = self.server.lock().unwrap();
        server.version += 1;
        let is_told = server.link.is_some() && server.read_on == server.link;
        drop(server);
        if is_told {
            self.local.forget(std::slice::from_ref(&self.key));
        }
    }

    /// A change by this process: its purge has completed when its own copy is gone.
    fn purge(&self) {
        self.server.lock().unwrap().version += 1;
        self.local.forget(std::slice::from_ref(&self.key));
        self.check();
    }

    /// What the connection's task does.
    fn lose_link(&self) {
        self.local.distrust();
        // A use of the copies, at which loom may let others go on.
        self.local.entries();
        self.server.lock().unwrap().link = None;
        self.local.trust(Instant::now());
        self.server.lock().unwrap().link = Some(2);
    }

    fn check(&self) {
        let copy = self.local.get(&self.key);
        let version = self.server.lock().unwrap().version;
        assert!(
            copy.is_none_or(|copy| copy.value[0] == version),
            "a copy is older than what Redis has"
        );
    }
}

fn in_every_order<const COUNT: usize>(others: [fn(&World); COUNT]) {
    loom::model(move || {
        let world = Arc::new(World::new());
        let threads = others.map(|other| {
            let world = Arc::clone(&world);
            thread::spawn(move || other(&world))
        });
        world.read();
        for thread in threads {
            thread.join().unwrap();
        }
        world.check();
    });
}

#[test]
fn a_copy_goes_with_a_change_that_redis_tells_of() {
    in_every_order([World::change]);
    in_every_order([World::change, World::read]);
}

#[test]
fn a_copy_goes_with_a_purge_of_this_process() {
    in_every_order([World::purge]);
    in_every_order([World::purge, World::read]);
}

/// Fails if a read asks whether the link is trusted before it announces itself, and not after: the link may be lost in
/// between.
#[test]
fn no_copy_outlives_the_link_that_it_was_read_on() {
    in_every_order([World::change, World::lose_link]);
}
