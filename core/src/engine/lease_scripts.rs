//! The scripts of a lease (`protocol.md` §5). A lease is a hash at the entry's own key, so whatever deletes the key
//! revokes it, and the key is never absent between lease and value.
//!
//! In each, what Redis refuses of one key takes no other along. All may be executed twice without harm.

use std::sync::OnceLock;

use redis::Script;

/// A script, by its code or by the hash that a server knows it by.
pub(super) struct LeaseScript {
    pub code: &'static str,
    hash: OnceLock<String>,
}

impl LeaseScript {
    const fn new(code: &'static str) -> Self {
        let hash = OnceLock::new();
        Self { code, hash }
    }

    pub fn hash(&self) -> &str {
        self.hash.get_or_init(|| Script::new(self.code).get_hash().to_owned())
    }
}

/// Looks entries up, for each key of ARGV after the lease time a token: takes the lease where nothing is there (answer 0),
/// or answers with the value and its milliseconds to live (1), the token that stands there (2), that Redis refuses the
/// lease (3), or that something else stands there (4).
/// The lease is tried first: that costs a quarter less than to look first.
pub(super) static LOOK_UP: LeaseScript = LeaseScript::new(
    "local answers = {}
for index, key in ipairs(KEYS) do
    local taken = redis.pcall('HSETNX', key, 'lease', ARGV[index + 1])
    if taken == 1 then
        redis.call('PEXPIRE', key, ARGV[1])
        answers[index] = {0}
    else
        local value = redis.pcall('GET', key)
        if type(value) == 'string' then
            answers[index] = {1, value, redis.call('PTTL', key)}
        else
            local held = redis.pcall('HGET', key, 'lease')
            if type(held) == 'string' then
                answers[index] = {2, held}
            else
                local is_foreign = type(taken) ~= 'table' or string.sub(taken.err, 1, 9) == 'WRONGTYPE'
                answers[index] = {is_foreign and 4 or 3}
            end
        end
    end
end
return answers",
);

/// For each key and its token, value and milliseconds to live: the lease becomes the value only while this token stands
/// there (1), otherwise nothing is stored (0); −1 where Redis refuses.
pub(super) static FILL: LeaseScript = LeaseScript::new(
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
);

/// Deletes a lease only while this token stands there; never a value.
pub(super) static RELEASE: LeaseScript = LeaseScript::new(
    "if redis.pcall('HGET', KEYS[1], 'lease') == ARGV[1] then
    return redis.call('UNLINK', KEYS[1])
end
return 0",
);
