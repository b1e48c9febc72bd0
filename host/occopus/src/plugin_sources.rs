//! Sources of plugins: the program itself, then directories. Later ones replace earlier ones of the same kind and keyword.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::{fs, io};

use occopus_runtime::{Origin, PluginSource, RuntimeError, read_component};

use crate::installed::InstalledPlugins;

/// Reads all plugins. The second list has a message for each file that cannot be read.
pub(crate) fn collect_sources(
    directories: &[PathBuf],
    installed: &InstalledPlugins,
) -> (Vec<PluginSource>, Vec<String>) {
    let bundled = occopus_plugins::PLUGINS.iter().map(|plugin| PluginSource {
        name: plugin.name.to_owned(),
        bytes: Cow::Borrowed(plugin.bytes),
        origin: Origin::Bundled,
        consent: None,
    });
    let (mut sources, mut unreadable) = (bundled.collect::<Vec<_>>(), Vec::new());
    for file in directories.iter().flat_map(|directory| component_files(directory)) {
        match read_plugin(&file) {
            Ok(source) => sources.push(PluginSource { consent: installed.pin_of(&file), ..source }),
            Err(error) => unreadable.push(error.to_string()),
        }
    }
    (sources, unreadable)
}

/// Returns the files in a directory that end in `.wasm`, by name; none if the directory does not exist.
fn component_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    files.sort();
    files
}

/// Reads one plugin.
pub(crate) fn read_plugin(file: &Path) -> Result<PluginSource, RuntimeError> {
    let unreadable =
        |error: io::Error| RuntimeError::Unreadable { origin: file.display().to_string(), message: error.to_string() };
    let bytes = read_component(file).map_err(unreadable)?;
    let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(PluginSource { name, bytes: Cow::Owned(bytes), origin: Origin::File(file.to_owned()), consent: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_directories_come_after_bundled_plugins() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("b.wasm"), "b").expect("written");
        fs::write(directory.path().join("a.wasm"), "a").expect("written");
        fs::write(directory.path().join("README.md"), "no plugin").expect("written");
        fs::create_dir(directory.path().join("folder.wasm")).expect("made");
        let (sources, unreadable) = collect_sources(
            &[directory.path().to_owned(), directory.path().join("nowhere")],
            &InstalledPlugins::default(),
        );
        let own: Vec<_> = sources.iter().filter(|source| source.origin != Origin::Bundled).collect();
        assert_eq!(own.iter().map(|source| source.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(sources.len(), own.len() + occopus_plugins::PLUGINS.len());
        assert_eq!(unreadable.len(), 1, "{unreadable:?}");
    }
}
