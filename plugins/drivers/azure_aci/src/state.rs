//! State of a container group, by three things that Azure says of it: the state of the last operation on the group
//! (`provisioningState`), the group's own state (`instanceView.state`), and the state and the events of its container
//! (<https://learn.microsoft.com/azure/container-instances/container-state>).
//!
//! - Lists have the first of them only. `Succeeded` there means that the container was started, and not that it still runs:
//!   a stopped group and a container that ended leave it as it is (see `observe`).
//! - `Failed` does not mean that the group was given up: one whose container runs, runs.
//! - Azure goes on trying to pull an image for half an hour. A registry that says that there is no such image, or that it may
//!   not be had, says so after half an hour, too: such a group has failed.

use occopus_sdk::Phase;

use crate::group::{ContainerState, ContainerView, Event, Group};

/// Exit statuses from here on are those of signals.
const SIGNAL_EXIT_BASE: i64 = 128;
/// Number of refusals by a registry after which a group has failed.
const MAX_REFUSED_PULLS: u64 = 2;
/// Words of registries for images that another attempt will not find either.
const FINAL_PULL_ERRORS: [&str; 7] = [
    "not found",
    "manifest unknown",
    "does not exist",
    "unauthorized",
    "authentication required",
    "denied",
    "invalid reference",
];
/// Words of registries that limit the number of pulls, in which the words above may occur.
const LATER_PULL_ERRORS: [&str; 3] = ["toomanyrequests", "too many requests", "rate limit"];
/// Maximum length of a message of Azure within ours.
const MAX_WORDS_CHARS: usize = 400;

/// Phase of a group, with the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) phase: Phase,
    pub(crate) message: Option<String>,
}

impl Judged {
    fn new(phase: Phase) -> Self {
        Self { phase, message: None }
    }

    fn because(phase: Phase, message: impl Into<String>) -> Self {
        Self { phase, message: Some(message.into()) }
    }
}

/// Returns the phase of a group.
pub(crate) fn judge(group: &Group) -> Judged {
    let provisioning = group.properties.provisioning_state.as_deref().unwrap_or_default();
    if group.is_going() {
        return Judged::new(Phase::Gone);
    }
    let view = group.properties.instance_view.as_ref();
    match view.and_then(|view| view.state.as_deref()).unwrap_or_default().to_ascii_lowercase().as_str() {
        "running" => running(group),
        "stopped" => Judged::because(Phase::Stopped, stopped(group)),
        "succeeded" | "failed" if ended(group).is_some() => {
            Judged::because(Phase::Stopped, ended(group).unwrap_or_default())
        }
        "succeeded" => Judged::because(Phase::Stopped, "the container ended"),
        "failed" => Judged::because(Phase::Failed, failure(group)),
        "pending" | "creating" | "" => by_provisioning(group, provisioning),
        "repairing" | "unhealthy" => Judged::because(Phase::Pending, repairing(group)),
        other => Judged::because(Phase::Unknown, format!("Azure calls the state of the container group `{other}`")),
    }
}

/// Returns the phase by the last operation, for a group that has no state of its own or none to speak of yet.
fn by_provisioning(group: &Group, provisioning: &str) -> Judged {
    match provisioning.to_ascii_lowercase().as_str() {
        // Only lists have no view.
        "succeeded" | "running" if group.properties.instance_view.is_none() => Judged::new(Phase::Running),
        "succeeded" | "running" | "pending" | "creating" | "updating" | "accepted" => waiting(group),
        "repairing" | "unhealthy" => Judged::because(Phase::Pending, repairing(group)),
        "stopped" => Judged::because(Phase::Stopped, stopped(group)),
        "failed" | "canceled" => Judged::because(Phase::Failed, failure(group)),
        other => Judged::because(Phase::Unknown, format!("Azure calls the state of the last operation `{other}`")),
    }
}

/// Judges a group of which Azure says that it runs: its container may be between two attempts.
fn running(group: &Group) -> Judged {
    let Some(view) = group.container_view() else { return Judged::new(Phase::Running) };
    match state_name(view.current_state.as_ref()).as_str() {
        "waiting" => waiting(group),
        "terminated" => Judged::because(Phase::Pending, restarting(view)),
        _ => Judged { phase: Phase::Running, message: restarts(view) },
    }
}

/// Judges a group whose container does not run yet, or not at the moment.
fn waiting(group: &Group) -> Judged {
    let Some(view) = group.container_view() else {
        return Judged { phase: Phase::Pending, message: group_event(group) };
    };
    if let Some(refusal) = pull_refusal(view) {
        let image = group.container().and_then(|container| container.image.as_deref()).unwrap_or_default();
        let message = format!("Azure can't pull the image `{image}`: {}", refusal.words);
        let phase = if refusal.is_final { Phase::Failed } else { Phase::Pending };
        return Judged::because(phase, message);
    }
    if view.restart_count.unwrap_or_default() > 0 || state_name(view.previous_state.as_ref()) == "terminated" {
        return Judged::because(Phase::Pending, restarting(view));
    }
    Judged { phase: Phase::Pending, message: trouble(view).or_else(|| group_event(group)) }
}

fn state_name(state: Option<&ContainerState>) -> String {
    state.and_then(|state| state.state.as_deref()).unwrap_or_default().to_ascii_lowercase()
}

/// Refusal of a registry.
struct PullRefusal {
    words: String,
    is_final: bool,
}

/// Returns why the image could not be pulled, by the last event of the container or the detail of its state.
fn pull_refusal(view: &ContainerView) -> Option<PullRefusal> {
    let detail = view.current_state.as_ref().and_then(|state| state.detail_status.as_deref()).unwrap_or_default();
    let events = view.events.as_deref().unwrap_or_default();
    let has_image = events.iter().any(|event| matches!(name_of(event), "Pulled" | "Created" | "Started"));
    if has_image && !is_about_image(detail) {
        return None;
    }
    let failed = events.iter().filter(|event| name_of(event) == "Failed" && is_about_pulling(event));
    let last = failed.max_by(|a, b| a.last_timestamp.cmp(&b.last_timestamp));
    let backing_off = events.iter().any(|event| name_of(event) == "BackOff" && is_about_pulling(event));
    let words = match last {
        Some(event) => words(event.message.as_deref()?),
        None if is_about_image(detail) || backing_off => words(detail),
        None => return None,
    };
    let lower = words.to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| lower.contains(phrase));
    let attempts = last.and_then(|event| event.count).unwrap_or(1);
    let is_repeated = attempts >= MAX_REFUSED_PULLS || backing_off || detail.contains("BackOff");
    let is_final = is_repeated && says(&FINAL_PULL_ERRORS) && !says(&LATER_PULL_ERRORS);
    Some(PullRefusal { words, is_final })
}

fn name_of(event: &Event) -> &str {
    event.name.as_deref().unwrap_or_default().trim_end_matches('.')
}

fn is_about_pulling(event: &Event) -> bool {
    event.message.as_deref().is_some_and(|message| message.to_lowercase().contains("pull"))
}

/// Returns true for `ImagePullBackOff`, `ErrImagePull` and their kin.
fn is_about_image(detail: &str) -> bool {
    detail.contains("Image")
}

/// Returns what keeps the container from starting: the last event that is not one of a start as it should be.
fn trouble(view: &ContainerView) -> Option<String> {
    let is_trouble = |event: &&Event| !matches!(name_of(event), "Pulling" | "Pulled" | "Created" | "Started" | "");
    let events = view.events.as_deref().unwrap_or_default().iter().filter(is_trouble);
    let last = events.max_by(|a, b| a.last_timestamp.cmp(&b.last_timestamp));
    last.map(describe).or_else(|| {
        let detail = view.current_state.as_ref()?.detail_status.as_deref()?;
        Some(words(detail)).filter(|words| !words.is_empty())
    })
}

fn group_event(group: &Group) -> Option<String> {
    let events = group.properties.instance_view.as_ref()?.events.as_deref()?;
    events.iter().max_by(|a, b| a.last_timestamp.cmp(&b.last_timestamp)).map(describe)
}

fn describe(event: &Event) -> String {
    let (name, message) = (name_of(event), words(event.message.as_deref().unwrap_or_default()));
    if message.is_empty() { name.to_owned() } else { format!("{name}: {message}") }
}

fn restarts(view: &ContainerView) -> Option<String> {
    match view.restart_count.unwrap_or_default() {
        0 => None,
        1 => Some("restarted once by itself".to_owned()),
        count => Some(format!("restarted {count} times by itself")),
    }
}

fn restarting(view: &ContainerView) -> String {
    let before = [view.current_state.as_ref(), view.previous_state.as_ref()];
    let ended = before.into_iter().flatten().find(|state| state_name(Some(state)) == "terminated").map(describe_end);
    match (restarts(view), ended) {
        (Some(restarts), Some(ended)) => format!("{restarts}; {ended} the last time"),
        (Some(restarts), None) => restarts,
        (None, Some(ended)) => format!("{ended}, and is started again"),
        (None, None) => "the container is started again".to_owned(),
    }
}

/// Returns the end of the container, if it ended.
fn ended(group: &Group) -> Option<String> {
    let state = group.container_view()?.current_state.as_ref()?;
    (state_name(Some(state)) == "terminated").then(|| describe_end(state))
}

fn describe_end(state: &ContainerState) -> String {
    let end = match state.exit_code {
        None => "the container ended".to_owned(),
        Some(code) => match code - SIGNAL_EXIT_BASE {
            signal @ 1..=64 => format!("the container ended by signal {signal} (exit status {code})"),
            _ => format!("the container ended (exit status {code})"),
        },
    };
    // `Completed` and `Error` say no more than the status does.
    let detail = words(state.detail_status.as_deref().unwrap_or_default());
    match detail.as_str() {
        "" | "Completed" | "Error" => end,
        "OOMKilled" => format!("{end}: it ran out of memory"),
        _ => format!("{end}: {detail}"),
    }
}

fn stopped(group: &Group) -> String {
    let detail = group.container_view().and_then(|view| view.current_state.as_ref()?.detail_status.as_deref());
    let detail = words(detail.unwrap_or_default());
    match detail.as_str() {
        "" => "the container group was stopped".to_owned(),
        _ => format!("the container group was stopped: {detail}"),
    }
}

fn repairing(group: &Group) -> String {
    let events = group_event(group).or_else(|| trouble(group.container_view()?));
    match events {
        Some(event) => format!("Azure repairs the container group: {event}"),
        None => "Azure repairs the container group".to_owned(),
    }
}

/// Returns why Azure could not make the group.
fn failure(group: &Group) -> String {
    let reason = match waiting(group) {
        Judged { message: Some(message), .. } => Some(message),
        Judged { message: None, .. } => ended(group),
    };
    match reason {
        Some(reason) => reason,
        None => "Azure could not start the container group, and gives no reason".to_owned(),
    }
}

/// Returns Azure's words on one line, not too long.
fn words(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_WORDS_CHARS) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}
