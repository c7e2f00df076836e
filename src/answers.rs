//! Answers of the engine on their way to JavaScript.
//!
//! They are put into an array that JavaScript made and filled beforehand, in pairs: a tag, and a value. Its elements are
//! its own, so no setter of a prototype is called, and nothing is allocated but the values. A tag is the ticket times
//! [`CODES`] and one of the codes here, which `cache/calls.ts` has too.

use std::cell::RefCell;

use mizan_cache_core::{
    engine::{Answer, Answers, Ticket},
    error::Error,
};

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
    array: Value<'scope>,
    capacity: u32,
    /// How many pairs are in the array.
    pub count: u32,
    /// What did not fit.
    pub more: Vec<Value<'scope>>,
    wanted: &'handle BytesWanted,
}

impl<'scope, 'handle> Collector<'scope, 'handle> {
    /// A collector for an array with room for so many pairs.
    pub const fn new(env: Env<'scope>, array: Value<'scope>, capacity: u32, wanted: &'handle BytesWanted) -> Self {
        Self {
            env,
            array,
            capacity,
            count: 0,
            more: Vec::new(),
            wanted,
        }
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

    fn put(&mut self, tag: Value<'scope>, value: Value<'scope>) -> Outcome<()> {
        if self.count < self.capacity {
            self.array.set_element(2 * self.count, tag)?;
            self.array.set_element(2 * self.count + 1, value)?;
            self.count += 1;
        } else {
            self.more.extend([tag, value]);
        }
        Ok(())
    }

    /// Rejects a call.
    pub fn reject(&mut self, ticket: Ticket, error: &Error) -> Outcome<()> {
        let tag = self.env.small(ticket * CODES + REJECTED)?;
        let error = self.env.error(error)?;
        self.put(tag, error)
    }
}

impl Answers for Collector<'_, '_> {
    fn answer(&mut self, ticket: Ticket, answer: Answer<'_>) {
        let (code, value) = self.value(ticket, answer);
        let put = match value {
            Ok(value) => self
                .env
                .small(ticket * CODES + code)
                .and_then(|tag| self.put(tag, value)),
            Err(failure) => {
                let error = failure.into_error(self.env);
                self.reject(ticket, &error)
            }
        };
        // Where even this fails the environment is being torn down, and nobody waits any more.
        let _ = put;
    }
}
