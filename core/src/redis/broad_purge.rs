//! Broad purges (`protocol.md` §§3, 4): SCAN over every primary, UNLINK of what belongs to the contexts.
//!
//! Purges that wait share: one pass runs, one is queued, and a pass may serve several contexts. A purge is never
//! served by a pass that began before it, because a pass takes what waits for it when it begins. A key that stands
//! from the beginning of a pass to its end is certain to be met (SCAN's promise), and a fill never leaves its key
//! absent (§5), so after the pass nothing older than it stands.
//!
//! While slots of a cluster move, a key can slip from a node not yet scanned to one already done. Then one more pass
//! is made over nodes whose slots did not change hands since the first began: a key that moved at most once meanwhile
//! stood still during one of the two.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ::redis::{
    Cmd, RedisResult, Value,
    cluster_routing::{RoutingInfo, SingleNodeRoutingInfo},
    cmd,
};
use futures_util::{
    future::try_join_all,
    stream::{FuturesUnordered, StreamExt},
};
use tokio::sync::oneshot;

use super::{
    connection::{Connection, Failure, NumberedLink},
    primaries::slots_of_primaries,
    topology::Link,
};
use crate::{
    key::{self, DIGEST_HEX_LENGTH},
    replies,
};

/// Keys that one SCAN command looks at; the measured knee between round trips and the pause it means for others.
const SCAN_COUNT: usize = 1_000;
/// UNLINK commands that may be unanswered while the scan goes on.
const UNLINKS_UNDER_WAY: usize = 16;
/// Passes over a cluster whose slots keep moving, after which the purge counts as failed and is kept.
const MAX_PASSES: usize = 8;

/// How many entries of each context went.
pub(super) type Deleted = HashMap<Box<str>, u64>;

/// What one pass deletes.
#[derive(Default)]
struct Scope {
    contexts: BTreeSet<Box<str>>,
    everything: bool,
}

impl Scope {
    fn pattern(&self) -> String {
        let context = match self.contexts.first() {
            Some(context) if self.contexts.len() == 1 && !self.everything => context,
            _ => "*",
        };
        format!("{}{context}:{}", key::PREFIX, "?".repeat(DIGEST_HEX_LENGTH))
    }

    /// The context of a key that this pass deletes.
    fn context_of<'a>(&self, key: &'a [u8]) -> Option<&'a str> {
        let context = key::context_of(key)?;
        (self.everything || self.contexts.contains(context)).then_some(context)
    }
}

#[derive(Default)]
struct Queue {
    running: bool,
    waiting: Option<Waiting>,
}

#[derive(Default)]
struct Waiting {
    scope: Scope,
    purges: Vec<oneshot::Sender<Result<Arc<Deleted>, Failure>>>,
}

/// The broad purges of one cache.
#[derive(Default)]
pub(super) struct BroadPurges {
    queue: Mutex<Queue>,
}

impl BroadPurges {
    /// Deletes contexts, or everything of this protocol if there are none.
    pub async fn purge<'a>(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        contexts: Option<impl Iterator<Item = &'a str>>,
    ) -> Result<Arc<Deleted>, Failure> {
        let (sender, receiver) = oneshot::channel();
        if self.enqueue(contexts, sender) {
            tokio::spawn(Arc::clone(self).run_passes(Arc::clone(connection)));
        }
        // Nobody answers where the pass panicked.
        receiver.await.unwrap_or(Err(Failure::Broken))
    }

    /// Whether no pass runs, so that the caller must start one.
    fn enqueue<'a>(
        &self,
        contexts: Option<impl Iterator<Item = &'a str>>,
        purge: oneshot::Sender<Result<Arc<Deleted>, Failure>>,
    ) -> bool {
        let mut queue = self.lock();
        let waiting = queue.waiting.get_or_insert_default();
        match contexts {
            Some(contexts) => waiting.scope.contexts.extend(contexts.map(Into::into)),
            None => waiting.scope.everything = true,
        }
        waiting.purges.push(purge);
        !std::mem::replace(&mut queue.running, true)
    }

    async fn run_passes(self: Arc<Self>, connection: Arc<Connection>) {
        while let Some(waiting) = self.next() {
            // In a task of its own, so that a panic fails this pass and not the queue.
            let connection = Arc::clone(&connection);
            let pass = tokio::spawn(async move {
                let deleted = run_pass(&connection, &waiting.scope).await.map(Arc::new);
                (deleted, waiting.purges)
            });
            let (deleted, mut purges) = pass.await.unwrap_or((Err(Failure::Broken), Vec::new()));
            if deleted.is_err() {
                // Those that waited for this pass have waited for a deadline already; they need not for another.
                purges.extend(
                    self.lock()
                        .waiting
                        .take()
                        .into_iter()
                        .flat_map(|waiting| waiting.purges),
                );
            }
            for purge in purges {
                // A purge whose caller went away has been done all the same.
                let _ = purge.send(deleted.clone());
            }
        }
    }

    fn next(&self) -> Option<Waiting> {
        let mut queue = self.lock();
        let next = queue.waiting.take();
        queue.running = next.is_some();
        next
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run_pass(connection: &Connection, scope: &Scope) -> Result<Deleted, Failure> {
    let link = connection.current_link().await?;
    let mut deleted = Deleted::new();
    if !link.is_cluster() {
        scan_node(connection, &link, None, scope, &mut deleted).await?;
        return Ok(deleted);
    }
    let mut before = connection.run_on(&link, slots_of_primaries).await?;
    for pass in 0..MAX_PASSES {
        for primary in before.keys() {
            scan_node(connection, &link, Some(primary), scope, &mut deleted).await?;
        }
        let after = connection.run_on(&link, slots_of_primaries).await?;
        let unchanged = before == after;
        let moving = after.values().any(|slots| slots.contains('['));
        if unchanged && (!moving || pass > 0) {
            return Ok(deleted);
        }
        before = after;
    }
    Err(Failure::TimedOut)
}

async fn scan_node(
    connection: &Connection,
    link: &NumberedLink,
    node: Option<&String>,
    scope: &Scope,
    deleted: &mut Deleted,
) -> Result<(), Failure> {
    let pattern = scope.pattern();
    let mut unlinks = FuturesUnordered::new();
    let mut cursor = b"0".to_vec();
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(&cursor)
            .arg("MATCH")
            .arg(&pattern)
            .arg("COUNT")
            .arg(SCAN_COUNT);
        let page = connection.run_on(link, |link| send_to(link, node, scan)).await?;
        let Some((next, keys)) = replies::scan_page(page) else {
            return Err(Failure::Broken);
        };
        for (context, keys) in by_context(scope, keys) {
            unlinks.push(async move {
                let count = connection.run_on(link, |link| unlink(link, keys)).await?;
                Ok::<_, Failure>((context, count))
            });
        }
        let finished = next == b"0";
        while unlinks.len() > if finished { 0 } else { UNLINKS_UNDER_WAY } {
            if let Some(unlinked) = unlinks.next().await {
                let (context, count) = unlinked?;
                *deleted.entry(context).or_default() += count;
            }
        }
        if finished {
            return Ok(());
        }
        cursor = next;
    }
}

fn by_context(scope: &Scope, keys: Vec<Vec<u8>>) -> HashMap<Box<str>, Vec<Vec<u8>>> {
    let mut contexts: HashMap<Box<str>, Vec<Vec<u8>>> = HashMap::new();
    for key in keys {
        if let Some(context) = scope.context_of(&key) {
            contexts.entry(context.into()).or_default().push(key);
        }
    }
    contexts
}

async fn send_to(link: Link, node: Option<&String>, command: Cmd) -> RedisResult<Value> {
    match (link, node.and_then(|address| address.rsplit_once(':'))) {
        (Link::Cluster(mut cluster), Some((host, port))) => {
            let node = SingleNodeRoutingInfo::ByAddress {
                host: host.to_owned(),
                port: port.parse().unwrap_or(0),
            };
            cluster.route_command(command, RoutingInfo::SingleNode(node)).await
        }
        (mut link, _) => command.query_async(&mut link).await,
    }
}

/// How many of the keys were there.
///
/// In a cluster each key has a command of its own: of one command for keys of several nodes the `redis` crate leaves
/// out, without a word, what belongs to a node to which it has no connection.
pub(super) async fn unlink<K: AsRef<[u8]>>(link: Link, keys: Vec<K>) -> RedisResult<u64> {
    let at_once = if let Link::Cluster(_) = link { 1 } else { keys.len() };
    let commands = keys.chunks(at_once.max(1)).map(|keys| {
        let mut link = link.clone();
        async move {
            let mut command = cmd("UNLINK");
            for key in keys {
                command.arg(key.as_ref());
            }
            command.query_async::<u64>(&mut link).await
        }
    });
    Ok(try_join_all(commands).await?.into_iter().sum())
}
