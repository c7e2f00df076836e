//! What the fuzz targets have found worth keeping, through the same checks, in every run of the tests.

use std::{fs, path::Path};

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
