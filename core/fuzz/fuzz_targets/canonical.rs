#![no_main]

#[path = "../properties/canonical.rs"]
mod canonical;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| canonical::check(bytes));
