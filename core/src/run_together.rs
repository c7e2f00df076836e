//! Futures that run in one task.

use std::{
    future::{Future, ready},
    panic::AssertUnwindSafe,
};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};

/// Runs all of them to their ends; one that panics takes no other along. Commands that one task sends at once are
/// written to the socket in one piece, where those of many tasks are written one by one. However many they are, all of
/// them begin at once, in their order: no other task comes between them.
pub async fn run_together(futures: Vec<impl Future<Output = ()>>) {
    let guarded = futures.into_iter().map(|it| AssertUnwindSafe(it).catch_unwind());
    let all = guarded.collect::<FuturesUnordered<_>>().for_each(|_| ready(()));
    tokio::task::unconstrained(all).await;
}
