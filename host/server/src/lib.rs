//! The REST service of Occopus and its page: keeps any number of infrastructures alive, and is driven over HTTP.
//!
//! [`Server::bind`] takes the port, [`Server::run`] works until it is told to end. What was promised is in the store before
//! it is answered, so that the next service goes on where one was killed.

pub mod access;
pub mod listen;
pub mod page;

mod api;
mod audit;
mod feed;
mod metrics;
mod once;
mod openapi;
mod operations;
mod problem;
mod server;
mod shares;
mod shown;
mod state;
mod stored;
mod supervise;
mod writes;

pub use server::{Options, ServeError, Server, openapi};
