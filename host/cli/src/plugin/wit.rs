//! The contract (WIT) of plugins, in the layout that generators of bindings expect.

use std::fs;
use std::path::Path;

use occopus_runtime::PluginKind;

use crate::failure::Failure;
use crate::print;

macro_rules! contract {
    ($package:literal) => {
        include_str!(concat!("../../../../wit/", $package, "/", $package, ".wit"))
    };
}

/// Writes the package of this kind into a folder, and its dependencies into `deps` there.
pub(crate) fn write(kind: PluginKind, folder: &Path) -> Result<(), Failure> {
    let (package, text, world) = match kind {
        PluginKind::Driver => ("driver", contract!("driver"), "driver-full (or driver)"),
        PluginKind::HealthChecker => ("health", contract!("health"), "health-checker"),
        PluginKind::Contextualiser => ("context", contract!("context"), "contextualiser"),
        PluginKind::ConfigManager => ("config", contract!("config"), "config-manager"),
    };
    for (file, text) in [
        (format!("{package}.wit"), text),
        ("deps/occopus-types/types.wit".to_owned(), contract!("types")),
        ("deps/occopus-host/host.wit".to_owned(), contract!("host")),
    ] {
        let path = folder.join(file);
        let written = fs::create_dir_all(path.parent().unwrap_or(folder)).and_then(|()| fs::write(&path, text));
        written.map_err(|error| {
            Failure::new("plugin.write", format_args!("{} can't be written: {error}", path.display()))
        })?;
    }
    print::line(format_args!("{} has the world {world} of occopus:{package}", folder.display()));
    Ok(())
}
