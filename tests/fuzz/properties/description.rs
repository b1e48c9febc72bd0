//! Input of a file: it is read or refused, the locations of diagnostics lie in it, and an accepted description can be stored, and
//! written again.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use indexmap::IndexMap;
use miette::{Diagnostic as _, GraphicalReportHandler, GraphicalTheme};
use occopus_model::{
    AuthData, CompileInput, Diagnostics, Infrastructure, InstanceLimits, Schemas, SectionKind, compile,
    compile_document, document, read_definitions_document,
};
use occopus_sdk::testing::section_schema;
use serde_json::{Value, json};

const NAME: &str = "description";
const EVENTS: &[&str] = &["nodecreated", "hold"];
/// Number of diagnostics that are rendered as a user sees them; others are only inspected.
const DRAWN: usize = 3;

/// Reads the input as each kind of file.
pub(crate) fn hold(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        match as_document(text) {
            Ok(infrastructure) => comes_back(&infrastructure),
            Err(diagnostics) => check(&diagnostics, text),
        }
        let definitions = read_definitions_document(NAME, text, &Plugins);
        check(&definitions.map_or_else(|diagnostics| diagnostics, |(_, warnings)| warnings), text);
    }
    as_files(bytes);
}

fn as_document(text: &str) -> Result<Infrastructure, Diagnostics> {
    let compiled = compile_document(NAME, text, &IndexMap::new(), EVENTS, InstanceLimits::default(), &Plugins)?;
    check(&compiled.warnings, text);
    check(&compiled.obstacles, text);
    Ok(compiled.infrastructure)
}

/// Reads the input with the imports and tags that files may have, among files that it may import.
fn as_files(bytes: &[u8]) {
    let folder = Folder::new();
    let file = folder.write("infra.yaml", bytes);
    let text = String::from_utf8_lossy(bytes);
    for definitions in [vec![file.clone()], vec![folder.0.join("nodes.yaml")]] {
        let input = CompileInput { description: file.clone(), definitions, events: EVENTS, ..CompileInput::default() };
        match compile(&input, &Plugins) {
            Ok(compiled) => {
                let stored = serde_json::to_string(&compiled.infrastructure).expect("it can be stored");
                let read: Infrastructure = serde_json::from_str(&stored).expect("it can be read again");
                assert_eq!(read, compiled.infrastructure);
            }
            Err(diagnostics) => check_in(&diagnostics, &file, &text),
        }
    }
    check_in(&AuthData::check(&file, &Plugins).diagnostics, &file, &text);
}

/// Checks an accepted description in the form of the store, and as the document that clients get.
fn comes_back(infrastructure: &Infrastructure) {
    let stored = serde_json::to_string(infrastructure).expect("it can be stored");
    let read: Infrastructure = serde_json::from_str(&stored).expect("it can be read again");
    assert_eq!(&read, infrastructure);
    let written = document(infrastructure).to_string();
    match as_document(&written) {
        Ok(again) => assert_eq!(plain(again), plain(infrastructure.clone()), "{written}"),
        Err(diagnostics) => panic!("{written}\n{diagnostics}"),
    }
}

/// Removes the locations in files, and sorts the dependencies.
fn plain(mut infrastructure: Infrastructure) -> Infrastructure {
    for implementation in infrastructure.definitions.values_mut().flatten() {
        implementation.lines.clear();
        implementation.origin.clear();
        implementation.definition_dir.clear();
    }
    infrastructure.nodes.iter_mut().for_each(|node| node.depends_on.sort());
    infrastructure
}

fn check(diagnostics: &Diagnostics, text: &str) {
    check_in(diagnostics, Path::new(NAME), text);
}

fn check_in(diagnostics: &Diagnostics, file: &Path, text: &str) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<usize> = lines(text).map(|line| line.chars().count()).collect();
    for (at, diagnostic) in diagnostics.iter().enumerate() {
        let found = diagnostic.to_file_diagnostic();
        assert!(!diagnostic.to_string().is_empty() && !diagnostic.code().is_empty());
        if found.file.as_deref() == file.to_str()
            && let Some((line, column)) = found.line.zip(found.column)
        {
            let length = lines.get(line.checked_sub(1).expect("lines begin with 1"));
            // The end of the text may be a line of its own.
            let is_end = line == lines.len() + 1 && column == 1;
            assert!(is_end || length.is_some_and(|length| (1..=length + 1).contains(&column)), "{found:?} in {text:?}");
        }
        if let (Some(source), Some(labels)) = (diagnostic.source_code(), diagnostic.labels()) {
            for label in labels {
                source.read_span(label.inner(), 1, 1).unwrap_or_else(|error| panic!("{found:?}: {error}"));
            }
        }
        if at < DRAWN {
            let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
            handler.render_report(&mut String::new(), diagnostic).expect("it can be drawn");
        }
    }
}

/// Splits text into lines as YAML does.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// A directory with a file that can be imported; removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("occopus-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let folder = Self(folder.canonicalize().expect("a folder"));
        folder.write("nodes.yaml", b"'node_def:web':\n- resource: {type: local}\n");
        folder.write("part.txt", "#cloud-config\n{{ variables.a }}\n\u{7f}".as_bytes());
        folder
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("writes");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover is a temporary file.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Plugins that are only described: the bundled drivers, and small ones of the other kinds.
struct Plugins;

type Described = (SectionKind, &'static str, Arc<Value>);

static SCHEMAS: LazyLock<Vec<Described>> = LazyLock::new(|| {
    let local = json!({"type": "object", "properties": {"stop_grace": {"type": "integer", "minimum": 1}}, "additionalProperties": false});
    let basic = json!({"type": "object", "properties": {"attributes": {"type": "object"}}, "required": ["attributes"]});
    let ports = json!({"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 65535}});
    let schemas = [
        (SectionKind::Resource, "docker", section_schema::<occopus_driver_docker::Section>()),
        (SectionKind::Resource, "ec2", section_schema::<occopus_driver_ec2::Section>()),
        (SectionKind::Resource, "nova", section_schema::<occopus_driver_nova::Section>()),
        (SectionKind::Resource, "local", local),
        (SectionKind::Contextualisation, "basic", basic),
        (SectionKind::Contextualisation, "cloudinit", json!({"type": "object", "required": ["context_template"]})),
        (SectionKind::HealthCheck, "ping", json!({"type": "boolean"})),
        (SectionKind::HealthCheck, "ports", ports),
        (SectionKind::HealthCheck, "urls", json!({"type": "array", "items": {"type": "string"}})),
    ];
    schemas.map(|(section, keyword, schema)| (section, keyword, Arc::new(schema))).into()
});

impl Schemas for Plugins {
    fn schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        let found = SCHEMAS.iter().find(|(of, known, _)| *of == section && *known == keyword);
        found.map(|(_, _, schema)| Arc::clone(schema))
    }

    fn endpoint_problem(&self, _: SectionKind, _: &str, endpoint: &str) -> Option<String> {
        (!endpoint.contains("://")).then(|| format!("`{endpoint}` is not an endpoint"))
    }

    fn keywords(&self, section: SectionKind) -> Vec<String> {
        let known = SCHEMAS.iter().filter(|(of, _, _)| *of == section);
        known.map(|(_, keyword, _)| (*keyword).to_owned()).collect()
    }

    fn credentials_schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        (section == SectionKind::Resource && keyword == "ec2").then(|| {
            Arc::new(json!({
                "type": "object",
                "properties": {"accesskey": {"type": "string"}, "secretkey": {"type": "string"}},
                "required": ["accesskey", "secretkey"],
                "additionalProperties": false,
            }))
        })
    }
}
