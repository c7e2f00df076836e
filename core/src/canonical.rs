//! The canonical form of a call (`protocol.md` §1): the bytes that are signed into its key.

use crate::error::Error;

/// The longest canonical form, in bytes (§1.11).
pub const MAX_CANONICAL_BYTES: usize = 1_048_576;
/// The deepest nesting of parameters; `params` itself is depth 1 (§1.6).
pub const MAX_DEPTH: usize = 32;
/// The largest rev, 2^53 − 1 (§1.7).
pub const MAX_REV: u64 = 9_007_199_254_740_991;

/// A parameter's value. Text is well-formed by type; what reads foreign text checks it first.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamValue {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer; [−2^63, 2^64−1] is in range.
    Integer(i128),
    /// A double with a fractional part.
    Float(f64),
    /// Text.
    Text(String),
    /// A dense array.
    List(Vec<ParamValue>),
    /// An object's members, in any order.
    Map(Vec<(String, ParamValue)>),
}

/// Who asks, where an entry belongs to a user (§1.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserId {
    /// A string, the empty one included.
    Text(String),
    /// An integer in [−2^63, 2^64−1].
    Integer(i128),
}

/// A call in canonical form: ASCII, at most [`MAX_CANONICAL_BYTES`] long, with a context that is legal in a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    text: String,
    context_length: usize,
}

impl Canonical {
    /// The canonical form of a call.
    ///
    /// # Errors
    /// The codes of [`crate::error::ErrorCode`] from `Context` to `Rev`, as §1 asks.
    pub fn new(_context: &str, _params: &[(String, ParamValue)], _user: Option<&UserId>, _rev: u64) -> Result<Self, Error> {
        todo!()
    }

    /// A canonical form that was written elsewhere, whose context has `context_length` bytes.
    /// Checks the shape around the context; the rest is the writer's promise.
    ///
    /// # Errors
    /// `Context` or `Size`.
    pub fn from_written(_text: String, _context_length: usize) -> Result<Self, Error> {
        todo!()
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The context, as it stands in the key.
    #[must_use]
    pub fn context(&self) -> &str {
        &self.text[6..6 + self.context_length]
    }
}
