//! A proxy that injects faults of networks, load balancers and overloaded servers.

mod replay;

use std::borrow::Cow;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub(crate) use replay::ReplayCache;

/// Treatment of a request.
#[derive(Debug, Clone, Copy)]
pub enum ProxyAction {
    /// Forward it.
    Forward,
    /// Forward it after a delay, even if its sender is gone by then.
    Delay(Duration),
    /// Forward it, and delay the answer.
    DelayAnswer(Duration),
    /// Answer with this status line, without forwarding.
    Respond(&'static str),
    /// Answer with this page, without forwarding.
    RespondPage(&'static str),
    /// Answer as another server would, without forwarding.
    RespondForeign(ForeignAnswer),
    /// Answer with status 400 and the whole request, without forwarding.
    Echo,
    /// Close the connection without forwarding.
    CloseConnection,
    /// Forward it, and drop the answer.
    LoseAnswer,
    /// Forward it, and send half of the answer.
    TruncateAnswer,
    /// Forward it, and answer with this status line.
    FailAfter(&'static str),
    /// Forward it twice, as networks that repeat do, and send the first answer.
    Duplicate,
    /// Send the server's answer to the same request some seconds ago. A request that is new, or changes something, is
    /// forwarded.
    StaleAnswer,
    /// Forward it to the stranger: another server of the same kind.
    AskStranger,
}

/// An answer of a server that is not the one under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignAnswer {
    /// Status, such as `404 Not Found`.
    pub status: &'static str,
    /// Media type.
    pub kind: &'static str,
    /// The whole body.
    pub body: &'static str,
}

/// A request as it came.
#[derive(Debug)]
pub struct Request {
    /// Headers with the first line, without `Connection`.
    head: String,
    body: Vec<u8>,
}

impl Request {
    /// Returns the method, such as `GET`.
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// Returns the path with the query.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// Returns the body as text.
    pub fn body(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Returns true if it changes nothing: by its method, or by the action of an API that has one method for all.
    pub fn only_reads(&self) -> bool {
        matches!(self.method(), "GET" | "HEAD") || self.body().contains("Action=Describe")
    }

    /// Returns a key that is equal for equal requests.
    fn cache_key(&self) -> String {
        format!("{} {} {}", self.method(), self.target(), self.body())
    }
}

/// A proxy between a client and a server. Listens for as long as the process lives.
#[derive(Debug)]
pub struct Proxy {
    /// `127.0.0.1:PORT`.
    pub address: String,
    count: Arc<AtomicUsize>,
    in_flight: Arc<AtomicUsize>,
    pub(crate) replay_cache: Arc<ReplayCache>,
}

/// The servers behind a proxy.
#[derive(Debug, Default)]
pub(crate) struct Backend {
    /// `HOST:PORT`, or the path of a socket.
    pub(crate) address: String,
    /// Replacements in its answers: addresses of other servers, by those of the proxies in front of them.
    pub(crate) replacements: Vec<(String, String)>,
    /// Another server of the same kind.
    pub(crate) stranger: Option<String>,
}

impl Proxy {
    /// Starts a proxy in front of a server: `HOST:PORT`, or the path of a socket. `choose_action` is called for each
    /// request, with its body.
    ///
    /// # Errors
    /// Fails if there is no free port.
    pub fn in_front_of(
        server: &str,
        choose_action: impl Fn(&str) -> ProxyAction + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::inspecting(server, move |request| choose_action(&request.body()))
    }

    /// Starts a proxy like [`Proxy::in_front_of`]; `choose_action` gets the whole request.
    ///
    /// # Errors
    /// Fails if there is no free port.
    pub fn inspecting(
        server: &str,
        choose_action: impl Fn(&Request) -> ProxyAction + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Self::start(Backend { address: server.to_owned(), ..Backend::default() }, choose_action)
    }

    pub(crate) fn start(
        backend: Backend,
        choose_action: impl Fn(&Request) -> ProxyAction + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let (count, in_flight, replay_cache) = (Arc::default(), Arc::default(), Arc::new(ReplayCache::default()));
        let proxy = Self {
            address,
            count: Arc::clone(&count),
            in_flight: Arc::clone(&in_flight),
            replay_cache: Arc::clone(&replay_cache),
        };
        let state =
            Arc::new(ProxyState { backend, replay_cache, count, in_flight, choose_action: Box::new(choose_action) });
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                // A broken connection ends only its own thread.
                std::thread::spawn(move || state.serve(client));
            }
        });
        Ok(proxy)
    }

    /// Returns the number of requests so far.
    pub fn requests(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until no request is in flight to the server, or until the time-out. Blocks. Returns false after a
    /// time-out.
    pub fn wait_until_idle(&self, timeout: Duration) -> bool {
        let began = Instant::now();
        while self.in_flight.load(Ordering::SeqCst) > 0 {
            if began.elapsed() > timeout {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

/// State that the threads of a proxy share.
struct ProxyState {
    backend: Backend,
    replay_cache: Arc<ReplayCache>,
    count: Arc<AtomicUsize>,
    in_flight: Arc<AtomicUsize>,
    choose_action: Box<dyn Fn(&Request) -> ProxyAction + Send + Sync>,
}

/// A guard that counts a request for as long as it is in flight.
struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl ProxyState {
    fn serve(&self, client: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(client);
        let request = read_request(&mut reader)?;
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let _in_flight = InFlight(&self.in_flight);
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut client = reader.into_inner();
        let action = (self.choose_action)(&request);
        let whole = match action {
            ProxyAction::CloseConnection => return client.shutdown(Shutdown::Both).ok(),
            ProxyAction::Respond(status) => Some(build_answer(status, "", b"")),
            ProxyAction::RespondPage(page) => Some(build_answer("200 OK", "text/html", page.as_bytes())),
            ProxyAction::RespondForeign(it) => Some(build_answer(it.status, it.kind, it.body.as_bytes())),
            ProxyAction::Echo => {
                Some(build_answer("400 Bad Request", "", &[request.head.as_bytes(), request.body.as_slice()].concat()))
            }
            ProxyAction::StaleAnswer => self.replay_cache.stale_answer(&request),
            ProxyAction::Delay(pause) => {
                std::thread::sleep(pause);
                None
            }
            _ => None,
        };
        if let Some(whole) = whole {
            client.write_all(&whole).ok()?;
            return client.shutdown(Shutdown::Both).ok();
        }
        let answer = self.forward_request(&request, action)?;
        let sent = match action {
            ProxyAction::LoseAnswer => &[],
            ProxyAction::TruncateAnswer => answer.get(..answer.len() / 2)?,
            _ => answer.as_slice(),
        };
        if let ProxyAction::DelayAnswer(pause) = action {
            std::thread::sleep(pause);
        }
        client.write_all(sent).ok()?;
        client.shutdown(Shutdown::Both).ok()
    }

    /// Forwards a request, and returns the server's answer or its replacement.
    fn forward_request(&self, request: &Request, action: ProxyAction) -> Option<Vec<u8>> {
        let server = match (action, &self.backend.stranger) {
            (ProxyAction::AskStranger, Some(stranger)) => stranger,
            _ => &self.backend.address,
        };
        if let Some(hidden) = self.replay_cache.hidden_answer(request) {
            return Some(hidden);
        }
        let answered = with_connection_close(forward(server, request).ok()?);
        match action {
            // The second answer is ignored.
            ProxyAction::Duplicate => drop(forward(server, request)),
            ProxyAction::FailAfter(status) => return Some(build_answer(status, "", b"")),
            _ => {}
        }
        let answered = replace_addresses(answered, &self.backend.replacements);
        self.replay_cache.record_answer(request, &answered);
        Some(answered)
    }
}

/// Reads a request; `None` if the connection breaks off.
fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { head, body })
}

/// Builds an answer that is not the server's.
fn build_answer(status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
    // Answers with status 204 have no body, and may not have a length.
    let length = if status.starts_with("204") { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    [format!("HTTP/1.1 {status}\r\nConnection: close\r\n{kind}{length}\r\n").as_bytes(), body].concat()
}

fn forward(server: &str, request: &Request) -> io::Result<Vec<u8>> {
    trait Stream: Read + Write {}
    impl<T: Read + Write> Stream for T {}
    let mut upstream: Box<dyn Stream> = if server.starts_with('/') {
        Box::new(UnixStream::connect(server)?)
    } else {
        Box::new(TcpStream::connect(server)?)
    };
    upstream.write_all(format!("{}Connection: close\r\n\r\n", request.head).as_bytes())?;
    upstream.write_all(&request.body)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Sets `Connection: close` in an answer, since the connection ends with it: otherwise a client would send its next
/// request on the closed connection. Not every server repeats the header of the request.
fn with_connection_close(answer: Vec<u8>) -> Vec<u8> {
    let Some(length) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return answer };
    let (head, rest) = answer.split_at(length);
    let Ok(head) = std::str::from_utf8(head) else { return answer };
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let others = lines.filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let lines = [first, "Connection: close"].into_iter().chain(others);
    let mut closing = lines.collect::<Vec<_>>().join("\r\n").into_bytes();
    closing.extend_from_slice(rest);
    closing
}

/// Replaces addresses in an answer, if it has a `Content-Length`.
fn replace_addresses(answer: Vec<u8>, names: &[(String, String)]) -> Vec<u8> {
    let text = String::from_utf8_lossy(&answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return answer };
    if names.iter().all(|(from, _)| !body.contains(from)) || !head.to_ascii_lowercase().contains("content-length:") {
        return answer;
    }
    let body = names.iter().fold(body.to_owned(), |body, (from, to)| body.replace(from, to));
    let is_length = |line: &&str| line.to_ascii_lowercase().starts_with("content-length:");
    let head: Vec<_> = head.lines().filter(|line| !is_length(line)).collect();
    format!("{}\r\nContent-Length: {}\r\n\r\n{body}", head.join("\r\n"), body.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::with_connection_close;

    #[test]
    fn answers_say_that_the_connection_ends() {
        for (answer, passed_on) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            ),
            (
                "HTTP/1.1 204 No Content\r\nconnection: keep-alive\r\nX: connection: y\r\n\r\n",
                "HTTP/1.1 204 No Content\r\nConnection: close\r\nX: connection: y\r\n\r\n",
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
            ("half", "half"),
            ("", ""),
        ] {
            assert_eq!(with_connection_close(answer.into()), passed_on.as_bytes());
        }
    }
}
