//! `occopus serve` with a home of its own, and a client that sends what others would not.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Occopus;
use crate::processes::signal;

/// Tests ask more often than people.
pub const NO_RATE_LIMITS: &str =
    "service: {allow_processes: true, requests_per_second: 100000, requests_at_once: 100000}\n";

/// A service. It ends in good order with its value; several may share a home.
pub struct Service {
    /// Where its store is.
    pub home: Arc<Occopus>,
    /// Sent with all requests, if there is one.
    pub token: Option<String>,
    /// Where it listens.
    pub address: SocketAddr,
    process: Child,
    log: Arc<Mutex<String>>,
    agent: ureq::Agent,
}

impl Service {
    /// In a fresh home, looking at every infrastructure each second.
    pub fn start() -> Self {
        Self::in_home(Arc::new(Occopus::new()), NO_RATE_LIMITS)
    }

    /// In this home, with this configuration.
    pub fn in_home(home: Arc<Occopus>, configuration: &str) -> Self {
        Self::with(home, configuration, &[])
    }

    /// In this home, with this configuration and more arguments.
    ///
    /// # Panics
    /// When it does not say within a minute where it listens.
    pub fn with(home: Arc<Occopus>, configuration: &str, arguments: &[&str]) -> Self {
        let file = home.write("service.yaml", configuration);
        let mut command = home.command(["serve", "-v", "--cfg"]);
        command.arg(file).args(arguments);
        for usual in [["--port", "0"], ["-t", "1"]] {
            if !arguments.contains(&usual[0]) {
                command.args(usual);
            }
        }
        let mut process = command.spawn().expect("the service starts");
        let log = Arc::default();
        let errors = forward_lines(process.stderr.take().expect("errors"), &log, None);
        let (sender, said) = mpsc::channel();
        let _ = forward_lines(process.stdout.take().expect("an output"), &log, Some(sender));
        let line = said.recv_timeout(Duration::from_secs(60));
        let address = line.ok().and_then(|line| line.strip_prefix("listening on http://")?.parse().ok());
        let Some(address) = address else {
            let _ = process.kill();
            let _ = errors.join();
            panic!("the service does not say where it is: {}", log.lock().expect("a log"));
        };
        let configured = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(150)))
            .build();
        Self { home, token: None, address, process, log, agent: configured.into() }
    }

    /// Another one on the same store.
    pub fn start_second(&self) -> Self {
        let mut other = Self::in_home(self.home.clone(), NO_RATE_LIMITS);
        other.token.clone_from(&self.token);
        other
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Asks it to end, and waits until it has. Whether it says that all was well.
    ///
    /// # Panics
    /// When it does not end.
    pub fn stop(&mut self) -> bool {
        if let Ok(Some(ended)) = self.process.try_wait() {
            return ended.success();
        }
        signal(self.pid(), "TERM");
        let began = Instant::now();
        loop {
            if let Some(ended) = self.process.try_wait().expect("a process") {
                return ended.success();
            }
            assert!(began.elapsed() < Duration::from_secs(60), "it does not end: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it said, up to now.
    ///
    /// # Panics
    /// Never, unless it panicked before.
    pub fn log(&self) -> String {
        self.log.lock().expect("a log").clone()
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Makes a token in its store.
    ///
    /// # Panics
    /// When there is none.
    pub fn new_token(&self, name: &str, scope: &str, infrastructures: &[&str]) -> String {
        let mut words = vec!["token", "create", name, "--scope", scope];
        infrastructures.iter().for_each(|id| words.extend(["--infrastructure", id]));
        self.home.ok(words).stdout.trim().to_owned()
    }

    /// A request.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder<'_> {
        let mut request = http::Request::builder().method(method).uri(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        RequestBuilder { service: self, request, what: format!("{method} {path}") }
    }

    /// GET.
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path).send("")
    }

    /// POST without a body.
    pub fn post(&self, path: &str) -> Answer {
        self.request("POST", path).send("")
    }

    /// Builds, or changes, and waits until that is done.
    ///
    /// # Panics
    /// When it fails.
    pub fn build(&self, id: &str, document: &str) {
        let accepted = self.request("PUT", &format!("/infrastructures/{id}")).send(document).expect(202);
        let ended = self.wait_for_operation(&accepted);
        assert_eq!(ended["state"], "done", "{ended:#}\n{}", self.log());
    }

    /// The operation that an answer promises, when it has ended.
    ///
    /// # Panics
    /// When it does not end within a minute.
    pub fn wait_for_operation(&self, accepted: &Answer) -> Value {
        let path = accepted.json()["operation"].as_str().expect("a path").to_owned();
        self.wait_for_operation_at(&path)
    }

    /// The operation under this path, when it has ended.
    ///
    /// # Panics
    /// When it does not end within a minute.
    pub fn wait_for_operation_at(&self, path: &str) -> Value {
        let began = Instant::now();
        loop {
            let operation = self.get(path).expect(200).json();
            if !matches!(operation["state"].as_str(), Some("pending" | "running")) {
                return operation;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "it does not end: {operation:#}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Events of an infrastructure as they happen.
    ///
    /// # Panics
    /// When they are refused.
    pub fn stream(&self, path: &str, last: Option<u64>) -> Stream {
        let mut ask = self.request("GET", path).header("accept", "text/event-stream");
        if let Some(last) = last {
            ask = ask.header("last-event-id", &last.to_string());
        }
        Stream::open(ask)
    }

    /// Sends these bytes, and gives whatever comes until the service closes the connection or is silent for so long.
    pub fn raw(&self, bytes: &[u8], silence: Duration) -> RawAnswer {
        let mut stream = self.connect();
        stream.set_read_timeout(Some(silence)).expect("a time");
        // It may not want to hear all.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let closed = stream.read_to_end(&mut answer).is_ok();
        RawAnswer { text: String::from_utf8_lossy(&answer).into_owned(), closed }
    }

    /// A connection on which nothing was said yet.
    ///
    /// # Panics
    /// When there is none to be had.
    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).expect("a connection")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // In good order, so that its home can destroy what a failed test left.
        let _ = Command::new("kill").arg(self.process.id().to_string()).stderr(std::process::Stdio::null()).status();
        for _ in 0..300 {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }
}

/// Keeps what comes, and passes each line on.
fn forward_lines(
    from: impl std::io::Read + Send + 'static,
    log: &Arc<Mutex<String>>,
    sender: Option<mpsc::Sender<String>>,
) -> std::thread::JoinHandle<()> {
    let log = log.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let _ = writeln!(log.lock().expect("a log"), "{line}");
            if let Some(sender) = &sender {
                let _ = sender.send(line);
            }
        }
    })
}

/// A request that was not sent yet.
pub struct RequestBuilder<'a> {
    service: &'a Service,
    request: http::request::Builder,
    what: String,
}

impl RequestBuilder<'_> {
    /// With this header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if name.eq_ignore_ascii_case("authorization")
            && let Some(headers) = self.request.headers_mut()
        {
            headers.remove("authorization");
        }
        self.request = self.request.header(name, value);
        self
    }

    /// Sends it with this body.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn send(self, body: impl AsRef<[u8]>) -> Answer {
        let what = self.what.clone();
        self.try_send(body.as_ref()).unwrap_or_else(|why| panic!("{what}: {why}"))
    }

    /// The same, when there may be no answer.
    ///
    /// # Errors
    /// Why there is none.
    pub fn try_send(self, body: &[u8]) -> Result<Answer, ureq::Error> {
        let agent = &self.service.agent;
        let response = if body.is_empty() {
            let request = agent.configure_request(self.request.body(()).expect("a request"));
            agent.run(request.allow_non_standard_methods(true).build())
        } else {
            let request = agent.configure_request(self.request.body(body).expect("a request"));
            agent.run(request.allow_non_standard_methods(true).build())
        }?;
        let (parts, mut body) = response.into_parts();
        let body = body.with_config().limit(64 << 20).read_to_vec()?;
        Ok(Answer { what: self.what, status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

/// What the service answered.
pub struct Answer {
    what: String,
    /// The status.
    pub status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    /// This status, and no other.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "most only want to know that it is so")]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.what, self.text());
        self
    }

    /// A problem with this status and code, with all fields that clients of the existing service look for.
    ///
    /// # Panics
    /// When it is something else.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}: {}", self.what, self.text());
        let problem = self.json();
        assert_eq!((self.status, problem["code"].as_str()), (status, Some(code)), "{}: {problem:#}", self.what);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem:#}");
        assert_eq!(problem["status"], status);
        assert_eq!((&problem["reason"], &problem["message"]), (&problem["title"], &problem["detail"]));
        assert!(problem["status_code"].is_u64(), "{problem:#}");
        problem
    }

    /// A header; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body.
    ///
    /// # Panics
    /// When it is no JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}: no JSON: {}", self.what, self.text()))
    }
}

/// Whatever came over a connection.
pub struct RawAnswer {
    /// As it came.
    pub text: String,
    /// The service has closed the connection.
    pub closed: bool,
}

impl RawAnswer {
    /// Of the first answer.
    pub fn status(&self) -> Option<u16> {
        self.text.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()
    }
}

/// An event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamEvent {
    /// `id`, if it has one.
    pub id: Option<u64>,
    /// `event`.
    pub name: String,
    /// `data`.
    pub data: Value,
}

/// Events as they happen.
pub struct Stream {
    events: Receiver<StreamEvent>,
}

impl Stream {
    fn open(ask: RequestBuilder<'_>) -> Self {
        let request = ask.request.body(()).expect("a request");
        // It has no end.
        let request = ask.service.agent.configure_request(request).timeout_global(None).build();
        let response = ask.service.agent.run(request).expect("an answer");
        assert_eq!(response.status(), 200, "{}", ask.what);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut lines = BufReader::new(response.into_body().into_reader()).lines();
        let (sender, events) = mpsc::channel();
        std::thread::spawn(move || {
            while let Some(told) = next(&mut lines) {
                if sender.send(told).is_err() {
                    return;
                }
            }
        });
        Self { events }
    }

    /// The next event; none when the stream has ended.
    ///
    /// # Panics
    /// When there is none for half a minute.
    pub fn next(&self) -> Option<StreamEvent> {
        match self.events.recv_timeout(Duration::from_secs(30)) {
            Ok(told) => Some(told),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no event for a long time"),
        }
    }

    /// All events up to one of this name, that one included.
    ///
    /// # Panics
    /// When the stream ends before.
    #[track_caller]
    pub fn until(&self, name: &str) -> Vec<StreamEvent> {
        let mut all = Vec::new();
        loop {
            let told = self.next().unwrap_or_else(|| panic!("the stream ended before {name}: {all:#?}"));
            let is_it = told.name == name;
            all.push(told);
            if is_it {
                return all;
            }
        }
    }
}

/// The next event, by the rules of the standard as far as they are used.
fn next(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Option<StreamEvent> {
    let (mut id, mut name, mut data) = (None, String::new(), String::new());
    loop {
        let line = lines.next()?.ok()?;
        match line.split_once(": ") {
            Some(("id", value)) => id = value.parse().ok(),
            Some(("event", value)) => value.clone_into(&mut name),
            Some(("data", value)) => value.clone_into(&mut data),
            _ if line.is_empty() && !data.is_empty() => {
                return Some(StreamEvent { id, name, data: serde_json::from_str(&data).expect("JSON") });
            }
            _ => {}
        }
    }
}

/// A description with sleeping processes as nodes, each line of `nodes` one of the list, and its definitions: `sleeper`, which
/// is well, and `sick`, which gets well when something listens at this port of this machine.
pub fn document(nodes: &[&str], mark: &str, port: u16) -> String {
    let nodes: String = nodes.iter().map(|node| format!("- {node}\n")).collect();
    format!("infra_name: sleepers\nuser_id: tester\nnodes:\n{nodes}{}", definitions(mark, port))
}

/// The definitions of [`document`].
pub fn definitions(mark: &str, port: u16) -> String {
    let one = |name: &str, more: &str| {
        format!(
            "node_def:{name}:\n- resource: {{type: local}}\n  contextualisation:\n    type: basic\n    \
             attributes: {{command: [sleep, '{mark}']}}\n  health_check: {{ping: false{more}}}\n"
        )
    };
    [one("sleeper", ""), one("sick", &format!(", ports: [{port}], timeout: 60"))].concat()
}

/// A port at which nobody listens.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Waits until it is so.
///
/// # Panics
/// When it is not within a minute.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "still not: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether a file of the home, its store above all, has this in it.
pub fn is_stored(home: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(home).expect("a directory").flatten().map(|entry| entry.path());
    let mut contents = files.filter(|path| path.is_file()).filter_map(|path| std::fs::read(path).ok());
    contents.any(|content| content.windows(text.len()).any(|window| window == text.as_bytes()))
}
