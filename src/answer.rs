//! What an operation answers, as a value of JavaScript.

use bytes::Bytes;
use mizan_cache_core::{
    error::{Error, ErrorCode},
    lease::{LeaseToken, Lookup},
};

use crate::js::{Env, Outcome, Value};

/// What an operation answers.
pub enum Answer {
    /// A stored value as text, or `null`.
    Text(Option<Text>),
    /// A stored value as bytes, or `null`.
    Bytes(Option<Bytes>),
    /// Text; or the lease taken and the lease held, one of them `null`; or `null`.
    Lookup(TextLookup),
    /// An array of answers, with an `Error` in place of one that failed.
    Many(Vec<Self>),
    /// Whether a value was stored.
    Stored(bool),
    /// How many entries went.
    Deleted(u64),
    /// `null`.
    Closed,
}

/// A stored value that is asked for as text, looked through already: that need not happen on JavaScript's thread.
pub enum Text {
    /// Copied as it is, where other text is decoded.
    Ascii(Bytes),
    /// Other text.
    Utf8(Bytes),
    /// Not UTF-8.
    Invalid,
}

impl From<Bytes> for Text {
    fn from(value: Bytes) -> Self {
        if value.is_ascii() {
            Self::Ascii(value)
        } else if std::str::from_utf8(&value).is_ok() {
            Self::Utf8(value)
        } else {
            Self::Invalid
        }
    }
}

impl Text {
    /// As a string.
    pub fn into_value(self, env: Env<'_>) -> Outcome<Value<'_>> {
        match self {
            Self::Ascii(value) => env.latin1(&value),
            Self::Utf8(value) => env.utf8(&value),
            Self::Invalid => Err(Error::new(
                ErrorCode::ValueEncoding,
                "the stored value is not UTF-8: read it with getBytes",
            )
            .into()),
        }
    }
}

/// What a lookup finds, with its value as text.
pub enum TextLookup {
    /// The value.
    Hit(Text),
    /// The lease that was taken.
    Leased(LeaseToken),
    /// The lease that another holds.
    Held(LeaseToken),
    /// Nothing.
    Miss,
}

impl From<Lookup> for TextLookup {
    fn from(lookup: Lookup) -> Self {
        match lookup {
            Lookup::Hit(value) => Self::Hit(value.into()),
            Lookup::Leased(lease) => Self::Leased(lease),
            Lookup::Held(lease) => Self::Held(lease),
            Lookup::Miss => Self::Miss,
        }
    }
}

impl Answer {
    /// A value as text, or nothing.
    pub fn text(value: Option<Bytes>) -> Self {
        Self::Text(value.map(Text::from))
    }

    /// What a lookup found.
    pub fn lookup(lookup: Lookup) -> Self {
        Self::Lookup(lookup.into())
    }

    /// As JavaScript is given it; never `undefined`, which says that an answer is still to come.
    pub fn into_value(self, env: Env<'_>) -> Outcome<Value<'_>> {
        match self {
            Self::Text(Some(text)) | Self::Lookup(TextLookup::Hit(text)) => text.into_value(env),
            Self::Bytes(Some(value)) => env.bytes(&value),
            Self::Lookup(TextLookup::Leased(lease)) => env.array(&[env.string(lease.as_str())?, env.null()?]),
            Self::Lookup(TextLookup::Held(lease)) => env.array(&[env.null()?, env.string(lease.as_str())?]),
            Self::Many(answers) => {
                let value = |answer: Self| {
                    answer
                        .into_value(env)
                        .or_else(|failure| env.error(&failure.into_error(env)))
                };
                env.array(&answers.into_iter().map(value).collect::<Outcome<Vec<_>>>()?)
            }
            Self::Stored(stored) => env.boolean(stored),
            Self::Deleted(count) => env.count(count),
            Self::Text(None) | Self::Bytes(None) | Self::Lookup(TextLookup::Miss) | Self::Closed => env.null(),
        }
    }
}
