//! What comes at one moment, gathered to be sent together.

use std::{
    future::Future,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(super) struct Gathering<T> {
    waiting: Mutex<Vec<T>>,
}

impl<T> Default for Gathering<T> {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
        }
    }
}

impl<T: Send + 'static> Gathering<T> {
    /// Adds to what is gathered at this moment. Whoever is first has all of it sent, whoever waits for it or not.
    pub fn add<Sent>(self: &Arc<Self>, item: T, send: impl FnOnce(Vec<T>) -> Sent + Send + 'static)
    where
        Sent: Future<Output = ()> + Send,
    {
        let is_first = {
            let mut waiting = self.lock();
            waiting.push(item);
            waiting.len() == 1
        };
        if is_first {
            let gathering = Arc::clone(self);
            // Runs when the present task has made way, and with it all that add at this moment.
            tokio::spawn(async move {
                let gathered = mem::take(&mut *gathering.lock());
                send(gathered).await;
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
