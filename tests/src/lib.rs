//! Fixtures of the end-to-end tests: the real binary in a home of its own, and the real servers it is tested against.

#![expect(clippy::print_stderr, reason = "tests say what they skipped and why")]

mod azure;
mod browser;
mod cloudsigma;
mod conformance;
mod docker;
mod fake_docker;
mod incus;
mod kills;
mod moto;
mod occopus;
mod openstack;
pub mod processes;
mod server;
pub mod service;
mod state_machine;
mod tls;
pub mod wait;

pub use azure::{SUBSCRIPTION, TENANT, TestAzure};
pub use browser::{Browser, Screen};
pub use cloudsigma::{LIBRARY_DRIVE, TestCloudSigma};
pub use conformance::keeps_its_contract;
pub use docker::Docker;
pub use fake_docker::empty_docker_engine;
pub use incus::Incus;
pub use kills::kill_builds;
pub use moto::Moto;
pub use occopus::{Finished, Occopus};
pub use occopus_conformance::{Chaos, ForeignAnswer, Proxy, ProxyAction};
pub use openstack::OpenStack;
pub use server::{CollectedRequest, CollectedRequests, collect};
pub use state_machine::StateMachine;
pub use tls::TlsProxy;

/// Reports that a test is skipped, since its server is missing. With `CI=true`, the test fails instead.
///
/// # Panics
/// Panics if `CI=true`.
pub fn skip(test: &str, why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{test}: {why}");
    eprintln!("skipped {test}: {why}");
}

/// Returns whether there is a Python for the servers of some tests.
pub fn has_python(test: &str) -> bool {
    let version = std::process::Command::new("python3").arg("--version").output();
    let there = version.is_ok_and(|output| output.status.success());
    if !there {
        skip(test, "there is no python3");
    }
    there
}
