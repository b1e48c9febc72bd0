//! See `properties/boundary.rs`.
#![no_main]

#[path = "../properties/boundary.rs"]
mod boundary;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| boundary::hold(bytes));
