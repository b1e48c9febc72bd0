//! The command line against a service: the same commands, with `--server` or `OCCOPUS_SERVER`.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Command;

use occopus_tests::processes::{instances_with, kill_instance, processes_with, signal, unique_sleep_seconds};
use occopus_tests::service::{NO_RATE_LIMITS, Service};
use occopus_tests::wait::eventually;
use occopus_tests::{Finished, Occopus};
use serde_json::Value;

/// A client with files and without any state.
struct Client<'a> {
    files: Occopus,
    service: &'a Service,
}

impl<'a> Client<'a> {
    fn of(service: &'a Service) -> Self {
        Self { files: Occopus::new(), service }
    }

    fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.files.command(words);
        command.env("OCCOPUS_SERVER", self.service.url(""));
        command
    }

    fn run<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Finished {
        self.command(words).output().expect("the program starts").into()
    }

    #[track_caller]
    fn ok<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Finished {
        self.exits(0, words)
    }

    #[track_caller]
    fn exits<S: AsRef<OsStr>>(&self, code: i32, words: impl IntoIterator<Item = S>) -> Finished {
        let finished = self.run(words);
        assert_eq!(finished.code, Some(code), "stdout:\n{}\nstderr:\n{}", finished.stdout, finished.stderr);
        finished
    }

    fn json<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Value {
        serde_json::from_str(&self.ok(words).stdout).expect("JSON")
    }

    /// Writes a description in which `web` gets the address of `db`.
    fn write(&self, mark: &str, greeting: &str) {
        self.files.write(
            "infra.yaml",
            format!(
                "infra_name: pair\nuser_id: tester\nvariables: {{greeting: {greeting}}}\nnodes:\n\
                 - {{name: db, type: sleeper}}\n- {{name: web, type: told, scaling: {{min: 2, max: 4}}}}\n\
                 dependencies:\n- [web, db]\n"
            ),
        );
        self.files.write("nodes/words.txt", format!("sleep {mark}\n"));
        let sleeper = |attributes: &str| {
            format!(
                "\n- resource: {{type: local}}\n  contextualisation:\n    type: basic\n    attributes:\n      \
                 command: !text_import {{url: 'file://words.txt'}}\n      {attributes}\n  health_check: {{ping: false}}\n"
            )
        };
        let told = sleeper("env: [\"DB={{getip('db')}}\", \"GREETING={{variables.greeting}}\"]");
        let definitions = format!("'node_def:sleeper':{}'node_def:told':{told}", sleeper(""));
        self.files.write("nodes/node_definitions.yaml", definitions);
    }
}

#[test]
fn an_infrastructure_lives_at_a_service_as_it_does_here() {
    let service = Service::start();
    let client = Client::of(&service);
    let mark = unique_sleep_seconds(61);
    client.write(&mark, "hello");
    assert!(client.ok(["validate", "infra.yaml"]).stdout.contains("is valid: pair, 2 nodes, 3 instances"));
    assert!(client.ok(["plan", "infra.yaml"]).stdout.contains("3 to create"));
    assert!(client.ok(["graph", "infra.yaml"]).stdout.contains("web"));
    assert!(client.ok(["render", "infra.yaml", "web"]).stdout.contains("GREETING=hello"));

    let built = client.ok(["build", "infra.yaml"]);
    let id = built.id();
    assert!(built.stdout.contains("web    2 of 2 ready"), "{}", built.stdout);
    assert!(built.stderr.contains(&format!("infrastructure id: {id}")), "{}", built.stderr);
    for said in ["db: creating", "db: ready", "web: ready", "ready"] {
        assert!(built.stderr.contains(said), "{said}: {}", built.stderr);
    }
    assert_eq!(processes_with(&mark), 3);
    assert!(!client.files.home().join("data").exists(), "a client keeps no state");

    let there = client.json(["status", "-i", &id, "--output", "json"]);
    let nodes = |status: &Value| status["nodes"].clone();
    assert_eq!(nodes(&there), nodes(&service.home.status(&id)));
    assert_eq!(nodes(&client.json(["status", "-i", &id, "--refresh", "--output", "json"]))[0]["name"], "db");
    assert_eq!(client.json(["status", "--output", "json"])[0]["id"], id.as_str());
    assert!(client.ok(["maintain", "-l"]).stdout.contains(&id));
    client.ok(["maintain", "-r", "-i", &id, "-f", "web", "-o", "report.txt"]);
    let report = std::fs::read_to_string(client.files.directory().join("report.txt")).expect("a report");
    assert_eq!(report.lines().count(), 2, "the addresses of `web`: {report}");

    let scaled = client.ok(["scale", "-i", &id, "-n", "web", "-c", "1"]);
    assert!(scaled.stdout.contains("3 of 3 ready"), "{}", scaled.stdout);
    assert_eq!(processes_with(&mark), 4);
    assert!(client.ok(["scale", "-i", &id, "-n", "web", "-c", "-1"]).stdout.contains("2 of 2 ready"));
    let limits = client.exits(1, ["scale", "-i", &id, "-n", "web", "-s", "9"]);
    assert!(limits.stderr.contains("allows 2 to 4"), "{}", limits.stderr);
    client.exits(2, ["scale", "-i", &id, "-n", "wbe", "-s", "3"]);
    let later = client.json(["scale", "-i", &id, "-n", "web", "-s", "3", "--later", "--output", "json"]);
    assert_eq!((&later["node"], &later["target"]), (&"web".into(), &3.into()));
    eventually("the service does what was recorded", || processes_with(&mark) == 4);

    client.write(&mark, "bye");
    let changed = client.ok(["build", "-i", &id, "infra.yaml", "--replace", "changed"]);
    assert!(changed.stderr.contains("web: renewing"), "{}", changed.stderr);
    assert!(client.ok(["build", "-i", &id, "infra.yaml"]).stdout.contains("ready"), "nothing to do");

    assert!(client.ok(["suspend", "-i", &id]).stdout.contains("is suspended"));
    let victim = instances_with(&mark).keys().next().expect("an instance").clone();
    client.ok(["resume", "-i", &id]);
    assert!(client.ok(["detach", "-i", &id]).stdout.contains("keeps running"));
    kill_instance(&victim);
    let healed = client.ok(["maintain", "-i", &id]);
    assert!(healed.stderr.contains("replacing"), "{}", healed.stderr);
    assert!(!instances_with(&mark).contains_key(&victim));
    assert!(client.ok(["attach", "-i", &id]).stdout.contains("the service maintains"));

    let events = client.ok(["events", "-i", &id, "--output", "json"]);
    let first: Value = serde_json::from_str(events.stdout.lines().next().expect("events")).expect("JSON");
    assert_eq!((&first["event"], &first["infra_id"]), (&"infrastart".into(), &id.as_str().into()));
    let mut follower = client.command(["events", "-f", "-i", &id]).spawn().expect("starts");
    let destroyed = client.json(["destroy", "-i", &id, "--output", "json"]);
    assert_eq!((&destroyed["removed"], &destroyed["left"]), (&4.into(), &Value::Array(Vec::new())));
    assert_eq!(processes_with(&mark), 0);
    let mut followed = String::new();
    follower.stdout.take().expect("an output").read_to_string(&mut followed).expect("text");
    assert!(follower.wait().expect("it ends").success());
    assert!(followed.lines().count() >= events.stdout.lines().count(), "{followed}");
    let gone = client.exits(1, ["status", "-i", &id]);
    assert!(gone.stderr.contains("there is no infrastructure"), "{}", gone.stderr);
}

#[test]
fn mistakes_are_shown_at_the_lines_of_the_user() {
    let service = Service::start();
    let client = Client::of(&service);
    client.write(&unique_sleep_seconds(62), "hello");
    let path = client.files.directory().join("nodes/node_definitions.yaml");
    let right = std::fs::read_to_string(&path).expect("definitions");
    // Errors that the client finds itself.
    std::fs::write(&path, right.replacen("health_check", "helth_check", 1)).expect("written");
    let found = client.exits(3, ["validate", "infra.yaml"]);
    assert!(found.stderr.contains("nodes/node_definitions.yaml:8:3"), "{}", found.stderr);
    // Errors that only the service finds, which renders.
    std::fs::write(&path, right.replace("variables.greeting", "variables.greeting|nonsense")).expect("written");
    for words in [&["validate", "infra.yaml"][..], &["plan", "infra.yaml"], &["build", "infra.yaml"]] {
        let found = client.exits(3, words);
        assert!(found.stderr.contains("nodes/node_definitions.yaml:15:"), "{}", found.stderr);
        assert!(found.stderr.contains("filter nonsense is unknown"), "{}", found.stderr);
    }
    let report = client.exits(3, ["build", "infra.yaml", "--output", "json"]);
    let report: Value = serde_json::from_str(&report.stdout).expect("JSON");
    assert_eq!(
        (&report["error"]["code"], &report["error"]["problems"][0]["line"]),
        (&"files.invalid".into(), &15.into())
    );
    // In the second line of a text, as in a template.
    let env = "env: [\"DB={{getip('db')}}\", \"GREETING={{variables.greeting}}\"]";
    let lines = "env:\n      - |\n        GREETING=\n        {{ variables.greeting|nonsense }}\n      - A=B";
    assert!(right.contains(env));
    std::fs::write(&path, right.replace(env, lines)).expect("written");
    let found = client.exits(3, ["plan", "infra.yaml"]);
    assert!(
        found.stderr.contains("18 │         {{ variables.greeting|nonsense }}\n    ·         ────"),
        "{}",
        found.stderr
    );
}

#[test]
fn definitions_are_kept_by_the_service() {
    let service = Service::start();
    let client = Client::of(&service);
    let mark = unique_sleep_seconds(63);
    client.write(&mark, "hello");
    let definitions = client.files.directory().join("nodes/node_definitions.yaml");
    let elsewhere = client.files.directory().join("nodes/definitions_of_mine.yaml");
    std::fs::rename(&definitions, &elsewhere).expect("moved");
    let missing = client.exits(3, ["validate", "infra.yaml"]);
    assert!(missing.stderr.contains("the node type `sleeper` is not defined"), "{}", missing.stderr);
    let imported = client.ok(["import", elsewhere.to_str().expect("text")]);
    assert!(imported.stdout.contains("Successfully imported nodes: sleeper, told"), "{}", imported.stdout);
    assert!(client.ok(["definitions", "list"]).stdout.contains("sleeper  "));
    let shown = client.json(["definitions", "show", "told", "--output", "json"]);
    let command = &shown["node_def:told"][0]["contextualisation"]["attributes"]["command"];
    assert_eq!(command.as_str().map(str::trim), Some(format!("sleep {mark}").as_str()), "imports are resolved");
    let id = client.ok(["build", "infra.yaml"]).id();
    assert_eq!(processes_with(&mark), 3);
    client.ok(["destroy", "-i", &id]);
    client.ok(["definitions", "remove", "told", "sleeper"]);
    for words in [["definitions", "show", "told"], ["definitions", "remove", "told"]] {
        assert!(client.exits(1, words).stderr.contains("no definition of node type `told` is stored"));
    }
    let plugins = client.ok(["plugin", "list"]);
    assert!(plugins.stdout.contains("driver"), "{}", plugins.stdout);
    assert_eq!(plugins.stdout, service.home.ok(["plugin", "list"]).stdout);
    let inspected = client.json(["plugin", "inspect", "local", "--output", "json"]);
    let here = service.home.ok(["plugin", "inspect", "local", "--output", "json"]).stdout;
    assert_eq!(inspected, serde_json::from_str::<Value>(&here).expect("JSON"));
}

#[test]
fn a_token_is_asked_for_and_never_shown() {
    let service = Service::start();
    let client = Client::of(&service);
    client.write(&unique_sleep_seconds(64), "hello");
    let (read, operate) = (service.new_token("read", "read", &[]), service.new_token("operate", "operate", &[]));
    eventually("tokens are needed", || client.run(["status"]).code == Some(1));
    let refused = client.run(["status"]);
    assert!(refused.stderr.contains("occopus token create"), "{}", refused.stderr);
    let with = |token: &str, words: &[&str]| -> Finished {
        client.command(words).env("OCCOPUS_TOKEN", token).output().expect("starts").into()
    };
    assert_eq!(with(&read, &["status"]).code, Some(0));
    assert_eq!(with(&read, &["validate", "infra.yaml"]).code, Some(0));
    let built = with(&read, &["build", "infra.yaml"]);
    assert_eq!(built.code, Some(1));
    assert!(built.stderr.contains("operate") && !built.stderr.contains(&read), "{}", built.stderr);
    let built = with(&operate, &["build", "infra.yaml", "-v", "-v"]);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    assert!(!built.stderr.contains(&operate));
    let file = client.files.write("token", format!("{operate}\n"));
    let file = file.to_str().expect("text");
    client.ok(["destroy", "-i", &built.id(), "--token-file", file]);
    let wrong = with("occ_nobody_has_this", &["status"]);
    assert_eq!(wrong.code, Some(1));
    assert!(!wrong.stderr.contains("nobody_has_this"));
}

#[test]
fn a_hold_is_ended_as_its_status_says() {
    let service = Service::start();
    let client = Client::of(&service);
    let mark = unique_sleep_seconds(128);
    client.write(&mark, "hello");
    client.ok(["build", "infra.yaml", "-i", "it"]);
    instances_with(&mark).keys().take(2).for_each(|victim| kill_instance(victim));
    eventually("it is held", || service.get("/infrastructures/it/status").json()["state"] == "held");
    client.exits(6, ["maintain", "-i", "it"]);
    let status = client.ok(["status", "-i", "it"]).stdout;
    assert!(status.contains("run `occopus maintain -i it --release` to replace them"), "{status}");
    assert!(client.ok(["maintain", "-i", "it", "--release"]).stdout.contains("ready"));
    assert_eq!(processes_with(&mark), 3);
    client.ok(["destroy", "-i", "it"]);
}

#[test]
fn what_a_service_cannot_do_is_said() {
    let service = Service::start();
    let client = Client::of(&service);
    let cyclic = client.exits(2, ["maintain", "-c", "-i", "x"]);
    assert!(cyclic.stderr.contains("occopus attach -i x"), "{}", cyclic.stderr);
    assert!(client.exits(2, ["logs", "db", "-i", "x"]).stderr.contains("this machine only"));
    assert!(client.ok(["completions", "bash"]).stdout.contains("occopus"));
    client.exits(2, ["completions", "bash", "--server", &service.url("")]);
    let nobody = client.exits(1, ["status", "--server", "http://127.0.0.1:9", "-i", "x", "--output", "json"]);
    let report: Value = serde_json::from_str(&nobody.stdout).expect("JSON");
    assert_eq!(report["error"]["code"], "service.unreachable");
    for words in [["destroy", "-i", "x"], ["suspend", "-i", "x"], ["attach", "-i", "x"], ["events", "-i", "x"]] {
        assert!(client.exits(1, words).stderr.contains("there is no infrastructure"), "{words:?}");
    }
}

/// Writes definitions of which one becomes ready when a file exists.
fn write_patient(client: &Client<'_>, mark: &str, limit: u32) -> std::path::PathBuf {
    let sign = client.files.directory().join("go");
    client.files.write("infra.yaml", "infra_name: slow\nuser_id: u\nnodes: [{name: slow, type: slow}]\n");
    let script = format!(
        "while ! test -e {}; do sleep 0.1; done; exec python3 -m http.server --bind $OCCOPUS_ADDRESS 8000 {mark}",
        sign.display()
    )
    .replace(&format!(" {mark}"), "");
    client.files.write(
        "nodes/node_definitions.yaml",
        format!(
            "'node_def:slow':\n- resource: {{type: local}}\n  contextualisation:\n    type: basic\n    attributes:\n      \
             command: [sh, -c, '{script}', '{mark}']\n  health_check: {{ping: false, ports: [8000], timeout: {limit}}}\n"
        ),
    );
    sign
}

#[test]
fn a_failed_build_is_rolled_back_and_says_why() {
    let service = Service::start();
    let client = Client::of(&service);
    let mark = unique_sleep_seconds(65);
    write_patient(&client, &mark, 1);
    let failed = client.exits(1, ["build", "infra.yaml"]);
    assert!(failed.stderr.contains("not healthy"), "{}", failed.stderr);
    assert!(failed.stderr.contains("everything that this run made was removed"), "{}", failed.stderr);
    assert_eq!(processes_with(&mark), 0);
    let report = client.exits(1, ["build", "infra.yaml", "--output", "json"]);
    let report: Value = serde_json::from_str(&report.stdout).expect("JSON");
    assert_eq!(report["error"]["exit"], 1);
    let kept = client.exits(5, ["build", "infra.yaml", "--on-failure", "keep", "-i", "kept"]);
    assert!(kept.stderr.contains("to remove it: occopus destroy -i kept"), "{}", kept.stderr);
    client.ok(["destroy", "-i", "kept"]);
    assert_eq!(processes_with(&mark), 0);
}

#[test]
fn who_leaves_does_not_stop_the_service_and_who_stays_survives_its_death() {
    let mut service = Service::start();
    let mark = unique_sleep_seconds(66);
    let client = Client::of(&service);
    let sign = write_patient(&client, &mark, 60);
    let mut left = client.command(["build", "infra.yaml", "-i", "slow"]).spawn().expect("starts");
    eventually("it is being built", || processes_with(&mark) == 1);
    signal(left.id(), "INT");
    let status = left.wait().expect("it ends");
    let mut said = String::new();
    left.stderr.take().expect("errors").read_to_string(&mut said).expect("text");
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("the service continues") && said.contains("occopus destroy -i slow"), "{said}");
    assert_eq!(processes_with(&mark), 1);

    let mut stayed = client.command(["build", "infra.yaml", "-i", "slow"]).spawn().expect("starts");
    let files = client.files;
    let mut lines = BufReader::new(stayed.stderr.take().expect("errors")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(" s  slow: ")), "it follows the operation");
    service.kill();
    let port = service.address.port().to_string();
    let service = Service::with(service.home.clone(), NO_RATE_LIMITS, &["--port", &port]);
    std::fs::write(&sign, "").expect("written");
    let stayed: Finished = stayed.wait_with_output().expect("it ends").into();
    assert_eq!(stayed.code, Some(0), "{}", lines.collect::<Vec<_>>().join("\n"));
    assert!(stayed.stdout.contains("ready"), "{}", stayed.stdout);
    let client = Client { files, service: &service };
    client.ok(["destroy", "-i", "slow"]);
    assert_eq!(processes_with(&mark), 0);
}
