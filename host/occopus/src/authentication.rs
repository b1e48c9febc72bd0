//! The credentials of each section, without the secrets, checked before anything is changed.

use std::collections::BTreeSet;

use occopus_engine::Preview;
use occopus_model::{Credential, Implementation, Infrastructure, Schemas, SectionKind, is_placeholder, section_type};
use occopus_runtime::{CredentialSource, credential_selector};
use serde_json::Value;

/// A section of a node definition, and the credentials that serve it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Authentication {
    /// Type of the nodes.
    pub node_type: String,
    /// Key of the section: `resource` or `config_management`.
    pub section: &'static str,
    /// Keyword of its plugin (`type`).
    pub keyword: String,
    /// Location of its implementation: `FILE:LINE:COLUMN`.
    pub origin: String,
    /// The rule that serves it, as `FILE:LINE`.
    pub rule: Option<String>,
    /// Names of the values.
    pub fields: Vec<String>,
    /// Reason why it cannot authenticate.
    pub problem: Option<String>,
}

/// Returns one entry for each section of each implementation that may be used.
pub(crate) fn check_sections(
    infrastructure: &Infrastructure,
    previews: &[Preview],
    schemas: &dyn Schemas,
    credentials: &dyn CredentialSource,
) -> Vec<Authentication> {
    let mut found = BTreeSet::new();
    for preview in previews {
        let Some(node) = infrastructure.node(&preview.node) else { continue };
        let implementations = infrastructure.definitions.get(&node.node_type);
        let Some(implementation) = implementations.and_then(|all| all.get(preview.implementation)) else { continue };
        let check = |section, value: &Value| {
            check_section(&node.node_type, implementation, section, value, schemas, credentials)
        };
        found.insert(check(SectionKind::Resource, &preview.resource));
        if let Some(value) = &implementation.config_management {
            found.insert(check(SectionKind::ConfigManagement, value));
        }
    }
    found.into_iter().collect()
}

fn check_section(
    node_type: &str,
    implementation: &Implementation,
    section: SectionKind,
    value: &Value,
    schemas: &dyn Schemas,
    credentials: &dyn CredentialSource,
) -> Authentication {
    let keyword = section_type(value).unwrap_or_default();
    let mut found = Authentication {
        node_type: node_type.to_owned(),
        section: section.key(),
        keyword: keyword.to_owned(),
        origin: implementation.origin.clone(),
        rule: None,
        fields: Vec::new(),
        problem: None,
    };
    let Some(schema) = schemas.credentials_schema(section, keyword) else { return found };
    // Selected by what the user wrote, as calls select them.
    let selector = match schemas.schema(section, keyword) {
        Some(section_schema) => credential_selector(value, &section_schema).into_owned(),
        None => value.clone(),
    };
    match credentials.credential(section, &selector) {
        Ok(Some(credential)) => {
            found.fields = credential.fields.keys().cloned().collect();
            found.problem = unusable_values(&credential, &required_keys(&schema));
            found.rule = Some(credential.rule);
            let missing =
                required_keys(&schema).into_iter().filter(|key| !found.fields.contains(key)).collect::<Vec<_>>();
            if !missing.is_empty() {
                found.problem = Some(format!("its credentials have no {}", missing.join(", ")));
            }
        }
        Ok(None) => {
            let needed = required_keys(&schema);
            if !needed.is_empty() {
                found.problem = Some(format!("it needs credentials ({}), but no rule serves it", needed.join(", ")));
            }
        }
        Err(fault) => found.problem = Some(fault.message),
    }
    found
}

/// Returns why the values cannot authenticate: placeholders of examples, or required values that are empty.
fn unusable_values(credential: &Credential, needed: &[String]) -> Option<String> {
    let names = |is_bad: &dyn Fn(&str, &str) -> bool| -> Vec<&str> {
        let fields = credential.fields.iter().map(|(name, value)| (name.as_str(), value.expose()));
        fields.filter(|(name, value)| is_bad(name, value)).map(|(name, _)| name).collect()
    };
    let placeholders = names(&|_, value| is_placeholder(value));
    let empty = names(&|name, value| value.trim().is_empty() && needed.iter().any(|needed| needed == name));
    if !placeholders.is_empty() {
        return Some(format!(
            "its credentials still have the placeholder of an example for {}",
            placeholders.join(", ")
        ));
    }
    (!empty.is_empty()).then(|| format!("its credentials have an empty value for {}", empty.join(", ")))
}

fn required_keys(schema: &Value) -> Vec<String> {
    let keys = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    keys.filter_map(Value::as_str).map(str::to_owned).collect()
}
