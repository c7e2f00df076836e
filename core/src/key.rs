//! The key of an entry (`protocol.md` §1): `ctx:{context}:{HMAC-SHA256 in lowercase hex}`.

use crate::{canonical::Canonical, error::Error};

/// The length of the digest in a key, in hex digits.
pub const DIGEST_HEX_LENGTH: usize = 64;
/// The shortest secret of a configured cache, in bytes (§1.10).
pub const MIN_SECRET_BYTES: usize = 32;

/// The key of one entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    text: Box<str>,
}

impl Key {
    /// The key as Redis knows it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The context in the key.
    #[must_use]
    pub fn context(&self) -> &str {
        &self.text[4..self.text.len() - DIGEST_HEX_LENGTH - 1]
    }
}

/// A secret, ready to sign: the pads of the HMAC are computed once.
#[derive(Clone)]
pub struct Signer {}

impl Signer {
    /// A signer for a secret as given (§1.10).
    ///
    /// # Errors
    /// `Secret` when it is empty.
    pub fn new(_secret: &[u8]) -> Result<Self, Error> {
        todo!()
    }

    /// The key of a call.
    #[must_use]
    pub fn key(&self, _canonical: &Canonical) -> Key {
        todo!()
    }
}
