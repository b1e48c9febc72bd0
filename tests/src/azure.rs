//! A state machine of Azure: `examples/test-azure`, whose README lists how it is controlled.

use std::ops::Deref;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::Occopus;
use crate::state_machine::{StateMachine, example};

/// Id of the only tenant.
pub const TENANT: &str = "72f988bf-0000-4000-8000-000000000001";
/// Id of the only subscription.
pub const SUBSCRIPTION: &str = "22222222-bbbb-4bbb-8bbb-000000000002";
const CLIENT: &str = "11111111-aaaa-4aaa-8aaa-000000000001";
const SECRET: &str = "test~Secret.of+the/test=Azure";

/// An Azure of one test.
pub struct TestAzure(StateMachine);

impl Deref for TestAzure {
    type Target = StateMachine;

    fn deref(&self) -> &StateMachine {
        &self.0
    }
}

impl TestAzure {
    /// Starts it with quick operations. Returns `None`, and reports the cause, if there is no Python.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start(test: &str) -> Option<Self> {
        let azure = Self(StateMachine::start(test, &Self::folder(), &[])?);
        azure.settings(&json!({"delays": {"default": 0.05}, "retry_after": 0}));
        Some(azure)
    }

    /// Returns the folder with its program, and with the script that drives it with Microsoft's SDKs.
    pub fn folder() -> PathBuf {
        example("test-azure")
    }

    /// Returns all resources that exist, with `id`, `type`, `name`, `state`, `tags`, and `power` of machines.
    #[track_caller]
    pub fn resources(&self) -> Vec<Value> {
        let all = self.control("GET", "resources", &Value::Null);
        all["resources"].as_array().expect("resources").clone()
    }

    /// Returns the names of the resources of a type.
    #[track_caller]
    pub fn names(&self, kind: &str) -> Vec<String> {
        let of_kind = self.resources().into_iter().filter(|each| each["type"] == kind);
        of_kind.map(|each| each["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// Sends a request with a fresh token, for what a test does beside a driver, and returns status and answer.
    ///
    /// # Panics
    /// Panics if there is no answer.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT),
            ("client_secret", SECRET),
            ("scope", "https://management.azure.com/.default"),
        ];
        let token = self.post_form(&format!("/{TENANT}/oauth2/v2.0/token"), &form);
        let token = format!("Bearer {}", token["access_token"].as_str().unwrap_or_default());
        self.send(method, &format!("/subscriptions/{SUBSCRIPTION}{path}"), body, Some(&token))
    }

    /// Writes a file with the credentials of its service principal for these types of resources, and returns its name.
    pub fn write_credentials(&self, occopus: &Occopus, kinds: &[&str]) -> &'static str {
        let rule = |kind: &&str| {
            format!(
                "- type: {kind}\n  auth_data:\n    tenant_id: {TENANT}\n    client_id: {CLIENT}\n    client_secret: {SECRET}\n    \
                 subscription_id: {SUBSCRIPTION}\n"
            )
        };
        let rules: String = kinds.iter().map(rule).collect();
        occopus.write("auth_data.yaml", format!("resource:\n{rules}"));
        "auth_data.yaml"
    }

    /// Returns the variables that fixtures of the conformance suite name.
    pub fn variables(&self) -> [(&'static str, &str); 5] {
        [
            ("AZURE_ENDPOINT", &self.url),
            ("AZURE_TENANT_ID", TENANT),
            ("AZURE_CLIENT_ID", CLIENT),
            ("AZURE_CLIENT_SECRET", SECRET),
            ("AZURE_SUBSCRIPTION_ID", SUBSCRIPTION),
        ]
    }

    /// Returns the secret, which must not appear in any output.
    pub fn secret(&self) -> &'static str {
        SECRET
    }
}
