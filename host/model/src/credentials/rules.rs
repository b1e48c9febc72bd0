//! The rules of a file of credentials.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Map;

use super::{Credential, Rule, Secret, Tls, tls};
use crate::check::{self, wrong_kind};
use crate::diagnostic::{Diagnostic, Diagnostics, suggestion};
use crate::schema::{self, Schemas, SectionKind};
use crate::yaml::Item;

const SECTIONS: [SectionKind; 3] = [SectionKind::Resource, SectionKind::ConfigManagement, SectionKind::Webhook];

pub(super) fn check(
    root: &Item,
    schemas: &dyn Schemas,
    named: &mut Vec<PathBuf>,
    diagnostics: &mut Diagnostics,
) -> Vec<Rule> {
    let what = "a file of credentials";
    let Some(entries) = check::mapping(root, what, diagnostics) else { return Vec::new() };
    check::keys(root, entries, what, &SECTIONS.map(SectionKind::key), &[], diagnostics);
    let mut rules = Vec::new();
    for section in SECTIONS {
        // A blank section has no rules.
        let Some(list) = root.get(section.key()).filter(|list| !check::is_null(list)) else { continue };
        let items = check::sequence(list, &format!("`{}`", section.key()), diagnostics).unwrap_or_default();
        rules.extend(items.iter().filter_map(|item| rule(section, item, schemas, named, diagnostics)));
    }
    rules
}

fn rule(
    section: SectionKind,
    item: &Item,
    schemas: &dyn Schemas,
    named: &mut Vec<PathBuf>,
    diagnostics: &mut Diagnostics,
) -> Option<Rule> {
    let entries = check::mapping(item, "a rule for credentials", diagnostics)?;
    let Some(data) = item.get("auth_data") else {
        diagnostics.push(check::missing_key("auth_data", "a rule for credentials", item));
        return None;
    };
    let selectors: Map<_, _> = entries
        .iter()
        .filter(|entry| entry.key != "auth_data")
        .map(|entry| (entry.key.clone(), entry.value.json()))
        .collect();
    check::mapping(data, "`auth_data`", diagnostics)?;
    let before = diagnostics.len();
    let (tls, data) = match section {
        SectionKind::Resource => {
            let keyword = item.get("type").and_then(|keyword| keyword.str());
            let own = keyword.and_then(|name| schemas.credentials_schema(section, name));
            tls::extract(data, own.as_deref(), named, diagnostics)
        }
        // No connection with certificates is made for the other sections.
        _ => (Tls::default(), data.clone()),
    };
    let data = &data;
    let fields = fields(data, diagnostics);
    if section == SectionKind::Webhook {
        let entries = data.mapping().unwrap_or_default();
        check::keys(data, entries, "`auth_data` of a webhook", &["secret", "url"], &[], diagnostics);
    } else if let Some(keyword) = item.get("type")
        && let Some(name) = keyword.str()
        && diagnostics.len() == before
    {
        check_type(section, name, keyword, data, schemas, diagnostics);
    }
    let rule = format!("{}:{}", item.at.source.path.display(), item.at.line);
    Some(Rule { section, selectors, credential: Credential { fields, tls, rule } })
}

fn check_type(
    section: SectionKind,
    name: &str,
    keyword: &Item,
    data: &Item,
    schemas: &dyn Schemas,
    diagnostics: &mut Diagnostics,
) {
    if let Some(schema) = schemas.credentials_schema(section, name) {
        schema::check(&schema, data, None, &format!("`auth_data` for the type `{name}`"), diagnostics);
        return;
    }
    let known = schemas.keywords(section);
    if !known.iter().any(|known| known == name) {
        let diagnostic =
            Diagnostic::warning("plugin.unknown", format!("no plugin serves the type `{name}` of `{}`", section.key()));
        let help = suggestion(name, known.iter().map(String::as_str));
        diagnostics.push(diagnostic.at(&keyword.at, "this rule is never used").help(help));
    }
}

fn fields(data: &Item, diagnostics: &mut Diagnostics) -> BTreeMap<String, Secret> {
    let mut fields = BTreeMap::new();
    for entry in data.mapping().unwrap_or_default() {
        match entry.value.str() {
            Some(text) => {
                fields.insert(entry.key.clone(), Secret::new(text.to_owned()));
            }
            None => {
                let diagnostic = wrong_kind(&format!("`{}`", entry.key), "a text", &entry.value);
                diagnostics.push(diagnostic.help("put it in quotes"));
            }
        }
    }
    fields
}
