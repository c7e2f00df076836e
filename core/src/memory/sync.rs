//! The memory's lock, and loom's in its place where `tests/memory_loom.rs` tries every order of threads.

#[cfg(not(mizan_model))]
pub(super) use std::sync::{Mutex, MutexGuard};

#[cfg(mizan_model)]
pub(super) use self::of_loom::{Mutex, MutexGuard};

#[cfg(mizan_model)]
mod of_loom {
    pub use loom::sync::MutexGuard;
    use std::sync::LockResult;

    /// loom's, which is never poisoned.
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(data: T) -> Self {
            Self(loom::sync::Mutex::new(data))
        }

        pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            self.0.lock()
        }

        #[expect(clippy::unused_self, reason = "as it is with the lock of the standard library")]
        pub fn clear_poison(&self) {}
    }
}
