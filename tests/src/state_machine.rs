//! State machines of clouds in Python (`examples/test-*`), which a test controls below `/_test/`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::has_python;

/// Returns the folder of a state machine.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// A state machine of one test. Ends when dropped.
pub struct StateMachine {
    server: Child,
    /// `http://127.0.0.1:PORT`, or with the host and scheme that it was started with.
    pub url: String,
    agent: ureq::Agent,
}

impl StateMachine {
    /// Starts the program in a folder at a free port, with more arguments. Returns `None`, and reports the cause, if there is
    /// no Python.
    ///
    /// # Panics
    /// Panics if it does not start.
    pub fn start(test: &str, folder: &Path, arguments: &[&str]) -> Option<Self> {
        if !has_python(test) {
            return None;
        }
        let mut command = Command::new("python3");
        command.arg("-B").arg(folder).arg("0").args(arguments);
        let mut server = command.stdout(Stdio::piped()).spawn().expect("python3 starts");
        let mut url = String::new();
        BufReader::new(server.stdout.take().expect("its output")).read_line(&mut url).expect("a line");
        assert!(url.starts_with("http"), "{} ended at once", folder.display());
        let configured = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build();
        Some(Self { server, url: url.trim().to_owned(), agent: configured.into() })
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

    /// Returns the counters of requests, by method, type and action: `PUT Microsoft.Compute/virtualMachines`.
    #[track_caller]
    pub fn requests(&self) -> BTreeMap<String, u64> {
        let counted = self.control("GET", "requests", &Value::Null);
        serde_json::from_value(counted["counters"].clone()).expect("counters")
    }

    /// Sends a request with an `Authorization`, for what a test does beside a driver, and returns status and answer.
    ///
    /// # Panics
    /// Panics if there is no answer.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, body: &Value, authorization: Option<&str>) -> (u16, Value) {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = self.agent.configure_request(request.body(text).expect("a request"));
        let mut answer =
            self.agent.run(request.allow_non_standard_methods(true).build()).expect("the state machine answers");
        let text = answer.body_mut().with_config().limit(64 << 20).read_to_string().expect("text");
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Posts a form, and returns the answer.
    ///
    /// # Panics
    /// Panics if there is no answer in JSON.
    #[track_caller]
    pub fn post_form(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let url = format!("{}{path}", self.url);
        let mut answer = self.agent.post(&url).send_form(form.iter().copied()).expect("an answer");
        serde_json::from_str(&answer.body_mut().read_to_string().expect("text")).expect("JSON")
    }
}

impl Drop for StateMachine {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
