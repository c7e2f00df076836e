//! Notices that a primary of a cluster was replaced, or started again.
//!
//! One link leads to all nodes of a cluster, and stays while they change. So the primaries are asked again and again
//! whose data they continue; whenever the answer changes, or somebody does not answer, what was purged of late is owed
//! once more: whoever took over may not have heard of it.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use super::{connection::Connection, kept_purges::KeptPurges, primaries::histories_of_primaries};

const ASK_EVERY: Duration = Duration::from_secs(1);

/// Runs until the connection is closed; where there is no cluster, not at all.
pub(super) async fn owe_purges_to_new_primaries(connection: Arc<Connection>, kept: Arc<KeptPurges>) {
    let mut before = None;
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
            before = Some(now);
        }
        sleep(ASK_EVERY).await;
    }
}
