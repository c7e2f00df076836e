//! What is under the memory's lock. Time comes in from outside, in nanoseconds.

use crate::{
    key::{DIGEST_HEX_LENGTH, Key},
    lease::LeaseToken,
};
use bytes::Bytes;
use quick_cache::{Lifecycle, Weighter, unsync::Cache};
use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hash, Hasher},
    sync::Arc,
};

/// What an entry costs besides its key and its value, in bytes: its slots in the cache and in its context's set of keys,
/// with the room that both keep to grow into, and the allocator's share.
pub const ENTRY_OVERHEAD: u64 = 160;

/// A value's usual size. It only decides how many evicted keys are remembered, which takes some 5 % of the bound.
const USUAL_VALUE_BYTES: u64 = 1024;

type DigestHash = BuildHasherDefault<DigestHasher>;

/// The entries, and the keys of each context.
///
/// The two hold the same keys at all times; a context without keys is not held.
pub(super) struct Table {
    cache: Cache<Digest, Entry, Weight, DigestHash, Evictions>,
    contexts: HashMap<Arc<str>, HashSet<Digest, DigestHash>>,
}

struct Entry {
    content: Content,
    expires: u64,
    context: Arc<str>,
}

#[derive(Clone)]
pub(super) enum Content {
    Value(Bytes),
    Lease(LeaseToken),
}

impl Table {
    pub(super) fn new(max_bytes: u64) -> Self {
        let usual_entries = usize::try_from(max_bytes / USUAL_VALUE_BYTES).unwrap_or(usize::MAX);
        let cache = Cache::with(usual_entries, max_bytes, Weight, DigestHash::default(), Evictions);
        Self {
            cache,
            contexts: HashMap::new(),
        }
    }

    /// What stands at a key. This is a use, which keeps the entry from eviction.
    pub(super) fn find(&mut self, key: &Key, now: u64) -> Option<Content> {
        let entry = self.cache.get(&Digest::of(key))?;
        if now < entry.expires {
            return Some(entry.content.clone());
        }
        self.remove(Digest::of(key));
        None
    }

    /// Whether just this lease stands at a key.
    pub(super) fn stands(&self, key: &Key, token: &LeaseToken, now: u64) -> bool {
        self.cache.peek(&Digest::of(key)).is_some_and(|entry| {
            now < entry.expires && matches!(&entry.content, Content::Lease(standing) if standing == token)
        })
    }

    /// Puts this at a key, in place of whatever stands there. False if it does not fit: then nothing stands there.
    pub(super) fn store(&mut self, key: &Key, content: Content, expires: u64) -> bool {
        let digest = Digest::of(key);
        let name = match self.contexts.get_key_value(key.context()) {
            Some((name, _)) => Arc::clone(name),
            None => Arc::from(key.context()),
        };
        let members = self.contexts.entry(Arc::clone(&name)).or_default();
        members.insert(digest);
        let entry = Entry {
            content,
            expires,
            context: name,
        };

        let Some(refused) = self.insert(digest, entry) else {
            return true;
        };
        // An entry that takes another's place can be the next to evict, if it is heavier than what it replaces. It is
        // no less welcome than one at a new key, which is always let in: forgotten, it comes back as a new one.
        self.cache.remove(&digest);
        let Some(refused) = self.insert(digest, refused) else {
            return true;
        };
        self.forget(digest, &refused.context);
        false
    }

    /// Inserts into the cache, and takes what it evicts out of its context. Returns the new entry if the cache has not
    /// kept it.
    fn insert(&mut self, digest: Digest, entry: Entry) -> Option<Entry> {
        let mut evicted = Vec::new();
        // Softly: only reads are uses. Else the fill of a lease would look like a second request for its key.
        if let Err((digest, entry)) = self.cache.replace_with_lifecycle(digest, entry, true, &mut evicted) {
            self.cache.insert_with_lifecycle(digest, entry, &mut evicted);
        }
        // The cache reports the entry that was replaced as evicted too, before the new one should that go as well.
        let mut refused = None;
        for (evicted_digest, entry) in evicted {
            if evicted_digest == digest {
                refused = Some(entry);
            } else {
                self.forget(evicted_digest, &entry.context);
            }
        }
        refused.filter(|_| !self.cache.contains_key(&digest))
    }

    /// Deletes a key, and returns whether anything stood there.
    pub(super) fn delete(&mut self, key: &Key, now: u64) -> bool {
        self.remove(Digest::of(key)).is_some_and(|entry| now < entry.expires)
    }

    /// Deletes all keys of a context, and returns how many stood there.
    pub(super) fn delete_context(&mut self, context: &str, now: u64) -> u64 {
        let members = self.contexts.remove(context).unwrap_or_default();
        let removed = members.iter().filter_map(|digest| self.cache.remove(digest));
        removed.map(|(_, entry)| u64::from(now < entry.expires)).sum()
    }

    /// How many entries have not expired.
    pub(super) fn standing(&self, now: u64) -> u64 {
        self.cache.iter().map(|(_, entry)| u64::from(now < entry.expires)).sum()
    }

    pub(super) fn entries(&self) -> u64 {
        self.cache.len() as u64
    }

    pub(super) fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    fn remove(&mut self, digest: Digest) -> Option<Entry> {
        let (_, entry) = self.cache.remove(&digest)?;
        self.forget(digest, &entry.context);
        Some(entry)
    }

    /// Takes a key that the cache does not hold any more out of its context.
    fn forget(&mut self, digest: Digest, context: &str) {
        let Some(members) = self.contexts.get_mut(context) else {
            return;
        };
        members.remove(&digest);
        if members.is_empty() {
            self.contexts.remove(context);
            if is_sparse(self.contexts.len(), self.contexts.capacity()) {
                self.contexts.shrink_to(self.contexts.len() * 2);
            }
        } else if is_sparse(members.len(), members.capacity()) {
            members.shrink_to(members.len() * 2);
        }
    }
}

/// Without this, contexts that fill the memory one after the other would each keep the room they once needed.
fn is_sparse(length: usize, capacity: usize) -> bool {
    length < capacity / 4
}

/// An entry's place in the cache: the HMAC in its key, which covers its context.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Digest([u8; 32]);

impl Digest {
    fn of(key: &Key) -> Self {
        Self(*key.digest())
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write(&self.0);
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

impl Weighter<Digest, Entry> for Weight {
    fn weight(&self, _: &Digest, entry: &Entry) -> u64 {
        let key = "ctx:".len() + entry.context.len() + ":".len() + DIGEST_HEX_LENGTH;
        let value = match &entry.content {
            Content::Value(value) => value.len(),
            Content::Lease(token) => token.as_str().len(),
        };
        (key + value) as u64 + ENTRY_OVERHEAD
    }
}

/// Collects what the cache drops, so that it can be taken out of its context.
struct Evictions;

impl Lifecycle<Digest, Entry> for Evictions {
    type RequestState = Vec<(Digest, Entry)>;

    fn on_evict(&self, evicted: &mut Self::RequestState, digest: Digest, entry: Entry) {
        evicted.push((digest, entry));
    }
}

#[cfg(test)]
mod tests;
