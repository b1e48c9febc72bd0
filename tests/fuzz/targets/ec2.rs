//! See `properties/ec2.rs`.
#![no_main]

#[path = "../properties/answers.rs"]
mod answers;
#[path = "../properties/ec2.rs"]
mod ec2;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ec2::hold(bytes));
