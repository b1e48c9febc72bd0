//! What a plugin says of itself.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

/// The constant part of a plugin's description.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// For people: `docker`.
    pub name: &'a str,
    /// By semantic versioning; usually `env!("CARGO_PKG_VERSION")`.
    pub version: &'a str,
    /// What the user writes to choose this plugin.
    pub keyword: &'a str,
    /// One line for `occopus plugin list`.
    pub summary: &'a str,
    /// Network targets: `endpoint`, `node-address` or `HOST:PORT`.
    pub network: &'a [&'a str],
    /// Host interfaces beyond the ordinary ones: `icmp`, `process`, `reveal`.
    pub interfaces: &'a [&'a str],
}

/// The credentials of a plugin that takes none.
#[derive(Debug, Clone, Copy)]
pub enum NoCredentials {}

/// The credentials that a plugin takes: a struct of strings, or [`NoCredentials`]. A field that is no secret carries
/// `#[schemars(extend("x-public" = true))]`.
pub trait Credentials: 'static {
    /// Their JSON Schema, or an empty string.
    fn schema() -> String;
}

impl Credentials for NoCredentials {
    fn schema() -> String {
        String::new()
    }
}

impl<T: JsonSchema + 'static> Credentials for T {
    fn schema() -> String {
        schema_of::<T>()
    }
}

/// The JSON Schema (draft 2020-12) of a type, as text. Subschemas are inlined, so that it can be read in one piece.
pub fn schema_of<T: JsonSchema>() -> String {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    schema.as_value().to_string()
}
