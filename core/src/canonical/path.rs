//! Where a value stands in a call.

use super::text;
use crate::error::{Error, ErrorCode};
use std::fmt;

/// The longest name that a path shows in full, in characters.
const MAX_NAME_LENGTH: usize = 64;

/// Where a value stands in a call, for an error's message: `params.user.id`, `params.items[3]`, `params["a b"]`.
///
/// Costs nothing until it is displayed: each step is on the stack and refers to the one before it. A name that is no
/// identifier is quoted, escaped to printable ASCII, and cut after 64 characters.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root(&'static str),
    Member(&'a str),
    Item(usize),
}

impl<'a> Path<'a> {
    /// The context itself.
    pub const CONTEXT: Path<'static> = Path::root("context");
    /// The parameters themselves.
    pub const PARAMS: Path<'static> = Path::root("params");
    /// The user id.
    pub const USER: Path<'static> = Path::root("userId");

    const fn root(name: &'static str) -> Path<'static> {
        Path {
            parent: None,
            step: Step::Root(name),
        }
    }

    /// The member of this object with this name.
    #[must_use]
    pub const fn member(&'a self, name: &'a str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Member(name),
        }
    }

    /// The item of this array with this index.
    #[must_use]
    pub const fn item(&'a self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Item(index),
        }
    }

    /// An error about the value that stands here. The reason must not hold the value.
    #[must_use]
    pub fn error(&self, code: ErrorCode, reason: &str) -> Error {
        Error::new(code, format!("{self}: {reason}"))
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(formatter)?;
        }
        match self.step {
            Step::Root(name) => formatter.write_str(name),
            Step::Member(name) if is_short_identifier(name) => write!(formatter, ".{name}"),
            Step::Member(name) => {
                let (shown, cut) = match name.char_indices().nth(MAX_NAME_LENGTH) {
                    Some((end, _)) => (&name[..end], "..."),
                    None => (name, ""),
                };
                let mut escaped = String::new();
                text::push_escaped(&mut escaped, shown);
                write!(formatter, "[\"{escaped}{cut}\"]")
            }
            Step::Item(index) => write!(formatter, "[{index}]"),
        }
    }
}

fn is_short_identifier(name: &str) -> bool {
    name.len() <= MAX_NAME_LENGTH
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '_' | '$'))
        && name
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '$'))
}
