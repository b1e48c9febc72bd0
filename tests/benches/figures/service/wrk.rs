//! Many requests, by `wrk`.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

/// Results of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// Requests per second.
    pub(crate) requests: f64,
    /// Median latency.
    pub(crate) median: Duration,
    /// Latency at the 99th percentile.
    pub(crate) p99: Duration,
}

/// Returns whether `wrk` is installed.
pub(crate) fn is_there() -> bool {
    // `wrk` exits with 1 when it only prints its version.
    Command::new("wrk").arg("--version").output().is_ok()
}

/// Runs sixteen connections that send one request after the other, for this time.
pub(crate) fn run(address: SocketAddr, path: &str, headers: &[String], time: Duration) -> Rate {
    let mut command = Command::new("wrk");
    command.args(["--threads", "1", "--connections", "16", "--latency", "--duration"]);
    command.arg(format!("{}s", time.as_secs()));
    for header in headers {
        command.args(["--header", header]);
    }
    let output = command.arg(format!("http://{address}{path}")).output().expect("wrk");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && !text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let after = |label: &str| {
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix(label));
        line.unwrap_or_else(|| panic!("no {label} in {text}")).trim().to_owned()
    };
    Rate {
        requests: after("Requests/sec:").parse().expect("a number"),
        median: duration(&after("50%")),
        p99: duration(&after("99%")),
    }
}

/// Parses a time as `wrk` prints it: `1.23ms`.
fn duration(text: &str) -> Duration {
    let unit = text.find(char::is_alphabetic).expect("a unit");
    let (number, unit) = text.split_at(unit);
    let number: f64 = number.parse().expect("a number");
    Duration::from_secs_f64(match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        other => panic!("{other}"),
    })
}
