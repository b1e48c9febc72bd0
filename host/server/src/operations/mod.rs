//! Operations: durable requests and their outcomes. A request is in the store before it is answered, so that the next
//! service goes on with what a service left unfinished.

mod cleanup;
mod ledger;
mod record;

pub(crate) use cleanup::clean_up;
pub(crate) use ledger::{Ledger, LedgerChange, LedgerChanges, NextWork, SubmitCheck, SubmitOutcome};
pub(crate) use record::{Claim, FailedBuild, Work};
