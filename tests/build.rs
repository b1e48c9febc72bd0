//! Tells the tests for which platform they are built.

fn main() {
    println!("cargo::rustc-env=HOST_TRIPLE={}", std::env::var("TARGET").unwrap_or_default());
    println!("cargo::rerun-if-changed=build.rs");
}
