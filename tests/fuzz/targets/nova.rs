//! See `properties/nova.rs`.
#![no_main]

#[path = "../properties/answers.rs"]
mod answers;
#[path = "../properties/nova.rs"]
mod nova;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nova::hold(bytes));
