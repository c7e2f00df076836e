//! What Redis answers, decoded. Whatever a server or somebody else's value may say, an answer that is none of those
//! expected is a miss or a failure, and nothing panics.
//!
//! Public for the fuzz targets alone.

use bytes::Bytes;
use redis::Value;

use crate::lease::{LeaseToken, Lookup};

/// The answer of the script that looks up, where `token` is the lease that it would have taken.
#[must_use]
pub fn lookup(answer: Value, token: LeaseToken) -> Lookup {
    let Value::Array(fields) = answer else {
        return Lookup::Miss;
    };
    let mut fields = fields.into_iter();
    match (fields.next(), fields.next()) {
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
    }
}

/// The answer of SCAN: the next cursor and the keys found. `None` if it is none.
#[must_use]
pub fn scan_page(answer: Value) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let Value::Array(fields) = answer else { return None };
    let mut fields = fields.into_iter();
    let (Some(Value::BulkString(cursor)), Some(Value::Array(keys))) = (fields.next(), fields.next()) else {
        return None;
    };
    let keys = keys.into_iter().map(|key| {
        if let Value::BulkString(key) = key {
            Some(key)
        } else {
            None
        }
    });
    Some((cursor, keys.collect::<Option<_>>()?))
}
