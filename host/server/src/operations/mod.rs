//! What the service has promised to do. A request is durable before it is answered; what a service left unfinished, the next
//! one takes up.

mod ledger;
mod record;

pub(crate) use ledger::{ATTACHED, Ledger, Next, PENDING, RequestKey, Submitted};
pub(crate) use record::{Kind, Operation, Progress, Work};
