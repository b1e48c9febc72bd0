//! What the user wrote: read it, resolve it, check it, and compile it to a deployable graph.
//!
//! This crate is pure but for reading the files that it is pointed at: it knows nothing of clouds, plugins, stores or time.

mod infrastructure;

pub use infrastructure::{HealthCheck, Implementation, Infrastructure, Mapping, Mappings, Node, Scaling};
