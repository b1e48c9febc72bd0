//! What the user wrote: read it, resolve it, check it, and compile it to a deployable graph.
//!
//! This crate is pure but for reading the files that it is pointed at: it knows nothing of clouds, plugins, stores or time.
//! What plugins say of their sections comes in through [`Schemas`].

mod check;
mod compile;
mod credentials;
mod definition;
mod description;
mod graph;
mod infrastructure;
mod problem;
mod schemas;
mod yaml;

pub use compile::{Compiled, Input, ReadDefinitions, compile, read_definitions};
pub use credentials::{AmbiguousCredentials, AuthData, Credential, Secret};
pub use infrastructure::{HealthCheck, Implementation, Infrastructure, Mapping, Mappings, Node, Scaling};
pub use problem::{Problem, Problems};
pub use schemas::{Schemas, Section};
