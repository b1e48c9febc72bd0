//! `cargo xtask demo`: deploys the hello example in a state directory of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::tools;

/// Port of the example's frontends.
const FRONTEND_PORT: u16 = 8080;

/// Builds, deploys, shows and destroys the example.
pub(crate) fn run() -> Result<()> {
    tools::ensure_guest_target()?;
    println!("Building occopus, its plugins and the example's services (minutes the first time) ...");
    let demo = Demo { occopus: tools::build_occopus(false)?, home: tools::target_directory().join("demo") };
    tools::build_hello_services()?;

    let id = demo.build()?;
    let shown = demo.show(&id);
    println!("\n$ occopus destroy -i {id}");
    tools::run(demo.occopus().args(["destroy", "-i", &id]))?;
    shown?;
    println!("\nDone: built, reached over HTTP, and destroyed. Nothing is left running.");
    Ok(())
}

struct Demo {
    occopus: PathBuf,
    /// State directory of `occopus`, so that the demo changes nothing of the user's.
    home: PathBuf,
}

impl Demo {
    fn occopus(&self) -> Command {
        let mut command = Command::new(&self.occopus);
        command.current_dir(tools::root()).env("OCCOPUS_HOME", &self.home);
        command
    }

    /// Deploys the example and returns the infrastructure's id: the last line of standard output.
    fn build(&self) -> Result<String> {
        let description = "examples/hello/infra-hello.yaml";
        println!("\n$ occopus build {description}");
        let output = self.occopus().args(["build", description]).stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8(output.stdout).context("the output of `occopus build` is not UTF-8")?;
        print!("{text}");
        if !output.status.success() {
            bail!("`occopus build` ended with {}", output.status);
        }
        Ok(text.lines().last().context("`occopus build` printed no infrastructure id")?.to_owned())
    }

    /// Prints the state of the nodes and the page of a frontend.
    fn show(&self, id: &str) -> Result<()> {
        println!("\n$ occopus status -i {id}");
        tools::run(self.occopus().args(["status", "-i", id]))?;
        let output = self.occopus().args(["status", "-i", id, "--output", "json"]).output()?;
        let status: Value = serde_json::from_slice(&output.stdout).context("`occopus status` printed no JSON")?;
        let address = frontend_address(&status).context("the status shows no address of a frontend")?;
        println!("\n$ curl http://{address}:{FRONTEND_PORT}/");
        println!("{}", fetch(address, FRONTEND_PORT)?.trim_end());
        Ok(())
    }
}

/// Returns the address of the first instance of the node `frontend`.
fn frontend_address(status: &Value) -> Option<&str> {
    let nodes = status.get("nodes")?.as_array()?;
    let frontend = nodes.iter().find(|node| node["name"] == "frontend")?;
    frontend["instances"][0]["addresses"][0]["value"].as_str()
}

/// Returns the body of a page. Minimal HTTP, so that the demo needs no client.
fn fetch(address: &str, port: u16) -> Result<String> {
    let mut stream =
        TcpStream::connect((address, port)).with_context(|| format!("could not reach {address}:{port}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET / HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the frontend's answer is not HTTP")?;
    if !head.starts_with("HTTP/1.0 200") && !head.starts_with("HTTP/1.1 200") {
        bail!("the frontend answered {}", head.lines().next().unwrap_or_default());
    }
    Ok(body.to_owned())
}
