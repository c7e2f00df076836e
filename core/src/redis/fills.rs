//! Values on their way to where their leases stand: those of one moment go by one script, which costs Redis less than a
//! script for each.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};

use super::{
    connection::{Connection, Failure},
    lease_scripts::fill,
};
use crate::{key::Key, lease::LeaseToken};

/// So many keep Redis for less than half a millisecond.
const FILLS_IN_A_SCRIPT: usize = 32;
/// Larger values have a script of their own, or one with few others.
const BYTES_IN_A_SCRIPT: usize = 64 * 1024;

pub(super) struct Fill {
    pub key: Key,
    pub value: Bytes,
    pub ttl: Duration,
    pub lease: LeaseToken,
}

struct Waiting {
    fill: Fill,
    deadline: Instant,
    stored: oneshot::Sender<Result<bool, Failure>>,
}

#[derive(Default)]
pub(super) struct Fills {
    waiting: Mutex<Vec<Waiting>>,
}

impl Fills {
    /// Whether the lease stood and the value is stored.
    pub async fn store(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        deadline: Instant,
        fill: Fill,
    ) -> Result<bool, Failure> {
        let (stored, answer) = oneshot::channel();
        let is_first = {
            let mut waiting = self.lock();
            waiting.push(Waiting { fill, deadline, stored });
            waiting.len() == 1
        };
        if is_first {
            // A task of its own runs when this one has made way, and with it all that store at this moment.
            let (fills, connection) = (Arc::clone(self), Arc::clone(connection));
            tokio::spawn(async move { fills.send(&connection) });
        }
        // The task ends by the deadline; without an answer it panicked.
        answer.await.unwrap_or(Err(Failure::Broken))
    }

    fn send(&self, connection: &Arc<Connection>) {
        let waiting = mem::take(&mut *self.lock());
        let most = connection.keys_together(FILLS_IN_A_SCRIPT);
        let mut waiting = waiting.into_iter().peekable();
        while waiting.peek().is_some() {
            let (mut together, mut bytes) = (Vec::new(), 0);
            while let Some(next) = waiting.next_if(|next| {
                together.is_empty() || together.len() < most && bytes + next.fill.value.len() <= BYTES_IN_A_SCRIPT
            }) {
                bytes += next.fill.value.len();
                together.push(next);
            }
            tokio::spawn(store_together(Arc::clone(connection), together));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn store_together(connection: Arc<Connection>, together: Vec<Waiting>) {
    let Some(deadline) = together.iter().map(|it| it.deadline).min() else {
        return;
    };
    let answers = connection
        .run_by(deadline, |link| fill(link, together.iter().map(|it| &it.fill)))
        .await;
    match answers {
        Ok(answers) => {
            for (Waiting { stored, .. }, answer) in together.into_iter().zip(answers) {
                // An error says that nobody waits any more.
                let _ = stored.send(answer.ok_or(Failure::Refused));
            }
        }
        Err(failure) => {
            for Waiting { stored, .. } in together {
                let _ = stored.send(Err(failure));
            }
        }
    }
}
