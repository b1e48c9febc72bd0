//! The engine of Occopus: observe, plan, act, for one infrastructure at a time.
//!
//! It knows about order, state, retries and time, and nothing about any cloud, database or sandbox: those are behind the
//! traits in [`ports`].

pub mod ports;
