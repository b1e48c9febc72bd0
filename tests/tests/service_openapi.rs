//! The OpenAPI document against the service that it describes: schemathesis (<https://schemathesis.readthedocs.io>) generates
//! requests, and checks each response.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use occopus_tests::service::{NO_RATE_LIMITS, Service};
use occopus_tests::wait::eventually;
use occopus_tests::{Occopus, skip};
use serde_json::Value;

/// Number of generated requests for each route.
const EXAMPLES_PER_ROUTE: &str = "20";

fn program() -> String {
    std::env::var("SCHEMATHESIS").unwrap_or_else(|_| "schemathesis".to_owned())
}

#[test]
fn every_answer_is_as_the_document_says() {
    let program = program();
    let version = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        return skip("every_answer_is_as_the_document_says", &format!("no `{program}` (pip install schemathesis)"));
    }
    let mut service = Service::with(Arc::new(Occopus::new()), NO_RATE_LIMITS, &["-t", "30"]);
    let document = service.get("/openapi.json").expect(200).json();
    let example = &document["paths"]["/validate"]["post"]["requestBody"]["content"]["application/yaml"]["example"];
    // Plugins are compiled before clients wait for them.
    service.request("POST", "/validate").send(example.to_string()).expect(200);
    service.token = Some(service.new_token("schemathesis", "admin", &[]));
    eventually("tokens are needed", || {
        service.request("GET", "/whoami").header("authorization", "").send("").status == 401
    });
    let configuration = Path::new(env!("CARGO_MANIFEST_DIR")).join("service/schemathesis.toml");
    let run = Command::new(&program)
        .arg("--config-file")
        .arg(configuration)
        .args([
            "run",
            "--no-color",
            "--phases",
            "examples,coverage,fuzzing,stateful",
            "--max-examples",
            EXAMPLES_PER_ROUTE,
        ])
        .arg(service.url("/openapi.json"))
        .current_dir(service.home.directory())
        .env("OCCOPUS_TOKEN", service.token.as_deref().expect("a token"))
        .output()
        .expect("it starts");
    let report = String::from_utf8_lossy(&run.stdout);
    let log = service.log();
    assert!(run.status.success(), "{report}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(!log.contains("panicked"), "{log}");
    // The generated requests have created some.
    let left = service.get("/infrastructures").expect(200).json();
    for id in left["infrastructures"].as_array().expect("ids").iter().filter_map(Value::as_str) {
        service.destroy(id);
    }
}

/// Features of the document that generators of clients do not support.
#[test]
fn the_document_is_sound() {
    let service = Service::start();
    let document = service.get("/openapi.json").expect(200).json();
    let mut references = Vec::new();
    collect(&document, &mut references);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("within the document");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut names = HashSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let what = format!("{method} {path}");
            let name = operation["operationId"].as_str().expect("a name");
            assert!(names.insert(name), "{what}: there are two called {name}");
            assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{what}");
            for (status, answer) in operation["responses"].as_object().expect("answers") {
                assert!(answer["description"].as_str().is_some_and(|text| !text.is_empty()), "{what}: {status}");
            }
            let described = operation["parameters"].as_array().into_iter().flatten();
            let places: Vec<_> = described.filter(|one| one["in"] == "path").map(|one| one["name"].clone()).collect();
            assert_eq!(places.len(), path.matches('{').count(), "{what}: {places:?}");
        }
    }
}

fn collect<'a>(value: &'a Value, references: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            references.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| collect(value, references));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}
