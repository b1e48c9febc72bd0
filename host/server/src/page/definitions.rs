//! `/ui/definitions`: the stored node definitions.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use occopus_model::{Implementation, section_type};
use serde_json::{Value, json};

use super::display::path_segment;
use super::shell::{Shell, Viewer, html};
use super::{PageError, PageSource};
use crate::access::Scope;

#[derive(Template)]
#[template(path = "definitions.html")]
struct Page {
    shell: Shell,
    definitions: Vec<Definition>,
    imports: bool,
    label: &'static str,
    text: &'static str,
}

struct Definition {
    name: String,
    segment: String,
    count: usize,
    drivers: String,
    yaml: String,
}

impl Definition {
    fn new(name: String, implementations: &[Implementation]) -> Self {
        let driver = |one: &Implementation| section_type(&one.resource).map(str::to_owned);
        let mut drivers: Vec<_> = implementations.iter().filter_map(driver).collect();
        drivers.dedup();
        let sections: Vec<_> = implementations.iter().map(sections).collect();
        let document = json!({ format!("node_def:{name}"): sections });
        Self {
            segment: path_segment(&name),
            count: implementations.len(),
            drivers: drivers.join(", "),
            yaml: serde_yaml_ng::to_string(&document).unwrap_or_else(|error| error.to_string()),
            name,
        }
    }
}

/// Returns the sections of an implementation as the user wrote them, without source locations.
fn sections(implementation: &Implementation) -> Value {
    let mut value = json!({ "resource": implementation.resource });
    if let Some(section) = &implementation.contextualisation {
        value["contextualisation"] = section.clone();
    }
    if let Some(section) = &implementation.config_management {
        value["config_management"] = section.clone();
    }
    value["health_check"] = json!(implementation.health_check.checks);
    value["health_check"]["timeout"] = json!(implementation.health_check.timeout);
    value
}

/// Renders the page.
pub(super) async fn page<S: PageSource>(viewer: Viewer, State(source): State<S>) -> Result<Response, PageError> {
    viewer.caller.authorize(Scope::Operate, None)?;
    let stored = source.definitions().await?;
    let mut definitions: Vec<_> = stored.into_iter().map(|(name, list)| Definition::new(name, &list)).collect();
    definitions.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(html(&Page {
        shell: Shell::new("Node definitions", "definitions", &viewer),
        definitions,
        imports: viewer.caller.authorize(Scope::Admin, None).is_ok(),
        label: "Document",
        text: "",
    }))
}
