//! From files to an [`Infrastructure`].

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::definition::Definitions;
use crate::description;
use crate::infrastructure::{Implementation, Infrastructure};
use crate::problem::{Problem, Problems};
use crate::schemas::Schemas;
use crate::yaml::{Loader, Tags};

/// Where the user's files are.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// The infrastructure description.
    pub description: PathBuf,
    /// Node definitions: files and directories. When empty, `nodes/node_definitions.yaml` beside the description.
    pub definitions: Vec<PathBuf>,
    /// Definitions that were imported earlier, for types that the files don't define.
    pub stored: IndexMap<String, Vec<Implementation>>,
}

/// An infrastructure that can be deployed.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// It.
    pub infrastructure: Infrastructure,
    /// What is odd and does no harm.
    pub warnings: Problems,
}

/// Reads and checks everything.
///
/// # Errors
/// All problems at once, warnings among them.
pub fn compile(input: &Input, schemas: &dyn Schemas) -> Result<Compiled, Problems> {
    let mut loader = Loader::new(Tags::Imports);
    let root = loader.load(&input.description);
    let mut problems = std::mem::take(&mut loader.problems);
    let beside = input.description.parent().unwrap_or(Path::new("")).join("nodes/node_definitions.yaml");
    let (paths, looked) = if !input.definitions.is_empty() {
        (input.definitions.clone(), "the named definitions have no types".to_owned())
    } else if beside.is_file() {
        (vec![beside.clone()], format!("{} defines no types", beside.display()))
    } else {
        let help = format!(
            "write its definition into {}, name a file with --nodes, or `occopus import` one",
            beside.display()
        );
        (Vec::new(), help)
    };
    let mut definitions = Definitions::read(&paths, schemas, &mut problems);
    for (name, implementations) in &input.stored {
        definitions.0.entry(name.clone()).or_insert_with(|| (implementations.clone(), None));
    }
    let infrastructure = root.and_then(|root| description::compile(&root, definitions, &looked, &mut problems));
    match infrastructure {
        Some(infrastructure) if !problems.has_errors() => Ok(Compiled { infrastructure, warnings: problems }),
        _ => {
            if problems.is_empty() {
                problems.push(
                    Problem::error("description.unusable", "the description can't be used").in_file(&input.description),
                );
            }
            Err(problems)
        }
    }
}

/// Node definitions by type, and what is odd about them.
pub type ReadDefinitions = (IndexMap<String, Vec<Implementation>>, Problems);

/// Reads and checks node definitions.
///
/// # Errors
/// All problems at once.
pub fn read_definitions(paths: &[PathBuf], schemas: &dyn Schemas) -> Result<ReadDefinitions, Problems> {
    let mut problems = Problems::default();
    let definitions = Definitions::read(paths, schemas, &mut problems);
    if problems.has_errors() {
        return Err(problems);
    }
    Ok((definitions.0.into_iter().map(|(name, (list, _))| (name, list)).collect(), problems))
}
