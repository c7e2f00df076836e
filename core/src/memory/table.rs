//! What is under the memory's lock. Time comes in from outside, in nanoseconds.

use crate::{
    key::{DIGEST_HEX_LENGTH, Digest, Key},
    lease::LeaseToken,
};
use bytes::Bytes;
use quick_cache::{Equivalent, Lifecycle, Weighter, unsync::Cache};
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

/// What an entry costs besides its key and its value, in bytes: itself, its places in the cache and in its context with
/// the room that both keep to grow into, and the allocator's share.
pub const ENTRY_OVERHEAD: u64 = 200;

/// A value's usual size. It only decides how many evicted keys the cache remembers, 40 bytes for each.
const USUAL_VALUE_BYTES: u64 = 1024;

/// The version of the next entry, of whatever table.
static NEXT_VERSION: AtomicU64 = AtomicU64::new(0);

/// The entries, and those of each context.
///
/// The two hold the same entries at all times; a context without entries is not held. An entry is an allocation of its
/// own and the tables only refer to it: their room stays when many small entries give way to few large ones.
pub(crate) struct Table {
    cache: Cache<Held, Arc<Entry>, Weight, BuildHasherDefault<DigestHasher>, Evictions>,
    contexts: HashMap<Arc<str>, Vec<Arc<Entry>>>,
}

struct Entry {
    digest: Digest,
    content: Content,
    version: u64,
    /// Of a copy: the connection that it was read by. Nothing where entries belong to nobody.
    owner: u32,
    expires: u64,
    context: Arc<str>,
    /// Where the entry is in its context. Changed under the table's lock only.
    position: AtomicUsize,
}

#[derive(Clone)]
pub(crate) enum Content {
    Value(Bytes),
    Lease(LeaseToken),
}

/// What stands at a key.
pub(crate) struct Found {
    pub content: Content,
    /// A number that no other entry has that was stored in this process.
    pub version: u64,
    /// Of a copy: the connection that it was read by.
    pub owner: u32,
}

/// The owner of what belongs to no connection.
pub(crate) const NO_OWNER: u32 = 0;

impl Table {
    pub(crate) fn new(max_bytes: u64) -> Self {
        let usual_entries = usize::try_from(max_bytes / USUAL_VALUE_BYTES).unwrap_or(usize::MAX);
        let cache = Cache::with(
            usual_entries,
            max_bytes,
            Weight,
            BuildHasherDefault::default(),
            Evictions,
        );
        Self {
            cache,
            contexts: HashMap::new(),
        }
    }

    /// What stands at the key with this digest. This is a use, which keeps the entry from eviction.
    pub(crate) fn find(&mut self, digest: &Digest, now: u64) -> Option<Found> {
        let entry = self.cache.get(digest)?;
        if now < entry.expires {
            return Some(Found {
                content: entry.content.clone(),
                version: entry.version,
                owner: entry.owner,
            });
        }
        self.remove(digest);
        None
    }

    /// Whether just this lease stands at a key.
    pub(crate) fn stands(&self, key: &Key, token: &LeaseToken, now: u64) -> bool {
        self.cache.peek(key.digest()).is_some_and(|entry| {
            now < entry.expires && matches!(&entry.content, Content::Lease(standing) if standing == token)
        })
    }

    /// Puts this at a key, in place of whatever stands there. False if it does not fit: then nothing stands there.
    pub(crate) fn store(&mut self, key: &Key, content: Content, owner: u32, expires: u64) -> bool {
        let name = match self.contexts.get_key_value(key.context()) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(key.context()),
        };
        let entry = Arc::new(Entry {
            digest: *key.digest(),
            content,
            version: NEXT_VERSION.fetch_add(1, Relaxed),
            owner,
            expires,
            context: name,
            position: AtomicUsize::new(0),
        });
        if self.insert(&entry) {
            return true;
        }
        // An entry that takes another's place can be the next to evict, if it is heavier than what it replaces. It is
        // no less welcome than one at a new key, which is always let in: forgotten, it comes back as a new one.
        self.cache.remove(key.digest());
        self.insert(&entry)
    }

    /// Inserts an entry, takes what the cache evicts for it out of its context, and returns whether the cache kept it.
    fn insert(&mut self, entry: &Arc<Entry>) -> bool {
        let members = self.contexts.entry(Arc::clone(&entry.context)).or_default();
        entry.position.store(members.len(), Relaxed);
        members.push(Arc::clone(entry));

        let mut evicted = Vec::new();
        let (held, value) = (Held(Arc::clone(entry)), Arc::clone(entry));
        // Softly: only reads are uses. Else the fill of a lease would look like a second request for its key.
        if let Err((held, value)) = self.cache.replace_with_lifecycle(held, value, true, &mut evicted) {
            self.cache.insert_with_lifecycle(held, value, &mut evicted);
        }
        // What was replaced is among the evicted, and the new entry itself if the cache refused it.
        for entry in &evicted {
            self.leave_context(entry);
        }
        !evicted.iter().any(|evicted| Arc::ptr_eq(evicted, entry))
    }

    /// Deletes a key, and returns whether anything stood there.
    pub(crate) fn delete(&mut self, key: &Key, now: u64) -> bool {
        self.remove(key.digest()).is_some_and(|entry| now < entry.expires)
    }

    /// Deletes all keys of a context, and returns how many stood there.
    pub(crate) fn delete_context(&mut self, context: &str, now: u64) -> u64 {
        let members = self.contexts.remove(context).unwrap_or_default();
        for entry in &members {
            self.cache.remove(&entry.digest);
        }
        count_standing(members.iter(), now)
    }

    /// Deletes all entries of an owner.
    pub(crate) fn delete_owner(&mut self, owner: u32) {
        let digests: Vec<Digest> = self
            .cache
            .iter()
            .filter(|(_, entry)| entry.owner == owner)
            .map(|(_, entry)| entry.digest)
            .collect();
        for digest in &digests {
            self.remove(digest);
        }
    }

    /// How many entries have not expired.
    pub(crate) fn standing(&self, now: u64) -> u64 {
        count_standing(self.cache.iter().map(|(_, entry)| entry), now)
    }

    pub(crate) fn entries(&self) -> u64 {
        self.cache.len() as u64
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    fn remove(&mut self, digest: &Digest) -> Option<Arc<Entry>> {
        let (_, entry) = self.cache.remove(digest)?;
        self.leave_context(&entry);
        Some(entry)
    }

    /// Takes an entry that the cache does not hold any more out of its context.
    fn leave_context(&mut self, entry: &Entry) {
        let Some(members) = self.contexts.get_mut(&entry.context) else {
            return;
        };
        let position = entry.position.load(Relaxed);
        members.swap_remove(position);
        if let Some(moved) = members.get(position) {
            moved.position.store(position, Relaxed);
        }
        if members.is_empty() {
            self.contexts.remove(&entry.context);
            if is_sparse(self.contexts.len(), self.contexts.capacity()) {
                self.contexts.shrink_to(self.contexts.len() * 2);
            }
        } else if is_sparse(members.len(), members.capacity()) {
            members.shrink_to(members.len() * 2);
        }
    }
}

fn count_standing<'a>(entries: impl Iterator<Item = &'a Arc<Entry>>, now: u64) -> u64 {
    entries.map(|entry| u64::from(now < entry.expires)).sum()
}

/// Whether a collection has far more room than it needs: none gives room back by itself.
fn is_sparse(length: usize, capacity: usize) -> bool {
    length < capacity / 4
}

/// An entry as its own key in the cache, so that the digest is held once.
struct Held(Arc<Entry>);

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Eq for Held {}

impl Hash for Held {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.digest.hash(hasher);
    }
}

impl Equivalent<Held> for Digest {
    fn equivalent(&self, held: &Held) -> bool {
        *self == held.0.digest
    }
}

/// Takes the beginning of a digest as its hash. Without the secret nobody can choose keys whose digests begin alike.
#[derive(Default)]
struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn write(&mut self, digest: &[u8]) {
        if let Some(beginning) = digest.first_chunk() {
            self.0 = u64::from_ne_bytes(*beginning);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

struct Weight;

impl Weighter<Held, Arc<Entry>> for Weight {
    fn weight(&self, _: &Held, entry: &Arc<Entry>) -> u64 {
        let key = "ctx:".len() + entry.context.len() + ":".len() + DIGEST_HEX_LENGTH;
        let value = match &entry.content {
            Content::Value(value) => value.len(),
            Content::Lease(token) => token.as_str().len(),
        };
        (key + value) as u64 + ENTRY_OVERHEAD
    }
}

/// Collects what the cache drops, so that it can leave its context.
struct Evictions;

impl Lifecycle<Held, Arc<Entry>> for Evictions {
    type RequestState = Vec<Arc<Entry>>;

    fn on_evict(&self, evicted: &mut Self::RequestState, _: Held, entry: Arc<Entry>) {
        evicted.push(entry);
    }
}

#[cfg(test)]
mod tests;
