//! Ten containers, beside `docker run` and `docker rm -f` of the same ten.

use std::fmt::Write as _;

use occopus_tests::{Docker, Occopus};

use crate::measure::{line, ratio, time};

const COUNT: usize = 10;
const ROUNDS: usize = 3;

pub(crate) fn run() {
    let Some(docker) = Docker::connect("containers") else { return };
    let occopus = Occopus::new();
    let mut description = String::from("infra_name: ten\nuser_id: bench\nnodes:\n");
    for at in 0..COUNT {
        writeln!(description, "- {{name: n{at}, type: sleeper}}").expect("text");
    }
    occopus.write("infra.yaml", description);
    occopus.write(
        "nodes/node_definitions.yaml",
        format!(
            "'node_def:sleeper':\n\
             - resource: {{type: docker, endpoint: '{}', origin: local, image: occopus-test-busybox, tag: '1'}}\n  \
               contextualisation: {{type: docker, env: [A=b], command: sleep 100000}}\n  \
               health_check: {{ping: false}}\n",
            docker.endpoint
        ),
    );
    let mut id = occopus.ok(["build", "infra.yaml"]).id();
    occopus.ok(["destroy", "-i", &id]);

    let mut builds = Vec::new();
    let mut destroys = Vec::new();
    for _ in 0..ROUNDS {
        let built = time(|| id = occopus.ok(["build", "infra.yaml"]).id());
        let destroyed = time(|| drop(occopus.ok(["destroy", "-i", &id])));
        let mut names = Vec::new();
        let run = time(|| {
            for _ in 0..COUNT {
                names.push(docker.run(&["run", "-d", "-e", "A=b", "occopus-test-busybox:1", "sleep", "100000"]));
            }
        });
        let remove: Vec<_> = ["rm", "-f"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let removed = time(|| drop(docker.run(&remove)));
        builds.push((built, run));
        destroys.push((destroyed, removed));
    }
    for (what, baseline, mut pairs) in
        [("build", "docker run, ten times", builds), ("destroy", "docker rm -f of the ten", destroys)]
    {
        pairs.sort_by(|a, b| {
            (a.0.as_secs_f64() / a.1.as_secs_f64()).total_cmp(&(b.0.as_secs_f64() / b.1.as_secs_f64()))
        });
        let (ours, theirs) = pairs[ROUNDS / 2];
        line(what, ours);
        line(baseline, theirs);
        ratio("ratio", ours, theirs, 1.1);
    }
}
