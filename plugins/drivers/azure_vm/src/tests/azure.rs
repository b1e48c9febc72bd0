//! An Azure of one test, and a driver in it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use occopus_sdk::http::{HttpError, HttpErrorKind, Request, Response, encoded};
use occopus_sdk::testing::{self, DriverHarness, FakeHost};
use serde_json::{Value, json};

use super::section;
use crate::AzureVm;

const TENANT: &str = "72f988bf-0000-4000-8000-000000000001";
pub(super) const SUBSCRIPTION: &str = "22222222-bbbb-4bbb-8bbb-000000000002";
const CLIENT: &str = "11111111-aaaa-4aaa-8aaa-000000000001";
const SECRET: &str = "test~Secret.of+the/test=Azure";

/// The state machine of Azure, as a program of its own.
pub(super) struct Azure {
    server: Child,
    pub(super) url: String,
}

impl Drop for Azure {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Azure {
    /// Starts it with quick operations; prints a line and returns none without Python.
    #[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
    pub(super) fn start(test: &str) -> Option<Rc<Self>> {
        let given = std::env::var_os("TEST_AZURE").map(PathBuf::from);
        let folder =
            given.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../examples/test-azure"));
        let started = Command::new("python3").arg("-B").arg(folder).arg("0").stdout(Stdio::piped()).spawn();
        let mut server = match started {
            Ok(server) => server,
            Err(error) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("no python3: {error}"),
            Err(error) => {
                eprintln!("{test} is skipped: no python3: {error}");
                return None;
            }
        };
        let mut url = String::new();
        BufReader::new(server.stdout.take().expect("its output")).read_line(&mut url).expect("a line");
        assert!(url.starts_with("http"), "the state machine of Azure ended at once");
        let azure = Self { server, url: url.trim().to_owned() };
        azure.control("POST", "settings", &json!({"delays": {"default": 0.05}, "retry_after": 0}));
        Some(Rc::new(azure))
    }

    /// Returns the host of a driver in it. `meddle` may break answers, or give one before the request is sent.
    pub(super) fn host(
        self: &Rc<Self>,
        before: impl Fn(&Request) -> Option<Result<Response, HttpError>> + 'static,
    ) -> FakeHost {
        let azure = Rc::clone(self);
        let host = FakeHost::default().http(move |request| match before(request) {
            Some(answer) => answer,
            None => azure.send(request),
        });
        let host = host.credential("subscription_id", SUBSCRIPTION).credential("tenant_id", TENANT);
        host.credential("client_id", CLIENT).credential("client_secret", SECRET)
    }

    /// Returns a driver in it.
    pub(super) fn driver(self: &Rc<Self>, changes: &Value) -> DriverHarness<AzureVm> {
        self.driver_on(self.host(|_| None), changes)
    }

    /// Returns a driver on this host.
    pub(super) fn driver_on(self: &Rc<Self>, host: FakeHost, changes: &Value) -> DriverHarness<AzureVm> {
        let mut whole = section(changes);
        whole["endpoint"] = json!(self.url);
        testing::driver::<AzureVm>(host, whole).expect("a good section")
    }

    /// Controls it: a method, a path below `/_test/`, and a body.
    #[track_caller]
    pub(super) fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let url = format!("{}/_test/{path}", self.url);
        let timeout = std::time::Duration::from_secs(10);
        let request = Request {
            method: method.to_owned(),
            url,
            headers: Vec::new(),
            body,
            connect_timeout: timeout,
            answer_timeout: timeout,
        };
        let answer = self.send(&request).expect("an answer");
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        answer.json().expect("JSON")
    }

    /// Returns all resources that exist: type and name.
    #[track_caller]
    pub(super) fn resources(&self) -> Vec<(String, String)> {
        let all = self.control("GET", "resources", &Value::Null);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let listed = all["resources"].as_array().expect("resources").iter();
        listed.map(|one| (text(&one["type"]), text(&one["name"]))).collect()
    }

    /// Waits until nothing is left: what Azure is still deleting goes.
    #[track_caller]
    pub(super) fn require_nothing_left(&self, when: &str) {
        for _ in 0..40 {
            if self.resources().is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{when}: {:?}", self.resources());
    }

    /// Returns the number of resources of a type.
    #[track_caller]
    pub(super) fn count(&self, kind: &str) -> usize {
        self.resources().iter().filter(|(own, _)| own.ends_with(kind)).count()
    }

    /// Lets the parts of a machine stay when it is deleted.
    pub(super) fn detach_all(self: &Rc<Self>, machine: &str) {
        let shown = self.user("GET", machine, "2024-07-01", &Value::Null);
        let card = shown["properties"]["networkProfile"]["networkInterfaces"][0]["id"].clone();
        let body = json!({"properties": {
            "storageProfile": {"osDisk": {"deleteOption": "Detach"}},
            "networkProfile": {"networkInterfaces": [{"id": card, "properties": {"deleteOption": "Detach"}}]},
        }});
        self.user("PATCH", machine, "2024-07-01", &body);
    }

    /// Does something as the user does it beside the driver.
    #[track_caller]
    pub(super) fn user(&self, method: &str, path: &str, version: &str, body: &Value) -> Value {
        let form = format!(
            "grant_type=client_credentials&client_id={CLIENT}&client_secret=<secret client_secret>&scope={}%2F.default",
            encoded("https://management.azure.com")
        );
        let answer = self.ask("POST", &format!("/{TENANT}/oauth2/v2.0/token"), None, form);
        let token = answer["access_token"].as_str().expect("a token").to_owned();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.ask(method, &format!("{path}?api-version={version}"), Some(&token), body)
    }

    #[track_caller]
    fn ask(&self, method: &str, path: &str, token: Option<&str>, body: String) -> Value {
        let timeout = std::time::Duration::from_secs(10);
        let headers = token.map(|token| ("authorization".to_owned(), format!("Bearer {token}"))).into_iter().collect();
        let url = format!("{}{path}", self.url);
        let request = Request {
            method: method.to_owned(),
            url,
            headers,
            body: body.into_bytes(),
            connect_timeout: timeout,
            answer_timeout: timeout,
        };
        let answer = self.send(&request).expect("an answer");
        assert!(answer.is_success(), "{method} {path}: {}", answer.text());
        answer.json().unwrap_or_default()
    }

    /// Forgets the requests so far.
    pub(super) fn forget_requests(&self) {
        self.control("DELETE", "requests", &Value::Null);
    }

    /// Returns the counters of requests: `PUT Microsoft.Compute/virtualMachines`.
    pub(super) fn requests(&self) -> Value {
        self.control("GET", "requests", &Value::Null)["counters"].clone()
    }

    /// Sends a request as the host does: with the secret in the place of its placeholder.
    pub(super) fn send(&self, request: &Request) -> Result<Response, HttpError> {
        let failed = |kind| move |error: std::io::Error| HttpError { kind, message: error.to_string() };
        let target = self.url.trim_start_matches("http://");
        let path = request.url.strip_prefix(&self.url).unwrap_or_else(|| panic!("{} leads elsewhere", request.url));
        let text = String::from_utf8_lossy(&request.body).replace("<secret client_secret>", &encoded(SECRET));
        let mut head = format!("{} {path} HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n", request.method);
        for (name, value) in &request.headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", text.len());
        let mut stream = TcpStream::connect(target).map_err(failed(HttpErrorKind::NotSent))?;
        let mut answer = Vec::new();
        let mut talk = || {
            stream.write_all(head.as_bytes())?;
            stream.write_all(text.as_bytes())?;
            stream.read_to_end(&mut answer)
        };
        talk().map_err(failed(HttpErrorKind::MaybeSent))?;
        parse(&answer)
            .ok_or_else(|| HttpError { kind: HttpErrorKind::MaybeSent, message: "the connection ended".to_owned() })
    }
}

fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = text.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let headers = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Some(Response { status, headers, body: answer[end + 4..].to_vec() })
}
