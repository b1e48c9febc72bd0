//! `occopus definitions`: those that `import` keeps.

use http::StatusCode;
use occopus::Occopus;
use occopus_model::{Implementation, document_of_definitions};
use serde_json::{Value, json};

use super::args::{Common, Definitions, Format};
use super::failure::{Exit, Failure};
use super::remote::Service;
use super::session::Place;
use super::{print, session};

pub(crate) async fn run(definitions: Definitions, common: &Common) -> Result<(), Failure> {
    match session::place(common)? {
        Place::Here(occopus) => here(definitions, &occopus).await,
        Place::Service(service) => there(definitions, &service).await,
    }
}

async fn here(definitions: Definitions, occopus: &Occopus) -> Result<(), Failure> {
    let engine = occopus.reader().await?;
    match definitions {
        Definitions::List { output } => {
            let all = engine.definitions().await?;
            let origin = |implementation: Implementation| implementation.origin;
            list(all.into_iter().map(|(name, found)| (name, found.into_iter().map(origin).collect())), output.format);
        }
        Definitions::Show { node_type, output } => {
            let mut all = engine.definitions().await?;
            all.retain(|name, _| *name == node_type);
            if all.is_empty() {
                return Err(unknown(&node_type));
            }
            show(&document_of_definitions(&all), output.format);
        }
        Definitions::Remove { node_types } => {
            for node_type in &node_types {
                if !engine.remove_definitions(node_type).await? {
                    return Err(unknown(node_type));
                }
                removed(node_type);
            }
        }
    }
    Ok(())
}

async fn there(definitions: Definitions, service: &Service) -> Result<(), Failure> {
    match definitions {
        Definitions::List { output } => {
            let all = service.definitions().await?;
            list(all.into_iter().map(|kept| (kept.node_type, kept.origins)), output.format);
        }
        Definitions::Show { node_type, output } => {
            show(&service.definition(&node_type).await.map_err(|it| known(it, &node_type))?, output.format);
        }
        Definitions::Remove { node_types } => {
            for node_type in &node_types {
                service.forget(node_type).await.map_err(|it| known(it, node_type))?;
                removed(node_type);
            }
        }
    }
    Ok(())
}

/// Types, each with the places that its implementations came from.
fn list(types: impl Iterator<Item = (String, Vec<String>)>, format: Format) {
    let types: Vec<_> = types.collect();
    match format {
        Format::Json => {
            let types = types.iter().map(|(name, origins)| json!({"type": name, "implementations": origins}));
            print::json(&types.collect::<Vec<_>>());
        }
        Format::Text if types.is_empty() => print::line("No definitions; `occopus import FILE` keeps some."),
        Format::Text => {
            types.iter().for_each(|(name, origins)| print::line(format_args!("{name}  {}", origins.join(", "))));
        }
    }
}

fn show(definitions: &Value, format: Format) {
    match format {
        Format::Json => print::json(definitions),
        Format::Text => print::line(serde_yaml_ng::to_string(definitions).unwrap_or_default().trim_end()),
    }
}

fn removed(node_type: &str) {
    print::line(format_args!("{node_type} is removed; what is deployed keeps its own copy"));
}

/// A service that does not find it has no such type.
fn known(failure: Failure, node_type: &str) -> Failure {
    match failure {
        Failure::Service(refused) if refused.status == Some(StatusCode::NOT_FOUND) => unknown(node_type),
        other => other,
    }
}

fn unknown(node_type: &str) -> Failure {
    Failure::new(Exit::Failed, "type.unknown", format_args!("no definition of `{node_type}` is kept"))
        .help("`occopus definitions list` shows what is kept")
}
