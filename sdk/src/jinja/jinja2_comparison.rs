//! Templates, each with what Jinja2 makes of it: the table `tests/jinja2/expressions.json`. `expected.py` beside it makes the
//! table again; the second test lets it, with the Jinja2 that there is.

#![expect(clippy::print_stderr, reason = "a test says why it is skipped")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use super::Templates;

/// Null stands for a template that fails.
#[derive(Debug, PartialEq, Deserialize)]
struct Table {
    variables: Value,
    templates: BTreeMap<String, Option<String>>,
}

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "jinja2"].iter().collect()
}

fn table() -> Table {
    let text = std::fs::read_to_string(folder().join("expressions.json")).expect("the table");
    serde_json::from_str(&text).expect("a table")
}

#[test]
fn templates_give_what_jinja2_gives() {
    let table = table();
    assert!(table.templates.len() > 250, "{}", table.templates.len());
    let mut others = Vec::new();
    for (template, expected) in &table.templates {
        let given = Templates::new(&table.variables).text("", template);
        if given.as_ref().ok() != expected.as_ref() {
            let given = given.map_err(|fault| format!("{} {:?}", fault.message, fault.details));
            others.push(format!("{template:?}\n  wanted {expected:?}\n  given  {given:?}"));
        }
    }
    assert!(others.is_empty(), "{} of {}:\n{}", others.len(), table.templates.len(), others.join("\n"));
}

/// Python with `jinja2` is `$JINJA2_PYTHON`, otherwise `python3`.
#[test]
fn the_table_is_what_jinja2_gives() {
    let python = std::env::var("JINJA2_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_jinja = Command::new(&python).args(["-c", "import jinja2"]).output();
    if !has_jinja.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "there is no Python with jinja2");
        eprintln!("skipped: {python} has no jinja2 (`pip install jinja2`; JINJA2_PYTHON may name another Python)");
        return;
    }
    let mut command = Command::new(&python);
    command.current_dir(folder()).args(["expected.py", "expressions.json"]).env("PYTHONIOENCODING", "utf-8");
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let fresh: Table = serde_json::from_slice(&output.stdout).expect("a table");
    assert_eq!(fresh, table(), "Jinja2 says something else now: see expected.py");
}
