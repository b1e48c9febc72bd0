//! Instances on an EC2 server (moto), beside the same calls made back to back over one connection that is kept alive.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use occopus_tests::{Moto, Occopus, Proxy, ProxyAction};

use crate::measure::{amount, line, ratio, time};

const COUNTS: [usize; 3] = [1, 10, 100];

pub(crate) fn run() {
    let Some(moto) = Moto::start_open("instances") else { return };
    for count in COUNTS {
        println!(" {count} instances");
        // Once through a proxy, to record the calls.
        let calls = Arc::new(Mutex::new(Vec::new()));
        let heard = calls.clone();
        let proxy = Proxy::in_front_of(&moto.address, move |body| {
            heard.lock().expect("no panic").push(body.to_owned());
            ProxyAction::Forward
        });
        let proxy = proxy.expect("a proxy");
        let asked = || std::mem::take(&mut *calls.lock().expect("no panic"));
        let occopus = home(&proxy.address, count);
        occopus.ok(["build", "infra.yaml", "-i", "it", "--auth_data_path", "auth_data.yaml"]);
        let build = asked();
        occopus.ok(["maintain", "-i", "it", "--auth_data_path", "auth_data.yaml"]);
        let pass = asked();
        occopus.ok(["destroy", "-i", "it", "--auth_data_path", "auth_data.yaml"]);
        let destroy = asked();

        let occopus = home(&moto.address, count);
        let ours =
            |command: &[&str]| time(|| drop(occopus.ok(command.iter().chain(&["--auth_data_path", "auth_data.yaml"]))));
        let built = ours(&["build", "infra.yaml", "-i", "it"]);
        let passed = ours(&["maintain", "-i", "it"]);
        let destroyed = ours(&["destroy", "-i", "it"]);

        let mut plain = PlainClient::connect(&moto.address);
        let mut made = Vec::new();
        let plain_build = time(|| {
            for call in &build {
                made.extend(ids(&plain.ask(call)));
            }
        });
        made.sort();
        made.dedup();
        let plain_pass = time(|| pass.iter().for_each(|call| drop(plain.ask(call))));
        let plain_destroy = time(|| {
            for id in &made {
                plain.ask(&format!("Action=TerminateInstances&InstanceId.1={id}&Version=2016-11-15"));
            }
        });
        for (what, calls, ours, theirs) in [
            ("build", build.len(), built, plain_build),
            ("pass of maintenance", pass.len(), passed, plain_pass),
            ("destroy", destroy.len(), destroyed, plain_destroy),
        ] {
            line(what, ours);
            line("the same calls back to back", theirs);
            ratio("ratio", ours, theirs, 1.5);
            amount("calls per instance", calls as f64 / count as f64, "");
        }
    }
}

fn home(address: &str, count: usize) -> Occopus {
    let occopus = Occopus::new();
    let mut description = String::from("infra_name: many\nuser_id: bench\nnodes:\n");
    writeln!(description, "- {{name: n, type: machine, scaling: {{min: {count}, max: {count}}}}}").expect("text");
    occopus.write("infra.yaml", description);
    occopus.write(
        "nodes/node_definitions.yaml",
        format!(
            "'node_def:machine':\n- resource: {{type: ec2, endpoint: 'http://{address}', regionname: eu-west-1, \
             image_id: ami-03cf127a, instance_type: t3.small}}\n  health_check: {{ping: false}}\n"
        ),
    );
    let rule = "resource:\n- type: ec2\n  auth_data: {accesskey: none, secretkey: none-at-all}\n";
    occopus.write("auth_data.yaml", rule);
    // Fills the cache of compiled plugins.
    occopus.ok(["validate", "infra.yaml", "--auth_data_path", "auth_data.yaml"]);
    occopus
}

/// A client that only sends and waits.
struct PlainClient {
    address: String,
    stream: BufReader<TcpStream>,
}

impl PlainClient {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("an option");
        Self { address: address.to_owned(), stream: BufReader::new(stream) }
    }

    fn ask(&mut self, form: &str) -> String {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=none/20260101/eu-west-1/ec2/aws4_request, SignedHeaders=host, \
             Signature=none\r\n\r\n{form}",
            self.address,
            form.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).expect("sent");
        let (mut length, mut closes, mut head) = (0, false, String::new());
        while !head.ends_with("\r\n\r\n") {
            let from = head.len();
            assert!(self.stream.read_line(&mut head).expect("an answer") > 0, "an answer");
            let line = head[from..].to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
            closes |= line.starts_with("connection: close");
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        if closes {
            *self = Self::connect(&self.address);
        }
        String::from_utf8(body).expect("text")
    }
}

/// Returns the ids of instances in an answer.
fn ids(answer: &str) -> Vec<String> {
    let rest = answer.split("<instanceId>").skip(1);
    rest.filter_map(|rest| rest.split('<').next()).map(str::to_owned).collect()
}
