//! A small HTTP server that collects posted requests.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// An accepted request.
#[derive(Debug)]
pub struct CollectedRequest {
    /// Request target.
    pub path: String,
    /// Headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Body as it was received.
    pub body: Vec<u8>,
}

/// All accepted requests, in their order.
pub type CollectedRequests = Arc<Mutex<Vec<CollectedRequest>>>;

/// Starts a server that answers the first requests with these statuses, and all later ones with 204. Requests that it
/// answers with 2xx are accepted.
pub fn collect(listener: TcpListener, first: &'static [&'static str]) -> CollectedRequests {
    let posted = CollectedRequests::default();
    let taken = posted.clone();
    std::thread::spawn(move || {
        let mut answers = first.iter();
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let (mut headers, mut line) = (BTreeMap::new(), String::new());
            if reader.read_line(&mut line).is_err() {
                continue;
            }
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            line.clear();
            while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
                if let Some((name, value)) = line.trim().split_once(": ") {
                    headers.insert(name.to_ascii_lowercase(), value.to_owned());
                }
                line.clear();
            }
            let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                continue;
            }
            let answer = answers.next().unwrap_or(&"204 No Content");
            if answer.starts_with('2')
                && let Ok(mut taken) = taken.lock()
            {
                taken.push(CollectedRequest { path, headers, body });
            }
            // A client that does not wait for the answer repeats the request.
            let _ = write!(reader.get_mut(), "HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        }
    });
    posted
}
