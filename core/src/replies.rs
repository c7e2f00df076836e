//! What Redis answers, decoded. Whatever a server or somebody else's value may say, an answer that is none of those
//! expected is a miss or a failure, and nothing panics.
//!
//! Public for the fuzz targets alone.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use crate::lease::{LeaseToken, Lookup};

/// The answers of the script that looks up, where `tokens` are the leases that it would have taken; with a hit, the time
/// that it has left to live.
#[must_use]
pub fn lookups(answer: Value, tokens: Vec<LeaseToken>) -> Vec<(Lookup, Option<Duration>)> {
    let answers = if let Value::Array(answers) = answer {
        answers
    } else {
        Vec::new()
    };
    let answers = answers.into_iter().chain(std::iter::repeat(Value::Nil));
    answers
        .zip(tokens)
        .map(|(answer, token)| lookup(answer, token))
        .collect()
}

/// One of those answers.
#[must_use]
pub fn lookup(answer: Value, token: LeaseToken) -> (Lookup, Option<Duration>) {
    let Value::Array(fields) = answer else {
        return (Lookup::Miss, None);
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
    (looked_up, fields.next().as_ref().and_then(time_left))
}

/// The time that PTTL tells; `None` where the key is not there or does not expire.
#[must_use]
pub fn time_left(answer: &Value) -> Option<Duration> {
    let Value::Int(milliseconds) = answer else { return None };
    u64::try_from(*milliseconds).ok().map(Duration::from_millis)
}

/// A value, and how long it lives where that was asked for.
pub type Found = Option<(Bytes, Option<Duration>)>;

/// The answer of MGET, with how long each of its values lives.
pub fn values(answer: Value, lives: impl Iterator<Item = Option<Duration>>) -> Vec<Found> {
    let Value::Array(values) = answer else {
        return Vec::new();
    };
    let value = |value| {
        if let Value::BulkString(value) = value {
            Some(Bytes::from(value))
        } else {
            None
        }
    };
    values
        .into_iter()
        .zip(lives)
        .map(|(it, lives)| value(it).map(|value| (value, lives)))
        .collect()
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
