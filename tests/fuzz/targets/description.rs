//! See `properties/description.rs`.
#![no_main]

#[path = "../properties/description.rs"]
mod description;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| description::hold(bytes));
