//! A small blocking HTTP/1.1 client, in place of the host's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use occopus_sdk::http::{HttpError, HttpErrorKind, Request, Response};

/// Sends a request to `unix:///PATH` or `tcp://HOST:PORT`, whatever host its URL names.
pub(super) fn send(endpoint: &str, request: &Request) -> Result<Response, HttpError> {
    let failed = |kind| move |error: std::io::Error| HttpError { kind, message: error.to_string() };
    let mut answer = Vec::new();
    let text = head(request);
    let mut talk = |stream: &mut dyn ReadWrite| {
        stream.write_all(text.as_bytes())?;
        stream.write_all(&request.body)?;
        stream.read_to_end(&mut answer)
    };
    match endpoint.split_once("://") {
        Some(("unix", path)) => {
            let mut stream = UnixStream::connect(path).map_err(failed(HttpErrorKind::NotSent))?;
            talk(&mut stream).map_err(failed(HttpErrorKind::MaybeSent))?;
        }
        Some((_, target)) => {
            let mut stream = TcpStream::connect(target).map_err(failed(HttpErrorKind::NotSent))?;
            talk(&mut stream).map_err(failed(HttpErrorKind::MaybeSent))?;
        }
        None => panic!("{endpoint} is not an endpoint"),
    }
    Ok(parse(&answer).unwrap_or_else(|| panic!("no HTTP: {}", String::from_utf8_lossy(&answer))))
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

fn head(request: &Request) -> String {
    let (_, rest) = request.url.split_once("://").expect("an absolute URL");
    let path = rest.find('/').map_or("/", |start| &rest[start..]);
    let mut text = format!("{} {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n", request.method);
    for (name, value) in &request.headers {
        text += &format!("{name}: {value}\r\n");
    }
    text + &format!("Content-Length: {}\r\n\r\n", request.body.len())
}

fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = text.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = &answer[end + 4..];
    Some(Response { status, headers, body: if chunked { unchunked(body)? } else { body.to_vec() } })
}

fn unchunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line = body.windows(2).position(|window| window == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[..line]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend(body.get(line + 2..line + 2 + size)?);
        body = body.get(line + 4 + size..)?;
    }
}
