//! Answers of the engine on their way to JavaScript.
//!
//! JavaScript is given the values as arguments of its own function, and beforehand a tag for each in an `Int32Array` that
//! it made: nothing is allocated but the values, no property is set, and so no setter of a prototype is called. A tag is the
//! ticket times [`CODES`] and one of the codes here, which `cache/pending-calls.ts` has too.

use std::cell::RefCell;

use mizan_cache_core::engine::{Answer, Answers, Ticket};

use crate::{
    js::{Env, Outcome, Value},
    text::text,
};

/// How many codes a tag can have.
const CODES: u32 = 8;
const RESOLVED: u32 = 0;
const REJECTED: u32 = 1;
const LEASED: u32 = 2;
const HELD: u32 = 3;
const HIT: u32 = 4;
const MISS: u32 = 5;

/// Which reads are to be answered with bytes, by their tickets.
#[derive(Default)]
pub struct BytesWanted(RefCell<Vec<bool>>);

impl BytesWanted {
    /// Notes what a read of this ticket is answered with.
    pub fn note(&self, ticket: Ticket, wants_bytes: bool) {
        let mut wanted = self.0.borrow_mut();
        let place = ticket as usize;
        if place >= wanted.len() {
            if !wants_bytes {
                return;
            }
            wanted.resize(place + 1, false);
        }
        wanted[place] = wants_bytes;
    }

    fn of(&self, ticket: Ticket) -> bool {
        self.0.borrow().get(ticket as usize).copied().unwrap_or(false)
    }
}

/// Collects the answers of one call of the engine.
pub struct Collector<'scope, 'handle> {
    env: Env<'scope>,
    tags: Vec<u32>,
    values: Vec<Value<'scope>>,
    wanted: &'handle BytesWanted,
}

impl<'scope, 'handle> Collector<'scope, 'handle> {
    /// A collector without answers.
    pub const fn new(env: Env<'scope>, wanted: &'handle BytesWanted) -> Self {
        Self {
            env,
            tags: Vec::new(),
            values: Vec::new(),
            wanted,
        }
    }

    /// Hands the answers over: a function is called with as many of them as there is room for tags.
    pub fn settle(&self, settle: Value<'scope>, tags: Value<'scope>) -> Outcome<()> {
        let room = tags.integers()?.max(1);
        for (some_tags, some_values) in self.tags.chunks(room).zip(self.values.chunks(room)) {
            tags.write_integers(some_tags)?;
            settle.call(self.env.undefined()?, some_values)?;
        }
        Ok(())
    }

    fn value(&self, ticket: Ticket, answer: Answer<'_>) -> (u32, Outcome<Value<'scope>>) {
        let env = self.env;
        match answer {
            Answer::Value(Some(value)) if self.wanted.of(ticket) => (RESOLVED, env.bytes(value)),
            Answer::Value(Some(value)) => (RESOLVED, text(env, value)),
            Answer::Value(None) | Answer::Closed => (RESOLVED, env.null()),
            Answer::Hit(value) => (HIT, text(env, value)),
            Answer::Leased(lease) => (LEASED, env.latin1(lease.as_str().as_bytes())),
            Answer::Held(lease) => (HELD, env.latin1(lease.as_str().as_bytes())),
            Answer::Miss => (MISS, env.null()),
            Answer::Stored(done) | Answer::Released(done) => (RESOLVED, env.boolean(done)),
            Answer::Purged(count) => (RESOLVED, env.count(count)),
        }
    }

    fn put(&mut self, ticket: Ticket, code: u32, value: Value<'scope>) {
        self.tags.push(ticket * CODES + code);
        self.values.push(value);
    }
}

impl Answers for Collector<'_, '_> {
    fn answer(&mut self, ticket: Ticket, answer: Answer<'_>) {
        match self.value(ticket, answer) {
            (code, Ok(value)) => self.put(ticket, code, value),
            (_, Err(failure)) => {
                // Where even this fails the environment is being torn down, and nobody waits any more.
                if let Ok(error) = self.env.error(&failure.into_error(self.env)) {
                    self.put(ticket, REJECTED, error);
                }
            }
        }
    }
}
