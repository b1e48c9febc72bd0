//! The survey's part of a pass: what is observed of an infrastructure, and kept in memory. It draws no conclusion, and
//! writes nothing itself; the survey of the instances (`act::survey`) does.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;

use super::jobs::Claims;
use super::node_backoff::DeadInstance;
use crate::act::{Assessment, Death, DesiredState, RunContext, TaskError, survey};
use crate::request::WakeSignal;
use crate::state::InstanceRecord;

/// Extent of a survey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SurveyExtent {
    Complete,
    /// Cut short by a wake signal: what was observed by then is recorded, and no decision follows from it.
    Partial,
}

/// The time that a survey has.
#[derive(Debug, Clone, Copy)]
pub(super) struct SurveyWindow {
    /// Time over which its health checks are spread.
    pub(super) spread: Duration,
    /// Set if a wake signal cuts it short.
    pub(super) is_interruptible: bool,
}

impl SurveyWindow {
    /// A survey that asks everything at once, and to the end.
    pub(super) const AT_ONCE: Self = Self { spread: Duration::ZERO, is_interruptible: false };
}

/// Instances with the findings of one survey.
pub(super) type Findings = Vec<(InstanceRecord, Assessment)>;

/// Surveys these instances. A survey that is cut short may have no findings.
pub(super) async fn survey_within(
    window: SurveyWindow,
    ctx: Arc<RunContext>,
    desired: Arc<DesiredState>,
    records: Vec<InstanceRecord>,
    wake: &WakeSignal,
) -> (SurveyExtent, Result<Findings, TaskError>) {
    let cut = ctx.cancel.child_token();
    let mut surveying = pin!(survey(ctx.with_cancel(cut.clone()), desired, records, window.spread));
    tokio::select! {
        findings = &mut surveying => (SurveyExtent::Complete, findings),
        // Awaited all the same, so that none of its writes comes after later ones.
        () = wake.woken(), if window.is_interruptible => {
            cut.cancel();
            let findings = match surveying.await {
                Err(TaskError::Cancelled | TaskError::Failed(_)) => Ok(Vec::new()),
                findings => findings,
            };
            (SurveyExtent::Partial, findings)
        }
    }
}

/// The observed state of an infrastructure.
pub(super) struct ObservedState {
    /// Instance records by id, so the oldest first.
    pub(super) records: BTreeMap<String, InstanceRecord>,
    /// Instances that the last surveys found dead.
    pub(super) deaths: HashMap<String, Death>,
    /// Number of instances that the last complete survey covered.
    pub(super) surveyed: usize,
}

impl ObservedState {
    /// Creates the state that earlier surveys have recorded.
    pub(super) fn new(records: Vec<InstanceRecord>) -> Self {
        let dead = records.iter().filter(|record| record.is_observed_dead());
        let deaths = dead.map(|record| (record.id.clone(), Death::from_record(record))).collect();
        let surveyed = records.iter().filter(|record| record.is_surveyed()).count();
        Self { records: records.into_iter().map(|record| (record.id.clone(), record)).collect(), deaths, surveyed }
    }

    /// Returns the instances to survey: those that were ready before and that no job has claimed.
    pub(super) fn to_survey(&self, claims: &Claims) -> Vec<InstanceRecord> {
        let is_free = |record: &&InstanceRecord| record.is_surveyed() && !claims.has(&record.id);
        self.records.values().filter(is_free).cloned().collect()
    }

    /// Takes over the findings of a survey.
    pub(super) fn apply(&mut self, extent: SurveyExtent, findings: Findings) {
        if extent == SurveyExtent::Complete {
            self.deaths.clear();
            self.surveyed = findings.len();
        }
        for (record, assessment) in findings {
            match assessment {
                _ if extent == SurveyExtent::Partial => {}
                Assessment::Dead(death) => {
                    self.deaths.insert(record.id.clone(), death);
                }
                // Dead before, and not known to be alive now.
                Assessment::Inconclusive(_) if record.is_observed_dead() => {
                    self.deaths.insert(record.id.clone(), Death::from_record(&record));
                }
                Assessment::Inconclusive(_) | Assessment::Ready | Assessment::NotReady => {}
            }
            self.records.insert(record.id.clone(), record);
        }
    }

    /// Takes over the record that a job has left of an instance, if any.
    pub(super) fn set_record(&mut self, id: String, record: Option<InstanceRecord>) {
        self.deaths.remove(&id);
        match record {
            Some(record) => self.records.insert(id, record),
            None => self.records.remove(&id),
        };
    }

    /// Returns the deaths of recorded instances.
    pub(super) fn recorded_deaths(&self) -> impl Iterator<Item = DeadInstance<'_>> {
        self.deaths.iter().filter_map(|(id, death)| {
            let record = self.records.get(id)?;
            Some(DeadInstance { record, reason: &death.reason })
        })
    }

    /// Shifts the times since which instances fail after a jump of the wall clock.
    pub(super) fn shift_times(&mut self, jump: SignedDuration) {
        for record in self.records.values_mut() {
            let dead_since = record.is_observed_dead().then_some(&mut record.since);
            for since in record.failing_since.as_mut().into_iter().chain(dead_since) {
                *since = since.checked_add(jump).unwrap_or(*since);
            }
        }
    }
}
