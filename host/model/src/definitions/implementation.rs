//! An implementation: its sections, each checked against the schema of its plugin.

use indexmap::IndexMap;
use serde_json::Value as Json;

use super::health;
use crate::check;
use crate::diagnostic::{Diagnostic, Diagnostics, suggestion};
use crate::infrastructure::Implementation;
use crate::placeholders::{self, is_placeholder};
use crate::schema::{self, Schemas, SectionKind};
use crate::text::has_template;
use crate::yaml::Item;

const SECTIONS: [&str; 4] = ["resource", "contextualisation", "config_management", "health_check"];

/// Checks an implementation. Returns `None` only if it is not a mapping; all other errors are in `diagnostics`.
pub(super) fn check(item: &Item, schemas: &dyn Schemas, diagnostics: &mut Diagnostics) -> Option<Implementation> {
    let entries = check::mapping(item, "an implementation", diagnostics)?;
    check::keys(item, entries, "an implementation", &SECTIONS, &["resource"], diagnostics);
    let mut section = |section: SectionKind| {
        let item = item.get(section.key())?;
        check_plugin_section(section, item, schemas, diagnostics);
        Some(item.json())
    };
    let resource = section(SectionKind::Resource);
    let contextualisation = section(SectionKind::Contextualisation);
    let config_management = section(SectionKind::ConfigManagement);
    let health_check = health::check(item.get("health_check"), schemas, diagnostics);
    placeholders::find(item, diagnostics);

    let mut lines = IndexMap::new();
    item.visit_spans("", &mut |pointer, at| {
        lines.insert(pointer.to_owned(), at.to_string());
    });
    Some(Implementation {
        resource: resource.unwrap_or(Json::Null),
        contextualisation,
        config_management,
        health_check,
        definition_dir: directory(item),
        origin: item.at.to_string(),
        lines,
    })
}

/// Returns the absolute path of the directory of the implementation's file; empty when no file has it.
fn directory(item: &Item) -> String {
    let source = &item.node.span.source;
    if !source.is_file {
        return String::new();
    }
    let file = &source.path;
    let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
    file.parent().map(|parent| parent.display().to_string()).unwrap_or_default()
}

fn check_plugin_section(section: SectionKind, item: &Item, schemas: &dyn Schemas, diagnostics: &mut Diagnostics) {
    let what = format!("`{}`", section.key());
    if check::mapping(item, &what, diagnostics).is_none() {
        return;
    }
    let known = schemas.keywords(section);
    let Some(keyword) = item.get("type") else {
        let diagnostic = check::missing_key("type", &what, item);
        diagnostics.push(diagnostic.help(suggestion("", known.iter().map(String::as_str))));
        return;
    };
    let Some(name) = check::text(keyword, &format!("`type` of {what}"), diagnostics) else { return };
    match schemas.schema(section, name) {
        Some(schema) => {
            schema::check(&schema, item, Some("type"), &format!("{what} of type `{name}`"), diagnostics);
            schema::warn_if_unavailable(section, name, &keyword.at, schemas, diagnostics);
            check_endpoint(section, name, item, schemas, diagnostics);
        }
        // The plugin is there, but gives no schema. Errors show when it runs.
        None if known.iter().any(|known| known == name) => {}
        None => {
            let list: Vec<_> = known.iter().map(|known| format!("`{known}`")).collect();
            let mut help = if list.is_empty() {
                "there is no plugin for this section".to_owned()
            } else {
                format!("there are {}", list.join(", "))
            };
            if let Some(meant) = crate::diagnostic::closest_match(name, known.iter().map(String::as_str)) {
                help = format!("did you mean `{meant}`? {help}");
            }
            let diagnostic =
                Diagnostic::error("plugin.unknown", format!("no plugin serves the type `{name}` of {what}"));
            diagnostics.push(diagnostic.at(&keyword.at, "not known").help(help));
        }
    }
}

/// Reports an endpoint that no connection can be made to, however it is rendered.
fn check_endpoint(
    section: SectionKind,
    keyword: &str,
    item: &Item,
    schemas: &dyn Schemas,
    diagnostics: &mut Diagnostics,
) {
    let Some(at) = item.get("endpoint") else { return };
    let Some(text) = at.str().filter(|text| !has_template(text) && !is_placeholder(text)) else { return };
    if let Some(why) = schemas.endpoint_problem(section, keyword, text) {
        diagnostics.push(Diagnostic::error("value.endpoint", why).at(&at.at, "not an endpoint").obstacle());
    }
}
