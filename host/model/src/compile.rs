//! Compilation of a description, with its node definitions, to a deployable graph.
//!
//! Input is files, or one text that came over a network. Output is an [`Infrastructure`], or all diagnostics at once.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::definitions::Definitions;
use crate::description::{self, Description, Limits};
use crate::diagnostic::{Diagnostic, Diagnostics, suggestion};
use crate::infrastructure::{Implementation, Infrastructure, InstanceLimits};
use crate::placeholders;
use crate::schema::Schemas;
use crate::yaml::{AllowedTags, Item, Loader};

/// Path of the definitions when none are named, relative to the directory of the description.
const DEFAULT_DEFINITIONS_PATH: &str = "nodes/node_definitions.yaml";
/// Maximum bytes of the variables of a description that came over a network, those copied to every node counted for
/// each.
const MAX_COPIED_VARIABLE_BYTES: usize = 16 << 20;
/// Maximum candidate implementations of such a description, counted for each node: each of them is checked.
const MAX_CANDIDATE_IMPLEMENTATIONS: usize = 100_000;

/// Input of [`compile`].
#[derive(Debug, Clone, Default)]
pub struct CompileInput {
    /// The infrastructure description.
    pub description: PathBuf,
    /// Files of node definitions, and directories of such files. When empty: `nodes/node_definitions.yaml` beside the
    /// description, if there is one.
    pub definitions: Vec<PathBuf>,
    /// Definitions that were imported before, for the types that no file defines.
    pub stored: IndexMap<String, Vec<Implementation>>,
    /// Names of the events that webhooks may subscribe to; any when empty.
    pub events: &'static [&'static str],
    /// Maximum numbers of instances.
    pub instances: InstanceLimits,
}

/// Result of a compilation.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The graph.
    pub infrastructure: Infrastructure,
    /// Doubtful parts that are not errors.
    pub warnings: Diagnostics,
    /// Errors that keep it from being built, though it can be rendered: placeholders of examples, malformed endpoints.
    pub obstacles: Diagnostics,
}

/// Reads, checks and compiles a description and its definitions.
///
/// # Errors
/// Returns all diagnostics, warnings included, if at least one is an error.
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

/// Compiles a description that came over a network: it imports nothing, and no file is read for it. It may carry its
/// node definitions, under the keys that they have in files. `name` stands for it in messages. Who deploys the result
/// must look at [`Compiled::obstacles`] first.
///
/// # Errors
/// Returns all diagnostics, warnings included, if at least one is an error.
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
    mut diagnostics: Diagnostics,
    definitions: &[PathBuf],
    stored: &IndexMap<String, Vec<Implementation>>,
    events: &[&str],
    limits: Limits,
    schemas: &dyn Schemas,
) -> Result<Compiled, Diagnostics> {
    let description =
        root.as_ref().and_then(|root| description::check(root, events, limits, schemas, &mut diagnostics));
    let mut defined = Definitions::default();
    if let Some(root) = &root {
        defined.add_embedded(root, schemas, &mut diagnostics);
    }
    defined.add_files(definitions, schemas, &mut diagnostics);
    let linked = |description| link(description, &defined, stored, limits.candidates, &mut diagnostics);
    let infrastructure = description.map(linked);
    match infrastructure {
        Some(infrastructure) if !diagnostics.has_errors() => {
            let (obstacles, warnings) = diagnostics.split();
            Ok(Compiled { infrastructure, warnings, obstacles })
        }
        _ => Err(diagnostics),
    }
}

/// Adds the definitions of all node types, and checks that every node has a candidate.
fn link(
    description: Description,
    defined: &Definitions,
    stored: &IndexMap<String, Vec<Implementation>>,
    most: usize,
    diagnostics: &mut Diagnostics,
) -> Infrastructure {
    let Description { mut infrastructure, locations: places } = description;
    let mut candidates = 0_usize;
    for (node, place) in infrastructure.nodes.iter().zip(&places) {
        // A missing type is reported already.
        if node.node_type.is_empty() || infrastructure.definitions.contains_key(&node.node_type) {
            continue;
        }
        let implementations = defined.types.get(&node.node_type).or_else(|| stored.get(&node.node_type));
        if let Some(implementations) = implementations {
            infrastructure.definitions.insert(node.node_type.clone(), implementations.clone());
        } else if !diagnostics.is_full() && !defined.is_incomplete && !defined.invalid.contains(&node.node_type) {
            diagnostics.push(unknown_type(&node.node_type, &place.node_type, defined, stored));
        }
    }
    for (node, place) in infrastructure.nodes.iter().zip(&places) {
        let of_type = infrastructure.definitions.get(&node.node_type).map_or(0, Vec::len);
        candidates = candidates.saturating_add(of_type);
        if candidates > most {
            let message = format!("with node `{}` there are more than {most} choices of an implementation", node.name);
            let diagnostic = Diagnostic::error("implementations.too-many", message).at(&place.node_type, "this type");
            diagnostics
                .push(diagnostic.help("describe fewer nodes of types with many implementations, or fewer of these"));
            return infrastructure;
        }
        let is_defined =
            infrastructure.definitions.contains_key(&node.node_type) && !defined.invalid.contains(&node.node_type);
        if let (true, Some(at), None) = (is_defined, &place.filter, infrastructure.candidates(node).next()) {
            let message =
                format!("no implementation of `{}` matches the filter of node `{}`", node.node_type, node.name);
            let diagnostic = Diagnostic::error("filter.nothing", message).at(at, "this filter");
            diagnostics.push(diagnostic.help("every pair must be in the `resource` section, with an equal value"));
        }
    }
    collect_obstacles(&infrastructure, defined, diagnostics);
    description::order_by_templates(&mut infrastructure);
    infrastructure
}

/// Reports the obstacles of all candidate implementations. Those that no node may use can keep the placeholders of an
/// example.
fn collect_obstacles(infrastructure: &Infrastructure, defined: &Definitions, diagnostics: &mut Diagnostics) {
    for node in &infrastructure.nodes {
        for (number, implementation) in infrastructure.candidates(node) {
            match defined.obstacles.get(&node.node_type) {
                Some(all) => all.get(number).into_iter().for_each(|own| diagnostics.merge(own.clone())),
                // Other checks ran when it was imported.
                None => placeholders::find_stored(implementation, diagnostics),
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
