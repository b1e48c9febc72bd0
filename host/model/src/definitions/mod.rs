//! Node definitions: which implementations there are of each node type.

mod files;
mod health;
mod implementation;

use std::path::PathBuf;

use indexmap::{IndexMap, IndexSet};

use crate::check;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::infrastructure::Implementation;
use crate::schema::Schemas;
use crate::yaml::{AllowedTags, Entry, Item, Loader, Span};

/// What a key of a definition file begins with.
pub(crate) const DEFINITION_KEY_PREFIX: &str = "node_def:";

/// What definition files have.
#[derive(Default)]
pub(crate) struct Definitions {
    /// Types without a flaw.
    pub(crate) types: IndexMap<String, Vec<Implementation>>,
    /// By type, what keeps each of its implementations from being built.
    pub(crate) obstacles: IndexMap<String, Vec<Diagnostics>>,
    /// Types with one.
    pub(crate) invalid: IndexSet<String>,
    /// A file could not be read, so that types may be missing.
    pub(crate) is_incomplete: bool,
    locations: IndexMap<String, Span>,
}

/// Reads definitions from files, and from all files in directories that have some. Gives warnings as well.
pub fn read_definitions(
    paths: &[PathBuf],
    schemas: &dyn Schemas,
) -> Result<(IndexMap<String, Vec<Implementation>>, Diagnostics), Diagnostics> {
    let mut problems = Diagnostics::default();
    let mut definitions = Definitions::default();
    definitions.add_files(paths, schemas, &mut problems);
    definitions.without_errors(problems)
}

/// Definitions in a text that came over a network: it imports nothing. The name stands for it in messages.
pub fn read_definitions_document(
    name: &str,
    text: &str,
    schemas: &dyn Schemas,
) -> Result<(IndexMap<String, Vec<Implementation>>, Diagnostics), Diagnostics> {
    let mut loader = Loader::new(AllowedTags::Closed);
    let root = loader.load_text(name, text);
    let mut problems = loader.diagnostics;
    let mut definitions = Definitions::default();
    if let Some(root) = root {
        definitions.add_file(&root, schemas, &mut problems);
    }
    definitions.without_errors(problems)
}

/// The list of implementations of one type, in a text that came over a network. The name stands for it in messages.
pub fn read_definition_document(
    name: &str,
    text: &str,
    node_type: &str,
    schemas: &dyn Schemas,
) -> Result<(Vec<Implementation>, Diagnostics), Diagnostics> {
    let mut loader = Loader::new(AllowedTags::Closed);
    let root = loader.load_text(name, text);
    let mut problems = loader.diagnostics;
    let list = root.map(|root| implementations(node_type, &root, schemas, &mut problems)).unwrap_or_default();
    let (list, obstacles): (Vec<_>, Vec<_>) = list.into_iter().unzip();
    obstacles.into_iter().for_each(|obstacles| problems.merge(obstacles));
    if problems.has_errors() { Err(problems) } else { Ok((list, problems.with_obstacles_as_warnings())) }
}

impl Definitions {
    /// Those in files, and in all files in directories that have some.
    pub(crate) fn add_files(&mut self, paths: &[PathBuf], schemas: &dyn Schemas, problems: &mut Diagnostics) {
        let files = files::expand(paths, problems);
        self.is_incomplete |= files.is_none();
        for path in files.unwrap_or_default() {
            let mut loader = Loader::new(AllowedTags::Imports);
            let root = loader.load(&path);
            problems.merge(loader.diagnostics);
            match root {
                Some(root) => self.add_file(&root, schemas, problems),
                None => self.is_incomplete = true,
            }
        }
    }

    /// Those that a description carries itself.
    pub(crate) fn add_embedded(&mut self, description: &Item, schemas: &dyn Schemas, problems: &mut Diagnostics) {
        for entry in description.mapping().into_iter().flatten() {
            if let Some(name) = entry.key.strip_prefix(DEFINITION_KEY_PREFIX).filter(|name| !name.is_empty()) {
                self.add_type(name, entry, schemas, problems);
            }
        }
    }

    fn without_errors(
        self,
        mut problems: Diagnostics,
    ) -> Result<(IndexMap<String, Vec<Implementation>>, Diagnostics), Diagnostics> {
        self.obstacles.into_values().flatten().for_each(|obstacles| problems.merge(obstacles));
        if problems.has_errors() { Err(problems) } else { Ok((self.types, problems.with_obstacles_as_warnings())) }
    }

    fn add_file(&mut self, root: &Item, schemas: &dyn Schemas, problems: &mut Diagnostics) {
        let Some(entries) = check::mapping(root, "a file of node definitions", problems) else {
            self.is_incomplete = true;
            return;
        };
        for entry in entries {
            match entry.key.strip_prefix(DEFINITION_KEY_PREFIX) {
                Some("") | None => {
                    let problem = Diagnostic::error("key.unknown", format!("`{}` is not a node definition", entry.key))
                        .at(&entry.key_at, "not known here")
                        .help("each key is `node_def:` and the name of a type: `'node_def:web':`");
                    problems.push(problem);
                }
                Some(name) => self.add_type(name, entry, schemas, problems),
            }
        }
    }

    fn add_type(&mut self, name: &str, entry: &Entry, schemas: &dyn Schemas, problems: &mut Diagnostics) {
        if let Some(first) = self.locations.get(name) {
            let problem = Diagnostic::error("type.twice", format!("the node type `{name}` is defined twice"))
                .at(&entry.key_at, "again")
                .related(first, "first here");
            problems.push(problem);
            return;
        }
        self.locations.insert(name.to_owned(), entry.key_at.clone());
        let mut own = Diagnostics::default();
        let implementations = implementations(name, &entry.value, schemas, &mut own);
        if own.has_errors() {
            self.invalid.insert(name.to_owned());
        } else {
            let (implementations, obstacles) = implementations.into_iter().unzip();
            self.types.insert(name.to_owned(), implementations);
            self.obstacles.insert(name.to_owned(), obstacles);
        }
        problems.merge(own);
    }
}

/// The implementations of a type, each with what keeps it from being built.
fn implementations(
    name: &str,
    list: &Item,
    schemas: &dyn Schemas,
    problems: &mut Diagnostics,
) -> Vec<(Implementation, Diagnostics)> {
    // A tag or an import that failed stands for nothing, and was told of.
    let what = format!("the definition of `{name}`");
    if list.mapping().is_some() {
        let problem = check::wrong_kind(&what, "a list", list);
        problems.push(problem.help("it is a list of implementations: begin the first one with `- `"));
        return Vec::new();
    }
    let Some(items) = check::sequence(list, &what, problems) else { return Vec::new() };
    if items.is_empty() {
        let problem = Diagnostic::error("type.empty", format!("{what} is empty")).at(&list.at, "no implementation");
        problems.push(problem.help("a type needs one implementation at least"));
    }
    let mut checked = Vec::new();
    for item in items {
        let mut own = Diagnostics::default();
        let implementation = implementation::check(item, schemas, &mut own);
        let (obstacles, others) = own.split();
        problems.merge(others);
        checked.extend(implementation.map(|implementation| (implementation, obstacles)));
    }
    checked
}
