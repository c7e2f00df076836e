//! What the fuzz targets have found worth keeping, through the same checks, in every run of the tests.

use std::{fs, path::Path};

use proptest::prelude::*;

#[path = "../fuzz/properties/canonical.rs"]
mod canonical;
#[path = "../fuzz/properties/options.rs"]
mod options;
#[path = "../fuzz/properties/replies.rs"]
mod replies;
#[path = "../fuzz/properties/written.rs"]
mod written;

fn replay(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(directory).expect("the corpus is committed") {
        check(&fs::read(entry.expect("an entry").path()).expect("a file"));
        count += 1;
    }
    assert!(count > 10, "{count} files");
}

#[test]
fn canonical_forms() {
    replay("canonical", canonical::check);
}

#[test]
fn options_of_a_cache() {
    replay("options", options::check);
}

#[test]
fn replies_of_a_server() {
    replay("replies", replies::check);
}

#[test]
fn text_from_outside() {
    replay("written", written::check);
}

/// Pieces of frames in any order, many of which make whole ones.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let scalar = prop_oneof![
        "[+(,-][a-z0-9 .:]{0,9}\r\n".prop_map(String::into_bytes),
        "[:$*%~>!=][-+]?[0-9]{1,2}\r\n".prop_map(String::into_bytes),
        "=[4-9]\r\n[a-z]{2,4}:[a-z]{0,5}\r\n".prop_map(String::into_bytes),
        "(_|#t|#f)\r\n".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(bulk),
        prop::collection::vec(any::<u8>(), 0..3),
    ];
    let aggregate = |inner: BoxedStrategy<Vec<u8>>| {
        (prop::sample::select(&b"*~>%"[..]), prop::collection::vec(inner, 0..6)).prop_map(|(kind, elements)| {
            let count = elements.len() / if kind == b'%' { 2 } else { 1 };
            let head = format!("{}{count}\r\n", char::from(kind)).into_bytes();
            [head, elements.concat()].concat()
        })
    };
    let frame = scalar.prop_recursive(4, 32, 6, move |inner| aggregate(inner.boxed()));
    prop::collection::vec(frame, 0..4).prop_map(|frames| frames.concat())
}

fn bulk(bytes: Vec<u8>) -> Vec<u8> {
    let head = format!("${}\r\n", bytes.len()).into_bytes();
    [head, bytes, b"\r\n".to_vec()].concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replies_of_a_server_that_makes_them_up(bytes in pieces()) {
        replies::check(&bytes);
    }
}
