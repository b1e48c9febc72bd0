//! A client that sends one request.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::child::Child;

/// A response.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Returns the value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// Sends a request, and reads the response to the end.
pub(crate) fn ask(address: SocketAddr, token: Option<&str>, method: &str, path: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_nodelay(true).expect("an option");
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = body.len();
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{token}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    stream.write_all(&request).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let body = answer.split_off(end + 4);
    let head = String::from_utf8(answer).expect("text");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head, body }
}

/// A build in progress.
pub(crate) struct Building {
    began: Instant,
    operation: String,
}

impl Building {
    /// Waits for the end, and returns the duration of the build.
    pub(crate) fn end(self, child: &Child) -> Duration {
        loop {
            let operation = child.ask("GET", &self.operation, "").json();
            match operation["state"].as_str() {
                Some("done") => return self.began.elapsed(),
                Some("pending" | "running") => std::thread::sleep(Duration::from_millis(20)),
                _ => panic!("{operation}"),
            }
        }
    }
}

impl Child {
    /// Sends a request to the service.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let answer = ask(self.addresses.service, self.addresses.token.as_deref(), method, path, body.as_bytes());
        assert!(answer.status < 300, "{method} {path}: {}{}", answer.head, String::from_utf8_lossy(&answer.body));
        answer
    }

    /// Builds a description under this id, and returns the duration.
    pub(crate) fn build(&self, id: &str, description: &str) -> Duration {
        self.begin(id, description).end(self)
    }

    /// Begins to build a description under this id.
    pub(crate) fn begin(&self, id: &str, description: &str) -> Building {
        let began = Instant::now();
        let accepted = self.ask("PUT", &format!("/infrastructures/{id}"), description).json();
        Building { began, operation: accepted["operation"].as_str().expect("a path").to_owned() }
    }

    /// Returns the number of the last event of an infrastructure.
    pub(crate) fn last_event(&self, id: &str) -> u64 {
        let mut last = 0;
        loop {
            let page = self.ask("GET", &format!("/infrastructures/{id}/events?limit=1000&after={last}"), "").json();
            let events = page["events"].as_array().expect("events");
            last = events.last().map_or(last, |event| event["id"].as_u64().expect("a number"));
            if page["next"].is_null() {
                return last;
            }
        }
    }
}

/// Returns layers in which each node depends on one of the layer below.
pub(crate) fn description(layers: usize, width: usize) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("infra_name: figures\nuser_id: bench\nnodes:\n");
    for (layer, n) in (0..layers).flat_map(|layer| (0..width).map(move |n| (layer, n))) {
        writeln!(text, "- &n{layer}-{n} {{name: n{layer}-{n}, type: machine, scaling: {{min: 1, max: 3}}}}")
            .expect("text");
    }
    if layers > 1 {
        text.push_str("dependencies:\n");
    }
    for (layer, n) in (1..layers).flat_map(|layer| (0..width).map(move |n| (layer, n))) {
        writeln!(text, "- [*n{layer}-{n}, *n{}-{n}]", layer - 1).expect("text");
    }
    text + "'node_def:machine':\n- resource: {type: made-up}\n  health_check: {ping: false, made-up: {}}\n"
}
