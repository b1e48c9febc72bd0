//! Answers in the place of a Docker engine's: the driver reports a container as gone only if the engine itself does.

use occopus_driver_docker::Docker;
use occopus_sdk::{Handle, Phase, testing};
use serde_json::{Value, json};

use crate::answers::{Exchange, Input, Said, has_text};

const ID: &str = "dfd44c8185e1a69f410f009b51f3ec79feb24ee647d22bb09c2c7bdf48795c7a";
const ENGINE: &str = "ENGINE:1";

/// Makes one call with the answers in the input.
pub(crate) fn hold(bytes: &[u8]) {
    let input = Input::read(bytes);
    let (host, heard) = input.host();
    let section = json!({
        "endpoint": "tcp://engine:2375", "image": "busybox", "tag": "1",
        "origin": if input.wants("local") { "local" } else { "dockerhub" },
    });
    let Ok(docker) = testing::driver::<Docker>(host, section) else { return };
    let handle = if input.wants("old") {
        Handle::new(1, ID)
    } else {
        Handle::new(2, json!({"container": ID, "engine": ENGINE}).to_string())
    };
    let said = input.call(&docker, &[handle], "i1");
    let heard = heard.borrow();
    match said {
        Said::Machine(machine) => {
            let data: Value = serde_json::from_str(&machine.handle.data).expect("a handle");
            let id = data["container"].as_str().expect("an id");
            assert!(!id.is_empty(), "a container without an id");
            let named = |exchange: &Exchange| exchange.is_success() && has_text(&exchange.json(), id);
            assert!(heard.iter().any(named), "no answer names {id}");
        }
        Said::Machines(machines) if machines.iter().any(|machine| machine.phase == Phase::Gone) => {
            assert!(heard.iter().any(says_absent), "the server did not report it as gone");
            assert!(input.wants("old") || heard.iter().any(is_its_engine), "another engine said so");
        }
        Said::Removed => assert!(heard.iter().any(says_absent), "the server did not report it as gone"),
        Said::Nothing => {
            let lists = heard.iter().filter(|exchange| is_list(exchange)).count();
            assert!(lists >= 2, "two lists prove it, and {lists} were shown");
        }
        Said::Page(page) if page.machines.is_empty() => {
            assert!(heard.iter().any(is_list), "no list was shown");
        }
        _ => {}
    }
}

fn says_absent(exchange: &Exchange) -> bool {
    let message = exchange.json()["message"].as_str().unwrap_or_default().to_owned();
    exchange.asked("GET", &format!("/containers/{ID}/json"))
        && exchange.answer.status == 404
        && message.to_lowercase().contains("no such container")
        && message.contains(ID)
}

fn is_its_engine(exchange: &Exchange) -> bool {
    exchange.asked("GET", "/info") && exchange.answer.status == 200 && exchange.json()["ID"] == ENGINE
}

fn is_list(exchange: &Exchange) -> bool {
    exchange.asked("GET", "/containers/json") && exchange.answer.status == 200 && exchange.json().is_array()
}
