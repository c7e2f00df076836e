//! Leases, which keep a purge from being undone by a slow reader (`protocol.md` §5).

use crate::{
    error::{Error, ErrorCode},
    key::push_hex,
};
use bytes::Bytes;

/// The length of a token, in hex digits.
const TOKEN_LENGTH: usize = 32;

/// The token of one fill: whoever holds it may store the value, as long as it stands at the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseToken {
    text: Box<str>,
}

impl LeaseToken {
    /// A new token: 128 bits from the system's source of randomness, so that no two fills ever share one.
    ///
    /// # Errors
    /// `Internal` if the system has no randomness to give.
    pub fn new() -> Result<Self, Error> {
        let mut bits = [0; TOKEN_LENGTH / 2];
        getrandom::fill(&mut bits)
            .map_err(|_| Error::new(ErrorCode::Internal, "the system has no randomness to give"))?;
        Ok(Self::from_bits(bits))
    }

    /// The token of these bits, which must be as random as those of [`new`](Self::new).
    pub(crate) fn from_bits(bits: [u8; TOKEN_LENGTH / 2]) -> Self {
        let mut text = String::with_capacity(TOKEN_LENGTH);
        push_hex(&mut text, &bits);
        Self {
            text: text.into_boxed_str(),
        }
    }

    /// The token that a lookup returned as text.
    ///
    /// # Errors
    /// `Lease` if it is not 32 lowercase hex digits.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() == TOKEN_LENGTH && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(Self { text: text.into() });
        }
        Err(Error::new(
            ErrorCode::Lease,
            "lease must be a token that a lookup returned",
        ))
    }

    /// The token as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// What a lookup finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The value.
    Hit(Bytes),
    /// Nothing: this lease was taken for the one who asked.
    Leased(LeaseToken),
    /// Nothing yet: this lease of another stands.
    Held(LeaseToken),
    /// Nothing, and no lease either: the caller loads for itself and stores nothing.
    Miss,
}
