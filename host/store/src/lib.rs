//! The engine's [`Store`](occopus_engine::ports::Store) in one SQLite file.
//!
//! Several processes may use one file concurrently. Writes are durable when they return: SQLite runs in WAL mode with
//! `synchronous=FULL`, so that a power cut loses nothing that was acknowledged. Writers that wait at the same time
//! share one commit (group commit). The meaning of keys and values is not known here.

mod check;
mod file_status;
mod lease;
mod open;
mod port;
mod read;
mod sqlite;
mod users_file;
mod watch;
mod write;
mod writer;

#[cfg(test)]
mod cost;

pub use check::{CheckReport, check, compact};
pub use sqlite::SqliteStore;
