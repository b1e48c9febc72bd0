//! `cloudinit`: user data for cloud-init, from a text or from a document.

mod lint;
mod yaml;

use occopus_sdk::jinja::{Templates, escape};
use occopus_sdk::{About, ContextRequest, Contextualiser, Fault, Rendered};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// First line by which cloud-init recognises its configuration.
const HEADER: &str = "#cloud-config";

/// Section that the user writes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// A text, or the cloud-config document itself. Every text in it is a template.
    #[schemars(required)]
    context_template: Option<Template>,
    /// Attributes for the driver or the config manager. Every text in it is a template.
    attributes: Option<Map<String, Value>>,
}

/// Forms of `context_template`.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Template {
    Text(String),
    Document(Map<String, Value>),
}

/// The plugin.
pub struct CloudInit;

impl Contextualiser for CloudInit {
    type Section = Section;

    const ABOUT: About = About {
        name: "cloudinit",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "cloudinit",
        summary: "user data for cloud-init",
        ..About::CONTEXT
    };

    fn render(request: &ContextRequest<Section>) -> Result<Rendered, Fault> {
        let templates = || Templates::new(&request.template_data).with_facts(&request.facts);
        let mut source_lines = None;
        let user_data = match &request.section.context_template {
            None => None,
            Some(Template::Text(source)) => {
                source_lines = Some(source.trim_end().lines().count());
                Some(templates().text("/context_template", source)?)
            }
            Some(Template::Document(document)) => {
                let document = render_document(&templates().keeping_newlines().folding(), document)?;
                Some(format!("{HEADER}\n{}", yaml::write(&document)))
            }
        };
        if let Some(text) = &user_data {
            check(text, source_lines)?;
            // Lines that templates insert move those below them: only the lines above keep their numbers.
            for doubt in lint::lint(text) {
                let message = format!("line {}: {}", doubt.line, doubt.message);
                request.call().warn(doubt.code, &message, "/context_template");
            }
        }
        let attributes = Value::Object(request.section.attributes.clone().unwrap_or_default());
        let mut attributes = templates().value("/attributes", &attributes)?;
        attributes["connections"] = request.connections.clone();
        Ok(Rendered { user_data: user_data.map(String::into_bytes), attributes, ..Rendered::default() })
    }
}

/// Renders a document. The existing tool renders it as a whole, so its top keys may be templates too.
fn render_document(templates: &Templates, document: &Map<String, Value>) -> Result<Value, Fault> {
    let mut rendered = Map::new();
    for (key, value) in document {
        let pointer = format!("/context_template/{}", escape(key));
        rendered.insert(templates.text(&pointer, key)?, templates.value(&pointer, value)?);
    }
    Ok(Value::Object(rendered))
}

/// Checks the configuration, whose mistakes would otherwise show only in a log on the machine.
fn check(user_data: &str, source_lines: Option<usize>) -> Result<(), Fault> {
    if !user_data.starts_with(HEADER) {
        return Ok(());
    }
    serde_yaml_ng::from_str::<serde_yaml_ng::Value>(user_data).map(|_| ()).map_err(|error| {
        // The line is the user's own if inserted texts have not moved the lines.
        let line = error.location().map(|location| location.line());
        let same = source_lines == Some(user_data.trim_end().lines().count());
        let place = line.filter(|_| same).map(|line| format!("line {line}: ")).unwrap_or_default();
        Fault::give_up("cloudinit.bad-yaml", "the rendered cloud-config is not valid YAML")
            .at("/context_template", format!("{place}after rendering: {error}"))
    })
}

occopus_sdk::export_contextualiser!(CloudInit);

#[cfg(test)]
mod tests;
