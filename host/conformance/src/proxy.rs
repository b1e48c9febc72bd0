//! A proxy that breaks what it forwards: what networks, load balancers and overloaded servers do.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What to do with a request.
#[derive(Debug, Clone, Copy)]
pub enum Meddling {
    /// Forward it.
    Pass,
    /// Forward it, after a while.
    Delay(Duration),
    /// Forward it, and keep the answer back for a while.
    DelayAnswer(Duration),
    /// Answer with this status line, without asking the server.
    Refuse(&'static str),
    /// Answer with this page, without asking the server.
    Page(&'static str),
    /// Answer that this page is not there, without asking the server.
    NotFound(&'static str),
    /// Answer with status 400 and everything that was sent, without asking the server.
    Echo,
    /// Close the connection without asking the server.
    Cut,
    /// Let the server act, and lose its answer.
    LoseAnswer,
    /// Let the server act, and send half of its answer.
    HalfAnswer,
}

/// Listens for as long as the process lives.
#[derive(Debug)]
pub struct Proxy {
    /// `127.0.0.1:PORT`.
    pub address: String,
    count: Arc<AtomicUsize>,
}

impl Proxy {
    /// Before a server: `HOST:PORT`, or the path of a socket. `meddle` is asked for each request, with its body.
    ///
    /// # Errors
    /// Without a free port.
    pub fn before(server: &str, meddle: impl Fn(&str) -> Meddling + Send + Sync + 'static) -> io::Result<Self> {
        Self::renaming(server, Vec::new(), meddle)
    }

    /// As [`Proxy::before`], and the first of each pair is replaced by the second in the answers: the addresses of other
    /// servers by those of the proxies before them.
    ///
    /// # Errors
    /// Without a free port.
    pub fn renaming(
        server: &str,
        names: Vec<(String, String)>,
        meddle: impl Fn(&str) -> Meddling + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let server = Arc::new(Server { address: server.to_owned(), names });
        let (meddle, count) = (Arc::new(meddle), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (server, meddle, count) = (server.clone(), meddle.clone(), counted.clone());
                // A connection that breaks ends its thread, and that is what it is for.
                std::thread::spawn(move || serve(client, &server, &*meddle, &count));
            }
        });
        Ok(Self { address, count })
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// What is behind the proxy.
struct Server {
    /// `HOST:PORT`, or the path of a socket.
    address: String,
    /// What to replace in its answers.
    names: Vec<(String, String)>,
}

fn serve(client: TcpStream, server: &Server, meddle: &dyn Fn(&str) -> Meddling, count: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(client);
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
    count.fetch_add(1, Ordering::Relaxed);
    let mut client = reader.into_inner();
    let answer_at_once = |mut client: TcpStream, status: &str, body: &[u8]| {
        write!(client, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len()).ok()?;
        client.write_all(body).ok()
    };
    let meddling = meddle(&String::from_utf8_lossy(&body));
    match meddling {
        Meddling::Cut => return client.shutdown(Shutdown::Both).ok(),
        Meddling::Refuse(status) => return answer_at_once(client, status, &[]),
        Meddling::Page(page) => return answer_at_once(client, "200 OK\r\nContent-Type: text/html", page.as_bytes()),
        Meddling::NotFound(page) => {
            return answer_at_once(client, "404 Not Found\r\nContent-Type: text/html", page.as_bytes());
        }
        Meddling::Echo => return answer_at_once(client, "400 Bad Request", &[head.as_bytes(), &body].concat()),
        Meddling::Delay(pause) => std::thread::sleep(pause),
        Meddling::Pass | Meddling::DelayAnswer(_) | Meddling::LoseAnswer | Meddling::HalfAnswer => {}
    }
    let answer = renamed(ask(&server.address, &head, &body).ok()?, &server.names);
    match meddling {
        Meddling::LoseAnswer => {}
        Meddling::HalfAnswer => client.write_all(answer.get(..answer.len() / 2)?).ok()?,
        Meddling::DelayAnswer(pause) => {
            std::thread::sleep(pause);
            client.write_all(&answer).ok()?;
        }
        _ => client.write_all(&answer).ok()?,
    }
    client.shutdown(Shutdown::Both).ok()
}

fn ask(server: &str, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    trait Stream: Read + Write {}
    impl<T: Read + Write> Stream for T {}
    let mut upstream: Box<dyn Stream> = if server.starts_with('/') {
        Box::new(UnixStream::connect(server)?)
    } else {
        Box::new(TcpStream::connect(server)?)
    };
    upstream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    upstream.write_all(body)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Only where the length is known in advance.
fn renamed(answer: Vec<u8>, names: &[(String, String)]) -> Vec<u8> {
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
