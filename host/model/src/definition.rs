//! Node definitions: `node_def:TYPE`, each a list of implementations.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::{Value, json};

use crate::check;
use crate::infrastructure::{HealthCheck, Implementation};
use crate::problem::{Problem, Problems, suggestion};
use crate::schemas::{Schemas, Section};
use crate::yaml::{Item, Loader, Span, Tags};

/// Seconds of continuous failure after which an instance has failed, unless the user says otherwise.
const TIMEOUT: u64 = 600;
/// The order in which checks run; those of third parties come after.
const ORDER: &[&str] = &["ping", "ports", "urls", "mysqldbs"];
const PREFIX: &str = "node_def:";

/// Definitions by type, with where each type is defined.
#[derive(Debug, Default)]
pub(crate) struct Definitions(pub(crate) IndexMap<String, (Vec<Implementation>, Option<Span>)>);

impl Definitions {
    /// Reads these files, and all files with definitions in these directories.
    pub(crate) fn read(paths: &[PathBuf], schemas: &dyn Schemas, problems: &mut Problems) -> Self {
        let mut definitions = Self::default();
        for path in paths {
            if path.is_dir() {
                for file in yaml_files(path) {
                    definitions.read_file(&file, schemas, false, problems);
                }
            } else {
                definitions.read_file(path, schemas, true, problems);
            }
        }
        definitions
    }

    /// `named`: the user named this very file, so it has to hold definitions. Others in a directory may be anything.
    fn read_file(&mut self, path: &Path, schemas: &dyn Schemas, named: bool, problems: &mut Problems) {
        let mut loader = Loader::new(Tags::Imports);
        let root = loader.load(path);
        let is_definitions = root
            .as_ref()
            .and_then(Item::mapping)
            .is_some_and(|entries| entries.iter().any(|entry| entry.key.starts_with(PREFIX)));
        if !named && !is_definitions {
            return;
        }
        problems.merge(loader.problems);
        let Some(root) = root else { return };
        let Some(entries) = root.mapping() else {
            let message = format!("node definitions are a mapping of `{PREFIX}TYPE` keys, and this is {}", root.kind());
            problems.push(Problem::error("definition.type", message).at(&root.at, "here"));
            return;
        };
        for entry in entries {
            let Some(node_type) = entry.key.strip_prefix(PREFIX).filter(|name| !name.is_empty()) else {
                problems.push(
                    Problem::error("definition.unknown-key", format!("`{}` is no node definition", entry.key))
                        .at(&entry.key_at, "here")
                        .help(format!("definitions are written as '{PREFIX}{}'", entry.key)),
                );
                continue;
            };
            if let Some((_, Some(first))) = self.0.get(node_type) {
                problems.push(
                    Problem::error("definition.duplicate", format!("the type `{node_type}` is defined twice"))
                        .at(&entry.key_at, "again")
                        .also(first, "first here"),
                );
                continue;
            }
            let implementations = self::implementations(node_type, &entry.value, schemas, problems);
            self.0.insert(node_type.to_owned(), (implementations, Some(entry.key_at.clone())));
        }
    }
}

fn yaml_files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    let mut files: Vec<_> = entries.filter(is_yaml).collect();
    files.sort();
    files
}

fn implementations(
    node_type: &str,
    list: &Item,
    schemas: &dyn Schemas,
    problems: &mut Problems,
) -> Vec<Implementation> {
    let Some(items) = list.sequence().filter(|items| !items.is_empty()) else {
        let message =
            format!("the type `{node_type}` needs a list of at least one implementation, and this is {}", list.kind());
        problems.push(
            Problem::error("definition.type", message)
                .at(&list.at, "here")
                .help("put `- ` in front of its first section"),
        );
        return Vec::new();
    };
    items.iter().filter_map(|item| implementation(node_type, item, schemas, problems)).collect()
}

fn implementation(
    node_type: &str,
    item: &Item,
    schemas: &dyn Schemas,
    problems: &mut Problems,
) -> Option<Implementation> {
    let what = format!("an implementation of `{node_type}`");
    check::mapping(item, &what, &["resource", "contextualisation", "config_management", "health_check"], problems)?;
    let resource = check::required(item, &what, "resource", problems);
    let section = |section: Section, problems: &mut Problems| {
        let found = item.get(section.key())?;
        self::section(found, section, schemas, problems);
        Some(found.json())
    };
    let resource = resource.and_then(|_| section(Section::Resource, problems));
    let contextualisation = section(Section::Contextualisation, problems);
    let config_management = section(Section::ConfigManagement, problems);
    let health_check = health_check(item.get("health_check"), schemas, problems);
    let mut lines = IndexMap::new();
    item.places("", &mut |pointer, span| {
        lines.insert(pointer.to_owned(), span.to_string());
    });
    let directory = item.node.span.source.path.parent().unwrap_or(Path::new("."));
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    Some(Implementation {
        resource: resource?,
        contextualisation,
        config_management,
        health_check,
        definition_dir: std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned()).display().to_string(),
        origin: item.at.to_string(),
        lines,
    })
}

/// Checks a section that a plugin serves.
fn section(item: &Item, section: Section, schemas: &dyn Schemas, problems: &mut Problems) {
    let name = section.key();
    if item.mapping().is_none() {
        let message = format!("`{name}` must be a mapping with `type`, and this is {}", item.kind());
        problems.push(Problem::error("definition.type", message).at(&item.at, "here"));
        return;
    }
    let Some(kind) = check::required(item, &format!("`{name}`"), "type", problems) else { return };
    let Some(keyword) = check::text(kind, &format!("`type` of `{name}`"), problems) else { return };
    let Some(schema) = schemas.schema(section, keyword) else {
        let known = schemas.keywords(section);
        let all = known.iter().map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ");
        let help = crate::problem::meant(keyword, known.iter().map(String::as_str))
            .map_or(String::new(), |meant| format!("did you mean `{meant}`? "));
        problems.push(
            Problem::error("definition.unknown-type", format!("there is no plugin for `type: {keyword}` of `{name}`"))
                .at(&kind.at, "unknown")
                .help(format!("{help}There are {all}")),
        );
        return;
    };
    check::against(item, &format!("`{name}` of type `{keyword}`"), &schema, &["type"], problems);
}

/// The health check with its defaults: `ping`, and ten minutes.
fn health_check(item: Option<&Item>, schemas: &dyn Schemas, problems: &mut Problems) -> HealthCheck {
    let known = schemas.keywords(Section::HealthCheck);
    let mut checks: IndexMap<String, Value> = IndexMap::new();
    if known.iter().any(|keyword| keyword == "ping") {
        checks.insert("ping".to_owned(), json!(true));
    }
    let mut timeout = TIMEOUT;
    let Some(item) = item else { return HealthCheck { checks, timeout } };
    let keys: Vec<&str> = known.iter().map(String::as_str).chain(["timeout", "type"]).collect();
    for entry in check::mapping(item, "`health_check`", &keys, problems).into_iter().flatten() {
        match entry.key.as_str() {
            "type" => {}
            "timeout" => match entry.value.json().as_u64() {
                Some(seconds) => timeout = seconds,
                None => problems.push(
                    Problem::error("definition.type", "`timeout` of `health_check` must be a whole number of seconds")
                        .at(&entry.value.at, format!("this is {}", entry.value.kind())),
                ),
            },
            keyword => {
                let Some(schema) = schemas.schema(Section::HealthCheck, keyword) else { continue };
                check::against(&entry.value, &format!("`{keyword}` of `health_check`"), &schema, &[], problems);
                let value = entry.value.json();
                if value == json!(false) {
                    checks.shift_remove(keyword);
                } else {
                    checks.insert(keyword.to_owned(), value);
                }
            }
        }
    }
    let rank = |keyword: &str| ORDER.iter().position(|known| *known == keyword).unwrap_or(ORDER.len());
    checks.sort_by(|a, _, b, _| rank(a).cmp(&rank(b)));
    HealthCheck { checks, timeout }
}

/// For a type that is not defined.
pub(crate) fn unknown_type(name: &str, at: &Span, definitions: &Definitions, looked: &str) -> Problem {
    let known: Vec<&str> = definitions.0.keys().map(String::as_str).collect();
    let help = if known.is_empty() { looked.to_owned() } else { suggestion(name, known) };
    Problem::error("description.unknown-node-type", format!("the node type `{name}` is not defined"))
        .at(at, "unknown")
        .help(help)
}
