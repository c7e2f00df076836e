#![no_main]

#[path = "../properties/written.rs"]
mod written;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| written::check(bytes));
