//! Answers in the place of OpenStack's: the driver reports a server as gone only if Nova does, to a token of
//! its own project.

use occopus_driver_nova::Nova;
use occopus_sdk::{Handle, Phase, testing};
use serde_json::json;

use crate::answers::{Exchange, Input, Said, has_text};

const ID: &str = "server-0";
const PROJECT: &str = "p-1";

/// Makes one call with the answers in the input.
pub(crate) fn hold(bytes: &[u8]) {
    let input = Input::read(bytes);
    let (host, heard) = input.host();
    let host = host.credential("username", "demo").credential("password", "hunter2");
    let mut section = json!({
        "endpoint": "http://keystone:5000", "image_id": "tiny", "flavor_name": "m1.tiny", "project_id": PROJECT,
    });
    if input.wants("floating") {
        section["floating_ip"] = json!("yes");
    }
    let Ok(nova) = testing::driver::<Nova>(host, section) else { return };
    let handle = if input.wants("old") {
        Handle::new(1, ID)
    } else {
        Handle::new(2, format!("{ID} project={PROJECT} region=One nova=http://nova/v2.1 instance=instance-1 name=n"))
    };
    let said = input.call(&nova, &[handle], "instance-1");
    let heard = heard.borrow();
    match said {
        Said::Machine(machine) => {
            let id = machine.handle.data.split(' ').next().unwrap_or_default().to_owned();
            let named = |exchange: &Exchange| exchange.is_success() && has_text(&exchange.json(), &id);
            assert!(!id.is_empty() && heard.iter().any(named), "no answer names `{id}`");
        }
        Said::Machines(machines) if machines.iter().any(|machine| machine.phase == Phase::Gone) => gone(&heard),
        Said::Removed => gone(&heard),
        Said::Nothing => assert!(heard.iter().any(is_list), "no list was shown"),
        Said::Page(page) if page.machines.is_empty() => assert!(heard.iter().any(is_list), "no list was shown"),
        _ => {}
    }
}

/// Asserts that the server was shown as deleted, or is unknown to the Nova of its own project.
fn gone(heard: &[Exchange]) {
    let is_unknown = heard.iter().any(is_login) && heard.iter().any(says_unknown);
    assert!(heard.iter().any(shows_end) || is_unknown, "Nova of its project did not say that it is gone");
}

/// Returns whether the token is of the server's project. If the answer names none, it is the requested one.
fn is_login(exchange: &Exchange) -> bool {
    let body = exchange.json();
    let project = &body["token"]["project"];
    exchange.asked("POST", "/auth/tokens") && exchange.is_success() && (project.is_null() || project["id"] == PROJECT)
}

fn says_unknown(exchange: &Exchange) -> bool {
    exchange.answer.status == 404 && exchange.json()["itemNotFound"]["message"].is_string()
}

fn shows_end(exchange: &Exchange) -> bool {
    let body = exchange.json();
    let ends = ["DELETED", "SOFT_DELETED", "deleting"].iter().any(|state| has_text(&body, state));
    exchange.is_success() && has_text(&body, ID) && ends
}

fn is_list(exchange: &Exchange) -> bool {
    exchange.is_success() && exchange.json()["servers"].is_array()
}
