//! Who may start when. A dispatcher owns its graph and handles one [`Input`] at a time; each costs work in proportion to
//! what it changes, never to the size of the graph.

mod bring_up;
mod inbox;
mod tear_down;

pub(crate) use bring_up::{BringUp, BringUpOutcome, FailurePolicy, TaskSpec, bring_up};
pub(crate) use inbox::RunEnd;
pub(crate) use tear_down::{TearDownOutcome, tear_down};
