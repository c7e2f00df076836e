//! Every error of the cache: a stable code and a message that names where the offending value stands, never the value.

use std::fmt;

/// What went wrong. [`ErrorCode::as_str`] is the stable name that users match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The context is not a string or does not match `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}` (`protocol.md` §1.9).
    Context,
    /// A parameter has a type that the canonical form does not know (§1.6).
    ParamType,
    /// A number is not finite, not safe or out of range (§1.4, §1.5).
    ParamNumber,
    /// A string holds an unpaired surrogate (§1.1).
    Surrogate,
    /// An object has the same key twice (§1.3).
    DuplicateKey,
    /// Parameters are nested deeper than 32 (§1.6).
    Depth,
    /// The canonical form is longer than 1,048,576 bytes (§1.11).
    Size,
    /// The user id is neither a string nor an integer in range (§1.8).
    User,
    /// The rev is not an integer in \[0, 2^53−1\] (§1.7).
    Rev,
    /// The secret is empty, of the wrong type, or too short for a configured cache (§1.10).
    Secret,
    /// An option is unknown, of the wrong type or out of range.
    Option,
    /// A value to store is neither text nor bytes.
    Value,
    /// A time to live is not a positive number of seconds in range.
    Ttl,
    /// A lease is not a token that a lookup returned.
    Lease,
    /// A stored value was asked for as text and is not UTF-8.
    ValueEncoding,
    /// The process has no default cache yet.
    NotConfigured,
    /// The cache was closed.
    Closed,
    /// A defect of this package: a panic that was caught.
    Internal,
}

impl ErrorCode {
    /// The stable name, `ERR_MIZAN_…`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Context => "ERR_MIZAN_CONTEXT",
            Self::ParamType => "ERR_MIZAN_PARAM_TYPE",
            Self::ParamNumber => "ERR_MIZAN_PARAM_NUMBER",
            Self::Surrogate => "ERR_MIZAN_SURROGATE",
            Self::DuplicateKey => "ERR_MIZAN_DUPLICATE_KEY",
            Self::Depth => "ERR_MIZAN_DEPTH",
            Self::Size => "ERR_MIZAN_SIZE",
            Self::User => "ERR_MIZAN_USER",
            Self::Rev => "ERR_MIZAN_REV",
            Self::Secret => "ERR_MIZAN_SECRET",
            Self::Option => "ERR_MIZAN_OPTION",
            Self::Value => "ERR_MIZAN_VALUE",
            Self::Ttl => "ERR_MIZAN_TTL",
            Self::Lease => "ERR_MIZAN_LEASE",
            Self::ValueEncoding => "ERR_MIZAN_VALUE_ENCODING",
            Self::NotConfigured => "ERR_MIZAN_NOT_CONFIGURED",
            Self::Closed => "ERR_MIZAN_CLOSED",
            Self::Internal => "ERR_MIZAN_INTERNAL",
        }
    }
}

/// A coded error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    code: ErrorCode,
    message: String,
}

impl Error {
    /// An error with its code and a message, which must hold neither a secret nor a value.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// What went wrong.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// Where and why, in words.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for Error {}
