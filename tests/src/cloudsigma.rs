//! A state machine of CloudSigma: `examples/test-cloudsigma`, whose README lists how it is controlled.

use std::ops::Deref;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::Occopus;
use crate::state_machine::{StateMachine, example};

/// Id of the only library drive.
pub const LIBRARY_DRIVE: &str = "c7105ec8-0000-4000-8000-000000000003";
const EMAIL: &str = "user@example.com";
const PASSWORD: &str = "test~Password.of/the test:CloudSigma";

/// A CloudSigma of one test.
pub struct TestCloudSigma(StateMachine);

impl Deref for TestCloudSigma {
    type Target = StateMachine;

    fn deref(&self) -> &StateMachine {
        &self.0
    }
}

impl TestCloudSigma {
    /// Starts it with quick operations. Returns `None`, and reports the cause, if there is no Python.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start(test: &str) -> Option<Self> {
        Self::start_with(test, &[])
    }

    /// Starts one with the same credentials and another account.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start_with_other_account(test: &str) -> Option<Self> {
        Self::start_with(test, &["--account", "6f670b3c-0000-4000-8000-0000000000ff"])
    }

    fn start_with(test: &str, arguments: &[&str]) -> Option<Self> {
        let sigma = Self(StateMachine::start(test, &Self::folder(), arguments)?);
        sigma.settings(&json!({"clone_seconds": 0.05, "start_seconds": 0.02, "stop_seconds": 0.02}));
        Some(sigma)
    }

    /// Returns the folder with its program, and with the scripts that check it.
    pub fn folder() -> PathBuf {
        example("test-cloudsigma")
    }

    /// Returns the URL of the API.
    pub fn endpoint(&self) -> String {
        format!("{}/api/2.0", self.url)
    }

    /// Returns everything of a kind that exists: `servers`, `drives`, `tags`, `keypairs`.
    #[track_caller]
    pub fn all(&self, kind: &str) -> Vec<Value> {
        self.control("GET", "resources", &Value::Null)[kind].as_array().expect("a list").clone()
    }

    /// Returns the servers of an infrastructure by their metadata.
    #[track_caller]
    pub fn servers_of(&self, infrastructure: &str) -> Vec<Value> {
        let mut servers = self.all("servers");
        servers.retain(|server| server["meta"]["occopus-infrastructure"] == infrastructure);
        servers
    }

    /// Returns true if there is neither a server nor a drive.
    #[track_caller]
    pub fn is_empty(&self) -> bool {
        self.all("servers").is_empty() && self.all("drives").is_empty()
    }

    /// Writes a file with the credentials of the account, and returns its name.
    pub fn write_credentials(&self, occopus: &Occopus) -> &'static str {
        let rule =
            format!("resource:\n- type: cloudsigma\n  auth_data:\n    email: {EMAIL}\n    password: '{PASSWORD}'\n");
        occopus.write("auth_data.yaml", rule);
        "auth_data.yaml"
    }

    /// Returns the variables that the fixture of the conformance suite names.
    pub fn variables<'t>(&self, endpoint: &'t str, stranger: &'t str) -> [(&'static str, &'t str); 5] {
        [
            ("CLOUDSIGMA_ENDPOINT", endpoint),
            ("CLOUDSIGMA_EMAIL", EMAIL),
            ("CLOUDSIGMA_PASSWORD", PASSWORD),
            ("CLOUDSIGMA_LIBRARY_DRIVE", LIBRARY_DRIVE),
            ("STRANGER", stranger),
        ]
    }

    /// Returns the password, which must not appear in any output.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }
}
