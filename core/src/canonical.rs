//! The canonical form of a call (`protocol.md` §1): the bytes that are signed into its key.
//!
//! Equal or error: [`Canonical::new`] writes exactly the bytes that every other implementation writes for the same call,
//! or it returns an error that names the place. It reads its input twice, once to check and measure it and once to write
//! it, so a call that is too long is refused before anything is escaped, and the text is allocated once.

mod number;
mod path;
mod text;

use crate::error::{Error, ErrorCode};
pub use path::Path;

/// The longest canonical form, in bytes (§1.11).
pub const MAX_CANONICAL_BYTES: usize = 1_048_576;
/// The deepest nesting of parameters; `params` itself is depth 1 (§1.6).
pub const MAX_DEPTH: usize = 32;
/// The largest rev, 2^53 − 1 (§1.7).
pub const MAX_REV: u64 = 9_007_199_254_740_991;
/// The longest context (§1.9).
pub const MAX_CONTEXT_LENGTH: usize = 128;

const CONTEXT_OPENING: &str = r#"{"c":""#;
const CONTEXT_CLOSING: &str = r#"","p":"#;

/// A parameter's value. Text is well-formed by type; what reads UTF-16 checks it with [`String::from_utf16`].
///
/// A value of any depth can be dropped and passed to [`Canonical::new`]. The derived traits recurse: they are for values
/// that are not deeper than the stack.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamValue {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer; [−2^63, 2^64−1] is in range.
    Integer(i128),
    /// A double with a fractional part. One with an integral value is an error: as text it would be `1.0` in one
    /// language and `1` in another.
    Float(f64),
    /// Text.
    Text(String),
    /// A dense array.
    List(Vec<ParamValue>),
    /// An object's members, in any order.
    Map(Vec<(String, ParamValue)>),
}

impl ParamValue {
    /// Moves the nested containers out, and so leaves a value that is dropped without recursion.
    fn take_containers(&mut self, taken: &mut Vec<Self>) {
        let mut take = |value: &mut Self| {
            if matches!(value, Self::List(_) | Self::Map(_)) {
                taken.push(std::mem::replace(value, Self::Null));
            }
        };
        match self {
            Self::List(items) => items.iter_mut().for_each(take),
            Self::Map(members) => members.iter_mut().for_each(|(_, value)| take(value)),
            _ => {}
        }
    }
}

impl Drop for ParamValue {
    /// Dropping field by field would recurse, and 100,000 nested lists would end the process.
    fn drop(&mut self) {
        let mut pending = Vec::new();
        self.take_containers(&mut pending);
        while let Some(mut value) = pending.pop() {
            value.take_containers(&mut pending);
        }
    }
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
    /// Costs two passes over the parameters, one allocation for the text and a sorted list of names per object.
    ///
    /// # Errors
    /// `Context`, `ParamNumber`, `DuplicateKey`, `Depth`, `Size`, `User` or `Rev`, as §1 asks.
    pub fn new(context: &str, params: &[(String, ParamValue)], user: Option<&UserId>, rev: u64) -> Result<Self, Error> {
        check_context(context)?;
        Ok(Self {
            text: encode(context, params, user, rev)?,
            context_length: context.len(),
        })
    }

    /// A canonical form that was written elsewhere, whose context has `context_length` bytes.
    ///
    /// Checks its length, that it is ASCII, and that it begins with a legal context of just that length. Everything
    /// after the context is the writer's promise.
    ///
    /// # Errors
    /// `Size` if it is too long, `Context` if the context is not legal, `Internal` if it is not a canonical form at all.
    pub fn from_written(text: String, context_length: usize) -> Result<Self, Error> {
        if text.len() > MAX_CANONICAL_BYTES {
            return Err(too_long(&Path::PARAMS));
        }
        let written = text
            .strip_prefix(CONTEXT_OPENING)
            .and_then(|rest| rest.split_at_checked(context_length));
        match written {
            Some((context, rest)) if rest.starts_with(CONTEXT_CLOSING) && text.is_ascii() => check_context(context)?,
            _ => {
                return Err(Error::new(
                    ErrorCode::Internal,
                    "what was written is not a canonical form",
                ));
            }
        }
        Ok(Self { text, context_length })
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The context, as it stands in the key.
    #[must_use]
    pub fn context(&self) -> &str {
        &self.text[CONTEXT_OPENING.len()..][..self.context_length]
    }
}

/// Checks that a context is legal in a key (§1.9).
///
/// # Errors
/// `Context` if it is not.
pub fn check_context(context: &str) -> Result<(), Error> {
    if is_context(context.as_bytes()) {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::Context,
        "context must match [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}",
    ))
}

/// Whether these bytes are a context that is legal in a key.
pub(crate) fn is_context(bytes: &[u8]) -> bool {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    bytes.len() <= MAX_CONTEXT_LENGTH
        && bytes.first().is_some_and(word)
        && bytes.iter().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// The canonical form with any text as its context, also one that is not legal in a key.
fn encode(context: &str, params: &[(String, ParamValue)], user: Option<&UserId>, rev: u64) -> Result<String, Error> {
    if rev > MAX_REV {
        return Err(Error::new(ErrorCode::Rev, "rev must be an integer in [0, 2^53-1]"));
    }
    let mut measure = Measure {
        length: r#"{"c":,"p":,"r":}"#.len() + number::length(rev.into()),
    };
    measure.text(context, &Path::CONTEXT)?;
    measure.map(params, 1, &Path::PARAMS)?;
    if let Some(user) = user {
        measure.user(user)?;
    }

    let mut text = String::with_capacity(measure.length);
    text.push_str(r#"{"c":"#);
    text::push(&mut text, context);
    text.push_str(r#","p":"#);
    push_map(&mut text, params);
    text.push_str(r#","r":"#);
    number::push_integer(&mut text, rev.into());
    if let Some(user) = user {
        text.push_str(r#","u":"#);
        match user {
            UserId::Text(id) => text::push(&mut text, id),
            UserId::Integer(id) => push_quoted(&mut text, |text| number::push_integer(text, *id)),
        }
    }
    text.push('}');
    debug_assert_eq!(text.len(), measure.length, "the measure and the text must agree");
    Ok(text)
}

/// The first pass: checks everything and adds up the length that the second pass will write.
struct Measure {
    length: usize,
}

impl Measure {
    fn add(&mut self, bytes: usize, path: &Path) -> Result<(), Error> {
        self.length = self.length.saturating_add(bytes);
        if self.length > MAX_CANONICAL_BYTES {
            return Err(too_long(path));
        }
        Ok(())
    }

    fn text(&mut self, text: &str, path: &Path) -> Result<(), Error> {
        // Escaping never shortens a text, so one that is too long as it stands is not even read.
        self.add(text.len() + 2, path)?;
        self.add(text::escaped_length(text) - text.len(), path)
    }

    fn map(&mut self, members: &[(String, ParamValue)], depth: usize, path: &Path) -> Result<(), Error> {
        self.container(members.len(), depth, path)?;
        for (name, value) in members {
            let path = path.member(name);
            self.text(name, &path)?;
            self.add(1, &path)?;
            self.value(value, depth, &path)?;
        }
        // Only now are the names known to be few and short enough to be worth sorting.
        match in_order(members).windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(path
                .member(&pair[0].0)
                .error(ErrorCode::DuplicateKey, "the name occurs twice")),
            None => Ok(()),
        }
    }

    fn list(&mut self, items: &[ParamValue], depth: usize, path: &Path) -> Result<(), Error> {
        self.container(items.len(), depth, path)?;
        items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| self.value(item, depth, &path.item(index)))
    }

    /// The brackets and commas of a container.
    fn container(&mut self, length: usize, depth: usize, path: &Path) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(path.error(ErrorCode::Depth, "parameters are nested deeper than 32"));
        }
        self.add(2 + length.saturating_sub(1), path)
    }

    /// A value that stands in a container of this depth.
    fn value(&mut self, value: &ParamValue, depth: usize, path: &Path) -> Result<(), Error> {
        match value {
            ParamValue::Null | ParamValue::Bool(true) => self.add(6, path),
            ParamValue::Bool(false) => self.add(7, path),
            ParamValue::Integer(integer) => {
                let in_range = "an integer must be in [-2^63, 2^64-1]";
                number::in_range(*integer)
                    .then_some(())
                    .ok_or_else(|| path.error(ErrorCode::ParamNumber, in_range))?;
                self.add(number::length(*integer) + 2, path)
            }
            ParamValue::Float(float) => {
                number::check_float(*float).map_err(|reason| path.error(ErrorCode::ParamNumber, reason))?;
                self.add(number::float_text(*float).len() + 2, path)
            }
            ParamValue::Text(text) => self.text(text, path),
            ParamValue::List(items) => self.list(items, depth + 1, path),
            ParamValue::Map(members) => self.map(members, depth + 1, path),
        }
    }

    fn user(&mut self, user: &UserId) -> Result<(), Error> {
        self.add(r#","u":"#.len(), &Path::USER)?;
        match user {
            UserId::Text(id) => self.text(id, &Path::USER),
            UserId::Integer(id) if number::in_range(*id) => self.add(number::length(*id) + 2, &Path::USER),
            UserId::Integer(_) => Err(Path::USER.error(ErrorCode::User, "an integer must be in [-2^63, 2^64-1]")),
        }
    }
}

fn too_long(path: &Path) -> Error {
    path.error(ErrorCode::Size, "the canonical form is longer than 1,048,576 bytes")
}

/// An object's members by code point of the raw name (§1.3), which is the order of their UTF-8 bytes.
fn in_order(members: &[(String, ParamValue)]) -> Vec<&(String, ParamValue)> {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by(|left, right| left.0.cmp(&right.0));
    sorted
}

fn push_map(text: &mut String, members: &[(String, ParamValue)]) {
    text.push('{');
    for (index, (name, value)) in in_order(members).into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text::push(text, name);
        text.push(':');
        push_value(text, value);
    }
    text.push('}');
}

fn push_value(text: &mut String, value: &ParamValue) {
    match value {
        ParamValue::Null => text.push_str(r#""null""#),
        ParamValue::Bool(true) => text.push_str(r#""true""#),
        ParamValue::Bool(false) => text.push_str(r#""false""#),
        ParamValue::Integer(integer) => push_quoted(text, |text| number::push_integer(text, *integer)),
        ParamValue::Float(float) => push_quoted(text, |text| text.push_str(&number::float_text(*float))),
        ParamValue::Text(value) => text::push(text, value),
        ParamValue::List(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                push_value(text, item);
            }
            text.push(']');
        }
        ParamValue::Map(members) => push_map(text, members),
    }
}

fn push_quoted(text: &mut String, push: impl FnOnce(&mut String)) {
    text.push('"');
    push(text);
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors without a key have a context that is legal in the canonical form only: these bytes are pinned as well.
    #[test]
    fn contexts_that_no_key_allows_have_their_pinned_bytes() {
        let file: serde_json::Value = serde_json::from_str(include_str!("../../__test__/vectors.json")).unwrap();
        let vectors = file["vectors"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|vector| vector["key"].is_null());
        let mut count = 0;
        for vector in vectors {
            assert_eq!(vector["params"], serde_json::json!({}));
            let context = vector["context"].as_str().unwrap();
            let rev = vector["rev"].as_u64().unwrap();
            assert_eq!(
                encode(context, &[], None, rev).unwrap(),
                vector["canonical"].as_str().unwrap()
            );
            assert_eq!(
                Canonical::new(context, &[], None, rev).unwrap_err().code(),
                ErrorCode::Context
            );
            count += 1;
        }
        assert!(count > 0);
    }
}
