//! What an operation answers, as a value of JavaScript.

use bytes::Bytes;
use mizan_cache_core::{
    error::{Error, ErrorCode},
    lease::Lookup,
};

use crate::js::{Env, Outcome, Value};

/// What an operation answers.
pub enum Answer {
    /// A stored value as text, or `null`.
    Text(Option<Bytes>),
    /// A stored value as bytes, or `null`.
    Bytes(Option<Bytes>),
    /// Text; or the lease taken and the lease held, one of them `null`; or `null`.
    Lookup(Lookup),
    /// Whether a value was stored.
    Stored(bool),
    /// How many entries went.
    Deleted(u64),
    /// `null`.
    Closed,
}

impl Answer {
    /// As JavaScript is given it; never `undefined`, which says that an answer is still to come.
    pub fn into_value(self, env: Env<'_>) -> Outcome<Value<'_>> {
        match self {
            Self::Text(Some(value)) | Self::Lookup(Lookup::Hit(value)) => text(env, &value),
            Self::Bytes(Some(value)) => env.bytes(&value),
            Self::Lookup(Lookup::Leased(lease)) => env.array(&[env.string(lease.as_str())?, env.null()?]),
            Self::Lookup(Lookup::Held(lease)) => env.array(&[env.null()?, env.string(lease.as_str())?]),
            Self::Stored(stored) => env.boolean(stored),
            Self::Deleted(count) => env.count(count),
            Self::Text(None) | Self::Bytes(None) | Self::Lookup(Lookup::Miss) | Self::Closed => env.null(),
        }
    }
}

/// A stored value as text.
pub fn text<'scope>(env: Env<'scope>, value: &[u8]) -> Outcome<Value<'scope>> {
    let not_text = |_| {
        Error::new(
            ErrorCode::ValueEncoding,
            "the stored value is not UTF-8: read it with getBytes",
        )
    };
    env.string(std::str::from_utf8(value).map_err(not_text)?)
}
