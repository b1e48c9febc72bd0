//! Passes the target platform to the tests.

fn main() {
    println!("cargo::rustc-env=HOST_TRIPLE={}", std::env::var("TARGET").unwrap_or_default());
    println!("cargo::rerun-if-changed=build.rs");
}
