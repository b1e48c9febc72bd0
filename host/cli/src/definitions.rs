//! `occopus definitions`: the node definitions that `import` stored.

use http::StatusCode;
use occopus::Occopus;
use occopus_model::{Implementation, document_of_definitions};
use serde_json::{Value, json};

use super::args::{DefinitionsCommand, GlobalArgs, OutputFormat};
use super::backend::Backend;
use super::failure::Failure;
use super::remote::ServiceClient;
use super::{backend, print};

pub(crate) async fn run(definitions: DefinitionsCommand, common: &GlobalArgs) -> Result<(), Failure> {
    match backend::open_backend(common)? {
        Backend::Local(occopus) => run_local(definitions, &occopus).await,
        Backend::Service(service) => run_on_service(definitions, &service).await,
    }
}

async fn run_local(definitions: DefinitionsCommand, occopus: &Occopus) -> Result<(), Failure> {
    let engine = occopus.reader().await?;
    match definitions {
        DefinitionsCommand::List { output } => {
            let all = engine.definitions().await?;
            let origin = |implementation: Implementation| implementation.origin;
            print_types(
                all.into_iter().map(|(name, found)| (name, found.into_iter().map(origin).collect())),
                output.format,
            );
        }
        DefinitionsCommand::Show { node_type, output } => {
            let mut all = engine.definitions().await?;
            all.retain(|name, _| *name == node_type);
            if all.is_empty() {
                return Err(unknown_type(&node_type));
            }
            print_definitions(&document_of_definitions(&all), output.format);
        }
        DefinitionsCommand::Remove { node_types } => {
            for node_type in &node_types {
                if !engine.remove_definitions(node_type).await? {
                    return Err(unknown_type(node_type));
                }
                print_removed(node_type);
            }
        }
    }
    Ok(())
}

async fn run_on_service(definitions: DefinitionsCommand, service: &ServiceClient) -> Result<(), Failure> {
    match definitions {
        DefinitionsCommand::List { output } => {
            let all = service.definitions().await?;
            print_types(all.into_iter().map(|stored| (stored.node_type, stored.origins)), output.format);
        }
        DefinitionsCommand::Show { node_type, output } => {
            print_definitions(
                &service.definition(&node_type).await.map_err(|failure| map_not_found(failure, &node_type))?,
                output.format,
            );
        }
        DefinitionsCommand::Remove { node_types } => {
            for node_type in &node_types {
                service.remove_definitions(node_type).await.map_err(|failure| map_not_found(failure, node_type))?;
                print_removed(node_type);
            }
        }
    }
    Ok(())
}

/// Prints types, each with the locations of its implementations.
fn print_types(types: impl Iterator<Item = (String, Vec<String>)>, format: OutputFormat) {
    let types: Vec<_> = types.collect();
    match format {
        OutputFormat::Json => {
            let types = types.iter().map(|(name, origins)| json!({"type": name, "implementations": origins}));
            print::json(&types.collect::<Vec<_>>());
        }
        OutputFormat::Text if types.is_empty() => print::line("No definitions; `occopus import FILE` stores some."),
        OutputFormat::Text => {
            types.iter().for_each(|(name, origins)| print::line(format_args!("{name}  {}", origins.join(", "))));
        }
    }
}

fn print_definitions(definitions: &Value, format: OutputFormat) {
    match format {
        OutputFormat::Json => print::json(definitions),
        OutputFormat::Text => print::line(serde_yaml_ng::to_string(definitions).unwrap_or_default().trim_end()),
    }
}

fn print_removed(node_type: &str) {
    print::line(format_args!("removed {node_type}; deployed infrastructures keep their own copies"));
}

/// Maps the `404` of a service to an unknown type.
fn map_not_found(failure: Failure, node_type: &str) -> Failure {
    match failure {
        Failure::Service(error) if error.status == Some(StatusCode::NOT_FOUND) => unknown_type(node_type),
        other => other,
    }
}

fn unknown_type(node_type: &str) -> Failure {
    Failure::new("type.unknown", format_args!("no definition of node type `{node_type}` is stored"))
}
