//! Whatever bytes come from a server: they are no reply, or one that is decoded to what it says.

use mizan_cache_core::{key::Key, lease::LeaseToken, lease::Lookup, replies};
use redis::Value;

pub fn check(bytes: &[u8]) {
    let Ok(reply) = redis::parse_redis_value(bytes) else {
        return;
    };
    check_lookup(&reply);
    if let Some((cursor, keys)) = replies::scan_page(reply.clone()) {
        let Value::Array(fields) = &reply else {
            panic!("a page of {reply:?}")
        };
        assert_eq!(fields[0], Value::BulkString(cursor));
        assert_eq!(
            fields[1],
            Value::Array(keys.iter().cloned().map(Value::BulkString).collect())
        );
        for key in keys.iter().filter(|key| Key::is_protocol_key(key)) {
            assert!(key.starts_with(b"ctx:"));
        }
    }
}

fn check_lookup(reply: &Value) {
    let own = LeaseToken::parse("0123456789abcdef0123456789abcdef").expect("a token");
    let text = |text: &str| Value::BulkString(text.into());
    let said = match replies::lookup(reply.clone(), own.clone()) {
        Lookup::Hit(value) => vec![text("hit"), Value::BulkString(value.into())],
        Lookup::Held(token) => {
            assert_eq!(LeaseToken::parse(token.as_str()).as_ref(), Ok(&token));
            vec![text("held"), text(token.as_str())]
        }
        Lookup::Leased(token) => {
            assert_eq!(token, own);
            vec![text("leased")]
        }
        Lookup::Miss => return,
    };
    let Value::Array(fields) = reply else {
        panic!("a lookup of {reply:?}")
    };
    assert!(fields.starts_with(&said), "{reply:?}");
}
