//! The table against a plain map that forgets nothing by itself: whatever the table still holds, it holds rightly.

use super::*;
use crate::{canonical::Canonical, key::Signer};
use proptest::prelude::*;
use std::collections::BTreeSet;

const MAX_BYTES: u64 = 6_000;
const CONTEXTS: [&str; 3] = ["user", "users", "user.profile"];
const KEYS: usize = 30;

#[derive(Clone, Debug)]
enum Operation {
    Find(usize),
    Store {
        key: usize,
        length: usize,
        time: u64,
    },
    Lease {
        key: usize,
        time: u64,
    },
    Fill {
        key: usize,
        lease: usize,
        length: usize,
        time: u64,
    },
    Delete(usize),
    DeleteContext(usize),
    Wait(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    let key = 0..KEYS;
    let length = prop_oneof![10 => 0..300_usize, 3 => 300..3_000_usize, 1 => 5_000..7_000_usize];
    let time = 0..100_u64;
    prop_oneof![
        6 => key.clone().prop_map(Operation::Find),
        6 => (key.clone(), length.clone(), time.clone()).prop_map(|(key, length, time)| Operation::Store { key, length, time }),
        4 => (key.clone(), time.clone()).prop_map(|(key, time)| Operation::Lease { key, time }),
        6 => (key.clone(), 0..4_usize, length, time.clone())
            .prop_map(|(key, lease, length, time)| Operation::Fill { key, lease, length, time }),
        2 => key.prop_map(Operation::Delete),
        1 => (0..CONTEXTS.len()).prop_map(Operation::DeleteContext),
        1 => time.prop_map(Operation::Wait),
    ]
}

/// What should stand at each key: a value's bytes or a lease's token, and until when.
type Model = HashMap<usize, (Vec<u8>, u64)>;

struct Pair {
    table: Table,
    model: Model,
    keys: Vec<Key>,
    /// The last leases given, also those that are gone.
    leases: Vec<LeaseToken>,
    now: u64,
}

impl Pair {
    fn new() -> Self {
        let signer = Signer::new(b"secret").unwrap();
        let keys = (0..KEYS).map(|index| {
            let context = CONTEXTS[index % CONTEXTS.len()];
            signer.key(&Canonical::new(context, &[], None, index as u64).unwrap())
        });
        let table = Table::new(MAX_BYTES);
        Self {
            table,
            model: Model::new(),
            keys: keys.collect(),
            leases: Vec::new(),
            now: 0,
        }
    }

    fn standing(&self, key: usize) -> Option<&(Vec<u8>, u64)> {
        self.model.get(&key).filter(|(_, expires)| self.now < *expires)
    }

    fn fits(&self, key: usize, length: usize) -> bool {
        let weight = (self.keys[key].as_str().len() + length) as u64 + ENTRY_OVERHEAD;
        weight * 100 <= MAX_BYTES * 97
    }

    fn store(&mut self, key: usize, bytes: Vec<u8>, content: Content, time: u64) {
        let expires = self.now + time;
        let stored = self.table.store(&self.keys[key], content, NO_OWNER, expires);
        assert_eq!(stored, self.fits(key, bytes.len()));
        assert_eq!(stored, self.table.cache.contains_key(self.keys[key].digest()));
        if stored {
            self.model.insert(key, (bytes, expires));
        } else {
            self.model.remove(&key);
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Find(key) => {
                let found = self
                    .table
                    .find(self.keys[key].digest(), self.now)
                    .map(|found| bytes_of(&found.content));
                assert_eq!(found.as_ref(), self.standing(key).map(|(bytes, _)| bytes));
            }
            Operation::Store { key, length, time } => self.store_value(key, length, time),
            Operation::Lease { key, time } => {
                if self.standing(key).is_none() {
                    let token = LeaseToken::new().unwrap();
                    self.leases.insert(0, token.clone());
                    self.leases.truncate(4);
                    self.store(key, token.as_str().into(), Content::Lease(token), time);
                }
            }
            Operation::Fill {
                key,
                lease,
                length,
                time,
            } => {
                let Some(token) = self.leases.get(lease) else { return };
                let stands = self.table.stands(&self.keys[key], token, self.now);
                assert_eq!(
                    stands,
                    self.standing(key)
                        .is_some_and(|(bytes, _)| bytes == token.as_str().as_bytes())
                );
                if stands {
                    self.store_value(key, length, time);
                }
            }
            Operation::Delete(key) => {
                assert_eq!(
                    self.table.delete(&self.keys[key], self.now),
                    self.standing(key).is_some()
                );
                self.model.remove(&key);
            }
            Operation::DeleteContext(index) => {
                let members: Vec<_> = (0..KEYS).filter(|key| key % CONTEXTS.len() == index).collect();
                let expected = members.iter().filter(|key| self.standing(**key).is_some()).count();
                assert_eq!(self.table.delete_context(CONTEXTS[index], self.now), expected as u64);
                self.model.retain(|key, _| !members.contains(key));
            }
            Operation::Wait(time) => self.now += time,
        }
    }

    fn store_value(&mut self, key: usize, length: usize, time: u64) {
        let value = vec![u8::try_from(self.now % 251).unwrap(); length];
        self.store(key, value.clone(), Content::Value(value.into()), time);
    }

    /// Everything the table holds is as the model says; what it has evicted, the model forgets.
    fn compare(&mut self) {
        let mut held = BTreeSet::new();
        let mut weight = 0;
        for (index, key) in self.keys.iter().enumerate() {
            match self.table.cache.peek(key.digest()) {
                Some(entry) => {
                    assert_eq!(self.model.get(&index), Some(&(bytes_of(&entry.content), entry.expires)));
                    weight += Weight.weight(&Held(Arc::clone(entry)), entry);
                    held.insert((key.context(), *key.digest(), Arc::as_ptr(entry)));
                }
                None => drop(self.model.remove(&index)),
            }
        }
        assert_eq!(self.table.bytes(), weight);
        assert!(weight <= MAX_BYTES);
        assert_eq!(self.table.entries(), held.len() as u64);

        assert!(self.table.contexts.values().all(|members| !members.is_empty()));
        let contexts = self.table.contexts.iter();
        let indexed = contexts.flat_map(|(context, members)| {
            members.iter().enumerate().map(|(position, entry)| {
                assert_eq!(entry.position.load(Relaxed), position);
                (&**context, entry.digest, Arc::as_ptr(entry))
            })
        });
        assert_eq!(indexed.collect::<BTreeSet<_>>(), held);
        assert_eq!(
            self.table.standing(self.now),
            (0..KEYS).filter(|key| self.standing(*key).is_some()).count() as u64
        );
    }
}

fn bytes_of(content: &Content) -> Vec<u8> {
    match content {
        Content::Value(value) => value.to_vec(),
        Content::Lease(token) => token.as_str().into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_table_holds_is_what_was_stored_last(operations in prop::collection::vec(operation(), 1..200)) {
        let mut pair = Pair::new();
        for operation in &operations {
            pair.apply(operation);
            pair.compare();
        }
    }
}

#[test]
fn what_has_expired_is_absent() {
    let mut pair = Pair::new();
    pair.store_value(0, 10, 5);
    let key = pair.keys[0].clone();
    assert!(pair.table.find(key.digest(), 4).is_some());
    assert!(pair.table.find(key.digest(), 5).is_none());
    assert_eq!(pair.table.entries(), 0);

    let token = LeaseToken::new().unwrap();
    assert!(pair.table.store(&key, Content::Lease(token.clone()), NO_OWNER, 5));
    assert!(pair.table.stands(&key, &token, 4));
    assert!(!pair.table.stands(&key, &token, 5));
    assert!(!pair.table.delete(&key, 5));
}

/// Else contexts that fill the table one after the other would each keep the room that they once needed.
#[test]
fn a_context_gives_back_the_room_that_it_no_longer_needs() {
    let signer = Signer::new(b"secret").unwrap();
    let key = |rev| signer.key(&Canonical::new("user", &[], None, rev).unwrap());
    let mut table = Table::new(u64::MAX);
    for rev in 0..1_000 {
        table.store(&key(rev), Content::Value(Bytes::new()), NO_OWNER, u64::MAX);
    }
    for rev in 1..1_000 {
        table.delete(&key(rev), 0);
    }
    assert!(table.contexts["user"].capacity() < 100);
}
