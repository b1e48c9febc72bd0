//! `occopus status` as a whole process, beside the minimum of the program, and the first start with a fresh cache.

use std::path::Path;

use occopus_tests::Occopus;

use crate::measure::{line, median, time};

pub(crate) fn run() {
    let occopus = Occopus::with_fresh_cache();
    let description = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello/infra-hello.yaml");
    let description = description.to_str().expect("a path in UTF-8");
    let mut id = String::new();
    line("build of hello, cache fresh: plugins are compiled", time(|| id = occopus.ok(["build", description]).id()));
    line("status (aim: 30 ms)", median(20, || drop(occopus.ok(["status", "-i", &id]))));
    line("--version: the least that the program can do", median(20, || drop(occopus.ok(["--version"]))));
    line("destroy", time(|| drop(occopus.ok(["destroy", "-i", &id]))));
    line("build of hello, cache warm", time(|| id = occopus.ok(["build", description]).id()));
    occopus.ok(["destroy", "-i", &id]);
}
