//! `occopus definitions`: those that `import` keeps.

use occopus_model::Implementation;
use serde_json::{Value, json};

use super::args::{Common, Definitions, Format};
use super::failure::{Exit, Failure};
use super::{print, session};

pub(crate) async fn run(definitions: Definitions, common: &Common) -> Result<(), Failure> {
    let engine = session::open(common)?.reader().await?;
    match definitions {
        Definitions::List { output } => {
            let all = engine.definitions().await?;
            match output.format {
                Format::Json => {
                    let types =
                        all.iter().map(|(name, found)| json!({"type": name, "implementations": origins(found)}));
                    print::json(&types.collect::<Vec<_>>());
                }
                Format::Text if all.is_empty() => print::line("No definitions; `occopus import FILE` keeps some."),
                Format::Text => all.iter().for_each(|(name, found)| {
                    print::line(format_args!("{name}  {}", origins(found).join(", ")));
                }),
            }
        }
        Definitions::Show { node_type, output } => {
            let all = engine.definitions().await?;
            let Some(found) = all.get(&node_type) else { return Err(unknown(&node_type)) };
            let value = json!({ format!("node_def:{node_type}"): found.iter().map(written).collect::<Vec<_>>() });
            match output.format {
                Format::Json => print::json(&value),
                Format::Text => print::line(serde_yaml_ng::to_string(&value).unwrap_or_default().trim_end()),
            }
        }
        Definitions::Remove { node_types } => {
            for node_type in &node_types {
                if !engine.remove_definitions(node_type).await? {
                    return Err(unknown(node_type));
                }
                print::line(format_args!("{node_type} is removed; what is deployed keeps its own copy"));
            }
        }
    }
    Ok(())
}

fn unknown(node_type: &str) -> Failure {
    Failure::new(Exit::Failed, "type.unknown", format_args!("no definition of `{node_type}` is kept"))
        .help("`occopus definitions list` shows what is kept")
}

fn origins(implementations: &[Implementation]) -> Vec<&str> {
    implementations.iter().map(|implementation| implementation.origin.as_str()).collect()
}

/// The sections as they can be written into a file again.
fn written(implementation: &Implementation) -> Value {
    let mut checks = serde_json::Map::new();
    if !implementation.health_check.checks.contains_key("ping") {
        checks.insert("ping".to_owned(), json!(false));
    }
    checks.extend(implementation.health_check.checks.clone());
    checks.insert("timeout".to_owned(), json!(implementation.health_check.timeout));
    let mut value = json!({"resource": implementation.resource});
    let sections = [
        ("contextualisation", &implementation.contextualisation),
        ("config_management", &implementation.config_management),
    ];
    for (name, section) in sections {
        if let Some(section) = section {
            value[name] = section.clone();
        }
    }
    value["health_check"] = Value::Object(checks);
    value
}
