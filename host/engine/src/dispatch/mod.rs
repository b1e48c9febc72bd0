//! Who may start when. A dispatcher owns its graph and handles one [`Input`] at a time; each costs work in proportion to
//! what it changes, never to the size of the graph.

mod inbox;
mod lower;
mod raise;

pub(crate) use inbox::Ending;
pub(crate) use lower::{Lowered, lower};
pub(crate) use raise::{OnTrouble, Raise, Raised, Slot, raise};
