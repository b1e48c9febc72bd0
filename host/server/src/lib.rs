//! The REST service of Occopus and its page: maintains any number of infrastructures, and is controlled over HTTP.
//!
//! [`Server::bind`] takes the port, [`Server::run`] serves until shutdown. An accepted operation is in the store before
//! its request is answered, so that the next service goes on where one was killed.

pub mod access;
pub mod listen;

mod api;
mod audit;
mod feed;
mod idempotency;
mod metrics;
mod openapi;
mod operations;
mod page;
mod page_source;
mod path_id;
mod problem;
mod scheduler;
mod server;
mod state;
mod supervise;
mod token_permits;
mod write_probe;

pub use server::{ServeError, Server, ServerOptions, openapi};
