//! What the service has promised to do. A request is durable before it is answered; what a service left unfinished, the next
//! one takes up.

mod cleanup;
mod ledger;
mod record;

pub(crate) use cleanup::clean_up;
pub(crate) use ledger::{ATTACHED_PREFIX, Ledger, NextWork, PENDING_PREFIX, SubmitCheck, SubmitOutcome};
pub(crate) use record::{Claim, FailedBuild, Operation, OperationKind, OperationState, Work};
