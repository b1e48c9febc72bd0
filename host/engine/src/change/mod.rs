//! What has changed since an instance was made.

mod differences;
mod fingerprints;

pub(crate) use differences::{Differences, differences, in_order};
pub(crate) use fingerprints::Fingerprints;
