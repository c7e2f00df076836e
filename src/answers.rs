//! Answers of the engine on their way to JavaScript.
//!
//! JavaScript is given the values as arguments of its own function, and beforehand a tag for each in an `Int32Array` that
//! it made: nothing is allocated but the values, no property is set, and so no setter of a prototype is called. A tag is the
//! ticket times [`CODES`] and one of the codes here, which `cache/pending-calls.ts` has too.

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

/// What a call's value is answered as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A string, where it is a value.
    Text,
    /// A `Uint8Array` of its own.
    Bytes,
}

/// The calls that the engine has and has not answered, by their tickets.
#[derive(Default)]
pub struct Unanswered(RefCell<Vec<Option<Wanted>>>);

impl Unanswered {
    /// Notes a call that the engine is given.
    pub fn note(&self, ticket: Ticket, wanted: Wanted) {
        let mut calls = self.0.borrow_mut();
        let place = ticket as usize;
        if place >= calls.len() {
            calls.resize(place + 1, None);
        }
        calls[place] = Some(wanted);
    }

    /// Takes a call out; `None` if it was answered before.
    fn take(&self, ticket: Ticket) -> Option<Wanted> {
        self.0.borrow_mut().get_mut(ticket as usize)?.take()
    }

    fn take_all(&self) -> impl Iterator<Item = Ticket> {
        let calls = (0..).zip(self.0.take());
        calls.filter_map(|(ticket, call)| call.map(|_| ticket))
    }
}

/// Collects the answers of one call of the engine.
pub struct Collector<'scope, 'handle> {
    env: Env<'scope>,
    tags: Vec<u32>,
    values: Vec<Value<'scope>>,
    unanswered: &'handle Unanswered,
}

impl<'scope, 'handle> Collector<'scope, 'handle> {
    /// A collector without answers.
    pub const fn new(env: Env<'scope>, unanswered: &'handle Unanswered) -> Self {
        Self {
            env,
            tags: Vec::new(),
            values: Vec::new(),
            unanswered,
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

    /// Rejects every call that the engine has not answered.
    pub fn reject_all(&mut self, error: &Error) -> Outcome<()> {
        for ticket in self.unanswered.take_all() {
            self.put(ticket, REJECTED, self.env.error(error)?);
        }
        Ok(())
    }

    fn value(&self, wanted: Wanted, answer: Answer<'_>) -> (u32, Outcome<Value<'scope>>) {
        let env = self.env;
        match answer {
            Answer::Value(Some(value)) if wanted == Wanted::Bytes => (RESOLVED, env.bytes(value)),
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
        let Some(wanted) = self.unanswered.take(ticket) else {
            return;
        };
        match self.value(wanted, answer) {
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
