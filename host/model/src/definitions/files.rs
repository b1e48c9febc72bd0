//! Selection of the files that have node definitions.

use std::path::{Path, PathBuf};

use super::DEFINITION_KEY_PREFIX;
use crate::diagnostic::{Diagnostic, Diagnostics};

/// Returns the files that paths name; `None` if one can't be read. A directory stands for the files in it that have
/// definitions.
pub(super) fn expand(paths: &[PathBuf], diagnostics: &mut Diagnostics) -> Option<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut is_complete = true;
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        match in_directory(path) {
            Ok(found) if found.is_empty() => {
                is_complete = false;
                let message = format!("no file in {} has node definitions", path.display());
                let diagnostic = Diagnostic::error("file.nothing", message).in_file(path);
                diagnostics.push(
                    diagnostic
                        .help("files that end in `.yaml` or `.yml` and have a key such as `'node_def:web'` are read"),
                );
            }
            Ok(found) => files.extend(found),
            Err(error) => {
                is_complete = false;
                let message = format!("{} can't be read: {error}", path.display());
                diagnostics.push(Diagnostic::error("file.unreadable", message).in_file(path));
            }
        }
    }
    is_complete.then_some(files)
}

fn in_directory(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml && path.is_file() && mentions_definitions(&path)? {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Returns true if a line begins with the key of a definition. Other files of the directory are there to be imported,
/// and need not be YAML.
fn mentions_definitions(path: &Path) -> std::io::Result<bool> {
    use std::io::BufRead as _;
    let mut lines = std::io::BufReader::new(crate::files::open(path)?);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        if line.trim_ascii_start().starts_with(DEFINITION_KEY_PREFIX.as_bytes())
            || line.get(1..).is_some_and(|rest| rest.starts_with(DEFINITION_KEY_PREFIX.as_bytes()))
        {
            return Ok(true);
        }
        line.clear();
    }
    Ok(false)
}
