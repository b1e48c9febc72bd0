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
    /// Cut short by a wake signal: what was observed by then is recorded, and nothing is replaced because of it or of an
    /// earlier survey. Requests are applied all the same.
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

    /// Takes over the findings of a survey. A partial one finds nothing dead, but what it has found alive is dead no more.
    pub(super) fn apply(&mut self, extent: SurveyExtent, findings: Findings) {
        if extent == SurveyExtent::Complete {
            self.deaths.clear();
            self.surveyed = findings.len();
        }
        for (record, assessment) in findings {
            match assessment {
                Assessment::Ready | Assessment::NotReady => drop(self.deaths.remove(&record.id)),
                _ if extent == SurveyExtent::Partial => {}
                Assessment::Dead(death) => {
                    self.deaths.insert(record.id.clone(), death);
                }
                // Dead before, and not known to be alive now.
                Assessment::Inconclusive(_) if record.is_observed_dead() => {
                    self.deaths.insert(record.id.clone(), Death::from_record(&record));
                }
                Assessment::Inconclusive(_) => {}
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(id: &str, state: &str) -> InstanceRecord {
        let record = json!({
            "id": id, "node": "web", "state": state, "implementation": 0, "section": {"type": "fake"},
            "health_check": {"checks": {}, "timeout": 60}, "created": "2026-01-01T00:00:00Z",
            "since": "2026-01-01T00:00:00Z", "ready_at": "2026-01-01T00:00:00Z", "handle": {"version": 1, "data": id},
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn what_a_partial_survey_finds_alive_is_dead_no_more_and_nothing_else_changes() {
        let mut observed = ObservedState::new(["1", "2", "3", "4"].map(|id| record(id, "vanished")).into());
        observed.records.insert("5".into(), record("5", "ready"));
        let death = Death { reason: "it stopped".into(), vanished: false };
        let findings = vec![
            (record("1", "ready"), Assessment::Ready),
            (record("2", "unhealthy"), Assessment::NotReady),
            (record("3", "vanished"), Assessment::Inconclusive("refused".into())),
            (record("5", "stopped"), Assessment::Dead(death)),
        ];
        observed.apply(SurveyExtent::Partial, findings.clone());
        let mut dead: Vec<_> = observed.deaths.keys().map(String::as_str).collect();
        dead.sort_unstable();
        assert_eq!((dead, observed.surveyed), (vec!["3", "4"], 4));
        observed.apply(SurveyExtent::Complete, findings);
        let mut dead: Vec<_> = observed.deaths.keys().map(String::as_str).collect();
        dead.sort_unstable();
        assert_eq!(dead, ["3", "5"]);
    }
}
