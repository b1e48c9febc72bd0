//! Detection of a plugin's kind by the exports of its component, without compiling it.

use serde::{Deserialize, Serialize};
use wasmparser::{Encoding, Parser, Payload};

use crate::error::RuntimeError;

/// Kind of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PluginKind {
    /// World `occopus:driver/driver`.
    Driver,
    /// World `occopus:health/health-checker`.
    HealthChecker,
    /// World `occopus:context/contextualiser`.
    Contextualiser,
    /// World `occopus:config/config-manager`.
    ConfigManager,
}

impl PluginKind {
    const ALL: [Self; 4] = [Self::Driver, Self::HealthChecker, Self::Contextualiser, Self::ConfigManager];

    /// Returns the interface by whose export it is recognised.
    fn interface(self) -> &'static str {
        match self {
            Self::Driver => "occopus:driver/nodes",
            Self::HealthChecker => "occopus:health/checker",
            Self::Contextualiser => "occopus:context/renderer",
            Self::ConfigManager => "occopus:config/manager",
        }
    }

    /// Returns the name for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::HealthChecker => "health-checker",
            Self::Contextualiser => "contextualiser",
            Self::ConfigManager => "config-manager",
        }
    }
}

/// Returns the kind of a component, and the version of the contract that it was built for.
pub(crate) fn detect(bytes: &[u8], origin: &str) -> Result<(PluginKind, String), RuntimeError> {
    let exports = exports(bytes, origin)?;
    for kind in PluginKind::ALL {
        let export = exports.iter().find_map(|export| export.strip_prefix(kind.interface())?.strip_prefix('@'));
        let Some(version) = export else { continue };
        // Within 0.x a minor version is a breaking change.
        if !version.starts_with("0.1.") {
            return Err(RuntimeError::WrongWorld {
                origin: origin.to_owned(),
                message: format!(
                    "it is a {} of the contract {version}, but this host supports 0.1. Rebuild it with an SDK of 0.1, or use another version of Occopus",
                    kind.name()
                ),
            });
        }
        return Ok((kind, version.to_owned()));
    }
    let listed = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
    let expected: Vec<_> =
        PluginKind::ALL.iter().map(|kind| format!("{}@0.1.0 ({})", kind.interface(), kind.name())).collect();
    Err(RuntimeError::WrongWorld {
        origin: origin.to_owned(),
        message: format!("it exports {listed}; a plugin exports one of {}", expected.join(", ")),
    })
}

/// Returns the names of a component's own exports, not of components inside it.
fn exports(bytes: &[u8], origin: &str) -> Result<Vec<String>, RuntimeError> {
    let mut exports = Vec::new();
    visit_own_sections(bytes, origin, |payload| {
        if let Payload::ComponentExportSection(section) = payload {
            for export in section {
                exports.push(export?.name.name.to_owned());
            }
        }
        Ok(())
    })?;
    Ok(exports)
}

/// Returns the interfaces that a component imports; none if it can't be read.
pub(crate) fn imports(bytes: &[u8]) -> Vec<String> {
    let mut imports = Vec::new();
    let read = visit_own_sections(bytes, "", |payload| {
        if let Payload::ComponentImportSection(section) = payload {
            for import in section {
                imports.push(import?.name.name.to_owned());
            }
        }
        Ok(())
    });
    if read.is_ok() { imports } else { Vec::new() }
}

/// Visits the component's own sections.
fn visit_own_sections(
    bytes: &[u8],
    origin: &str,
    mut read: impl FnMut(Payload<'_>) -> wasmparser::Result<()>,
) -> Result<(), RuntimeError> {
    let not_a_component = |message: String| RuntimeError::NotAComponent { origin: origin.to_owned(), message };
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| not_a_component(format!("it is not WebAssembly ({error})")))? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(not_a_component(
                    "it is a core module. Build it for wasm32-wasip2, or wrap it with `wasm-tools component new`"
                        .to_owned(),
                ));
            }
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            payload if depth == 1 => {
                read(payload)
                    .map_err(|error| not_a_component(format!("its imports or exports are broken ({error})")))?;
            }
            _ => {}
        }
    }
    Ok(())
}
