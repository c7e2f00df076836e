//! Whatever bytes come from a server: they are no reply, or one that is decoded to what it says.

use mizan_cache_core::{key::Key, lease::LeaseToken, lease::Lookup, replies};
use redis::Value;

pub fn check(bytes: &[u8]) {
    let Ok(reply) = redis::parse_redis_value(bytes) else {
        return;
    };
    check_lookup(&reply);
    check_values(&reply);
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
    let (looked_up, time_left) = replies::lookup(reply.clone(), own.clone());
    let said = match looked_up {
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
    let milliseconds = time_left.map(|left| Value::Int(left.as_millis().try_into().expect("it was an integer")));
    assert!(
        milliseconds.is_none() || fields.get(2) == milliseconds.as_ref(),
        "{reply:?}"
    );
}

fn check_values(reply: &Value) {
    let found = replies::values(reply.clone(), std::iter::repeat(replies::time_left(reply)));
    let said = if let Value::Array(values) = reply {
        &values[..]
    } else {
        &[]
    };
    assert_eq!(found.len(), said.len());
    for (found, said) in found.into_iter().zip(said) {
        match (found, said) {
            (Some((value, None)), Value::BulkString(said)) => assert_eq!(value, said),
            (None, said) => assert!(!matches!(said, Value::BulkString(_))),
            other => panic!("{other:?}"),
        }
    }
}
