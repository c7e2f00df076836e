//! The two scripts of a lease (`protocol.md` §5). A lease is a hash at the entry's own key, so whatever deletes the
//! key revokes it, and the key is never absent between lease and value.

use std::{sync::LazyLock, time::Duration};

use ::redis::{RedisResult, Script, Value};
use bytes::Bytes;

use super::topology::Link;
use crate::{
    key::Key,
    lease::{LeaseToken, Lookup},
};

/// A string there is a hit, nothing there is replaced by the lease, a hash there is somebody's lease. A hit comes with
/// the milliseconds that it has left to live.
static LOOK_UP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local value = redis.pcall('GET', KEYS[1])
if type(value) == 'string' then return {'hit', value, redis.call('PTTL', KEYS[1])} end
if value then return {'held', redis.call('HGET', KEYS[1], 'lease')} end
redis.call('HSET', KEYS[1], 'lease', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'leased'}",
    )
});

/// The lease becomes the value only while this token stands there.
static FILL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.pcall('HGET', KEYS[1], 'lease') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1",
    )
});

/// The value, a new lease, or the lease that stands; with a value, how long it lives.
pub(super) async fn look_up(
    mut link: Link,
    key: &Key,
    token: LeaseToken,
    lease_time: Duration,
) -> RedisResult<(Lookup, Option<Duration>)> {
    let answer: Value = LOOK_UP
        .key(key.as_str())
        .arg(token.as_str())
        .arg(milliseconds(lease_time))
        .invoke_async(&mut link)
        .await?;
    let Value::Array(fields) = answer else {
        return Ok((Lookup::Miss, None));
    };
    let mut fields = fields.into_iter();
    let looked_up = match (fields.next(), fields.next()) {
        (Some(Value::BulkString(kind)), Some(Value::BulkString(value))) if kind == b"hit" => {
            Lookup::Hit(Bytes::from(value))
        }
        (Some(Value::BulkString(kind)), Some(Value::BulkString(held))) if kind == b"held" => {
            let held = std::str::from_utf8(&held)
                .ok()
                .and_then(|held| LeaseToken::parse(held).ok());
            held.map_or(Lookup::Miss, Lookup::Held)
        }
        (Some(Value::BulkString(kind)), None) if kind == b"leased" => Lookup::Leased(token),
        _ => Lookup::Miss,
    };
    Ok((looked_up, fields.next().as_ref().and_then(time_left)))
}

/// The time that PTTL tells; `None` where the key is not there or does not expire.
pub(super) fn time_left(answer: &Value) -> Option<Duration> {
    let Value::Int(milliseconds) = answer else { return None };
    u64::try_from(*milliseconds).ok().map(Duration::from_millis)
}

/// Whether the lease stood and the value is stored.
pub(super) async fn fill(
    mut link: Link,
    key: &Key,
    value: &[u8],
    ttl: Duration,
    lease: &LeaseToken,
) -> RedisResult<bool> {
    FILL.key(key.as_str())
        .arg(lease.as_str())
        .arg(value)
        .arg(milliseconds(ttl))
        .invoke_async(&mut link)
        .await
}

/// A whole number of milliseconds, at least one.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
