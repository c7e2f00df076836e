//! All of `vectors.json`: the bytes and keys of what is accepted, and that the rest is refused.

mod decode;

use mizan_cache_core::{
    canonical::{Canonical, ParamValue, check_context},
    error::ErrorCode,
    key::{Key, Signer},
};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../__test__/vectors.json")).unwrap()
}

#[test]
fn accepted_calls_have_their_pinned_bytes_and_keys() {
    for vector in vectors()["vectors"].as_array().unwrap() {
        let name = &vector["name"];
        let derived = decode::derive(vector);
        let Some(key) = vector["key"].as_str() else {
            assert_eq!(
                derived.unwrap_err().code(),
                ErrorCode::Context,
                "{name}: legal in the canonical form only"
            );
            continue;
        };
        let (canonical, derived) = derived.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(canonical.as_str(), vector["canonical"].as_str().unwrap(), "{name}");
        assert_eq!(canonical.context(), vector["context"].as_str().unwrap(), "{name}");
        assert_eq!(derived.as_str(), key, "{name}");
        assert_eq!(derived.context(), vector["context"].as_str().unwrap(), "{name}");

        let written = Canonical::from_written(canonical.as_str().to_owned(), canonical.context().len());
        assert_eq!(written, Ok(canonical), "{name}");
    }
}

#[test]
fn rejected_calls_are_refused_with_the_code_of_their_reason() {
    let mut count = 0;
    for reject in vectors()["rejects"].as_array().unwrap() {
        if !reject["expressibleIn"].as_array().unwrap().contains(&Value::from("rs")) {
            continue;
        }
        let name = reject["name"].as_str().unwrap();
        let expected = match name {
            "context_empty" | "context_null" => ErrorCode::Context,
            "params_list" => ErrorCode::ParamType,
            "secret_empty" => ErrorCode::Secret,
            "canonical_over_1MiB" => ErrorCode::Size,
            _ if name.starts_with("lone_") => ErrorCode::Surrogate,
            _ if name.starts_with("user_") => ErrorCode::User,
            _ if name.starts_with("rev_") => ErrorCode::Rev,
            _ if name.starts_with("depth_") => ErrorCode::Depth,
            _ if name.contains("dup") => ErrorCode::DuplicateKey,
            _ => ErrorCode::ParamNumber,
        };
        assert_eq!(decode::derive(reject).unwrap_err().code(), expected, "{name}");
        count += 1;
    }
    assert!(count > 20);
}

#[test]
fn contexts_are_accepted_and_refused_as_pinned() {
    for context in vectors()["contexts"]["accept"].as_array().unwrap() {
        assert_eq!(check_context(context.as_str().unwrap()), Ok(()), "{context}");
    }
    for context in vectors()["contexts"]["reject"].as_array().unwrap() {
        let error = check_context(context.as_str().unwrap()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Context, "{context}");
    }
}

#[test]
fn a_purge_takes_its_own_context_only() {
    for case in vectors()["purge"].as_array().unwrap() {
        let pattern = case["purge"].as_str().unwrap();
        let context = pattern
            .strip_prefix("ctx:")
            .unwrap()
            .trim_end_matches('?')
            .strip_suffix(':')
            .unwrap();
        let key = case["key"].as_str().unwrap().as_bytes();
        assert_eq!(
            Key::is_in_context(key, context),
            case["matches"].as_bool().unwrap(),
            "{case}"
        );
    }
}

#[test]
fn keys_of_this_protocol_are_told_from_all_others() {
    let digest = "0123456789abcdef".repeat(4);
    for key in [format!("ctx:user:{digest}"), format!("ctx:user.x-1:{digest}")] {
        assert!(Key::is_protocol_key(key.as_bytes()), "{key}");
    }
    let foreign = [
        String::new(),
        digest.clone(),
        format!(":{digest}"),
        format!("ctx:{digest}"),
        format!("ctx::{digest}"),
        format!("user:{digest}"),
        format!("ctx:-user:{digest}"),
        format!("ctx:user:admin:{digest}"),
        format!("ctx:user:{digest}0"),
        format!("ctx:user:{}", &digest[1..]),
        format!("ctx:user:{}", digest.to_uppercase()),
        format!("xctx:user:{digest}"),
    ];
    for key in foreign {
        assert!(!Key::is_protocol_key(key.as_bytes()), "{key}");
    }
    let not_text = [b"ctx:user:".as_slice(), &[0xFF; 64]].concat();
    assert!(!Key::is_protocol_key(&not_text));
    assert!(!Key::is_in_context(&not_text, "user"));
}

/// The secret of the published digests was never published (`protocol.md` §1); whoever has it can run this.
#[test]
fn the_published_pin() {
    let Ok(secret) = std::env::var("MIZAN_PIN_SECRET") else {
        println!("skipped: the published pin needs MIZAN_PIN_SECRET");
        return;
    };
    let params = [("user_id".to_owned(), ParamValue::Text("5".to_owned()))];
    let canonical = Canonical::new("user", &params, None, 0).unwrap();
    assert_eq!(
        Signer::new(secret.as_bytes()).unwrap().key(&canonical).as_str(),
        "ctx:user:605a1ca5ad5994e9b765c8d1b330474c2a0d51a7b8fbbdc402f992da7ba902f6",
    );
}
