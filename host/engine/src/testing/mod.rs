//! A cloud, a store and a clock that tests can script. With Tokio's time paused, whole deployments take no time and run
//! the same way every time.

mod clock;
mod cloud;
mod death;
mod fake;
mod store;

pub use clock::VirtualClock;
pub use cloud::{FakeCloud, Machine, SECRET, Script};
pub use death::die_at_every_transaction;
pub use fake::{Fakes, id, infrastructure, node};
pub use store::{Crash, MemoryStore};
