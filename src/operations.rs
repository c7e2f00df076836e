//! The operations of a cache, as functions over the cache they belong to.
//!
//! In memory each returns its answer. On Redis it returns `undefined`, and the answer comes under the number that it was
//! given; what is wrong with the call throws, and a cache that was closed is a promise that is rejected.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use mizan_cache_core::{
    canonical::Canonical,
    config::MAX_TTL,
    engine::{ConnectionId, Engine, Operation, Ticket, address::Credentials},
    error::{Error, ErrorCode},
    events::Reason,
    histogram::{BOUNDS, Histogram},
    key::Digest,
    lease::{LeaseToken, Lookup},
    memory::Versioned,
    shared_cache::{PutOptions, Reply, Request},
};

use crate::{
    answers::Wanted,
    default_cache::Held,
    handle::{Handle, Receiver, now},
    js::{ARGUMENTS, Body, Env, Kind, Outcome, Value, internal},
    params::read_context,
    text::text,
};

/// To make a string of so many bytes anew takes longer than to find one that was made before.
const LARGE_TEXT: usize = 4_096;

type Arguments<'scope> = [Value<'scope>; ARGUMENTS];

/// An object with the functions of a cache.
pub fn operations(env: Env<'_>, held: Held) -> Outcome<Value<'_>> {
    let (id, is_remote, has_copies, asks) = (
        held.id,
        held.cache.is_remote(),
        held.cache.has_copies(),
        held.cache.asks_for_credentials(),
    );
    let handle = Rc::new(Handle::new(held));
    let functions: [(&std::ffi::CStr, Body<Handle>); 22] = [
        (c"key", key),
        (c"peek", peek),
        (c"foundText", found_text),
        (c"peekBytes", peek_bytes),
        (c"get", get),
        (c"getBytes", get_bytes),
        (c"lookup", lookup),
        (c"reads", reads),
        (c"put", put),
        (c"release", release),
        (c"purgeEntry", purge_entry),
        (c"purgeContext", purge_context),
        (c"clear", clear),
        (c"stats", stats),
        (c"markClosed", mark_closed),
        (c"flush", flush),
        (c"opened", opened),
        (c"received", received),
        (c"closed", closed),
        (c"tick", tick),
        (c"close", close),
        (c"isIdle", is_idle),
    ];
    let object = env.object()?;
    for (name, body) in functions {
        object.define(name, env.function(&name.to_string_lossy(), &handle, body)?)?;
    }
    object.define(c"id", env.count(id)?)?;
    object.define(c"isRemote", env.boolean(is_remote)?)?;
    object.define(c"hasCopies", env.boolean(has_copies)?)?;
    object.define(c"asksForCredentials", env.boolean(asks)?)?;
    #[cfg(feature = "faults")]
    object.define(c"panicLater", env.function("panicLater", &handle, panic_later)?)?;
    Ok(object)
}

/// A call: answered in memory, taken for Redis, or rejected because the cache was closed.
fn run<'scope>(
    env: Env<'scope>,
    handle: &Handle,
    number: Value<'scope>,
    request: Request<'_>,
    wanted: Wanted,
) -> Outcome<Value<'scope>> {
    if let Err(error) = handle.cache().check_open() {
        return env.rejection(&error);
    }
    if handle.cache().is_remote() {
        handle.queue(ticket(number)?, request, wanted)?;
        return env.undefined();
    }
    if let Request::Get(canonical) | Request::Lookup(canonical) = request
        && wanted == Wanted::Text
        && let Some(Versioned { value, version }) = handle.cache().peek(canonical)
    {
        return found(env, handle, value, version).or_else(|failure| env.rejection(&failure.into_error(env)));
    }
    let answer = match handle.cache().answer(request)? {
        Reply::Value(Some(value)) if wanted == Wanted::Bytes => env.bytes(&value),
        Reply::Value(Some(value)) | Reply::Lookup(Lookup::Hit(value)) => text(env, &value),
        // One of the two is `null`.
        Reply::Lookup(Lookup::Leased(lease)) => env.array(&[env.string(lease.as_str())?, env.null()?]),
        Reply::Lookup(Lookup::Held(lease)) => env.array(&[env.null()?, env.string(lease.as_str())?]),
        Reply::Value(None) | Reply::Lookup(Lookup::Miss) => env.null(),
        Reply::Stored(done) | Reply::Released(done) => env.boolean(done),
        Reply::Purged(count) => env.count(count),
    };
    answer.or_else(|failure| env.rejection(&failure.into_error(env)))
}

/// A value in this process: its text, or the version of a large one, whose text `foundText` makes.
fn found<'scope>(env: Env<'scope>, handle: &Handle, value: Bytes, version: u64) -> Outcome<Value<'scope>> {
    if value.len() >= LARGE_TEXT {
        handle.found.set(Some(value));
        return env.count(version);
    }
    text(env, &value)
}

fn ticket(number: Value<'_>) -> Outcome<Ticket> {
    let number = number.number()?;
    if !(0.0..f64::from(u32::MAX / 8)).contains(&number) {
        return Err(internal("a number that is no ticket").into());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
    Ok(number as Ticket)
}

/// The canonical form of a call, as `canonicalForm` or its equal in JavaScript wrote it.
pub fn read_canonical(text: Value<'_>) -> Outcome<Canonical> {
    Ok(canonical_of(text.ascii()?)?)
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
    env.string(handle.cache().key(&canonical).as_str())
}

/// A value in memory, or a copy of one on Redis.
fn copy(handle: &Handle, canonical: &Canonical) -> Option<Versioned> {
    if !handle.cache().is_remote() {
        return handle.cache().peek(canonical);
    }
    if handle.cache().is_closed() {
        return None;
    }
    copy_of(handle, &handle.cache().signer().digest(canonical), canonical.context())
}

/// A copy in this thread, unless a call that waits to be sent changes what it is of.
fn copy_of(handle: &Handle, digest: &Digest, context: &str) -> Option<Versioned> {
    if handle.is_to_change(digest) {
        return None;
    }
    handle.engine(|engine| engine.peek(digest, context, now())).flatten()
}

fn peek<'scope>(env: Env<'scope>, handle: &Rc<Handle>, [canonical, ..]: Arguments<'scope>) -> Outcome<Value<'scope>> {
    match copy(handle, &read_canonical(canonical)?) {
        Some(Versioned { value, version }) => found(env, handle, value, version),
        None => env.null(),
    }
}

fn found_text<'scope>(env: Env<'scope>, handle: &Rc<Handle>, _: Arguments<'scope>) -> Outcome<Value<'scope>> {
    match handle.found.take() {
        Some(value) => text(env, &value),
        None => env.null(),
    }
}

fn peek_bytes<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [canonical, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    match copy(handle, &read_canonical(canonical)?) {
        Some(Versioned { value, .. }) => env.bytes(&value),
        None => env.null(),
    }
}

/// A read that finds a copy in this thread, or goes to Redis: the digest is derived once for both.
fn read_copy_or_queue<'scope>(
    env: Env<'scope>,
    handle: &Handle,
    [canonical, number, ..]: Arguments<'scope>,
    operation: fn(mizan_cache_core::key::Key) -> Operation,
    wanted: Wanted,
) -> Outcome<Value<'scope>> {
    let canonical = read_canonical(canonical)?;
    if let Err(error) = handle.cache().check_open() {
        return env.rejection(&error);
    }
    let key = handle.cache().key(&canonical);
    match copy_of(handle, key.digest(), key.context()) {
        Some(Versioned { value, .. }) if wanted == Wanted::Bytes => env.bytes(&value),
        Some(Versioned { value, version }) => {
            found(env, handle, value, version).or_else(|failure| env.rejection(&failure.into_error(env)))
        }
        None => {
            handle.queue_operation(ticket(number)?, operation(key), wanted);
            env.undefined()
        }
    }
}

fn get<'scope>(env: Env<'scope>, handle: &Rc<Handle>, arguments: Arguments<'scope>) -> Outcome<Value<'scope>> {
    if handle.cache().has_copies() {
        return read_copy_or_queue(env, handle, arguments, Operation::Get, Wanted::Text);
    }
    let [canonical, number, ..] = arguments;
    run(
        env,
        handle,
        number,
        Request::Get(&read_canonical(canonical)?),
        Wanted::Text,
    )
}

fn get_bytes<'scope>(env: Env<'scope>, handle: &Rc<Handle>, arguments: Arguments<'scope>) -> Outcome<Value<'scope>> {
    if handle.cache().has_copies() {
        return read_copy_or_queue(env, handle, arguments, Operation::Get, Wanted::Bytes);
    }
    let [canonical, number, ..] = arguments;
    run(
        env,
        handle,
        number,
        Request::Get(&read_canonical(canonical)?),
        Wanted::Bytes,
    )
}

fn lookup<'scope>(env: Env<'scope>, handle: &Rc<Handle>, arguments: Arguments<'scope>) -> Outcome<Value<'scope>> {
    if handle.cache().has_copies() {
        return read_copy_or_queue(env, handle, arguments, Operation::Lookup, Wanted::Text);
    }
    let [canonical, number, ..] = arguments;
    run(
        env,
        handle,
        number,
        Request::Lookup(&read_canonical(canonical)?),
        Wanted::Text,
    )
}

/// Reads of one turn: lines of a letter (text, bytes or a lookup) and a canonical form, under consecutive numbers.
fn reads<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [lines, first, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let cache = handle.cache();
    if cache.is_closed() {
        return env.boolean(false);
    }
    let lines = lines.ascii()?;
    let reads = lines.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let [kind, form @ .., b'\n'] = line else {
            return Err(internal("a read that is no line").into());
        };
        let key = cache.key(&canonical_of(form.to_vec())?);
        Ok(match kind {
            b'l' => (Operation::Lookup(key), Wanted::Text),
            b'b' => (Operation::Get(key), Wanted::Bytes),
            _ => (Operation::Get(key), Wanted::Text),
        })
    });
    handle.queue_reads(ticket(first)?, reads)?;
    env.boolean(true)
}

fn put<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [canonical, value, ttl, lease, number, _]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let canonical = read_canonical(canonical)?;
    let value = read_value(value)?;
    let options = PutOptions {
        ttl: read_ttl(ttl)?,
        lease: read_lease(lease)?,
    };
    run(
        env,
        handle,
        number,
        Request::Put(&canonical, value, options),
        Wanted::Text,
    )
}

fn release<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [canonical, lease, number, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let canonical = read_canonical(canonical)?;
    match read_lease(lease)? {
        Some(lease) => run(env, handle, number, Request::Release(&canonical, lease), Wanted::Text),
        None => Err(no_lease().into()),
    }
}

fn purge_entry<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [canonical, number, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    run(
        env,
        handle,
        number,
        Request::Purge(&read_canonical(canonical)?),
        Wanted::Text,
    )
}

fn purge_context<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [context, number, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    run(
        env,
        handle,
        number,
        Request::PurgeContext(&read_context(context)?),
        Wanted::Text,
    )
}

fn clear<'scope>(env: Env<'scope>, handle: &Rc<Handle>, [number, ..]: Arguments<'scope>) -> Outcome<Value<'scope>> {
    run(env, handle, number, Request::Clear, Wanted::Text)
}

/// Marks the cache closed, for all threads: later calls fail, and memory is emptied.
fn mark_closed<'scope>(env: Env<'scope>, handle: &Rc<Handle>, _: Arguments<'scope>) -> Outcome<Value<'scope>> {
    handle.cache().close();
    env.undefined()
}

fn flush<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [settle, tags, effects, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    handle.flush(env, Receiver { settle, tags, effects })
}

/// A socket is connected; with a user or `null`, and a password, where those were asked for.
fn opened<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [connection, username, password, settle, tags, effects]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let connection = ConnectionId(ticket(connection)?);
    let credentials = read_word(password)?.map(|password| {
        Ok::<_, crate::js::Failure>(Credentials {
            username: read_word(username)?,
            password,
        })
    });
    let credentials = credentials.transpose()?;
    handle.run(env, Receiver { settle, tags, effects }, |engine, answers| {
        engine.opened(connection, credentials, now(), answers);
    })
}

fn read_word(word: Value<'_>) -> Outcome<Option<String>> {
    match word.kind()? {
        Kind::String => word.text(),
        _ => Ok(None),
    }
}

fn received<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [connection, buffer, length, settle, tags, effects]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let (connection, length) = (ConnectionId(ticket(connection)?), ticket(length)? as usize);
    let mut read = Ok(());
    let receiver = Receiver { settle, tags, effects };
    // The bytes are let go of before answers are handed over, which runs JavaScript.
    let parts = handle.run(env, receiver, |engine, answers| {
        read = buffer.with_bytes(length, |bytes| {
            engine.received(connection, bytes, now(), answers);
            Ok(())
        });
    })?;
    read?;
    Ok(parts)
}

fn closed<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [connection, reason, settle, tags, effects, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let connection = ConnectionId(ticket(connection)?);
    let reason = match read_word(reason)?.as_deref() {
        Some("refused") => Reason::Refused,
        Some("certificate") => Reason::Certificate,
        Some("credentials") => Reason::Credentials,
        _ => Reason::Broken,
    };
    handle.run(env, Receiver { settle, tags, effects }, |engine, answers| {
        engine.closed(connection, reason, now(), answers);
    })
}

fn tick<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [settle, tags, effects, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    handle.run(env, Receiver { settle, tags, effects }, |engine, answers| {
        engine.tick(now(), answers);
    })
}

fn close<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [number, settle, tags, effects, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    handle.close(env, Receiver { settle, tags, effects }, ticket(number)?)
}

fn is_idle<'scope>(env: Env<'scope>, handle: &Rc<Handle>, _: Arguments<'scope>) -> Outcome<Value<'scope>> {
    env.boolean(handle.engine(Engine::is_idle).unwrap_or(true))
}

/// Panics inside a call of the engine, with the calls of this turn taken.
#[cfg(feature = "faults")]
fn panic_later<'scope>(
    env: Env<'scope>,
    handle: &Rc<Handle>,
    [settle, tags, effects, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    handle.run(env, Receiver { settle, tags, effects }, |_, _| panic!("on purpose"))
}

fn stats<'scope>(env: Env<'scope>, handle: &Rc<Handle>, _: Arguments<'scope>) -> Outcome<Value<'scope>> {
    let stats = handle.cache().stats(handle.engine(Engine::circuit));
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
        (c"deferredPurges", stats.deferred_purges),
        (c"pendingPurges", stats.pending_purges),
        (c"timeouts", stats.timeouts),
        (c"reconnects", stats.reconnects),
        (c"inFlight", stats.in_flight),
        (c"entries", stats.entries),
        (c"bytes", stats.bytes),
    ] {
        object.define(name, env.count(count)?)?;
    }
    let circuit = stats
        .circuit
        .map_or_else(|| env.null(), |circuit| env.string(circuit.as_str()))?;
    object.define(c"circuit", circuit)?;
    let latency = env.object()?;
    for (name, histogram) in [
        (c"read", &stats.latency.read),
        (c"write", &stats.latency.write),
        (c"purge", &stats.latency.purge),
    ] {
        latency.define(name, histogram_value(env, histogram)?)?;
    }
    object.define(c"latency", latency)?;
    Ok(object)
}

fn histogram_value<'scope>(env: Env<'scope>, histogram: &Histogram) -> Outcome<Value<'scope>> {
    let milliseconds = |time: Duration| env.number(time.as_secs_f64() * 1_000.0);
    let bounds = BOUNDS.into_iter().map(milliseconds).collect::<Outcome<Vec<_>>>()?;
    let counts = histogram.counts.iter().map(|count| env.count(*count));
    let object = env.object()?;
    object.define(c"count", env.count(histogram.count)?)?;
    object.define(c"sum", milliseconds(histogram.sum)?)?;
    object.define(c"bounds", env.array(&bounds)?)?;
    object.define(c"counts", env.array(&counts.collect::<Outcome<Vec<_>>>()?)?)?;
    Ok(object)
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
        _ => Err(no_lease().into()),
    }
}

fn no_lease() -> Error {
    Error::new(ErrorCode::Lease, "lease must be a token that a lookup returned")
}
