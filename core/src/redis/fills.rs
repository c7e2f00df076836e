//! Values on their way to where their leases stand: those of one moment go by one script, which costs Redis less than a
//! script for each.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};

use super::{
    connection::{Connection, Failure},
    gathering::Gathering,
    lease_scripts::fill,
};
use crate::{key::Key, lease::LeaseToken, run_together::run_together};

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

pub(super) struct Waiting {
    fill: Fill,
    deadline: Instant,
    stored: oneshot::Sender<Result<bool, Failure>>,
}

/// Whether the lease stood and the value is stored.
pub(super) async fn store(
    fills: &Arc<Gathering<Waiting>>,
    connection: &Arc<Connection>,
    deadline: Instant,
    fill: Fill,
) -> Result<bool, Failure> {
    let (stored, answer) = oneshot::channel();
    let connection = Arc::clone(connection);
    fills.add(Waiting { fill, deadline, stored }, move |all| send(connection, all));
    // The task ends by the deadline; without an answer it panicked.
    answer.await.unwrap_or(Err(Failure::Broken))
}

async fn send(connection: Arc<Connection>, all: Vec<Waiting>) {
    let most = connection.keys_together(FILLS_IN_A_SCRIPT);
    let mut scripts = Vec::new();
    let mut all = all.into_iter().peekable();
    while all.peek().is_some() {
        let (mut together, mut bytes) = (Vec::new(), 0);
        while let Some(next) = all.next_if(|next| {
            together.is_empty() || together.len() < most && bytes + next.fill.value.len() <= BYTES_IN_A_SCRIPT
        }) {
            bytes += next.fill.value.len();
            together.push(next);
        }
        scripts.push(store_together(&connection, together));
    }
    run_together(scripts).await;
}

async fn store_together(connection: &Connection, together: Vec<Waiting>) {
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
