//! What the service has promised to do. A request is durable before it is answered; what a service left unfinished, the next
//! one takes up.

mod clearing;
mod ledger;
mod record;

pub(crate) use clearing::clear;
pub(crate) use ledger::{ATTACHED, Fits, Ledger, Next, PENDING, Submitted};
pub(crate) use record::{Begun, FailedBuild, Kind, Operation, Progress, Work};
