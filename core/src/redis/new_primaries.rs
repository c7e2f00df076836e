//! Notices that a primary of a cluster was replaced, or started again.
//!
//! One link leads to all nodes of a cluster, and stays while they change. So the primaries are asked again and again
//! whose data they continue; whenever the answer changes, or somebody does not answer, what was purged of late is owed
//! once more: whoever took over may not have heard of it. And a link on which the old one hangs is given up for one that
//! leads to the new one.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{
    connection::Connection,
    kept_purges::KeptPurges,
    primaries::{histories_of_primaries, newest_epoch},
};

const ASK_EVERY: Duration = Duration::from_secs(1);

/// Runs until the connection is closed; where there is no cluster, not at all.
pub(super) async fn owe_purges_to_new_primaries(connection: Arc<Connection>, kept: Arc<KeptPurges>) {
    let mut before = None;
    let mut newest = None;
    while connection.connected().await {
        if let Ok(link) = connection.current_link().await {
            if !link.is_cluster() {
                return;
            }
            // Not as one of the cache's calls: an answer that fails to come here does not open the circuit.
            let asked = timeout(ASK_EVERY, histories_of_primaries(link.link())).await;
            let now = asked.ok().and_then(Result::ok);
            if before.as_ref().is_some_and(|before| *before != now) {
                kept.keep_recent();
            }
            let epoch = timeout(ASK_EVERY, newest_epoch(link.link())).await;
            if let Ok(Ok(epoch)) = epoch {
                // A primary that hangs sends nobody to the one that took over, and its connection does not break.
                if now.is_none() && newest.is_some_and(|newest| epoch > newest) {
                    connection.replace(&link);
                }
                newest = newest.max(Some(epoch));
            }
            before = Some(now);
        }
        sleep(ASK_EVERY).await;
    }
}
