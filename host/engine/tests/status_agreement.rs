//! Agreement of all views: whatever is recorded, `status`, the list, the plan and JSON report the same state.

use std::time::Duration;

use occopus_engine::ports::{Fault, Phase, Reaction, Store, Transaction, Write};
use occopus_engine::testing::{Fakes, Script, infrastructure, node};
use occopus_engine::{
    ActionKind, EventKind, InfrastructureState, InstanceState, MaintainOptions, Rollout, RunHandle, Scale, Settings,
    Status,
};
use occopus_model::{Infrastructure, InstanceLimits};
use serde_json::{Value, json};

/// Returns the state after this one, so that all of them are tried. A new state does not compile until it is added
/// here.
fn next_instance(state: InstanceState) -> Option<InstanceState> {
    Some(match state {
        InstanceState::Creating => InstanceState::UnknownOutcome,
        InstanceState::UnknownOutcome => InstanceState::Pending,
        InstanceState::Pending => InstanceState::Running,
        InstanceState::Running => InstanceState::Ready,
        InstanceState::Ready => InstanceState::Unhealthy,
        InstanceState::Unhealthy => InstanceState::Stopped,
        InstanceState::Stopped => InstanceState::Vanished,
        InstanceState::Vanished => InstanceState::Failed,
        InstanceState::Failed => InstanceState::Destroying,
        InstanceState::Destroying => return None,
    })
}

/// Contents of the records.
#[derive(Debug, Clone, Copy)]
struct Case {
    recorded: InfrastructureState,
    instance: InstanceState,
    unobserved: bool,
    suspended: bool,
    failing: bool,
    /// Number of instances; the target is three.
    present: usize,
    /// Set if there is a request for two.
    requested: bool,
    owned: bool,
}

impl Case {
    fn all() -> Vec<Self> {
        let instances: Vec<_> = std::iter::successors(Some(InstanceState::Creating), |it| next_instance(*it)).collect();
        let mut cases = Vec::new();
        for recorded in InfrastructureState::all() {
            for instance in &instances {
                for present in 2..=4 {
                    for bits in 0..32_u8 {
                        let [unobserved, suspended, failing, requested, owned] =
                            [1, 2, 4, 8, 16].map(|bit| bits & bit != 0);
                        let instance = *instance;
                        cases.push(Self {
                            recorded,
                            instance,
                            unobserved,
                            suspended,
                            failing,
                            present,
                            requested,
                            owned,
                        });
                    }
                }
            }
        }
        cases
    }

    fn is_dead(self) -> bool {
        use InstanceState::{Destroying, Failed, Stopped, Vanished};
        matches!(self.instance, Stopped | Vanished | Failed | Destroying)
    }

    fn target(self) -> usize {
        if self.requested { 2 } else { 3 }
    }

    /// Returns the state that every view has to report.
    fn expected(self) -> InfrastructureState {
        let looks_dead = self.is_dead() || self.instance == InstanceState::Unhealthy;
        let alive = self.present - usize::from(self.is_dead());
        let is_right = self.instance == InstanceState::Ready && alive == self.target();
        match self.recorded {
            InfrastructureState::Destroying | InfrastructureState::Building => self.recorded,
            InfrastructureState::Held if looks_dead => InfrastructureState::Held,
            _ if !is_right && self.failing => InfrastructureState::Failing,
            _ if !is_right => InfrastructureState::Degraded,
            _ if self.unobserved => InfrastructureState::Unreachable,
            _ => InfrastructureState::Ready,
        }
    }
}

/// Returns two to four web servers.
fn graph() -> Infrastructure {
    let mut web = node("web", 2, &[]);
    web.scaling.max = 4;
    infrastructure(vec![web])
}

fn put(key: String, value: &Value) -> Write {
    Write::Put { key, value: value.to_string().into_bytes(), lease: None }
}

async fn write(fakes: &Fakes, writes: Vec<Write>) {
    fakes.store.commit(Transaction { compares: Vec::new(), writes }).await.expect("written");
}

async fn read(fakes: &Fakes, key: &str) -> Value {
    let entry = fakes.store.get(key).await.expect("read").expect("there");
    serde_json::from_slice(&entry.value).expect("JSON")
}

async fn record(fakes: &Fakes, case: Case, instances: &[Value], summary: &Value) {
    let mut writes = Vec::new();
    for at in 0..4 {
        let id = format!("instance-{at}");
        let key = format!("infra/test/instance/{id}");
        if at >= case.present {
            writes.push(Write::Delete { key });
            continue;
        }
        let mut instance = instances[at % instances.len()].clone();
        instance["id"] = json!(id);
        if at == 0 {
            instance["state"] = json!(case.instance);
            instance["unobserved"] = if case.unobserved { json!("a fog") } else { Value::Null };
        }
        writes.push(put(key, &instance));
    }
    let time = "2026-01-01T00:00:00Z";
    let markers = [
        ("suspended", case.suspended, json!({})),
        (
            "failing/web",
            case.failing,
            json!({"v": 1, "failures": 3, "failed": time, "next_attempt": "2026-01-01T00:01:00Z", "message": "it ended"}),
        ),
        ("request/1", case.requested, json!({"v": 1, "node": "web", "scale": {"to": 2}})),
        ("owner", case.owned, json!({"v": 1, "holder": "somebody", "since": time, "token": "t"})),
    ];
    for (name, exists, value) in markers {
        let key = format!("infra/test/{name}");
        writes.push(if exists { put(key, &value) } else { Write::Delete { key } });
    }
    let mut summary = summary.clone();
    summary["state"] = json!(case.recorded);
    writes.push(put("infrastructure/test".into(), &summary));
    write(fakes, writes).await;
}

#[tokio::test(start_paused = true)]
async fn all_views_agree_whatever_is_recorded() {
    let fakes = Fakes::new();
    fakes.build(&graph()).await.expect("built");
    fakes.engine.scale(&fakes.id, "web", Scale::To(3)).await.expect("recorded");
    fakes.maintain().await.expect("scaled");
    let mut instances = Vec::new();
    for key in fakes.store.keys().iter().filter(|key| key.contains("/instance/")) {
        instances.push(read(&fakes, key).await);
        write(&fakes, vec![Write::Delete { key: key.clone() }]).await;
    }
    let summary = read(&fakes, "infrastructure/test").await;
    for case in Case::all() {
        record(&fakes, case, &instances, &summary).await;
        let status = fakes.engine.status(&fakes.id, false).await.expect("status");
        assert_eq!(status.state, case.expected(), "{case:?}: {:?}", status.message);
        assert_views_agree(&fakes, case, &status).await;
    }
}

async fn assert_views_agree(fakes: &Fakes, case: Case, status: &Status) {
    let web = &status.nodes[0];
    assert_eq!((web.target as usize, web.instances.len()), (case.target(), case.present), "{case:?}");
    assert_eq!(web.instances[0].state, case.instance, "{case:?}");
    assert_eq!(web.instances[0].unobserved.is_some(), case.unobserved, "{case:?}");
    assert_eq!((status.suspended, status.owner.is_some()), (case.suspended, case.owned), "{case:?}");
    assert_eq!(web.failing.is_some(), case.failing, "{case:?}");
    assert_eq!(status.is_ready(), status.state == InfrastructureState::Ready, "{case:?}");
    let is_ready = status.state == InfrastructureState::Ready;
    let is_building = status.state == InfrastructureState::Building && case.owned;
    let is_destroying = status.state == InfrastructureState::Destroying;
    assert!(status.message.is_some() || is_ready || is_building || is_destroying, "{case:?} has no reason");
    let json = serde_json::to_value(status).expect("JSON");
    assert_eq!(json["state"], json!(case.expected()), "{case:?}");

    let list = fakes.engine.list().await.expect("a list");
    assert_eq!((list[0].state, list[0].suspended), (status.state, case.suspended), "{case:?}");

    let plan = fakes.engine.plan(Some(&fakes.id), &graph(), Rollout::default()).await.expect("a plan");
    let is_right = matches!(status.state, InfrastructureState::Ready | InfrastructureState::Unreachable);
    assert!(plan.is_unchanged() || !is_right, "{case:?}: {plan}");
    let replaced = plan.count(ActionKind::Replace) + plan.count(ActionKind::Destroy) > 0;
    assert!(replaced || !case.is_dead(), "{case:?}: dead instances are removed: {plan}");
}

#[tokio::test(start_paused = true)]
async fn the_list_is_right_while_a_request_is_pending() {
    let fakes = Fakes::new();
    fakes.build(&graph()).await.expect("built");
    let list = async || fakes.engine.list().await.expect("a list")[0].state;
    assert_eq!(list().await, InfrastructureState::Ready);
    fakes.engine.scale(&fakes.id, "web", Scale::To(4)).await.expect("recorded");
    assert_eq!(list().await, InfrastructureState::Degraded, "two are missing");
    let status = fakes.engine.status(&fakes.id, false).await.expect("status");
    assert_eq!(status.message.as_deref(), Some("node web has 2 instances instead of 4"));
    // Requests are not applied while maintenance is suspended.
    fakes.engine.suspend(&fakes.id).await.expect("suspended");
    assert_eq!(fakes.maintain().await.expect("a pass").state, InfrastructureState::Degraded);
    fakes.engine.resume(&fakes.id).await.expect("resumed");
    assert!(fakes.maintain().await.expect("a pass").is_ready());
    assert_eq!(list().await, InfrastructureState::Ready);
}

#[tokio::test(start_paused = true)]
async fn held_instances_are_shown_as_dead_and_are_those_that_the_plan_replaces() {
    let fakes = Fakes::new();
    let six = infrastructure(vec![node("web", 6, &[])]);
    fakes.build(&six).await.expect("built");
    for machine in fakes.cloud.machines().iter().take(4) {
        fakes.cloud.remove_machine_of(&machine.instance);
    }
    for refresh in [true, false] {
        let status = fakes.engine.status(&fakes.id, refresh).await.expect("status");
        assert_eq!(status.state, InfrastructureState::Held, "{refresh}");
        let vanished = status.nodes[0].instances.iter().filter(|it| it.state == InstanceState::Vanished).count();
        assert_eq!(vanished, 4);
        let message = status.message.expect("a reason");
        assert!(message.contains("4 of 6 instances look dead") && message.contains("--release"), "{message}");
    }
    assert_eq!(fakes.maintain().await.expect("a pass").state, InfrastructureState::Held);
    let plan = fakes.engine.plan(Some(&fakes.id), &six, Rollout::default()).await.expect("a plan");
    assert_eq!(plan.summary(), "4 to replace, 2 unchanged");
    let options = MaintainOptions { release: true, ..MaintainOptions::default() };
    let released = fakes.engine.maintain(&fakes.id, options, RunHandle::new().0).await.expect("a pass");
    assert!(released.is_ready(), "{released:?}");
    assert_eq!(fakes.cloud.machines().len(), 6);
}

/// Tests that the status's advice has its effect in the process that maintains the infrastructure, and once.
#[tokio::test(start_paused = true)]
async fn a_release_ends_a_hold_of_another_process() {
    let fakes = Fakes::new();
    fakes.build(&infrastructure(vec![node("web", 6, &[])])).await.expect("built");
    let (stop, maintaining) = fakes.spawn_maintain();
    for is_requested in [true, false] {
        for machine in fakes.cloud.machines().iter().take(4) {
            fakes.cloud.remove_machine_of(&machine.instance);
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        let held = fakes.engine.status(&fakes.id, false).await.expect("status");
        assert_eq!((held.state, fakes.cloud.machines().len()), (InfrastructureState::Held, 2));
        if is_requested {
            fakes.engine.release(&fakes.id).await.expect("requested");
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(fakes.cloud.machines().len(), 6);
            assert!(fakes.engine.status(&fakes.id, false).await.expect("status").is_ready());
        }
    }
    stop.request();
    maintaining.await.expect("no panic").expect("ends");
}

/// Builds six web servers; the returned function removes four of the machines that there are.
async fn six() -> (Fakes, impl Fn()) {
    let fakes = Fakes::new();
    fakes.build(&infrastructure(vec![node("web", 6, &[])])).await.expect("built");
    let cloud = fakes.cloud.clone();
    let lose_four = move || {
        for machine in cloud.machines().iter().take(4) {
            cloud.remove_machine_of(&machine.instance);
        }
    };
    (fakes, lose_four)
}

#[tokio::test(start_paused = true)]
async fn a_release_that_was_not_accepted_for_long_releases_nothing() {
    for (minutes, expected) in [(9, InfrastructureState::Ready), (11, InfrastructureState::Held)] {
        let (fakes, lose_four) = six().await;
        fakes.engine.release(&fakes.id).await.expect("requested");
        tokio::time::sleep(Duration::from_secs(minutes * 60)).await;
        lose_four();
        assert_eq!(fakes.maintain().await.expect("a pass").state, expected, "after {minutes} minutes");
        assert!(fakes.store.get("infra/test/release").await.expect("read").is_none(), "after {minutes} minutes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_does_not_outlive_a_suspension() {
    for is_requested_before in [true, false] {
        let (fakes, lose_four) = six().await;
        if is_requested_before {
            fakes.engine.release(&fakes.id).await.expect("requested");
        }
        fakes.engine.suspend(&fakes.id).await.expect("suspended");
        if !is_requested_before {
            fakes.engine.release(&fakes.id).await.expect("requested");
        }
        fakes.maintain().await.expect("nothing is observed");
        fakes.engine.resume(&fakes.id).await.expect("resumed");
        lose_four();
        assert_eq!(fakes.maintain().await.expect("a pass").state, InfrastructureState::Held, "{is_requested_before}");
        assert_eq!(fakes.cloud.machines().len(), 2);
    }
}

/// Tests that a release continues after a stop: one instance is replaced at a time, and maintenance is stopped after
/// the first.
#[tokio::test(start_paused = true)]
async fn a_release_continues_after_a_stop() {
    let (fakes, lose_four) = six().await;
    let slow =
        |seconds| fakes.cloud.set_timing(Duration::from_secs(seconds), Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (stop, maintaining) = fakes.spawn_maintain();
    lose_four();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fakes.engine.status(&fakes.id, false).await.expect("status").state, InfrastructureState::Held);
    slow(40);
    fakes.engine.release(&fakes.id).await.expect("requested");
    tokio::time::sleep(Duration::from_secs(30)).await;
    stop.request();
    maintaining.await.expect("no panic").expect("ends");
    assert!(fakes.cloud.machines().len() < 5, "it was stopped early");
    slow(0);
    assert!(fakes.maintain().await.expect("a pass").is_ready());
    assert_eq!(fakes.cloud.machines().len(), 6);
    lose_four();
    assert_eq!(
        fakes.maintain().await.expect("a pass").state,
        InfrastructureState::Held,
        "it was valid for the first hold"
    );
}

#[tokio::test(start_paused = true)]
async fn an_infrastructure_above_the_limits_is_healed_and_does_not_grow() {
    let mut web = node("web", 4, &[]);
    web.scaling.max = 8;
    let fakes = Fakes::new();
    fakes.build(&infrastructure(vec![web])).await.expect("built");
    fakes.engine.scale(&fakes.id, "web", Scale::To(6)).await.expect("recorded");
    assert!(fakes.maintain().await.expect("a pass").is_ready());
    fakes.engine.scale(&fakes.id, "web", Scale::To(8)).await.expect("recorded");
    let limits = InstanceLimits { per_node: 5, per_infrastructure: 5 };
    let fakes = fakes.with_settings(Settings { instance_limits: limits, ..Settings::default() });
    fakes.cloud.remove_machine_of(&fakes.cloud.machines()[0].instance);
    let status = fakes.maintain().await.expect("a pass");
    assert!(status.is_ready(), "{status:?}");
    assert_eq!((status.nodes[0].target, fakes.cloud.machines().len()), (6, 6));
    fakes.engine.scale(&fakes.id, "web", Scale::To(4)).await.expect("recorded");
    assert!(fakes.maintain().await.expect("a pass").is_ready());
    assert_eq!(fakes.cloud.machines().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_release_waits_for_no_pause_of_a_failing_node() {
    let fakes = Fakes::new();
    fakes.build(&infrastructure(vec![node("web", 3, &[])])).await.expect("built");
    // The second time costs a pause.
    for round in 1..=2 {
        for machine in fakes.cloud.machines().iter().take(2) {
            fakes.cloud.remove_machine_of(&machine.instance);
        }
        assert_eq!(fakes.maintain().await.expect("a pass").state, InfrastructureState::Held, "round {round}");
        let options = MaintainOptions { release: true, ..MaintainOptions::default() };
        let released = fakes.engine.maintain(&fakes.id, options, RunHandle::new().0).await.expect("a pass");
        assert!(released.is_ready(), "round {round}: {released:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_build_that_can_not_observe_anything_does_not_report_that_it_is_ready() {
    let fakes = Fakes::new();
    fakes.build(&graph()).await.expect("built");
    let down = || Script::Fault(Fault::new(Reaction::Retry, "fake.503", "503 Service Unavailable"));
    (0..10).for_each(|_| fakes.cloud.script("observe", "", down()));
    fakes.cloud.remove_machines_of("web");
    let status = fakes.build(&graph()).await.expect("nothing was to be done");
    assert_eq!(status.state, InfrastructureState::Unreachable);
    assert!(status.message.expect("a reason").contains("2 of 2 instances could not be observed: 503"));
    let events = fakes.events().await.expect("events");
    assert_eq!(events.iter().filter(|event| event.kind == EventKind::InfraReady).count(), 1, "of the first build");
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_build_reports_that_no_process_owns_it() {
    let fakes = Fakes::new();
    fakes.cloud.set_timing(Duration::from_secs(100), Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let (_, building) = fakes.spawn_build(&graph());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let status = fakes.engine.status(&fakes.id, false).await.expect("status");
    assert_eq!((status.state, status.message), (InfrastructureState::Building, None));
    building.abort();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let status = fakes.engine.status(&fakes.id, false).await.expect("status");
    assert_eq!(status.state, InfrastructureState::Building);
    assert!(status.message.expect("a reason").starts_with("interrupted: no process owns it"));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_restarts_or_is_paused_is_not_shown_as_ready() {
    let fakes = Fakes::new();
    fakes.build(&graph()).await.expect("built");
    fakes.cloud.set_phase("web", Phase::Pending);
    let status = fakes.maintain().await.expect("a pass");
    assert_eq!(
        (status.state, status.nodes[0].instances[0].state),
        (InfrastructureState::Degraded, InstanceState::Unhealthy)
    );
    fakes.cloud.set_phase("web", Phase::Unknown);
    let status = fakes.maintain().await.expect("a pass");
    assert_eq!(status.nodes[0].instances[0].unobserved.as_deref(), Some("it is of another account"));
    assert_eq!(fakes.cloud.count("create"), 2);
}
