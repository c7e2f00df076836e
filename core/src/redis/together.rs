//! Work that begins at one moment, in one task: commands that one task sends at once are written to the socket in one
//! piece, where those of many tasks are written one by one.

use std::{
    future::{Future, ready},
    mem,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

#[derive(Default)]
pub(super) struct Together {
    waiting: Mutex<Vec<Work>>,
}

impl Together {
    /// Runs some work to its end, whoever waits for it or not.
    pub fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        let is_first = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push(Box::pin(work));
            waiting.len() == 1
        };
        if is_first {
            let together = Arc::clone(self);
            // Runs when the present task has made way, and with it all that spawn at this moment.
            tokio::spawn(async move { together.run().await });
        }
    }

    async fn run(&self) {
        let waiting = mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        // What panics takes no other along.
        let guarded = waiting.into_iter().map(|work| AssertUnwindSafe(work).catch_unwind());
        guarded.collect::<FuturesUnordered<_>>().for_each(|_| ready(())).await;
    }
}
