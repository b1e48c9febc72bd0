//! `examples/hello`, as the README describes it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use occopus_tests::{Occopus, skip};

#[test]
fn the_frontends_show_an_answer_of_the_backend() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello");
    if !example.join("components/frontend.wasm").is_file() {
        return skip("hello", "the example's services are not built (cargo xtask test builds them)");
    }
    let occopus = Occopus::new();
    let description = example.join("infra-hello.yaml");
    let id = occopus.ok(["build".as_ref(), description.as_os_str()]).id();
    let status = occopus.status(&id);
    let frontends =
        status["nodes"].as_array().expect("nodes").iter().find(|node| node["name"] == "frontend").expect("frontend");
    let frontends = frontends["instances"].as_array().expect("instances");
    assert_eq!(frontends.len(), 2);
    let backend = status["nodes"][0]["instances"][0]["addresses"][0]["value"].as_str().expect("the backend's address");
    for frontend in frontends {
        let page = fetch(frontend["addresses"][0]["value"].as_str().expect("an address"));
        assert!(page.starts_with("HTTP/1.") && page.contains(" 200 "), "{page}");
        assert!(page.contains(backend), "the page shows where its answer came from: {page}");
    }
    assert!(!occopus.ok(["events", "-i", &id]).stdout.is_empty());
    occopus.ok(["destroy", "-i", &id]);
    assert!(TcpStream::connect((backend, 8080)).is_err(), "the backend is gone");
}

fn fetch(address: &str) -> String {
    let mut stream = TcpStream::connect((address, 8080)).expect("the frontend listens");
    write!(stream, "GET / HTTP/1.0\r\nHost: {address}\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}
