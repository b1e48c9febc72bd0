//! Decision of a pass: what follows from a survey. Pure: it reads no store, calls no cloud and starts no job.

use std::collections::{BTreeMap, HashMap};

use occopus_model::Infrastructure;

use super::healing::Claims;
use super::hold::HealingLimits;
use crate::act::Death;
use crate::plan::{Action, ActionKind, Plan, PlanOptions, Targets, plan};
use crate::state::InstanceRecord;
use crate::status::InstanceState;

/// Everything that determines a decision: the desired state, what the last survey found, and what jobs do already.
pub(super) struct Situation<'a> {
    pub(super) infrastructure: &'a Infrastructure,
    pub(super) targets: &'a Targets,
    /// Instance records by id, so the oldest first.
    pub(super) records: &'a BTreeMap<String, InstanceRecord>,
    /// Instances that surveys found dead.
    pub(super) deaths: &'a HashMap<String, Death>,
    /// Number of instances that the last complete survey covered.
    pub(super) surveyed: usize,
    /// Number of dead and of all instances, if healing is on hold.
    pub(super) hold: Option<(usize, usize)>,
    pub(super) limits: &'a HealingLimits,
    pub(super) claims: &'a Claims,
    /// Returns whether a node is not to be tried at the moment.
    pub(super) is_backing_off: &'a dyn Fn(&str) -> bool,
}

/// Decision of a pass.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    /// Replace nothing: too many instances look dead.
    Hold,
    /// Do nothing: the observed state is the desired state, or jobs bring it there.
    Idle,
    /// Do nothing yet: everything that is to be done has to wait.
    Wait,
    /// Do what the plan says.
    Heal {
        plan: Plan,
        /// Records that the plan was made from: in memory, dead instances have failed.
        records: Vec<InstanceRecord>,
        /// Number of instances that may be replaced at the same time, beside those that jobs replace.
        room: usize,
    },
}

/// Decides what a pass does.
pub(super) fn decide(situation: &Situation<'_>) -> Decision {
    if situation.hold.is_some() {
        return Decision::Hold;
    }
    let free = situation.records.values().filter(|record| !situation.claims.has(&record.id));
    let mut records: Vec<_> = free.cloned().collect();
    for record in &mut records {
        if let Some(death) = situation.deaths.get(&record.id) {
            // In memory only: the plan then replaces it.
            record.state = InstanceState::Failed;
            record.message = Some(death.reason.clone());
        }
    }
    let options =
        PlanOptions { under_way: Some(situation.claims.under_way()), ..PlanOptions::for_targets(situation.targets) };
    let mut plan = plan(situation.infrastructure, &records, &options);
    if plan.is_unchanged() {
        return Decision::Idle;
    }
    let replacements = situation.claims.replacements();
    let room = situation.limits.max_replacements(situation.surveyed + replacements).saturating_sub(replacements);
    plan.actions.retain(|action| may_start(situation, action, room));
    if plan.is_unchanged() { Decision::Wait } else { Decision::Heal { plan, records, room } }
}

/// Returns whether an action need not wait.
fn may_start(situation: &Situation<'_>, action: &Action, room: usize) -> bool {
    // An instance that can't be observed at the moment may be alive again.
    let is_unobserved = |id: &String| {
        let record = situation.records.get(id);
        record.is_some_and(|record| record.unobserved.is_some() && record.is_observed_dead())
    };
    match action.kind {
        ActionKind::Replace => {
            room > 0
                && !(situation.is_backing_off)(&action.node)
                && !action.instance.as_ref().is_some_and(is_unobserved)
        }
        ActionKind::Create => !(situation.is_backing_off)(&action.node),
        ActionKind::Resume | ActionKind::Check | ActionKind::ReplaceDrifted | ActionKind::Destroy => true,
    }
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;
    use occopus_model::{Maintenance, Node, Scaling};
    use serde_json::{Map, Value, json};

    use super::super::healing::JobClaim;
    use super::*;
    use crate::settings::Settings;

    /// A node `web` of three instances, as a survey has left them.
    struct Survey {
        records: BTreeMap<String, InstanceRecord>,
        deaths: HashMap<String, Death>,
        claims: Claims,
        hold: Option<(usize, usize)>,
        backing_off: Vec<&'static str>,
    }

    impl Survey {
        fn ready() -> Self {
            let record = |id: &str| {
                let record = json!({
                    "id": id, "node": "web", "state": "ready", "implementation": 0, "section": {"type": "fake"},
                    "health_check": {"checks": {}, "timeout": 60}, "created": "2026-01-01T00:00:00Z",
                    "since": "2026-01-01T00:00:00Z", "ready_at": "2026-01-01T00:00:00Z",
                    "handle": {"version": 1, "data": id},
                });
                (id.to_owned(), serde_json::from_value(record).unwrap())
            };
            Self {
                records: ["1", "2", "3"].map(record).into(),
                deaths: HashMap::new(),
                claims: Claims::default(),
                hold: None,
                backing_off: Vec::new(),
            }
        }

        fn dead(ids: &[&str]) -> Self {
            let mut situation = Self::ready();
            for id in ids {
                let death = Death { reason: "the machine vanished".into(), vanished: true };
                situation.deaths.insert((*id).to_owned(), death);
                situation.records.get_mut(*id).unwrap().state = InstanceState::Vanished;
            }
            situation
        }

        fn decide(&self) -> Decision {
            let web = Node {
                name: "web".into(),
                node_type: "small".into(),
                scaling: Scaling { min: 3, max: 5 },
                scaling_section: Value::Null,
                filter: Map::new(),
                variables: json!({}),
                depends_on: Vec::new(),
                mappings: Default::default(),
            };
            let infrastructure = Infrastructure {
                name: "test".into(),
                user_id: Value::Null,
                variables: json!({}),
                nodes: vec![web],
                definitions: IndexMap::new(),
                maintenance: Maintenance::default(),
                webhooks: Vec::new(),
            };
            decide(&Situation {
                infrastructure: &infrastructure,
                targets: &Targets::new(),
                records: &self.records,
                deaths: &self.deaths,
                surveyed: 3,
                hold: self.hold,
                limits: &HealingLimits::new(&Settings::default(), Maintenance::default()),
                claims: &self.claims,
                is_backing_off: &|node| self.backing_off.contains(&node),
            })
        }

        /// Returns kind and instance of the actions that begin.
        fn actions(&self) -> Vec<(ActionKind, Option<String>)> {
            let Decision::Heal { plan, .. } = self.decide() else { panic!("{:?}", self.decide()) };
            let changes = plan.actions.into_iter().filter(|action| action.kind != ActionKind::Check);
            changes.map(|action| (action.kind, action.instance)).collect()
        }
    }

    #[test]
    fn nothing_is_done_where_everything_is_ready() {
        assert_eq!(Survey::ready().decide(), Decision::Idle);
    }

    #[test]
    fn the_dead_are_replaced() {
        assert_eq!(Survey::dead(&["2"]).actions(), [(ActionKind::Replace, Some("2".to_owned()))]);
        let mut missing = Survey::ready();
        missing.records.remove("3");
        assert_eq!(missing.actions(), [(ActionKind::Create, None)]);
    }

    #[test]
    fn a_hold_replaces_nothing() {
        let mut held = Survey::dead(&["1", "2"]);
        held.hold = Some((2, 3));
        assert_eq!(held.decide(), Decision::Hold);
    }

    #[test]
    fn what_must_wait_is_no_reason_to_be_idle() {
        let mut failing = Survey::dead(&["1"]);
        failing.backing_off = vec!["web"];
        assert_eq!(failing.decide(), Decision::Wait);
        // Its cloud does not answer: it may be alive again.
        let mut unobserved = Survey::dead(&["1"]);
        unobserved.records.get_mut("1").unwrap().unobserved = Some("refused".into());
        assert_eq!(unobserved.decide(), Decision::Wait);
        // As many are being replaced as may be at a time.
        let mut full = Survey::dead(&["1", "2"]);
        full.claims.add(&JobClaim { instances: vec!["2".into()], nodes: vec!["web".into()], replacements: 1 });
        assert_eq!(full.decide(), Decision::Wait);
    }

    #[test]
    fn what_jobs_do_is_not_done_again() {
        let mut healing = Survey::dead(&["2"]);
        healing.claims.add(&JobClaim { instances: vec!["2".into()], nodes: vec!["web".into()], replacements: 1 });
        assert_eq!(healing.decide(), Decision::Idle);
    }
}
