//! Tests of served components: those of the hello example, and files that are not components.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use occopus_runtime::serve::{ServeError, serve};
use rustix::process::{Pid, Signal, kill_process};

/// Returns a component of the hello example. They are built by `cargo xtask test`; under it they have to be there.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn hello(service: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../examples/hello/components/{service}.wasm"));
    if path.is_file() {
        return Some(path);
    }
    assert!(std::env::var_os("OCCOPUS_BIN").is_none(), "{} is not built", path.display());
    eprintln!("skipped: {} is not built (cargo xtask test builds it)", path.display());
    None
}

/// Server in a process of its own, so that it has its own environment and signals.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(component: &Path, env: &[(&str, &str)]) -> Self {
        let address = free_address();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture"]).stdout(Stdio::null());
        command.env("SERVE_TEST_COMPONENT", component).env("SERVE_TEST_LISTEN", address.to_string());
        command.env("SERVE_TEST_ENV", env.iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>());
        command.env("OCCOPUS_ADDRESS", "127.1.2.3").env("OCCOPUS_INSTANCE_ID", "an-id").env("NOT_FOR_IT", "x");
        let mut server = Self { process: command.spawn().unwrap(), address };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).is_err() {
            assert!(server.process.try_wait().unwrap().is_none(), "the server has ended");
            assert!(Instant::now() < deadline, "the server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn get(&self) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// Child process of [`Server`], and not a test of its own.
#[tokio::test]
async fn child() {
    let Ok(component) = std::env::var("SERVE_TEST_COMPONENT") else { return };
    let listen = std::env::var("SERVE_TEST_LISTEN").unwrap().parse().unwrap();
    let env = std::env::var("SERVE_TEST_ENV").unwrap();
    let env = env.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into()));
    serve(Path::new(&component), listen, env.collect()).await.unwrap();
}

#[test]
fn a_component_sees_the_variables_given_and_its_own_address() {
    let Some(backend) = hello("backend") else { return };
    let server = Server::start(&backend, &[("NAME", "me"), ("GREETING", "Salut")]);
    for _ in 0..3 {
        let answer = server.get();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        assert!(answer.ends_with("Salut, says me at 127.1.2.3.\n"), "{answer}");
    }
}

#[test]
fn a_component_may_ask_another_server() {
    let (Some(backend), Some(frontend)) = (hello("backend"), hello("frontend")) else { return };
    let backend = Server::start(&backend, &[("GREETING", "<Salut>")]);
    let frontend = Server::start(&frontend, &[("BACKEND", &backend.address.to_string())]);
    let page = frontend.get();
    assert!(page.starts_with("HTTP/1.0 200") && page.contains("&lt;Salut&gt;, says backend at 127.1.2.3."), "{page}");
    drop(backend);
    assert!(frontend.get().starts_with("HTTP/1.0 502"), "a backend that is gone is told in the status");
}

#[test]
fn many_at_once_are_answered() {
    let Some(backend) = hello("backend") else { return };
    let server = Server::start(&backend, &[]);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..20).map(|_| scope.spawn(|| server.get())).collect();
        for client in clients {
            assert!(client.join().unwrap().contains(" 200 "));
        }
    });
}

#[test]
fn a_server_ends_on_sigterm_even_with_an_idle_client() {
    let Some(backend) = hello("backend") else { return };
    let mut server = Server::start(&backend, &[]);
    let _idle = TcpStream::connect(server.address).unwrap();
    kill_process(Pid::from_child(&server.process), Signal::TERM).unwrap();
    let started = Instant::now();
    assert!(server.process.wait().unwrap().success());
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
    assert!(TcpStream::connect(server.address).is_err());
}

async fn refusal(content: &[u8]) -> ServeError {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("it.wasm");
    std::fs::write(&file, content).unwrap();
    serve(&file, free_address(), Vec::new()).await.unwrap_err()
}

#[tokio::test]
async fn what_is_no_service_is_refused_with_its_reason() {
    let missing = serve(Path::new("/nowhere/it.wasm"), free_address(), Vec::new()).await.unwrap_err();
    assert!(matches!(missing, ServeError::NoSuchFile { .. }), "{missing}");
    let directory = serve(Path::new("/"), free_address(), Vec::new()).await.unwrap_err();
    assert!(matches!(directory, ServeError::Unreadable { .. }), "{directory}");
    for content in [b"#!/bin/sh\n".as_slice(), b"", b"\0asm\x01\0\0\0", b"\0asm\x0d\0\x01\0garbage"] {
        let error = refusal(content).await;
        assert!(matches!(error, ServeError::NotAComponent { .. }), "{error}");
    }
    assert!(refusal(b"\0asm\x01\0\0\0").await.to_string().contains("core module"));
    let empty_component = refusal(b"\0asm\x0d\0\x01\0").await;
    assert!(matches!(empty_component, ServeError::WrongWorld { .. }), "{empty_component}");
    assert!(empty_component.to_string().contains("wasi:http"), "{empty_component}");
}

#[tokio::test]
async fn an_address_in_use_is_refused() {
    let Some(backend) = hello("backend") else { return };
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let error = serve(&backend, taken.local_addr().unwrap(), Vec::new()).await.unwrap_err();
    assert!(matches!(error, ServeError::AddressInUse { .. }), "{error}");
}
