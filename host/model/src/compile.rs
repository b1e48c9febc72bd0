//! From files to a deployable graph.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::definitions::Definitions;
use crate::description::{self, Description, Limits};
use crate::diagnostic::{Diagnostic, Diagnostics, suggestion};
use crate::infrastructure::{Implementation, Infrastructure, InstanceLimits};
use crate::placeholders;
use crate::schema::Schemas;
use crate::yaml::{AllowedTags, Item, Loader};

/// Where the definitions are when they are not named, beside the description.
const DEFAULT_DEFINITIONS_PATH: &str = "nodes/node_definitions.yaml";
/// Bytes that the variables of a description over a network may take up when every node has its copy of them.
const MAX_COPIED_VARIABLE_BYTES: usize = 16 << 20;
/// Implementations that its nodes may get, counted for each node: all of them are looked at.
const MAX_CANDIDATE_IMPLEMENTATIONS: usize = 100_000;

/// What to compile.
#[derive(Debug, Clone, Default)]
pub struct CompileInput {
    /// The infrastructure description.
    pub description: PathBuf,
    /// Files of node definitions, and directories of such files. When empty: `nodes/node_definitions.yaml` beside the
    /// description, if there is one.
    pub definitions: Vec<PathBuf>,
    /// Definitions that are kept from before, for the types that no file defines.
    pub stored: IndexMap<String, Vec<Implementation>>,
    /// Names of the events that webhooks may be told of; any when empty.
    pub events: &'static [&'static str],
    /// Most instances that there may be.
    pub instances: InstanceLimits,
}

/// What comes of it.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The graph.
    pub infrastructure: Infrastructure,
    /// What is doubtful, but no error.
    pub warnings: Diagnostics,
    /// Errors that keep it from being built, though it can be rendered: placeholders of examples, malformed endpoints.
    pub obstacles: Diagnostics,
}

/// Reads, checks and compiles. All problems are told of at once.
pub fn compile(input: &CompileInput, schemas: &dyn Schemas) -> Result<Compiled, Diagnostics> {
    let mut loader = Loader::new(AllowedTags::Imports);
    let root = loader.load(&input.description);
    let beside = input.description.parent().unwrap_or(Path::new("")).join(DEFAULT_DEFINITIONS_PATH);
    let paths = match input.definitions.as_slice() {
        [] if beside.exists() => vec![beside],
        named => named.to_vec(),
    };
    let limits = Limits { instances: input.instances, copied_bytes: usize::MAX, candidates: usize::MAX };
    compile_root(root, loader.diagnostics, &paths, &input.stored, input.events, limits, schemas)
}

/// Compiles a description that came over a network: it imports nothing, and no file is read for it. It may carry its node
/// definitions, under the keys that they have in files. The name stands for it in messages.
pub fn compile_document(
    name: &str,
    text: &str,
    stored: &IndexMap<String, Vec<Implementation>>,
    events: &[&str],
    instances: InstanceLimits,
    schemas: &dyn Schemas,
) -> Result<Compiled, Diagnostics> {
    let mut loader = Loader::new(AllowedTags::Closed);
    let root = loader.load_text(name, text);
    let limits =
        Limits { instances, copied_bytes: MAX_COPIED_VARIABLE_BYTES, candidates: MAX_CANDIDATE_IMPLEMENTATIONS };
    compile_root(root, loader.diagnostics, &[], stored, events, limits, schemas)
}

fn compile_root(
    root: Option<Item>,
    mut problems: Diagnostics,
    definitions: &[PathBuf],
    stored: &IndexMap<String, Vec<Implementation>>,
    events: &[&str],
    limits: Limits,
    schemas: &dyn Schemas,
) -> Result<Compiled, Diagnostics> {
    let description = root.as_ref().and_then(|root| description::check(root, events, limits, schemas, &mut problems));
    let mut defined = Definitions::default();
    if let Some(root) = &root {
        defined.add_embedded(root, schemas, &mut problems);
    }
    defined.add_files(definitions, schemas, &mut problems);
    let linked = |description| link(description, &defined, stored, limits.candidates, &mut problems);
    let infrastructure = description.map(linked);
    match infrastructure {
        Some(infrastructure) if !problems.has_errors() => {
            let (obstacles, warnings) = problems.split();
            Ok(Compiled { infrastructure, warnings, obstacles })
        }
        _ => Err(problems),
    }
}

/// Gives every node its definitions.
fn link(
    description: Description,
    defined: &Definitions,
    stored: &IndexMap<String, Vec<Implementation>>,
    most: usize,
    problems: &mut Diagnostics,
) -> Infrastructure {
    let Description { mut infrastructure, locations: places } = description;
    let mut candidates = 0_usize;
    for (node, place) in infrastructure.nodes.iter().zip(&places) {
        // Without a type it was told of already.
        if node.node_type.is_empty() || infrastructure.definitions.contains_key(&node.node_type) {
            continue;
        }
        let implementations = defined.types.get(&node.node_type).or_else(|| stored.get(&node.node_type));
        if let Some(implementations) = implementations {
            infrastructure.definitions.insert(node.node_type.clone(), implementations.clone());
        } else if !problems.is_full() && !defined.is_incomplete && !defined.invalid.contains(&node.node_type) {
            problems.push(unknown_type(&node.node_type, &place.node_type, defined, stored));
        }
    }
    for (node, place) in infrastructure.nodes.iter().zip(&places) {
        let of_type = infrastructure.definitions.get(&node.node_type).map_or(0, Vec::len);
        candidates = candidates.saturating_add(of_type);
        if candidates > most {
            let message = format!("with node `{}` there are more than {most} choices of an implementation", node.name);
            let problem = Diagnostic::error("implementations.too-many", message).at(&place.node_type, "this type");
            problems.push(problem.help("describe fewer nodes of types with many implementations, or fewer of these"));
            return infrastructure;
        }
        let is_defined =
            infrastructure.definitions.contains_key(&node.node_type) && !defined.invalid.contains(&node.node_type);
        if let (true, Some(at), None) = (is_defined, &place.filter, infrastructure.candidates(node).next()) {
            let message = format!(
                "no implementation of `{}` has what the filter of node `{}` asks for",
                node.node_type, node.name
            );
            let problem = Diagnostic::error("filter.nothing", message).at(at, "this filter");
            problems.push(problem.help("every pair must be in the `resource` section, with an equal value"));
        }
    }
    collect_obstacles(&infrastructure, defined, problems);
    description::order_by_templates(&mut infrastructure);
    infrastructure
}

/// What keeps from being built what a node may become. Other implementations may be left as an example has them.
fn collect_obstacles(infrastructure: &Infrastructure, defined: &Definitions, problems: &mut Diagnostics) {
    for node in &infrastructure.nodes {
        for (number, implementation) in infrastructure.candidates(node) {
            match defined.obstacles.get(&node.node_type) {
                Some(all) => all.get(number).into_iter().for_each(|own| problems.merge(own.clone())),
                // Its text was read when it was imported.
                None => placeholders::find_stored(implementation, problems),
            }
        }
    }
}

fn unknown_type(
    name: &str,
    at: &crate::yaml::Span,
    defined: &Definitions,
    stored: &IndexMap<String, Vec<Implementation>>,
) -> Diagnostic {
    let known: Vec<_> = defined.types.keys().chain(&defined.invalid).chain(stored.keys()).map(String::as_str).collect();
    let help = match known.as_slice() {
        [] => format!(
            "there are no node definitions: write them to `{DEFAULT_DEFINITIONS_PATH}` beside the description, or name their file"
        ),
        known => suggestion(name, known.iter().copied()),
    };
    Diagnostic::error("type.unknown", format!("the node type `{name}` is not defined")).at(at, "not defined").help(help)
}
