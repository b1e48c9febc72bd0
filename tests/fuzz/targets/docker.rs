//! See `properties/docker.rs`.
#![no_main]

#[path = "../properties/answers.rs"]
mod answers;
#[path = "../properties/docker.rs"]
mod docker;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| docker::hold(bytes));
