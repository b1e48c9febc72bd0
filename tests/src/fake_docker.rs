//! Empty servers of the same kind as the server of a test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// Id of the empty engine.
const ID: &str = "0a11ab1e-5717-4a6e-8000-57a26e7e1337";

/// Starts an engine with no containers, which answers as Docker does (API 1.43, `docs.docker.com/reference/api/engine`).
/// Returns its address; it listens for as long as the process lives.
///
/// # Panics
/// Panics if there is no free port.
pub fn empty_docker_engine() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || answer(client));
        }
    });
    address
}

/// Serves one request of a connection.
fn answer(client: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(client);
    let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
        if first.is_empty() {
            first.clone_from(&line);
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink()).ok()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let (status, body) = respond(method, target);
    let head = format!(
        "HTTP/1.1 {status}\r\nApi-Version: 1.43\r\nContent-Type: application/json\r\nDocker-Experimental: false\r\n\
         Ostype: linux\r\nServer: Docker/24.0.7 (linux)\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    reader.get_mut().write_all(format!("{head}{body}").as_bytes()).ok()
}

fn respond(method: &str, target: &str) -> (&'static str, String) {
    let path = target.split('?').next().unwrap_or_default();
    // With the version or without.
    let path = match path.strip_prefix("/v1.") {
        Some(rest) => rest.find('/').map_or("", |slash| &rest[slash..]),
        None => path,
    };
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let missing = |what: &str| ("404 Not Found", format!(r#"{{"message":"No such {what}"}}"#));
    match (method, parts.as_slice()) {
        ("GET", ["version"]) => {
            ("200 OK", r#"{"Version":"24.0.7","ApiVersion":"1.43","MinAPIVersion":"1.12","Os":"linux"}"#.to_owned())
        }
        ("GET", ["info"]) => ("200 OK", format!(r#"{{"ID":"{ID}","Containers":0,"Name":"empty"}}"#)),
        ("GET", ["_ping"]) => ("200 OK", "OK".to_owned()),
        ("GET", ["containers", "json"]) => ("200 OK", "[]".to_owned()),
        (_, ["containers", id, ..]) => missing(&format!("container: {id}")),
        (_, ["images", name, ..]) => missing(&format!("image: {name}")),
        _ => ("404 Not Found", r#"{"message":"page not found"}"#.to_owned()),
    }
}
