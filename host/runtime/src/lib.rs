//! Loads, limits and calls plugins; the only room that names Wasmtime.

pub mod grants;
pub mod http;
pub mod icmp;
pub mod process;
pub mod secrets;
pub mod serve;
