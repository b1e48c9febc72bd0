//! Traces and metrics over OTLP.

use std::net::TcpListener;

use occopus_tests::processes::{unique_sleep_seconds, write_sleeper};
use occopus_tests::{Occopus, collect};

#[test]
fn passes_actions_and_plugin_calls_are_traced_and_counted() {
    let occopus = Occopus::new();
    occopus.write("infra.yaml", "infra_name: traced\nuser_id: tester\nnodes:\n- {name: a, type: sleeper}\n");
    write_sleeper(&occopus, &format!("exec sleep {}", unique_sleep_seconds(61)), "ping: false");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let posted = collect(listener, &[]);
    let run = |command: &[&str], endpoint: &str| {
        let mut command = occopus.command(command);
        let output = command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).output().expect("starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["build", "-i", "traced", "infra.yaml"], &endpoint);
    run(&["maintain", "-i", "traced"], &endpoint);
    // No process listens there, which must not fail the command.
    run(&["destroy", "-i", "traced"], "http://127.0.0.1:9");
    let posted = posted.lock().unwrap();
    let sent = |path: &str, word: &str| {
        let posts = posted.iter().filter(|post| post.path == path);
        posts.map(|post| &post.body).any(|body| body.windows(word.len()).any(|window| window == word.as_bytes()))
    };
    for span in ["build", "bring up", "plugin call", "pass", "create", "render"] {
        assert!(sent("/v1/traces", span), "{span}");
    }
    for metric in ["occopus_plugin_calls", "occopus_plugin_call_seconds", "occopus_events", "nodecreated"] {
        assert!(sent("/v1/metrics", metric), "{metric}");
    }
}
