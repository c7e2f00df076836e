//! The key of an entry (`protocol.md` §1): `ctx:{context}:{HMAC-SHA256 in lowercase hex}`.

use crate::{
    canonical::{Canonical, is_context},
    error::{Error, ErrorCode},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::{
    fmt,
    hash::{Hash, Hasher},
};

/// The length of the digest in a key, in hex digits.
pub const DIGEST_HEX_LENGTH: usize = 64;
/// The shortest secret of a configured cache, in bytes (§1.10).
pub const MIN_SECRET_BYTES: usize = 32;

/// What every key of this protocol begins with.
pub(crate) const PREFIX: &str = "ctx:";
const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The HMAC in a key. It covers the context, so it alone identifies the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u8; DIGEST_HEX_LENGTH / 2]);

impl Digest {
    pub(crate) const fn as_bytes(&self) -> &[u8; DIGEST_HEX_LENGTH / 2] {
        &self.0
    }

    /// Its beginning, which tells most keys apart.
    pub(crate) fn short(&self) -> u64 {
        self.0
            .first_chunk()
            .map_or(0, |beginning| u64::from_ne_bytes(*beginning))
    }
}

/// As nothing but its bytes: a table may take the beginning of them for a hash.
impl Hash for Digest {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write(&self.0);
    }
}

/// The key of one entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    text: Box<str>,
    digest: Digest,
}

impl Key {
    /// A key as Redis knows it, if these bytes are one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        context_of(bytes)?;
        let text = std::str::from_utf8(bytes).ok()?;
        let mut digest = [0; DIGEST_HEX_LENGTH / 2];
        for (byte, pair) in digest
            .iter_mut()
            .zip(bytes[bytes.len() - DIGEST_HEX_LENGTH..].chunks_exact(2))
        {
            let value = |digit: u8| {
                char::from(digit)
                    .to_digit(16)
                    .and_then(|value| u8::try_from(value).ok())
            };
            *byte = value(pair[0])? << 4 | value(pair[1])?;
        }
        Some(Self {
            text: text.into(),
            digest: Digest(digest),
        })
    }

    /// The key of an entry of this context.
    pub(crate) fn new(context: &str, digest: Digest) -> Self {
        let mut text = String::with_capacity(PREFIX.len() + context.len() + 1 + DIGEST_HEX_LENGTH);
        text.push_str(PREFIX);
        text.push_str(context);
        text.push(':');
        push_hex(&mut text, digest.as_bytes());
        Self {
            text: text.into_boxed_str(),
            digest,
        }
    }

    /// The key as Redis knows it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The context in the key.
    #[must_use]
    pub fn context(&self) -> &str {
        &self.text[PREFIX.len()..self.text.len() - DIGEST_HEX_LENGTH - 1]
    }

    /// The digest in the key.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Whether these bytes are a key of just this context: `ctx:{context}:`, 64 lowercase hex digits, nothing else.
    #[must_use]
    pub fn is_in_context(bytes: &[u8], context: &str) -> bool {
        context_of(bytes) == Some(context)
    }

    /// Whether these bytes are a key of this protocol, of any legal context.
    #[must_use]
    pub fn is_protocol_key(bytes: &[u8]) -> bool {
        context_of(bytes).is_some()
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// The context, if these bytes are a key of this protocol.
pub(crate) fn context_of(bytes: &[u8]) -> Option<&str> {
    let (rest, digest) = bytes.split_last_chunk::<DIGEST_HEX_LENGTH>()?;
    let context = rest.strip_prefix(PREFIX.as_bytes())?.strip_suffix(b":")?;
    let legal = is_context(context) && digest.iter().all(|digit| HEX_DIGITS.contains(digit));
    std::str::from_utf8(context).ok().filter(|_| legal)
}

/// A secret, ready to sign: the pads of the HMAC are hashed once and each key starts from a copy of that state.
#[derive(Clone)]
pub struct Signer {
    keyed: Hmac<Sha256>,
}

impl Signer {
    /// A signer for a secret as given (§1.10).
    ///
    /// # Errors
    /// `Secret` when it is empty.
    pub fn new(secret: &[u8]) -> Result<Self, Error> {
        if secret.is_empty() {
            return Err(Error::new(ErrorCode::Secret, "secret must not be empty"));
        }
        let keyed = Hmac::new_from_slice(secret)
            .map_err(|_| Error::new(ErrorCode::Internal, "HMAC takes a secret of any length"))?;
        Ok(Self { keyed })
    }

    /// The digest in the key of a call. Costs the hash of its canonical form and one block more.
    #[must_use]
    pub fn digest(&self, canonical: &Canonical) -> Digest {
        let mut mac = self.keyed.clone();
        mac.update(canonical.as_str().as_bytes());
        Digest(mac.finalize().into_bytes().into())
    }

    /// The key of a call. Costs its digest, and one allocation.
    #[must_use]
    pub fn key(&self, canonical: &Canonical) -> Key {
        Key::new(canonical.context(), self.digest(canonical))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Signer").finish_non_exhaustive()
    }
}

/// Appends bytes as lowercase hex: at most as many as a digest has.
pub(crate) fn push_hex(text: &mut String, bytes: &[u8]) {
    let mut digits = [0; DIGEST_HEX_LENGTH];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair[0] = HEX_DIGITS[usize::from(byte >> 4)];
        pair[1] = HEX_DIGITS[usize::from(byte & 0xF)];
    }
    let digits = &digits[..2 * bytes.len()];
    text.push_str(std::str::from_utf8(digits).expect("hex digits are ASCII"));
}
