//! Warnings of plugins that were logged before.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Warnings that were logged already, so that they are not repeated at every observation.
#[derive(Default)]
pub(crate) struct ReportedWarnings(Mutex<BTreeSet<(String, String)>>);

impl ReportedWarnings {
    /// Number of remembered warnings; further ones are not logged.
    const MAX_REPORTED: usize = 1_000;

    pub(crate) fn is_first_report(&self, plugin: &str, text: &str) -> bool {
        let mut reported = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reported.len() < Self::MAX_REPORTED && reported.insert((plugin.to_owned(), text.to_owned()))
    }
}
