//! The REST service, in a process of its own; the clients are this process and `wrk`. All of them share the machine's cores.

mod child;
mod client;
pub(crate) mod idle;
pub(crate) mod requests;
pub(crate) mod streams;
mod watchers;
mod wrk;

pub(crate) use child::is_child;
