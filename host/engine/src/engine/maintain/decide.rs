//! Decision of a pass: what follows from a survey. Pure: it reads no store, calls no cloud and starts no job.

use occopus_model::Infrastructure;

use super::hold::Hold;
use super::jobs::Claims;
use super::observed::{ObservedState, SurveyExtent};
use crate::plan::{Action, ActionKind, Plan, PlanOptions, Targets, plan};
use crate::state::InstanceRecord;
use crate::status::InstanceState;

/// Everything that determines a decision: the desired state, what the last survey found, and what jobs do already.
pub(super) struct Situation<'a> {
    pub(super) infrastructure: &'a Infrastructure,
    pub(super) targets: &'a Targets,
    pub(super) observed: &'a ObservedState,
    /// Extent of the last survey. After a partial one, an instance that looks dead may be alive again.
    pub(super) extent: SurveyExtent,
    /// The hold as of the last survey, with the limits of healing.
    pub(super) hold: &'a Hold,
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
    Act {
        plan: Plan,
        /// Records that the plan was made from: in memory, dead instances have failed.
        records: Vec<InstanceRecord>,
        /// Number of instances that may be replaced at the same time, beside those that jobs replace.
        room: usize,
    },
}

/// Decides what a pass does.
pub(super) fn decide(situation: &Situation<'_>) -> Decision {
    if situation.hold.active().is_some() {
        return Decision::Hold;
    }
    let free = situation.observed.records.values().filter(|record| !situation.claims.has(&record.id));
    let mut records: Vec<_> = free.cloned().collect();
    for record in &mut records {
        if let Some(death) = situation.observed.deaths.get(&record.id) {
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
    let room =
        situation.hold.limits.max_replacements(situation.observed.surveyed + replacements).saturating_sub(replacements);
    plan.actions.retain(|action| may_start(situation, action, room));
    if plan.is_unchanged() { Decision::Wait } else { Decision::Act { plan, records, room } }
}

/// Returns whether an action need not wait.
fn may_start(situation: &Situation<'_>, action: &Action, room: usize) -> bool {
    // An instance that can't be observed at the moment may be alive again.
    let is_unobserved = |id: &String| {
        let record = situation.observed.records.get(id);
        record.is_some_and(|record| record.unobserved.is_some() && record.is_observed_dead())
    };
    match action.kind {
        ActionKind::Replace => {
            room > 0
                && situation.extent == SurveyExtent::Complete
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

    use super::super::hold::HealingLimits;
    use super::super::jobs::JobClaim;
    use super::*;
    use crate::settings::Settings;
    use crate::state::TargetRecord;

    /// A node `web` of three instances, as a survey has left them.
    struct Case {
        name: &'static str,
        vanished: &'static [&'static str],
        /// Instances whose records are missing.
        missing: &'static [&'static str],
        /// Vanished instances whose cloud does not answer now.
        unobserved: &'static [&'static str],
        /// Instances that jobs replace.
        replacing: &'static [&'static str],
        is_held: bool,
        is_backing_off: bool,
        /// Set if a wake signal cut the survey short.
        is_partial: bool,
        target: Option<u32>,
        expected: Expected,
    }

    #[derive(Debug, PartialEq)]
    enum Expected {
        Hold,
        Idle,
        Wait,
        /// The actions that begin, and the number of instances that may be replaced at the same time.
        Act(Vec<(ActionKind, Option<&'static str>)>, usize),
    }

    impl Case {
        fn new(name: &'static str, expected: Expected) -> Self {
            Self {
                name,
                vanished: &[],
                missing: &[],
                unobserved: &[],
                replacing: &[],
                is_held: false,
                is_backing_off: false,
                is_partial: false,
                target: None,
                expected,
            }
        }

        fn observed(&self) -> ObservedState {
            let ids = ["1", "2", "3"].into_iter().filter(|id| !self.missing.contains(id));
            let record = |id: &str| {
                let state = if self.vanished.contains(&id) { "vanished" } else { "ready" };
                let record = json!({
                    "id": id, "node": "web", "state": state, "implementation": 0, "section": {"type": "fake"},
                    "health_check": {"checks": {}, "timeout": 60}, "created": "2026-01-01T00:00:00Z",
                    "since": "2026-01-01T00:00:00Z", "ready_at": "2026-01-01T00:00:00Z",
                    "handle": {"version": 1, "data": id},
                    "unobserved": self.unobserved.contains(&id).then_some("refused"),
                });
                serde_json::from_value(record).unwrap()
            };
            ObservedState::new(ids.map(record).collect())
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
            let observed = self.observed();
            let mut claims = Claims::default();
            for id in self.replacing {
                claims.add(&JobClaim { instances: vec![(*id).into()], nodes: vec!["web".into()], replacements: 1 });
            }
            let mut hold = Hold::new(HealingLimits::new(&Settings::default(), Maintenance::default()));
            if self.is_held {
                hold.evaluate(&observed, &claims, "2026-01-01T00:00:01Z".parse().unwrap());
            }
            let target = self.target.map(|count| ("web".to_owned(), TargetRecord { count, victims: Vec::new() }));
            decide(&Situation {
                infrastructure: &infrastructure,
                targets: &target.into_iter().collect(),
                observed: &observed,
                extent: if self.is_partial { SurveyExtent::Partial } else { SurveyExtent::Complete },
                hold: &hold,
                claims: &claims,
                is_backing_off: &|_| self.is_backing_off,
            })
        }
    }

    #[test]
    fn a_decision_follows_from_the_survey_the_limits_and_the_jobs() {
        use ActionKind::{Create, Replace};
        use Expected::{Act, Hold, Idle, Wait};
        let cases = [
            Case::new("everything is ready", Idle),
            Case { vanished: &["2"], ..Case::new("one is dead", Act(vec![(Replace, Some("2"))], 1)) },
            Case { missing: &["3"], ..Case::new("one is missing", Act(vec![(Create, None)], 1)) },
            Case { target: Some(5), ..Case::new("scaled up", Act(vec![(Create, None)], 1)) },
            Case {
                vanished: &["1", "2"],
                ..Case::new("two are dead", Act(vec![(Replace, Some("1")), (Replace, Some("2"))], 1))
            },
            Case { vanished: &["1", "2"], is_held: true, ..Case::new("too many are dead", Hold) },
            Case {
                vanished: &["1"],
                is_held: true,
                ..Case::new("one is dead: no hold", Act(vec![(Replace, Some("1"))], 1))
            },
            // What must wait is no reason to be idle.
            Case { vanished: &["1"], is_backing_off: true, ..Case::new("its node fails again and again", Wait) },
            Case { missing: &["1"], is_backing_off: true, ..Case::new("missing, and its node fails", Wait) },
            Case { vanished: &["1"], unobserved: &["1"], ..Case::new("it may be alive again", Wait) },
            Case { vanished: &["1", "2"], replacing: &["2"], ..Case::new("as many as may be are replaced", Wait) },
            // A request that cuts a survey short is applied; nothing is replaced before a complete one.
            Case { vanished: &["1"], is_partial: true, ..Case::new("one was dead before", Wait) },
            Case {
                vanished: &["1"],
                is_partial: true,
                target: Some(4),
                ..Case::new("one was dead before, and scaled up", Act(vec![(Create, None)], 1))
            },
            // What jobs do is not done again.
            Case { vanished: &["2"], replacing: &["2"], ..Case::new("the dead one is being replaced", Idle) },
            Case { missing: &["2"], replacing: &["2"], ..Case::new("the missing one is being made", Idle) },
        ];
        for case in cases {
            let decided = match case.decide() {
                Decision::Hold => Hold,
                Decision::Idle => Idle,
                Decision::Wait => Wait,
                Decision::Act { plan, room, .. } => {
                    let ids = ["1", "2", "3"];
                    let known = |id: String| ids.into_iter().find(|known| **known == *id);
                    let begun = plan.actions.into_iter().filter(|action| action.kind != ActionKind::Check);
                    Act(begun.map(|action| (action.kind, action.instance.and_then(known))).collect(), room)
                }
            };
            assert_eq!(decided, case.expected, "{}", case.name);
        }
    }
}
