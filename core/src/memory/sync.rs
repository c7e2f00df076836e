//! The lock of the memory and of copies, and loom's in its place where models try every order of threads.

#[cfg(not(mizan_model))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(mizan_model)]
pub(crate) use self::of_loom::{Mutex, MutexGuard};

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
