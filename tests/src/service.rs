//! `occopus serve` with a home of its own, and a client that can also send malformed requests.

mod stream;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use occopus_api::{Accepted, ProblemDetails};
use serde_json::Value;

pub use self::stream::{Stream, StreamEvent};
use crate::Occopus;
use crate::processes::{kill_instance, signal};
use crate::wait::wait_for;

/// Configuration with rate limits that tests do not reach.
pub const NO_RATE_LIMITS: &str =
    "service: {allow_processes: true, requests_per_second: 100000, requests_at_once: 100000}\n";

/// Time after which a service that is dropped is killed.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// A service. Shut down in order when dropped; several may share a home.
pub struct Service {
    /// Home with the store of the service.
    pub home: Arc<Occopus>,
    /// Token that is sent with all requests.
    pub token: Option<String>,
    /// Address at which the service listens.
    pub address: SocketAddr,
    process: Child,
    log: Arc<Mutex<String>>,
    agent: ureq::Agent,
}

impl Service {
    /// Starts a service in a fresh home, with a pass over every infrastructure each second.
    pub fn start() -> Self {
        Self::in_home(Arc::new(Occopus::new()), NO_RATE_LIMITS)
    }

    /// Starts a service in this home, with this configuration.
    pub fn in_home(home: Arc<Occopus>, configuration: &str) -> Self {
        Self::with(home, configuration, &[])
    }

    /// Starts a service in this home, with this configuration and more arguments.
    ///
    /// # Panics
    /// Panics if it does not print its address within a minute.
    pub fn with(home: Arc<Occopus>, configuration: &str, arguments: &[&str]) -> Self {
        let file = home.write("service.yaml", configuration);
        let mut command = home.command(["serve", "-v", "--cfg"]);
        command.arg(file).args(arguments);
        for default in [["--port", "0"], ["-t", "1"]] {
            if !arguments.contains(&default[0]) {
                command.args(default);
            }
        }
        let mut process = command.spawn().expect("the service starts");
        let log = Arc::default();
        let errors = forward_lines(process.stderr.take().expect("errors"), &log, None);
        let (sender, output) = mpsc::channel();
        let _ = forward_lines(process.stdout.take().expect("an output"), &log, Some(sender));
        let line = output.recv_timeout(Duration::from_secs(60));
        let address = line.ok().and_then(|line| line.strip_prefix("listening on http://")?.parse().ok());
        let Some(address) = address else {
            let _ = process.kill();
            let _ = errors.join();
            panic!("the service did not print its address: {}", log.lock().expect("a log"));
        };
        let configured = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(150)))
            .build();
        Self { home, token: None, address, process, log, agent: configured.into() }
    }

    /// Starts another service on the same store.
    pub fn start_second(&self) -> Self {
        let mut other = Self::in_home(self.home.clone(), NO_RATE_LIMITS);
        other.token.clone_from(&self.token);
        other
    }

    /// Returns the id of the process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Kills the process (`kill -9`).
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Sends SIGTERM, and waits until the process has ended. Returns whether its exit status is 0.
    ///
    /// # Panics
    /// Panics if it does not end within a minute.
    pub fn stop(&mut self) -> bool {
        if let Ok(Some(status)) = self.process.try_wait() {
            return status.success();
        }
        signal(self.pid(), "TERM");
        let (process, log) = (&mut self.process, &self.log);
        let log = || log.lock().expect("a log").clone();
        wait_for("the service has ended", log, || process.try_wait().expect("a process")).success()
    }

    /// Returns the output of the service so far.
    ///
    /// # Panics
    /// Panics never, unless it panicked before.
    pub fn log(&self) -> String {
        self.log.lock().expect("a log").clone()
    }

    /// Returns the URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Creates a token in the store of the service.
    ///
    /// # Panics
    /// Panics if the command fails.
    pub fn new_token(&self, name: &str, scope: &str, infrastructures: &[&str]) -> String {
        let mut words = vec!["token", "create", name, "--scope", scope];
        infrastructures.iter().for_each(|id| words.extend(["--infrastructure", id]));
        self.home.ok(words).stdout.trim().to_owned()
    }

    /// Prepares a request.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder<'_> {
        let mut request = http::Request::builder().method(method).uri(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        RequestBuilder { service: self, request, what: format!("{method} {path}") }
    }

    /// Sends GET.
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path).send("")
    }

    /// Sends POST without a body.
    pub fn post(&self, path: &str) -> Answer {
        self.request("POST", path).send("")
    }

    /// Builds or changes an infrastructure, and waits until the operation is done.
    ///
    /// # Panics
    /// Panics if it fails.
    pub fn build(&self, id: &str, document: &str) {
        let accepted = self.request("PUT", &format!("/infrastructures/{id}")).send(document).expect(202);
        let operation = self.wait_for_operation(&accepted);
        assert_eq!(operation["state"], "done", "{operation:#}\n{}", self.log());
    }

    /// Waits until the operation of an accepted request has ended, and returns it.
    ///
    /// # Panics
    /// Panics if it does not end within a minute.
    pub fn wait_for_operation(&self, accepted: &Answer) -> Value {
        let accepted: Accepted = serde_json::from_value(accepted.json()).expect("a body that clients read");
        self.wait_for_operation_at(&accepted.operation)
    }

    /// Waits until the operation at this path has ended, and returns it.
    ///
    /// # Panics
    /// Panics if it does not end within a minute.
    #[track_caller]
    pub fn wait_for_operation_at(&self, path: &str) -> Value {
        let context = || format!("{:#}\n{}", self.get(path).json(), self.log());
        wait_for("the operation has ended", context, || {
            let operation = self.get(path).expect(200).json();
            (!matches!(operation["state"].as_str(), Some("pending" | "running"))).then_some(operation)
        })
    }

    /// Waits until a condition is met.
    ///
    /// # Panics
    /// Panics, with the log of the service, if this takes more than a minute.
    #[track_caller]
    pub fn eventually(&self, what: &str, mut condition: impl FnMut() -> bool) {
        wait_for(what, || self.log(), || condition().then_some(()));
    }

    /// Returns the ids of the instances of a node that are ready, in order.
    ///
    /// # Panics
    /// Panics if there is no such infrastructure.
    #[track_caller]
    pub fn ready_instances(&self, id: &str, node: &str) -> Vec<String> {
        let nodes = self.get(&format!("/infrastructures/{id}")).expect(200).json();
        // A node without instances is not listed.
        let instances = nodes[node]["instances"].as_object().into_iter().flatten();
        let mut ready: Vec<_> =
            instances.filter(|(_, one)| one["state"] == "ready").map(|(id, _)| id.clone()).collect();
        ready.sort();
        ready
    }

    /// Kills an instance of a node from outside, and waits until another one is ready in its place. A service that heals has
    /// passed over its other infrastructures by then, too.
    ///
    /// # Panics
    /// Panics if no instance is ready, or if it is not replaced.
    #[track_caller]
    pub fn lose_and_heal(&self, id: &str, node: &str) {
        let before = self.ready_instances(id, node);
        let victim = before.first().expect("an instance");
        kill_instance(victim);
        self.eventually(&format!("{victim} of {id} is replaced"), || {
            let ready = self.ready_instances(id, node);
            ready.len() == before.len() && !ready.contains(victim)
        });
    }

    /// Destroys an infrastructure, and waits until it is gone.
    ///
    /// # Panics
    /// Panics if this fails.
    #[track_caller]
    pub fn destroy(&self, id: &str) -> Answer {
        self.request("DELETE", &format!("/infrastructures/{id}")).send("").expect(200)
    }

    /// Opens a stream of events.
    ///
    /// # Panics
    /// Panics if the request is refused.
    pub fn stream(&self, path: &str, last: Option<u64>) -> Stream {
        let mut request = self.request("GET", path).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", &last.to_string());
        }
        Stream::open(request)
    }

    /// Sends these bytes, and returns everything received until the service closes the connection or is silent for `silence`.
    pub fn raw(&self, bytes: &[u8], silence: Duration) -> RawAnswer {
        let mut stream = self.connect();
        stream.set_read_timeout(Some(silence)).expect("a time");
        // The service may close the connection before all is sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let closed = stream.read_to_end(&mut answer).is_ok();
        RawAnswer { text: String::from_utf8_lossy(&answer).into_owned(), closed }
    }

    /// Opens a connection.
    ///
    /// # Panics
    /// Panics if this fails.
    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).expect("a connection")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Shut down in order, so that its home can destroy the infrastructures of a failed test.
        let _ = Command::new("kill").arg(self.process.id().to_string()).stderr(std::process::Stdio::null()).status();
        let began = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) && began.elapsed() < SHUTDOWN_TIMEOUT {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }
}

/// Appends each line to the log, and sends it on.
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

/// A request that is not sent yet.
pub struct RequestBuilder<'a> {
    service: &'a Service,
    request: http::request::Builder,
    what: String,
}

impl RequestBuilder<'_> {
    /// Adds a header.
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

    /// Sends the request with this body.
    ///
    /// # Panics
    /// Panics if there is no response.
    pub fn send(self, body: impl AsRef<[u8]>) -> Answer {
        let what = self.what.clone();
        self.try_send(body.as_ref()).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Sends the request with this body.
    ///
    /// # Errors
    /// Fails if there is no complete response.
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

/// A response of the service.
pub struct Answer {
    what: String,
    /// HTTP status.
    pub status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    /// Asserts the status, and returns the response.
    ///
    /// # Panics
    /// Panics if the status is another.
    #[track_caller]
    #[expect(clippy::return_self_not_must_use, reason = "most callers only assert the status")]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.what, self.text());
        self
    }

    /// Asserts that the body is problem details with this status and code, with all fields that clients of the Python service
    /// read, and returns it.
    ///
    /// # Panics
    /// Panics if the response is another.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}: {}", self.what, self.text());
        let problem = self.json();
        assert_eq!((self.status, problem["code"].as_str()), (status, Some(code)), "{}: {problem:#}", self.what);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem:#}");
        assert_eq!(problem["status"], status);
        assert_eq!((&problem["reason"], &problem["message"]), (&problem["title"], &problem["detail"]));
        assert!(problem["status_code"].is_u64(), "{problem:#}");
        let read: ProblemDetails = serde_json::from_value(problem.clone()).expect("a body that clients read");
        assert_eq!(serde_json::to_value(read).expect("JSON"), problem, "as the service sends it");
        problem
    }

    /// Returns a header; an empty text when it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the body as JSON.
    ///
    /// # Panics
    /// Panics if the body is not JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}: the body is not JSON: {}", self.what, self.text()))
    }
}

/// Everything received over a connection.
pub struct RawAnswer {
    /// Received text.
    pub text: String,
    /// Set if the service has closed the connection.
    pub closed: bool,
}

impl RawAnswer {
    /// Returns the status of the first response.
    pub fn status(&self) -> Option<u16> {
        self.text.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()
    }
}

/// Returns a description with sleeping processes as nodes, one for each line of `nodes`, and its definitions: `sleeper`, which
/// is healthy, and `sick`, which gets healthy when something listens at this port of this machine.
pub fn document(nodes: &[&str], mark: &str, port: u16) -> String {
    let nodes: String = nodes.iter().map(|node| format!("- {node}\n")).collect();
    format!("infra_name: sleepers\nuser_id: tester\nnodes:\n{nodes}{}", definitions(mark, port))
}

/// Returns the definitions of [`document`].
pub fn definitions(mark: &str, port: u16) -> String {
    let one = |name: &str, more: &str| {
        format!(
            "node_def:{name}:\n- resource: {{type: local}}\n  contextualisation:\n    type: basic\n    \
             attributes: {{command: [sleep, '{mark}']}}\n  health_check: {{ping: false{more}}}\n"
        )
    };
    [one("sleeper", ""), one("sick", &format!(", ports: [{port}], timeout: 60"))].concat()
}

/// Returns a port at which no process listens.
///
/// # Panics
/// Panics if there is none.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Returns whether a file of the home, such as its store, contains this text.
pub fn is_stored(home: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(home).expect("a directory").flatten().map(|entry| entry.path());
    let mut contents = files.filter(|path| path.is_file()).filter_map(|path| std::fs::read(path).ok());
    contents.any(|content| content.windows(text.len()).any(|window| window == text.as_bytes()))
}
