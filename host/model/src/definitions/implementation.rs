//! One implementation: its sections, each checked against what its plugin says of it.

use indexmap::IndexMap;
use serde_json::Value as Json;

use super::health;
use crate::check;
use crate::diagnostic::{Diagnostic, Diagnostics, suggestion};
use crate::infrastructure::Implementation;
use crate::placeholders::{self, is_placeholder};
use crate::schema::{self, Schemas, SectionKind};
use crate::text::has_template;
use crate::yaml::{Item, Span};

const SECTIONS: [&str; 4] = ["resource", "contextualisation", "config_management", "health_check"];

/// None when it is not even a mapping; flaws are in `problems`.
pub(super) fn check(item: &Item, schemas: &dyn Schemas, problems: &mut Diagnostics) -> Option<Implementation> {
    let entries = check::mapping(item, "an implementation", problems)?;
    check::keys(item, entries, "an implementation", &SECTIONS, &["resource"], problems);
    let mut section = |section: SectionKind| {
        let item = item.get(section.key())?;
        check_plugin_section(section, item, schemas, problems);
        Some(item.json())
    };
    let resource = section(SectionKind::Resource);
    let contextualisation = section(SectionKind::Contextualisation);
    let config_management = section(SectionKind::ConfigManagement);
    let health_check = health::check(item.get("health_check"), schemas, problems);
    placeholders::find(item, problems);

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

/// Absolute path of the directory of the file that has the implementation; empty when no file has it.
fn directory(item: &Item) -> String {
    let source = &item.node.span.source;
    if !source.is_file {
        return String::new();
    }
    let file = &source.path;
    let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
    file.parent().map(|parent| parent.display().to_string()).unwrap_or_default()
}

fn check_plugin_section(section: SectionKind, item: &Item, schemas: &dyn Schemas, problems: &mut Diagnostics) {
    let what = format!("`{}`", section.key());
    if check::mapping(item, &what, problems).is_none() {
        return;
    }
    let known = schemas.keywords(section);
    let Some(keyword) = item.get("type") else {
        let problem = check::missing_key("type", &what, item);
        problems.push(problem.help(suggestion("", known.iter().map(String::as_str))));
        return;
    };
    let Some(name) = check::text(keyword, &format!("`type` of {what}"), problems) else { return };
    match schemas.schema(section, name) {
        Some(schema) => {
            schema::check(&schema, item, Some("type"), &format!("{what} of type `{name}`"), problems);
            warn_if_unavailable(section, name, &keyword.at, schemas, problems);
            check_endpoint(section, name, item, schemas, problems);
        }
        // It is there, but does not tell; the run will.
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
            let problem = Diagnostic::error("plugin.unknown", format!("no plugin serves the type `{name}` of {what}"));
            problems.push(problem.at(&keyword.at, "not known").help(help));
        }
    }
}

/// Tells of an endpoint that nobody could connect to, however it is rendered.
fn check_endpoint(section: SectionKind, keyword: &str, item: &Item, schemas: &dyn Schemas, problems: &mut Diagnostics) {
    let Some(at) = item.get("endpoint") else { return };
    let Some(text) = at.str().filter(|text| !has_template(text) && !is_placeholder(text)) else { return };
    if let Some(why) = schemas.endpoint_problem(section, keyword, text) {
        problems.push(Diagnostic::error("value.endpoint", why).at(&at.at, "not an endpoint").obstacle());
    }
}

/// Warns of a plugin whose section can be checked, and no more.
pub(super) fn warn_if_unavailable(
    section: SectionKind,
    keyword: &str,
    at: &Span,
    schemas: &dyn Schemas,
    problems: &mut Diagnostics,
) {
    if let Some(why) = schemas.why_unavailable(section, keyword) {
        let message = format!("nothing can be deployed with `{keyword}`: {why}");
        let problem = Diagnostic::warning("plugin.unavailable", message).at(at, "checked, but not to be deployed");
        problems.push(problem.reported_once());
    }
}
