//! Description of a plugin by itself.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

/// The constant part of a plugin's description. Begin with `..About::DRIVER` or its kin.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Name for people, such as `docker`.
    pub name: &'static str,
    /// Version by semantic versioning, usually `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// Text by which the user chooses this plugin.
    pub keyword: &'static str,
    /// Line for `occopus plugin list`.
    pub summary: &'static str,
    /// Network targets: `endpoint`, `announced` (hosts that the endpoint names in its answers), `node-address`,
    /// `HOST:PORT`, or `HOST:PORT for HOST:PORT` (the first one, where the endpoint is the second).
    pub network: &'static [&'static str],
    /// Host interfaces beyond the ordinary ones: `icmp`, `process`, `reveal`.
    pub interfaces: &'static [&'static str],
}

impl About {
    /// A plugin that only computes, as a contextualiser does.
    pub const CONTEXT: Self = Self { name: "", version: "", keyword: "", summary: "", network: &[], interfaces: &[] };
    /// A driver that connects to the `endpoint` of its section.
    pub const DRIVER: Self = Self { network: &["endpoint"], ..Self::CONTEXT };
    /// A health checker that connects to the node.
    pub const HEALTH: Self = Self { network: &["node-address"], ..Self::CONTEXT };
}

/// The credentials of a plugin that takes none.
#[derive(Debug, Clone, Copy)]
pub enum NoCredentials {}

/// Credentials of a driver: a struct of strings with a JSON Schema, or [`NoCredentials`]. A field that is not secret
/// carries `#[schemars(extend("x-public" = true))]`.
pub trait Credentials {
    /// Returns their JSON Schema; empty if there are none.
    fn schema() -> String;
}

impl Credentials for NoCredentials {
    fn schema() -> String {
        String::new()
    }
}

impl<T: JsonSchema> Credentials for T {
    fn schema() -> String {
        schema::<T>()
    }
}

/// Returns the JSON Schema (draft 2020-12) of a type. Subschemas are inlined, so that it can be read in one piece.
pub(crate) fn schema<T: JsonSchema>() -> String {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().as_value().to_string()
}

#[cfg_attr(not(target_arch = "wasm32"), expect(dead_code, reason = "only components describe themselves"))]
pub(crate) fn credentials_schema<T: Credentials>() -> String {
    T::schema()
}
