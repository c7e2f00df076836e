//! Text from outside: what is handed over as a canonical form, as the token of a lease, or found as a key in Redis.
//! Whatever passes is what it is said to be.

use mizan_cache_core::{
    canonical::{Canonical, check_context},
    error::ErrorCode,
    key::{Key, Signer},
    lease::LeaseToken,
};

/// The first byte is the length that the context is said to have.
pub fn check(bytes: &[u8]) {
    check_key(bytes);
    let Some((length, rest)) = bytes.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    check_token(text);
    check_canonical(text, usize::from(*length));
}

fn check_key(bytes: &[u8]) {
    let parts: Vec<_> = bytes.split(|byte| *byte == b':').collect();
    let context = match parts[..] {
        [b"ctx", context, digest] if digest.len() == 64 && is_hex(digest) => std::str::from_utf8(context).ok(),
        _ => None,
    };
    let context = context.filter(|context| check_context(context).is_ok());
    assert_eq!(Key::is_protocol_key(bytes), context.is_some());
    if let Some(context) = context {
        assert!(Key::is_in_context(bytes, context));
        assert!(!Key::is_in_context(bytes, &format!("{context}x")));
        assert!(!Key::is_in_context(bytes, &context[1..]));
    }
}

fn check_token(text: &str) {
    let token = LeaseToken::parse(text);
    assert_eq!(token.is_ok(), text.len() == 32 && is_hex(text.as_bytes()));
    assert!(token.is_ok_and(|token| token.as_str() == text) || LeaseToken::parse(text).is_err());
}

fn check_canonical(text: &str, context_length: usize) {
    match Canonical::from_written(text.to_owned(), context_length) {
        Ok(canonical) => {
            assert_eq!(canonical.as_str(), text);
            assert!(text.is_ascii());
            let context = canonical.context();
            assert_eq!(context.len(), context_length);
            assert!(check_context(context).is_ok());
            assert!(text.starts_with(&format!(r#"{{"c":"{context}","p":"#)));
            let key = Signer::new(&[7; 32]).expect("a secret").key(&canonical);
            assert_eq!(key.context(), context);
            assert!(Key::is_in_context(key.as_ref(), context));
        }
        Err(error) => assert!(matches!(
            error.code(),
            ErrorCode::Size | ErrorCode::Context | ErrorCode::Internal
        )),
    }
}

fn is_hex(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
