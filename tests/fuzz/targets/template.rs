//! See `properties/template.rs`.
#![no_main]

#[path = "../properties/template.rs"]
mod template;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| template::hold(bytes));
