//! The two scripts of a lease (`protocol.md` §5). A lease is a hash at the entry's own key, so whatever deletes the
//! key revokes it, and the key is never absent between lease and value.

use std::{sync::LazyLock, time::Duration};

use ::redis::{RedisResult, Script};

use super::{fills::Fill, topology::Link};
use crate::{
    key::Key,
    lease::{LeaseToken, Lookup},
    replies,
};

/// For each key: a string there is a hit, nothing there is replaced by the lease, a hash there is somebody's lease. A hit
/// comes with the milliseconds that it has left to live. What is none of these is nobody's, and takes no other key along.
static LOOK_UP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local answers = {}
for index, key in ipairs(KEYS) do
    local value = redis.pcall('GET', key)
    if type(value) == 'string' then
        answers[index] = {'hit', value, redis.call('PTTL', key)}
    elseif value then
        local held = redis.pcall('HGET', key, 'lease')
        answers[index] = {'held', type(held) == 'string' and held}
    else
        redis.call('HSET', key, 'lease', ARGV[index + 1])
        redis.call('PEXPIRE', key, ARGV[1])
        answers[index] = {'leased'}
    end
end
return answers",
    )
});

/// For each key: the lease becomes the value only while this token stands there. What Redis refuses takes no other along.
static FILL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local answers = {}
for index, key in ipairs(KEYS) do
    local last = 3 * index
    if redis.pcall('HGET', key, 'lease') == ARGV[last - 2] then
        local stored = redis.pcall('SET', key, ARGV[last - 1], 'PX', ARGV[last])
        answers[index] = stored.ok and 1 or -1
    else
        answers[index] = 0
    end
end
return answers",
    )
});

/// For each key the value, a new lease, or the lease that stands; with a value, how long it lives. All keys are of one
/// slot where there are slots.
pub(super) async fn look_up(
    mut link: Link,
    keys: impl Iterator<Item = &Key>,
    tokens: Vec<LeaseToken>,
    lease_time: Duration,
) -> RedisResult<Vec<(Lookup, Option<Duration>)>> {
    let mut script = LOOK_UP.arg(milliseconds(lease_time));
    for (key, token) in keys.zip(&tokens) {
        script.key(key.as_str()).arg(token.as_str());
    }
    let answer = script.invoke_async(&mut link).await?;
    Ok(replies::lookups(answer, tokens))
}

/// For each whether the lease stood and the value is stored, or nothing where Redis refused to. All keys are of one slot
/// where there are slots.
pub(super) async fn fill(mut link: Link, fills: impl Iterator<Item = &Fill>) -> RedisResult<Vec<Option<bool>>> {
    let mut script = FILL.prepare_invoke();
    for Fill { key, value, ttl, lease } in fills {
        script
            .key(key.as_str())
            .arg(lease.as_str())
            .arg(&value[..])
            .arg(milliseconds(*ttl));
    }
    let answers: Vec<i64> = script.invoke_async(&mut link).await?;
    let answers = answers.into_iter().map(|answer| match answer {
        1 => Some(true),
        0 => Some(false),
        _ => None,
    });
    Ok(answers.collect())
}

/// A whole number of milliseconds, at least one.
pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
