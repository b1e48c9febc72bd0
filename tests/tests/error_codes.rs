//! Error codes: each one has a row with its exit status, and a line in the documents.

use std::collections::BTreeSet;
use std::path::Path;

use occopus_api::ERROR_CODES;

/// Crates whose errors have codes. Those of the model are codes of diagnostics.
const CRATES: &[&str] = &["cli", "conformance", "engine", "occopus", "runtime", "server", "store"];
/// Extensions of the file names that have the form of a code.
const FILE_EXTENSIONS: &[&str] = &["db", "html", "log", "pem", "py", "test", "yaml"];
/// Other texts that have the form of a code: names of files, labels of machines, and keys of the Python service.
const NOT_CODES: &[&str] = &[
    "ending.json",
    "infrastructure.name",
    "infrastructure.started",
    "infrastructure.state",
    "log.new",
    "node.address",
    "occopus.infrastructure",
    "occopus.instance",
    "occopus.node",
    "outputs.lock",
    "planned.json",
    "record.json",
    "record.new",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// Returns whether a literal has the form of a code: two words, each of which may have hyphens.
fn has_form_of_code(literal: &str) -> bool {
    let is_word = |word: &str| {
        word.split('-')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()))
    };
    literal.split_once('.').is_some_and(|(area, cause)| is_word(area) && is_word(cause))
        && literal.starts_with(|first: char| first.is_ascii_lowercase())
}

/// Collects the codes in the sources below a folder, tests and test doubles aside.
fn collect_codes(folder: &Path, codes: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if name == "tests" || name == "testing" {
            continue;
        }
        if path.is_dir() {
            collect_codes(&path, codes);
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("readable");
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        // Between any two quotes, so that escaped ones do no harm.
        for literal in text.split('"').filter(|literal| has_form_of_code(literal)) {
            let is_file = literal.rsplit('.').next().is_some_and(|end| FILE_EXTENSIONS.contains(&end));
            if !is_file && !NOT_CODES.contains(&literal) {
                codes.insert(literal.to_owned());
            }
        }
    }
}

#[test]
fn every_code_has_an_exit_status() {
    let mut used = BTreeSet::new();
    for name in CRATES {
        collect_codes(&root().join("host").join(name).join("src"), &mut used);
    }
    let known: BTreeSet<_> = ERROR_CODES.iter().map(|row| row.code.to_owned()).collect();
    let missing: Vec<_> = used.difference(&known).collect();
    assert!(missing.is_empty(), "codes without a row in host/api/src/error_code.rs: {missing:?}");
    let unused: Vec<_> = known.difference(&used).collect();
    assert!(unused.is_empty(), "rows of codes that nobody uses: {unused:?}");
}

#[test]
fn every_code_has_a_line_in_the_documents() {
    let document = std::fs::read_to_string(root().join("docs/errors.md")).expect("readable");
    let lines: Vec<_> = document.lines().filter(|line| line.starts_with("| `")).collect();
    for row in ERROR_CODES {
        let start = format!("| `{}` | {} | ", row.code, row.exit as u8);
        let line = lines.iter().find_map(|line| line.strip_prefix(&start));
        assert!(line.is_some_and(|meaning| meaning.len() > 10), "docs/errors.md has no line `{start}MEANING |`");
    }
    assert_eq!(lines.len(), ERROR_CODES.len(), "docs/errors.md has lines of codes that do not exist");
}
