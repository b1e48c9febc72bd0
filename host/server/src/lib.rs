//! The REST service of Occopus and its page: keeps any number of infrastructures alive, and is driven over HTTP.

pub mod access;
pub mod listen;
