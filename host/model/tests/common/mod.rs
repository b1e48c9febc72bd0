//! Helpers: files in a temporary directory, schemas of fictitious plugins, and diagnostics as a user sees them.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use miette::{GraphicalReportHandler, GraphicalTheme};
use occopus_model::{AuthData, CommandOutputs, CompileInput, Compiled, Diagnostics, Schemas, SectionKind, compile};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Schemas with sections of every shape.
pub(crate) struct Plugins;

impl Schemas for Plugins {
    fn schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        let schema = match (section, keyword) {
            (SectionKind::Resource, "local") => json!({
                "type": "object",
                "properties": {
                    "directory": {"type": "string", "minLength": 1, "pattern": "^/"},
                    "stop_grace": {"type": "integer", "minimum": 1},
                    "mode": {"enum": ["foreground", "background"]},
                    "limits": {"$ref": "#/$defs/Limits"},
                    "port": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/Range"}, {"type": "null"}]},
                },
                "additionalProperties": false,
                "$defs": {
                    "Limits": {
                        "type": "object",
                        "properties": {"memory": {"type": "integer"}, "cores": {"type": ["integer", "null"]}},
                        "required": ["memory"],
                        "additionalProperties": false,
                    },
                    "Range": {
                        "type": "object",
                        "properties": {"from": {"type": "integer"}, "to": {"type": "integer"}},
                        "required": ["from", "to"],
                        "additionalProperties": false,
                    },
                },
            }),
            (SectionKind::Resource, "cloud") => json!({
                "type": "object",
                "properties": {"endpoint": {"type": "string"}, "image": {"type": "string"}, "size": {}},
                "required": ["endpoint", "image"],
                "additionalProperties": false,
            }),
            (SectionKind::Contextualisation, "basic") => json!({
                "type": "object",
                "properties": {"attributes": {"type": "object"}},
                "required": ["attributes"],
                "additionalProperties": false,
            }),
            (SectionKind::Contextualisation, "cloudinit") => {
                json!({"type": "object", "required": ["context_template"]})
            }
            (SectionKind::HealthCheck, "ping") => json!({"type": "boolean"}),
            (SectionKind::HealthCheck, "ports") => {
                json!({"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 65535}})
            }
            (SectionKind::HealthCheck, "urls") => {
                let description = "an http or https URL";
                let item = json!({"type": "string", "pattern": "^https?://[^/?#]", "description": description});
                json!({"type": "array", "items": item})
            }
            (SectionKind::HealthCheck, "answers") => json!({"type": "string"}),
            _ => return None,
        };
        Some(Arc::new(schema))
    }

    fn endpoint_problem(&self, _: SectionKind, _: &str, endpoint: &str) -> Option<String> {
        (!endpoint.contains("://")).then(|| format!("`{endpoint}` is not an endpoint"))
    }

    fn keywords(&self, section: SectionKind) -> Vec<String> {
        let keywords: &[&str] = match section {
            SectionKind::Resource => &["cloud", "local"],
            SectionKind::Contextualisation => &["basic", "cloudinit"],
            SectionKind::ConfigManagement | SectionKind::Webhook => &[],
            SectionKind::HealthCheck => &["answers", "ping", "ports", "urls"],
        };
        keywords.iter().map(|keyword| (*keyword).to_owned()).collect()
    }

    fn credentials_schema(&self, section: SectionKind, keyword: &str) -> Option<Arc<Value>> {
        (section == SectionKind::Resource && keyword == "cloud").then(|| {
            Arc::new(json!({
                "type": "object",
                "properties": {"accesskey": {"type": "string"}, "secretkey": {"type": "string", "pattern": "^S"}},
                "required": ["accesskey", "secretkey"],
                "additionalProperties": false,
            }))
        })
    }
}

/// A temporary directory.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(&path, content).expect("writes");
        path
    }

    /// Compiles a description with its definitions.
    pub(crate) fn compile(
        &self,
        description: impl AsRef<[u8]>,
        definitions: impl AsRef<[u8]>,
    ) -> Result<Compiled, Diagnostics> {
        let description = self.write("infra.yaml", description);
        self.write("nodes/node_definitions.yaml", definitions);
        compile(&CompileInput { description, events: &["nodecreated", "hold"], ..CompileInput::default() }, &Plugins)
    }

    pub(crate) fn credentials(&self, content: impl AsRef<[u8]>) -> Result<(AuthData, Diagnostics), Diagnostics> {
        let path = self.write("auth_data.yaml", content);
        restrict(&path);
        AuthData::read(&path, CommandOutputs::empty_at(Instant::now()), &Plugins).into_result()
    }

    /// Renders diagnostics as a user sees them, but without colours and without the directory.
    pub(crate) fn render(&self, diagnostics: &Diagnostics) -> String {
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor())
            .with_links(false)
            .without_cause_chain()
            .with_wrap_lines(false);
        let mut text = String::new();
        for diagnostic in diagnostics {
            handler.render_report(&mut text, diagnostic).expect("renders");
        }
        let text = text.replace(&format!("{}/", self.0.path().display()), "");
        text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(unix)]
fn restrict(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("permissions");
}

#[cfg(not(unix))]
fn restrict(_: &Path) {}

/// Valid definitions of a type `web`.
pub(crate) const WEB: &str = "'node_def:web':\n- resource:\n    type: local\n";
