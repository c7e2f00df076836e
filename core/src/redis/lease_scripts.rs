//! The two scripts of a lease (`protocol.md` §5). A lease is a hash at the entry's own key, so whatever deletes the
//! key revokes it, and the key is never absent between lease and value.

use std::{sync::LazyLock, time::Duration};

use ::redis::{RedisResult, Script, Value};

use super::topology::Link;
use crate::{
    key::Key,
    lease::{LeaseToken, Lookup},
    replies,
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
    Ok(replies::lookup(answer, token))
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
