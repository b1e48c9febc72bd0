//! Order in which instances are brought up and torn down. A dispatcher owns its graph, handles one [`inbox::Input`] at a time
//! and starts tasks of `act`; an input costs work in proportion to its changes, never to the size of the graph. Clouds,
//! plugins and the store must not be known here.

mod bring_up;
mod graph;
mod inbox;
mod start_queue;
mod tear_down;

pub(crate) use bring_up::{BringUp, BringUpOutcome, FailurePolicy, bring_up};
pub(crate) use inbox::RunEnd;
pub(crate) use start_queue::TaskSpec;
pub(crate) use tear_down::{TearDownOutcome, tear_down};
