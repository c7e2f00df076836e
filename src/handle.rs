//! A cache in one environment: its engine, where entries are on Redis, and what JavaScript asked for in this turn.

use std::{
    cell::{Cell, RefCell},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::LazyLock,
    time::Instant,
};

use bytes::Bytes;
use mizan_cache_core::{
    engine::{Answers, Effect, Engine, Moment, Operation, Ticket, address::Address},
    key::Digest,
    shared_cache::{Request, SharedCache},
};

use crate::{
    answers::{Collector, Unanswered, Wanted},
    default_cache::Held,
    events::message,
    js::{Env, Outcome, Value, internal},
};

/// Longer text is sent from a buffer: Node writes up to so much from its own stack.
const SHORT_TEXT: usize = 16 * 1024;
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time, the same for all threads of the process.
pub fn now() -> Moment {
    STARTED.elapsed()
}

/// By what JavaScript is given answers and effects.
#[derive(Clone, Copy)]
pub struct Receiver<'scope> {
    /// The function that is called with answers.
    pub settle: Value<'scope>,
    /// An `Int32Array` for the tags of these answers.
    pub tags: Value<'scope>,
    /// An array for effects, part by part, which JavaScript fills with `undefined` beforehand.
    pub effects: Value<'scope>,
}

/// A call that waits for the next `flush`.
struct Queued {
    ticket: Ticket,
    operation: Operation,
    wanted: Wanted,
}

/// A cache in one environment.
pub struct Handle {
    /// The cache.
    pub held: Held,
    engine: Option<RefCell<Engine>>,
    queue: RefCell<Vec<Queued>>,
    /// Whether the queue has a call that changes an entry.
    queue_has_changes: Cell<bool>,
    unanswered: Unanswered,
    /// The large value that was found in memory last, until its text is asked for.
    pub found: Cell<Option<Bytes>>,
}

impl Handle {
    /// A cache in this environment.
    pub fn new(held: Held) -> Self {
        let engine = held.cache.is_remote().then(|| RefCell::new(new_engine(&held)));
        Self {
            held,
            engine,
            queue: RefCell::default(),
            queue_has_changes: Cell::new(false),
            unanswered: Unanswered::default(),
            found: Cell::default(),
        }
    }

    /// The cache that all threads share.
    pub fn cache(&self) -> &SharedCache {
        &self.held.cache
    }

    /// Reads the engine, if there is one that is not in use.
    pub fn engine<T>(&self, read: impl FnOnce(&Engine) -> T) -> Option<T> {
        self.engine.as_ref()?.try_borrow().ok().map(|engine| read(&engine))
    }

    /// Takes a call, which is sent by the next `flush`.
    pub fn queue(&self, ticket: Ticket, request: Request<'_>, wanted: Wanted) -> Outcome<()> {
        let operation = self.cache().operation(request)?;
        self.queue_operation(ticket, operation, wanted);
        Ok(())
    }

    /// Takes an operation, which is sent by the next `flush`.
    pub fn queue_operation(&self, ticket: Ticket, operation: Operation, wanted: Wanted) {
        if matches!(
            operation,
            Operation::Set { .. } | Operation::Discard(_) | Operation::Purge(_)
        ) {
            self.queue_has_changes.set(true);
        }
        self.queue.borrow_mut().push(Queued {
            ticket,
            operation,
            wanted,
        });
    }

    /// Takes reads under consecutive tickets; none of them where one is an error.
    pub fn queue_reads(&self, first: Ticket, reads: impl Iterator<Item = Outcome<(Operation, Wanted)>>) -> Outcome<()> {
        let mut queue = self.queue.borrow_mut();
        let before = queue.len();
        for (ticket, read) in (first..).zip(reads) {
            match read {
                Ok((operation, wanted)) => queue.push(Queued {
                    ticket,
                    operation,
                    wanted,
                }),
                Err(failure) => {
                    queue.truncate(before);
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    /// Whether the next `flush` sends a call of this very entry that changes it. Calls of one key are done in their order,
    /// so a copy of what stands there is no answer to a later call.
    pub fn is_to_change(&self, digest: &Digest) -> bool {
        self.queue_has_changes.get()
            && self.queue.borrow().iter().any(|queued| match &queued.operation {
                Operation::Set { key, .. } => key.digest() == digest,
                Operation::Discard(keys) | Operation::Purge(keys) => keys.iter().any(|key| key.digest() == digest),
                _ => false,
            })
    }

    /// Sends what was taken.
    pub fn flush<'scope>(&self, env: Env<'scope>, receiver: Receiver<'scope>) -> Outcome<Value<'scope>> {
        let queue = self.queue.take();
        self.queue_has_changes.set(false);
        for queued in &queue {
            self.unanswered.note(queued.ticket, queued.wanted);
        }
        let operations = queue.into_iter().map(|queued| (queued.ticket, queued.operation));
        self.run(env, receiver, |engine, answers| {
            engine.submit(operations, now(), answers);
        })
    }

    /// Ends the engine, which then answers under this ticket.
    pub fn close<'scope>(
        &self,
        env: Env<'scope>,
        receiver: Receiver<'scope>,
        ticket: Ticket,
    ) -> Outcome<Value<'scope>> {
        self.unanswered.note(ticket, Wanted::Text);
        self.run(env, receiver, |engine, answers| engine.close(ticket, now(), answers))
    }

    /// Runs the engine, and hands over what came of it. The number of the parts of effects.
    ///
    /// Where that fails, by a panic or otherwise, the calls that the engine has are rejected, and a new one takes its place.
    /// What it had not done of its purges stays in the ledger. Calls that wait for the next `flush` are not concerned.
    pub fn run<'scope>(
        &self,
        env: Env<'scope>,
        receiver: Receiver<'scope>,
        call: impl FnOnce(&mut Engine, &mut dyn Answers),
    ) -> Outcome<Value<'scope>> {
        let Some(engine) = &self.engine else {
            return Err(internal("a call of Redis on a cache in memory").into());
        };
        let mut engine = engine.try_borrow_mut().map_err(|_| internal("the engine is in use"))?;
        let mut collector = Collector::new(env, &self.unanswered);
        let mut effects = Effects {
            env,
            array: receiver.effects,
            count: 0,
            capacity: receiver.effects.array_length()?,
        };
        let called = catch_unwind(AssertUnwindSafe(|| {
            call(&mut engine, &mut collector);
            engine.effects().into_iter().try_for_each(|effect| effects.add(effect))
        }));
        let failure = match called {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure.into_error(env)),
            Err(_) => Some(internal("a panic")),
        };
        if let Some(error) = failure {
            let broken = mem::replace(&mut *engine, new_engine(&self.held));
            // Whatever broke it may break its end too.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(broken)));
            collector.reject_all(&error)?;
            effects.count = 0;
            effects.put(&[env.string("restarted")?])?;
        }
        // What JavaScript does with answers may call the engine again.
        drop(engine);
        collector.settle(receiver.settle, receiver.tags)?;
        env.small(effects.count)
    }
}

fn new_engine(held: &Held) -> Engine {
    Engine::new(
        held.cache.clone(),
        Box::new(|bytes: &mut [u8]| getrandom::fill(bytes).is_ok()),
    )
}

/// Effects on their way to JavaScript, part by part.
struct Effects<'scope> {
    env: Env<'scope>,
    array: Value<'scope>,
    count: u32,
    capacity: u32,
}

impl<'scope> Effects<'scope> {
    fn put(&mut self, parts: &[Value<'scope>]) -> Outcome<()> {
        for part in parts {
            // Beyond its length the array has no elements of its own, on which a setter could be called.
            if self.count < self.capacity {
                self.array.set_element(self.count, *part)?;
            } else {
                self.array.define_element(self.count, *part)?;
            }
            self.count += 1;
        }
        Ok(())
    }

    fn add(&mut self, effect: Effect) -> Outcome<()> {
        let env = self.env;
        match effect {
            Effect::Open { connection, address } => {
                let kind = env.string("open")?;
                let id = env.small(connection.0)?;
                match address {
                    Address::Tcp { host, port, tls } => {
                        let host = env.string(&host)?;
                        self.put(&[kind, id, host, env.small(port.into())?, env.boolean(tls)?])
                    }
                    Address::Unix(path) => {
                        let path = env.string(&path.to_string_lossy())?;
                        self.put(&[kind, id, path, env.null()?, env.boolean(false)?])
                    }
                }
            }
            Effect::Send { connection, bytes } => {
                let data = if bytes.len() <= SHORT_TEXT && bytes.is_ascii() {
                    env.latin1(&bytes)?
                } else {
                    env.buffer(&bytes)?
                };
                self.put(&[env.string("send")?, env.small(connection.0)?, data])
            }
            Effect::Close { connection } => self.put(&[env.string("close")?, env.small(connection.0)?]),
            Effect::WakeAt(moment) => {
                let wait = moment.saturating_sub(now()).as_secs_f64() * 1_000.0;
                self.put(&[env.string("wake")?, env.number(wait.ceil())?])
            }
            Effect::Event(event) => {
                let (channel, message) = message(env, &event)?;
                self.put(&[env.string("event")?, env.string(channel)?, message])
            }
        }
    }
}
