//! Stored values as JavaScript is given them.

use mizan_cache_core::error::{Error, ErrorCode};

use crate::js::{Env, Outcome, Value};

/// A value as text. ASCII is copied as it is, other text is decoded.
pub fn text<'scope>(env: Env<'scope>, value: &[u8]) -> Outcome<Value<'scope>> {
    if value.is_ascii() {
        env.latin1(value)
    } else if std::str::from_utf8(value).is_ok() {
        env.utf8(value)
    } else {
        Err(Error::new(
            ErrorCode::ValueEncoding,
            "the stored value is not UTF-8: read it with getBytes",
        )
        .into())
    }
}
