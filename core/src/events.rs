//! What a cache tells those who observe it: what happens to its connection, and which calls fail and why. No event
//! holds a key, a parameter, a value or an address.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use crate::stats::Circuit;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something happened to the connection to Redis.
    Connection(ConnectionEvent),
    /// The circuit is another one now.
    Circuit(Circuit),
    /// Calls failed. Those that return at once because there is no connection are not told: the circuit was.
    Failed {
        /// What they were.
        operation: Operation,
        /// Why they failed.
        reason: Reason,
        /// How many.
        calls: u64,
    },
    /// So many purges could not be done at once, and are kept.
    PurgesKept(u64),
    /// Redis was given so many purges that it lacked, or may have lacked: recent ones are repeated on new connections.
    PurgesDelivered(u64),
    /// The cache was closed, and so many purges that Redis lacks are given up.
    PurgesGivenUp(u64),
}

/// What happened to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// It stands.
    Made,
    /// It broke, or was dropped because it did not answer.
    Lost,
    /// It could not be made. Told again only for another reason.
    Failed(Reason),
    /// It stood until the cache was closed.
    Closed,
}

/// What a call was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `get` or `lookup`.
    Read,
    /// `put`.
    Write,
    /// `purge` or `clear`.
    Purge,
}

impl Operation {
    /// The name as users see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Purge => "purge",
        }
    }
}

/// Why something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There was no answer in time.
    Timeout,
    /// Redis answered with an error.
    Refused,
    /// The connection broke.
    Broken,
    /// As many calls were under way as may be.
    Overload,
}

impl Reason {
    /// The name as users see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::Overload => "overload",
        }
    }
}

/// Who is told of events.
pub trait Observer: Send + Sync {
    /// Called where the event happens, which is kept from going on meanwhile: it must return at once.
    fn observe(&self, event: Event);
}

/// The observers of one cache. It does not keep them: whoever goes is forgotten.
#[derive(Default)]
pub(crate) struct Observers {
    all: RwLock<Vec<Weak<dyn Observer>>>,
}

impl Observers {
    pub fn add(&self, observer: &Arc<dyn Observer>) {
        let observer = Arc::downgrade(observer);
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&observer));
        all.push(observer);
    }

    pub fn tell(&self, event: Event) {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        for observer in all.iter().filter_map(Weak::upgrade) {
            observer.observe(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU64);

    impl Observer for Count {
        fn observe(&self, _: Event) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn an_observer_is_told_once_however_often_it_was_added() {
        let (observers, count) = (Observers::default(), Arc::<Count>::default());
        let observer: Arc<dyn Observer> = count.clone();
        observers.add(&observer);
        observers.add(&observer);
        observers.tell(Event::PurgesKept(1));
        assert_eq!(count.0.load(Relaxed), 1);
    }

    #[test]
    fn those_who_went_are_forgotten() {
        let observers = Observers::default();
        for _ in 0..100 {
            let observer: Arc<dyn Observer> = Arc::<Count>::default();
            observers.add(&observer);
        }
        assert_eq!(observers.all.read().expect("no panic").len(), 1);
    }
}
