//! Attempts to connect.

use std::{sync::Arc, time::Duration};

use ::redis::RedisResult;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::{pin, sync::Notify, time::sleep};

use super::{
    local_tier::LocalTier,
    topology::{Link, Servers},
};

/// An attempt that hangs may hang because a silent network swallowed its first packets, and goes on hanging when Redis
/// is back. So another one is made beside it.
const ATTEMPT_EVERY: Duration = Duration::from_millis(500);

/// The first link that can be had, and what is notified when it is lost; or why the last attempt failed.
///
/// `first` is the number of the first attempt among all that were made in vain.
pub(super) async fn connect(
    servers: &Servers,
    first: usize,
    local: Option<&Arc<LocalTier>>,
) -> RedisResult<(Link, Arc<Notify>)> {
    let mut attempts = FuturesUnordered::new();
    let mut number = first;
    loop {
        attempts.push(async move {
            let lost = Arc::default();
            let link = servers.connect(number, Arc::clone(&lost), local).await?;
            Ok((link, lost))
        });
        let next_is_due = sleep(ATTEMPT_EVERY);
        pin!(next_is_due);
        loop {
            tokio::select! {
                Some(attempt) = attempts.next() => {
                    if attempt.is_ok() || attempts.is_empty() {
                        return attempt;
                    }
                }
                () = &mut next_is_due => break,
            }
        }
        number += 1;
    }
}
