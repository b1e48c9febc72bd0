//! A state machine of Azure: `examples/test-azure`, whose README lists how it is controlled.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Occopus, has_python};

/// Id of the only tenant.
pub const TENANT: &str = "72f988bf-0000-4000-8000-000000000001";
/// Id of the only subscription.
pub const SUBSCRIPTION: &str = "22222222-bbbb-4bbb-8bbb-000000000002";
const CLIENT: &str = "11111111-aaaa-4aaa-8aaa-000000000001";
const SECRET: &str = "test~Secret.of+the/test=Azure";

/// An Azure of one test.
pub struct TestAzure {
    server: Child,
    /// `http://127.0.0.1:PORT`, of log-in and management alike.
    pub url: String,
    agent: ureq::Agent,
}

impl TestAzure {
    /// Starts it with quick operations. Returns `None`, and reports the cause, if there is no Python.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start(test: &str) -> Option<Self> {
        if !has_python(test) {
            return None;
        }
        let mut command = Command::new("python3");
        command.arg("-B").arg(Self::folder()).arg("0");
        let mut server = command.stdout(Stdio::piped()).spawn().expect("python3 starts");
        let mut url = String::new();
        BufReader::new(server.stdout.take().expect("its output")).read_line(&mut url).expect("a line");
        assert!(url.starts_with("http"), "the state machine of Azure ended at once");
        let configured = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        let azure = Self { server, url: url.trim().to_owned(), agent: configured.into() };
        azure.settings(&json!({"delays": {"default": 0.05}, "retry_after": 0}));
        Some(azure)
    }

    /// Returns the folder with its program, and with the script that drives it with Microsoft's SDKs.
    pub fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/test-azure")
    }

    /// Returns `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Controls it: a method, a path below `/_test/`, and a body.
    ///
    /// # Panics
    /// Panics if it refuses.
    #[track_caller]
    pub fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.send(method, &format!("/_test/{path}"), body, None);
        assert_eq!(status, 200, "{method} /_test/{path}: {answer}");
        answer
    }

    /// Changes settings.
    #[track_caller]
    pub fn settings(&self, settings: &Value) {
        self.control("POST", "settings", settings);
    }

    /// Injects a fault.
    #[track_caller]
    pub fn fault(&self, fault: &Value) {
        self.control("POST", "faults", fault);
    }

    /// Lets time pass at once.
    #[track_caller]
    pub fn advance(&self, seconds: u32) {
        self.control("POST", "advance", &json!({"seconds": seconds}));
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

    /// Returns the counters of requests, by method, type and action: `PUT Microsoft.Compute/virtualMachines`.
    #[track_caller]
    pub fn requests(&self) -> BTreeMap<String, u64> {
        let counted = self.control("GET", "requests", &Value::Null);
        serde_json::from_value(counted["counters"].clone()).expect("counters")
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
        let url = format!("{}/{TENANT}/oauth2/v2.0/token", self.url);
        let mut answer = self.agent.post(&url).send_form(form).expect("an answer");
        let token: Value = serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("JSON");
        self.send(method, &format!("/subscriptions/{SUBSCRIPTION}{path}"), body, token["access_token"].as_str())
    }

    fn send(&self, method: &str, path: &str, body: &Value, token: Option<&str>) -> (u16, Value) {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = self.agent.configure_request(request.body(text).expect("a request"));
        let mut answer =
            self.agent.run(request.allow_non_standard_methods(true).build()).expect("the state machine answers");
        let text = answer.body_mut().with_config().limit(64 << 20).read_to_string().expect("text");
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null))
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

impl Drop for TestAzure {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
