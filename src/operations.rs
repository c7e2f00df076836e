//! The operations of a cache, as functions over the cache they belong to.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use mizan_cache_core::{
    cache::{Cache, Purge, PutOptions},
    canonical::Canonical,
    config::MAX_TTL,
    error::{Error, ErrorCode},
    expected_size::ExpectedSize,
    histogram::{BOUNDS, Histogram},
    lease::LeaseToken,
    memory::Versioned,
};

use crate::{
    answer::{Answer, Text},
    completions::Completions,
    default_cache::{self, Held},
    js::{ARGUMENTS, Body, Env, Failure, Kind, Outcome, Value, internal},
    params::read_context,
    runtime::runtime,
};

/// To make a string of so many bytes anew takes longer than to find one that was made before.
const LARGE_TEXT: usize = 4_096;

type Operation = Pin<Box<dyn Future<Output = Result<Answer, Error>> + Send>>;
type Arguments<'scope> = [Value<'scope>; ARGUMENTS];

/// What the functions of one cache share.
struct Handle {
    /// The cache, or nothing for whichever is the process's default when a function is called.
    held: Option<Held>,
    completions: Rc<Completions>,
    /// The large value that was peeked at last, until its text is asked for.
    peeked: Cell<Option<Bytes>>,
}

/// An object with the functions of a cache, or of the default cache if none is given.
pub fn operations<'scope>(
    env: Env<'scope>,
    held: Option<Held>,
    completions: &Rc<Completions>,
) -> Outcome<Value<'scope>> {
    let handle = Rc::new(Handle {
        held,
        completions: Rc::clone(completions),
        peeked: Cell::default(),
    });
    let functions: [(&std::ffi::CStr, Body<Handle>); 16] = [
        (c"key", key),
        (c"peek", peek),
        (c"peeked", peeked),
        (c"peekBytes", peek_bytes),
        (c"get", get),
        (c"getBytes", get_bytes),
        (c"lookup", lookup),
        (c"getMany", get_many),
        (c"getBytesMany", get_bytes_many),
        (c"lookupMany", lookup_many),
        (c"put", put),
        (c"purgeEntry", purge_entry),
        (c"purgeContext", purge_context),
        (c"clear", clear),
        (c"stats", stats),
        (c"close", close),
    ];
    let object = env.object()?;
    for (name, body) in functions {
        object.set(name, env.function(&name.to_string_lossy(), &handle, body)?)?;
    }
    let (answers_at_once, has_copies) = match &handle.held {
        Some(held) => (!held.is_remote, held.has_copies),
        None => (false, true),
    };
    object.set(c"answersAtOnce", env.boolean(answers_at_once)?)?;
    object.set(c"hasCopies", env.boolean(has_copies)?)?;
    Ok(object)
}

impl Handle {
    fn held(&self) -> Result<Held, Error> {
        self.held.clone().map_or_else(default_cache::current, Ok)
    }

    /// A value in this process; none where there is no cache, which the read that follows tells.
    fn copy(&self, canonical: &Canonical) -> Option<Versioned> {
        match &self.held {
            Some(held) => held.cache.peek_versioned(canonical),
            None => default_cache::current().ok()?.cache.peek_versioned(canonical),
        }
    }

    /// Starts an operation and returns its answer, a rejection, or `undefined` where the answer is still to come.
    fn run<'scope>(
        &self,
        env: Env<'scope>,
        number: Value<'scope>,
        start: impl FnOnce(&Held) -> Operation,
    ) -> Outcome<Value<'scope>> {
        let held = match self.held() {
            Ok(held) => held,
            Err(error) => return env.rejection(&error),
        };
        let mut operation = start(&held);
        // One that is ready needs no other thread. One that asks Redis is not, and to begin it here would wake the
        // runtime's thread more than once.
        if !held.cache.is_connected() {
            let _context = held.is_remote.then(|| runtime().enter());
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(result) = operation.as_mut().poll(&mut context) {
                return settled(env, result);
            }
        }
        self.completions.add(env, number.number()?, operation)?;
        env.undefined()
    }

    /// Starts reads of many calls. On Redis they begin on the runtime's thread, which has the time for it.
    fn run_many<'scope, T, Read>(
        &self,
        env: Env<'scope>,
        [canonicals, number, ..]: Arguments<'scope>,
        read: fn(&Cache, Vec<Canonical>) -> Read,
        answer: fn(T) -> Answer,
    ) -> Outcome<Value<'scope>>
    where
        T: Send + 'static,
        Read: Future<Output = Result<Vec<T>, Error>> + Send + 'static,
    {
        let canonicals = canonicals.ascii()?;
        let held = match self.held() {
            Ok(held) => held,
            Err(error) => return env.rejection(&error),
        };
        let cache = held.cache.clone();
        let operation = async move {
            let answers = read(&cache, canonicals_of(&canonicals)?).await?;
            Ok(Answer::Many(answers.into_iter().map(answer).collect()))
        };
        if !held.is_remote {
            return self.run(env, number, |_| Box::pin(operation));
        }
        self.completions.add(env, number.number()?, operation)?;
        env.undefined()
    }
}

fn settled(env: Env<'_>, result: Result<Answer, Error>) -> Outcome<Value<'_>> {
    let value = result.map_err(Failure::from).and_then(|answer| answer.into_value(env));
    value.or_else(|failure| env.rejection(&failure.into_error(env)))
}

/// The canonical form of a call, as `canonicalForm` or its equal in JavaScript wrote it.
pub fn read_canonical(text: Value<'_>) -> Outcome<Canonical> {
    Ok(canonical_of(text.ascii()?)?)
}

/// Many canonical forms, of which each ends with a line feed: none holds one.
fn canonicals_of(text: &[u8]) -> Result<Vec<Canonical>, Error> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    lines
        .map(|line| canonical_of(line[..line.len() - 1].to_vec()))
        .collect()
}

fn canonical_of(text: Vec<u8>) -> Result<Canonical, Error> {
    let text = String::from_utf8(text).map_err(|_| internal("a canonical form that is not ASCII"))?;
    let context_length = text
        .bytes()
        .skip(CONTEXT_START)
        .take_while(|byte| *byte != b'"')
        .count();
    Canonical::from_written(text, context_length)
}

const CONTEXT_START: usize = r#"{"c":""#.len();

fn key<'scope>(env: Env<'scope>, handle: &Rc<Handle>, [canonical, ..]: Arguments<'scope>) -> Outcome<Value<'scope>> {
    let canonical = read_canonical(canonical)?;
    env.string(handle.held()?.cache.key(&canonical).as_str())
}

/// The text, or the version of a large one, whose text `peeked` makes.
fn peek<'scope>(env: Env<'scope>, handle: &Rc<Handle>, [canonical, ..]: Arguments<'scope>) -> Outcome<Value<'scope>> {
    let canonical = read_canonical(canonical)?;
    match handle.copy(&canonical) {
        Some(Versioned { value, version }) if value.len() >= LARGE_TEXT => {
            handle.peeked.set(Some(value));
            env.count(version)
        }
        Some(Versioned { value, .. }) => Text::from(value).into_value(env),
        None => env.null(),
    }
}

fn peeked<'scope>(env: Env<'scope>, handle: &Rc<Handle>, _: Arguments<'scope>) -> Outcome<Value<'scope>> {
    match handle.peeked.take() {
        Some(value) => Text::from(value).into_value(env),
        None => env.null(),
    }
}

fn peek_bytes<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [canonical, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let canonical = read_canonical(canonical)?;
    match handle.copy(&canonical) {
        Some(Versioned { value, .. }) => env.bytes(&value),
        None => env.null(),
    }
}

fn get<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [canonical, number, is_large, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let (canonical, size) = (read_canonical(canonical)?, read_size(is_large)?);
    handle.run(env, number, |held| {
        let read = held.cache.get_expecting(&canonical, size);
        Box::pin(async { read.await.map(Answer::text) })
    })
}

fn get_bytes<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [canonical, number, is_large, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let (canonical, size) = (read_canonical(canonical)?, read_size(is_large)?);
    handle.run(env, number, |held| {
        let read = held.cache.get_expecting(&canonical, size);
        Box::pin(async { read.await.map(Answer::Bytes) })
    })
}

fn lookup<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [canonical, number, is_large, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let (canonical, size) = (read_canonical(canonical)?, read_size(is_large)?);
    handle.run(env, number, |held| {
        let lookup = held.cache.lookup_expecting(&canonical, size);
        Box::pin(async { lookup.await.map(Answer::lookup) })
    })
}

fn get_many<'scope>(env: Env<'scope>, handle: &Rc<Handle>, arguments: Arguments<'scope>) -> Outcome<Value<'scope>> {
    handle.run_many(env, arguments, Cache::get_many, Answer::text)
}

fn get_bytes_many<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    arguments: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    handle.run_many(env, arguments, Cache::get_many, Answer::Bytes)
}

fn lookup_many<'scope>(env: Env<'scope>, handle: &Rc<Handle>, arguments: Arguments<'scope>) -> Outcome<Value<'scope>> {
    handle.run_many(env, arguments, Cache::lookup_many, Answer::lookup)
}

fn put<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [canonical, value, ttl, lease, number]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let canonical = read_canonical(canonical)?;
    let value = read_value(value)?;
    let options = PutOptions {
        ttl: read_ttl(ttl)?,
        lease: read_lease(lease)?,
    };
    handle.run(env, number, |held| {
        let write = held.cache.put(&canonical, value, options);
        Box::pin(async { write.await.map(Answer::Stored) })
    })
}

fn purge_entry<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [canonical, number, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let canonical = read_canonical(canonical)?;
    handle.run(env, number, |held| {
        let purge = held.cache.purge(Purge::Entry(&canonical));
        Box::pin(async { purge.await.map(Answer::Deleted) })
    })
}

fn purge_context<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [context, number, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let context = read_context(context)?;
    handle.run(env, number, |held| {
        let purge = held.cache.purge(Purge::Context(&context));
        Box::pin(async { purge.await.map(Answer::Deleted) })
    })
}

fn clear<'scope>(env: Env<'scope>, handle: &Rc<Handle>, [number, ..]: Arguments<'scope>) -> Outcome<Value<'scope>> {
    handle.run(env, number, |held| {
        let clear = held.cache.clear();
        Box::pin(async { clear.await.map(Answer::Deleted) })
    })
}

fn close<'scope>(env: Env<'scope>, handle: &Rc<Handle>, [number, ..]: Arguments<'scope>) -> Outcome<Value<'scope>> {
    handle.run(env, number, |held| {
        held.closed.store(true, Relaxed);
        let close = held.cache.close();
        Box::pin(async {
            close.await;
            Ok(Answer::Closed)
        })
    })
}

fn stats<'scope>(env: Env<'scope>, handle: &Rc<Handle>, _: Arguments<'scope>) -> Outcome<Value<'scope>> {
    let stats = handle.held()?.cache.stats();
    let object = env.object()?;
    for (name, count) in [
        (c"hits", stats.hits),
        (c"localHits", stats.local_hits),
        (c"misses", stats.misses),
        (c"stores", stats.stores),
        (c"refusedStores", stats.refused_stores),
        (c"purges", stats.purges),
        (c"purgedEntries", stats.purged_entries),
        (c"failedReads", stats.failed_reads),
        (c"failedWrites", stats.failed_writes),
        (c"postponedPurges", stats.postponed_purges),
        (c"keptPurges", stats.kept_purges),
        (c"timeouts", stats.timeouts),
        (c"reconnects", stats.reconnects),
        (c"inFlight", stats.in_flight),
        (c"entries", stats.entries),
        (c"bytes", stats.bytes),
    ] {
        object.set(name, env.count(count)?)?;
    }
    let circuit = stats
        .circuit
        .map_or_else(|| env.null(), |circuit| env.string(circuit.as_str()))?;
    object.set(c"circuit", circuit)?;
    let latency = env.object()?;
    for (name, histogram) in [
        (c"read", &stats.latency.read),
        (c"write", &stats.latency.write),
        (c"purge", &stats.latency.purge),
    ] {
        latency.set(name, histogram_value(env, histogram)?)?;
    }
    object.set(c"latency", latency)?;
    Ok(object)
}

fn histogram_value<'scope>(env: Env<'scope>, histogram: &Histogram) -> Outcome<Value<'scope>> {
    let milliseconds = |time: Duration| env.number(time.as_secs_f64() * 1_000.0);
    let bounds = BOUNDS.into_iter().map(milliseconds).collect::<Outcome<Vec<_>>>()?;
    let counts = histogram.counts.iter().map(|count| env.count(*count));
    let object = env.object()?;
    object.set(c"count", env.count(histogram.count)?)?;
    object.set(c"sum", milliseconds(histogram.sum)?)?;
    object.set(c"bounds", env.array(&bounds)?)?;
    object.set(c"counts", env.array(&counts.collect::<Outcome<Vec<_>>>()?)?)?;
    Ok(object)
}

fn read_size(is_large: Value<'_>) -> Outcome<ExpectedSize> {
    Ok(if is_large.boolean()? {
        ExpectedSize::Large
    } else {
        ExpectedSize::Unknown
    })
}

fn read_value(value: Value<'_>) -> Outcome<Bytes> {
    let read = match value.kind()? {
        Kind::String => value.text()?.map(String::into_bytes),
        Kind::Object => value.bytes()?,
        _ => None,
    };
    let refuse = || Error::new(ErrorCode::Value, "value must be a well-formed string or a Uint8Array");
    Ok(read.ok_or_else(refuse)?.into())
}

/// A time to live in seconds, at least the millisecond that Redis counts in.
fn read_ttl(ttl: Value<'_>) -> Outcome<Option<Duration>> {
    let kind = ttl.kind()?;
    if kind == Kind::Undefined {
        return Ok(None);
    }
    let seconds = if kind == Kind::Number { ttl.number()? } else { f64::NAN };
    if seconds > 0.0 && seconds <= MAX_TTL.as_secs_f64() {
        return Ok(Some(Duration::from_secs_f64(seconds).max(Duration::from_millis(1))));
    }
    let longest = MAX_TTL.as_secs();
    Err(Error::new(
        ErrorCode::Ttl,
        format!("ttl must be a positive number of seconds up to {longest}"),
    )
    .into())
}

fn read_lease(lease: Value<'_>) -> Outcome<Option<LeaseToken>> {
    match lease.kind()? {
        Kind::Undefined | Kind::Null => Ok(None),
        // Longer text is no token, and is not read.
        Kind::String if lease.length()? <= 64 => Ok(Some(LeaseToken::parse(&lease.text()?.unwrap_or_default())?)),
        _ => Ok(Some(LeaseToken::parse("")?)),
    }
}
