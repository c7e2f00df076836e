//! Who is told of the events of a cache.

use std::sync::{Arc, PoisonError, RwLock, Weak};

use crate::events::Event;

/// Is told of the events of a cache.
///
/// # Examples
/// ```
/// use mizan_cache_core::{cache::Observer, events::Event};
///
/// struct Log;
///
/// impl Observer for Log {
///     fn observe(&self, event: &Event) {
///         eprintln!("cache: {event:?}");
///     }
/// }
/// ```
pub trait Observer: Send + Sync {
    /// Called by the task that speaks with Redis, which does nothing else meanwhile: must return at once.
    fn observe(&self, event: &Event);
}

/// The observers of one cache. They are held weakly: whoever goes is forgotten.
#[derive(Default)]
pub struct Observers {
    all: RwLock<Vec<Weak<dyn Observer>>>,
}

impl Observers {
    /// Adds an observer, once.
    pub fn add(&self, observer: &Arc<dyn Observer>) {
        let observer = Arc::downgrade(observer);
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&observer));
        all.push(observer);
    }

    /// Tells all of them.
    pub fn tell(&self, event: &Event) {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let observers: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
        // One of them may add another.
        drop(all);
        for observer in observers {
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
        fn observe(&self, _: &Event) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn an_observer_is_told_once_however_often_it_was_added() {
        let (observers, count) = (Observers::default(), Arc::<Count>::default());
        let observer: Arc<dyn Observer> = count.clone();
        observers.add(&observer);
        observers.add(&observer);
        observers.tell(&Event::PurgesPending(1));
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
