//! Node definitions: the implementations of each node type.

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

/// Prefix of the keys of a definition file.
pub(crate) const DEFINITION_KEY_PREFIX: &str = "node_def:";

/// Node definitions of all files that were read.
#[derive(Default)]
pub(crate) struct Definitions {
    /// Types without errors.
    pub(crate) types: IndexMap<String, Vec<Implementation>>,
    /// Obstacles of each implementation, by type.
    pub(crate) obstacles: IndexMap<String, Vec<Diagnostics>>,
    /// Types with errors.
    pub(crate) invalid: IndexSet<String>,
    /// Set when a file could not be read, so that types may be missing.
    pub(crate) is_incomplete: bool,
    locations: IndexMap<String, Span>,
}

/// Reads definitions from files, and from all files in directories that have some. Returns them with the warnings.
///
/// # Errors
/// Returns all diagnostics if one of them is an error.
pub fn read_definitions(
    paths: &[PathBuf],
    schemas: &dyn Schemas,
) -> Result<(IndexMap<String, Vec<Implementation>>, Diagnostics), Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let mut definitions = Definitions::default();
    definitions.add_files(paths, schemas, &mut diagnostics);
    definitions.without_errors(diagnostics)
}

/// Reads definitions from a text that came over a network: it imports nothing. `name` stands for it in messages.
///
/// # Errors
/// Returns all diagnostics if one of them is an error.
pub fn read_definitions_document(
    name: &str,
    text: &str,
    schemas: &dyn Schemas,
) -> Result<(IndexMap<String, Vec<Implementation>>, Diagnostics), Diagnostics> {
    let mut loader = Loader::new(AllowedTags::Closed);
    let root = loader.load_text(name, text);
    let mut diagnostics = loader.diagnostics;
    let mut definitions = Definitions::default();
    if let Some(root) = root {
        definitions.add_file(&root, schemas, &mut diagnostics);
    }
    definitions.without_errors(diagnostics)
}

/// Reads the list of implementations of one type from a text that came over a network. `name` stands for it in
/// messages.
///
/// # Errors
/// Returns all diagnostics if one of them is an error.
pub fn read_definition_document(
    name: &str,
    text: &str,
    node_type: &str,
    schemas: &dyn Schemas,
) -> Result<(Vec<Implementation>, Diagnostics), Diagnostics> {
    let mut loader = Loader::new(AllowedTags::Closed);
    let root = loader.load_text(name, text);
    let mut diagnostics = loader.diagnostics;
    let list = root.map(|root| implementations(node_type, &root, schemas, &mut diagnostics)).unwrap_or_default();
    let (list, obstacles): (Vec<_>, Vec<_>) = list.into_iter().unzip();
    obstacles.into_iter().for_each(|obstacles| diagnostics.merge(obstacles));
    if diagnostics.has_errors() { Err(diagnostics) } else { Ok((list, diagnostics.with_obstacles_as_warnings())) }
}

impl Definitions {
    /// Adds the definitions of files, and of all files in directories that have some.
    pub(crate) fn add_files(&mut self, paths: &[PathBuf], schemas: &dyn Schemas, diagnostics: &mut Diagnostics) {
        let files = files::expand(paths, diagnostics);
        self.is_incomplete |= files.is_none();
        for path in files.unwrap_or_default() {
            let mut loader = Loader::new(AllowedTags::Imports);
            let root = loader.load(&path);
            diagnostics.merge(loader.diagnostics);
            match root {
                Some(root) => self.add_file(&root, schemas, diagnostics),
                None => self.is_incomplete = true,
            }
        }
    }

    /// Adds the definitions that a description carries itself.
    pub(crate) fn add_embedded(&mut self, description: &Item, schemas: &dyn Schemas, diagnostics: &mut Diagnostics) {
        for entry in description.mapping().into_iter().flatten() {
            if let Some(name) = entry.key.strip_prefix(DEFINITION_KEY_PREFIX).filter(|name| !name.is_empty()) {
                self.add_type(name, entry, schemas, diagnostics);
            }
        }
    }

    fn without_errors(
        self,
        mut diagnostics: Diagnostics,
    ) -> Result<(IndexMap<String, Vec<Implementation>>, Diagnostics), Diagnostics> {
        self.obstacles.into_values().flatten().for_each(|obstacles| diagnostics.merge(obstacles));
        if diagnostics.has_errors() {
            Err(diagnostics)
        } else {
            Ok((self.types, diagnostics.with_obstacles_as_warnings()))
        }
    }

    fn add_file(&mut self, root: &Item, schemas: &dyn Schemas, diagnostics: &mut Diagnostics) {
        let Some(entries) = check::mapping(root, "a file of node definitions", diagnostics) else {
            self.is_incomplete = true;
            return;
        };
        for entry in entries {
            match entry.key.strip_prefix(DEFINITION_KEY_PREFIX) {
                Some("") | None => {
                    let diagnostic =
                        Diagnostic::error("key.unknown", format!("`{}` is not a node definition", entry.key))
                            .at(&entry.key_at, "not known here")
                            .help("each key is `node_def:` and the name of a type: `'node_def:web':`");
                    diagnostics.push(diagnostic);
                }
                Some(name) => self.add_type(name, entry, schemas, diagnostics),
            }
        }
    }

    fn add_type(&mut self, name: &str, entry: &Entry, schemas: &dyn Schemas, diagnostics: &mut Diagnostics) {
        if let Some(first) = self.locations.get(name) {
            let diagnostic = Diagnostic::error("type.twice", format!("the node type `{name}` is defined twice"))
                .at(&entry.key_at, "again")
                .related(first, "first here");
            diagnostics.push(diagnostic);
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
        diagnostics.merge(own);
    }
}

/// Returns the implementations of a type, each with its obstacles.
fn implementations(
    name: &str,
    list: &Item,
    schemas: &dyn Schemas,
    diagnostics: &mut Diagnostics,
) -> Vec<(Implementation, Diagnostics)> {
    // A tag or an import that failed is reported already.
    let what = format!("the definition of `{name}`");
    if list.mapping().is_some() {
        let diagnostic = check::wrong_kind(&what, "a list", list);
        diagnostics.push(diagnostic.help("it is a list of implementations: begin the first one with `- `"));
        return Vec::new();
    }
    let Some(items) = check::sequence(list, &what, diagnostics) else { return Vec::new() };
    if items.is_empty() {
        let diagnostic = Diagnostic::error("type.empty", format!("{what} is empty")).at(&list.at, "no implementation");
        diagnostics.push(diagnostic.help("a type needs one implementation at least"));
    }
    let mut checked = Vec::new();
    for item in items {
        let mut own = Diagnostics::default();
        let implementation = implementation::check(item, schemas, &mut own);
        let (obstacles, others) = own.split();
        diagnostics.merge(others);
        checked.extend(implementation.map(|implementation| (implementation, obstacles)));
    }
    checked
}
