//! Drift: differences between an instance and what it would be if it were created now.

mod fingerprints;
mod report;

pub(crate) use fingerprints::Fingerprints;
pub(crate) use report::{DriftReport, dependency_order, drift_by_instance};
