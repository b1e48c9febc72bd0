//! See `properties/secrets.rs`.
#![no_main]

#[path = "../properties/secrets.rs"]
mod secrets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| secrets::hold(bytes));
