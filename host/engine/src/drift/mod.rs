//! What has changed since an instance was made.

mod fingerprints;
mod report;

pub(crate) use fingerprints::Fingerprints;
pub(crate) use report::{DriftReport, dependency_order, drift_by_instance};
