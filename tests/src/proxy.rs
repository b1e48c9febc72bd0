//! A proxy that breaks what it forwards: what networks, load balancers and overloaded servers do.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
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
    /// Answer with this status line, without asking the server.
    Refuse(&'static str),
    /// Close the connection without asking the server.
    Cut,
    /// Let the server act, and lose its answer.
    LoseAnswer,
    /// Let the server act, and send half of its answer.
    HalfAnswer,
}

/// Listens for as long as the test's process lives.
pub struct Proxy {
    /// `127.0.0.1:PORT`.
    pub address: String,
    count: Arc<AtomicUsize>,
}

impl Proxy {
    /// Before a server. `meddle` is asked for each request, with its body.
    ///
    /// # Panics
    /// Without a free port.
    pub fn before(server: &str, meddle: impl Fn(&str) -> Meddling + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (server, meddle, count) = (server.to_owned(), Arc::new(meddle), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (server, meddle, count) = (server.clone(), meddle.clone(), counted.clone());
                // A connection that breaks ends its thread, and that is what it is for.
                std::thread::spawn(move || serve(client, &server, &*meddle, &count));
            }
        });
        Self { address, count }
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

fn serve(client: TcpStream, server: &str, meddle: &dyn Fn(&str) -> Meddling, count: &AtomicUsize) -> Option<()> {
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
    let meddling = meddle(&String::from_utf8_lossy(&body));
    match meddling {
        Meddling::Cut => return client.shutdown(Shutdown::Both).ok(),
        Meddling::Refuse(status) => {
            return write!(client, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").ok();
        }
        Meddling::Delay(pause) => std::thread::sleep(pause),
        Meddling::Pass | Meddling::LoseAnswer | Meddling::HalfAnswer => {}
    }
    let mut upstream = TcpStream::connect(server).ok()?;
    upstream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).ok()?;
    upstream.write_all(&body).ok()?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).ok()?;
    match meddling {
        Meddling::LoseAnswer => {}
        Meddling::HalfAnswer => client.write_all(answer.get(..answer.len() / 2)?).ok()?,
        _ => client.write_all(&answer).ok()?,
    }
    client.shutdown(Shutdown::Both).ok()
}
