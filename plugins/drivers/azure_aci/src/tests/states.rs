//! States of groups, and what is said of them.

use super::*;
use crate::group::Group;
use crate::state::{Judged, judge};

fn judged(provisioning: &str, view: Value, container: Value) -> (Phase, String) {
    let group: Group = serde_json::from_value(json!({
        "id": "/x", "name": "g", "properties": {
            "provisioningState": provisioning, "instanceView": view,
            "containers": [{"name": "g", "properties": {"image": "nginx:alpin", "instanceView": container}}],
        },
    }))
    .unwrap();
    let Judged { phase, message } = judge(&group);
    (phase, message.unwrap_or_default())
}

fn state(state: &str) -> Value {
    json!({"events": [], "state": state})
}

#[test]
fn states_are_those_of_the_group_and_its_container() {
    let running = json!({"restartCount": 0, "currentState": {"state": "Running", "detailStatus": ""}});
    let ended = |code: i64, detail: &str| json!({"currentState": {"state": "Terminated", "exitCode": code, "detailStatus": detail}});
    let stopped =
        json!({"currentState": {"state": "Terminated", "detailStatus": "Container stopped per client request"}});
    for (provisioning, view, container, phase, said) in [
        ("Pending", state("Pending"), json!(null), Phase::Pending, ""),
        ("Creating", state(""), json!({}), Phase::Pending, ""),
        ("Succeeded", state("Running"), running.clone(), Phase::Running, ""),
        // As the real service answered: a stopped group, and a container that ended, leave `Succeeded`.
        (
            "Succeeded",
            state("Stopped"),
            stopped,
            Phase::Stopped,
            "the container group was stopped: Container stopped per client request",
        ),
        ("Succeeded", state("Succeeded"), ended(0, "Completed"), Phase::Stopped, "the container ended (exit status 0)"),
        ("Succeeded", state("Failed"), ended(3, "Error"), Phase::Stopped, "the container ended (exit status 3)"),
        (
            "Succeeded",
            state("Failed"),
            ended(137, "OOMKilled"),
            Phase::Stopped,
            "the container ended by signal 9 (exit status 137): it ran out of memory",
        ),
        // `Failed` does not mean that it was given up.
        ("Failed", state("Running"), running.clone(), Phase::Running, ""),
        (
            "Failed",
            state("Pending"),
            json!({}),
            Phase::Failed,
            "Azure could not start the container group, and gives no reason",
        ),
        ("Unhealthy", state("Running"), running.clone(), Phase::Running, ""),
        ("Repairing", state("Pending"), json!({}), Phase::Pending, "Azure repairs the container group"),
        ("Updating", state("Pending"), json!({}), Phase::Pending, ""),
        ("Deleting", state("Running"), running, Phase::Gone, ""),
        (
            "Confused",
            state("Pending"),
            json!({}),
            Phase::Unknown,
            "Azure calls the state of the last operation `confused`",
        ),
        (
            "Succeeded",
            state("Dreaming"),
            json!({}),
            Phase::Unknown,
            "Azure calls the state of the container group `dreaming`",
        ),
        // A list has no views.
        ("Succeeded", json!(null), json!(null), Phase::Running, ""),
        ("Pending", json!(null), json!(null), Phase::Pending, ""),
        ("Stopped", json!(null), json!(null), Phase::Stopped, "the container group was stopped"),
    ] {
        let seen = judged(provisioning, view.clone(), container);
        assert_eq!((seen.0, seen.1.as_str()), (phase, said), "{provisioning} {view}");
    }
}

#[test]
fn an_image_that_can_not_be_pulled_is_named() {
    let pulling = |message: &str, count: u64, detail: &str| {
        json!({
            "currentState": {"state": "Waiting", "detailStatus": detail},
            "events": [
                {"name": "Pulling", "message": "pulling image \"nginx:alpin\"", "count": count, "lastTimestamp": "2026-01-01T00:00:01Z"},
                {"name": "Failed", "message": message, "count": count, "lastTimestamp": "2026-01-01T00:00:02Z"},
            ],
        })
    };
    let not_found = "Failed to pull image \"nginx:alpin\": rpc error: code = NotFound\n  desc = not found";
    let (phase, said) = judged("Pending", state("Pending"), pulling(not_found, 1, ""));
    assert_eq!(phase, Phase::Pending);
    assert_eq!(
        said,
        "Azure can't pull the image `nginx:alpin`: Failed to pull image \"nginx:alpin\": rpc error: code = NotFound desc = not found"
    );
    // Half an hour of further attempts would not find it.
    assert_eq!(judged("Pending", state("Pending"), pulling(not_found, 2, "")).0, Phase::Failed);
    assert_eq!(
        judged("Creating", state("Pending"), pulling(not_found, 1, "ImagePullBackOff: Back-off")).0,
        Phase::Failed
    );
    // A registry that is busy may serve it later.
    for later in ["Failed to pull image: toomanyrequests: denied", "Failed to pull image: connection refused"] {
        assert_eq!(
            judged("Pending", state("Pending"), pulling(later, 9, "ImagePullBackOff")).0,
            Phase::Pending,
            "{later}"
        );
    }
    let bare = json!({"currentState": {"state": "Waiting", "detailStatus": "ErrImagePull"}});
    let (phase, said) = judged("Pending", state("Pending"), bare);
    assert_eq!((phase, said.as_str()), (Phase::Pending, "Azure can't pull the image `nginx:alpin`: ErrImagePull"));
}

#[test]
fn a_container_that_crashes_again_and_again_says_so() {
    let crashing = |count: u64, current: Value| {
        json!({
            "restartCount": count, "currentState": current,
            "previousState": {"state": "Terminated", "exitCode": 1, "detailStatus": "Error"},
            "events": [{"name": "Pulled", "message": "Successfully pulled image"}, {"name": "Started"},
                {"name": "BackOff", "message": "Back-off restarting failed container"}],
        })
    };
    let waiting = json!({"state": "Waiting", "detailStatus": "CrashLoopBackOff: Back-off restarting failed"});
    let (phase, said) = judged("Succeeded", state("Running"), crashing(3, waiting.clone()));
    assert_eq!(
        (phase, said.as_str()),
        (Phase::Pending, "restarted 3 times by itself; the container ended (exit status 1) the last time")
    );
    assert_eq!(judged("Pending", state("Pending"), crashing(0, waiting)).0, Phase::Pending);
    let (phase, said) = judged("Succeeded", state("Running"), crashing(1, json!({"state": "Running"})));
    assert_eq!((phase, said.as_str()), (Phase::Running, "restarted once by itself"));
}

#[test]
fn what_keeps_a_group_from_starting_is_said() {
    let mount = json!({
        "currentState": {"state": "Waiting"}, "events": [{"name": "FailedMount", "message": "no such share", "lastTimestamp": "2"}],
    });
    assert_eq!(judged("Pending", state("Pending"), mount), (Phase::Pending, "FailedMount: no such share".to_owned()));
    let full = json!({"state": "Failed", "events": [{"name": "InsufficientCapacity.", "message": "The requested resource is not available"}]});
    assert_eq!(judged("Failed", full, json!({})).1, "InsufficientCapacity: The requested resource is not available");
    let long = json!({"state": "Pending", "events": [{"name": "X", "message": "ä".repeat(5000)}]});
    assert!(judged("Pending", long, json!({})).1.chars().count() < 500);
}

#[test]
fn recorded_answers_of_the_real_service_are_read() {
    // Microsoft.ContainerInstance 2019-12-01 and 2018-10-01, recorded in 2018 and 2020 by Microsoft's SDK (MIT licence).
    let stopped = json!({"properties": {"sku": "Standard", "provisioningState": "Succeeded", "containers": [{"name": "my-container",
        "properties": {"image": "nginx", "command": [], "ports": [{"port": 80}], "environmentVariables": [], "instanceView": {
            "restartCount": 0, "currentState": {"state": "Terminated", "finishTime": "2020-11-25T06:17:42.6875654Z",
                "detailStatus": "Container stopped per client request"},
            "previousState": {"state": "Running", "startTime": "2020-11-25T06:17:10Z", "detailStatus": ""},
            "events": [{"count": 1, "firstTimestamp": "2020-11-25T06:16:39Z", "lastTimestamp": "2020-11-25T06:16:39Z",
                "name": "Pulling", "message": "pulling image \"nginx\"", "type": "Normal"}]},
        "resources": {"requests": {"memoryInGB": 1.5, "cpu": 1.0, "gpu": {"count": 1, "sku": "K80"}}}}}], "initContainers": [],
        "restartPolicy": "OnFailure", "osType": "Linux", "instanceView": {"events": [], "state": "Stopped"}},
        "id": "/subscriptions/0/resourceGroups/rgname/providers/Microsoft.ContainerInstance/containerGroups/myContainerGroup",
        "name": "myContainerGroup", "type": "Microsoft.ContainerInstance/containerGroups", "location": "eastus"});
    let mut listed = stopped.clone();
    let group: Group = serde_json::from_value(stopped).unwrap();
    assert_eq!(judge(&group).phase, Phase::Stopped);
    // The same group in a list: without views, and `Succeeded`.
    listed["properties"].as_object_mut().unwrap().remove("instanceView");
    listed["properties"]["containers"][0]["properties"].as_object_mut().unwrap().remove("instanceView");
    let group: Group = serde_json::from_value(listed).unwrap();
    assert_eq!(judge(&group).phase, Phase::Running);
    let ended = json!({"id": "/x", "name": "g", "properties": {"provisioningState": "Succeeded", "containers": [{"name": "g", "properties": {
        "image": "alpine:latest", "ports": [], "instanceView": {"restartCount": 0, "currentState": {"state": "Terminated",
            "startTime": "2018-10-08T16:46:30Z", "exitCode": 0, "finishTime": "2018-10-08T16:46:30Z", "detailStatus": "Completed"}}}}],
        "instanceView": {"events": [], "state": "Succeeded"}}});
    let group: Group = serde_json::from_value(ended).unwrap();
    assert_eq!(judge(&group).message.as_deref(), Some("the container ended (exit status 0)"));
}
