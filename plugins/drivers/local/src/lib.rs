//! The `local` driver: a node is a process on the machine of the host, with a loopback address of its own.
//!
//! The host starts, watches and stops processes; this plugin only says which. They go on when the host ends.

use std::time::Duration;

use occopus_sdk::process::{self, Command, Process, State};
use occopus_sdk::{
    About, Address, Driver, Fault, Handle, Inventory, Launch, NoCredentials, NodeRequest, Observed, Owned, Page, Phase,
    Scope,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Of the format of a handle: the instance's id.
const HANDLE_VERSION: u32 = 1;

/// A process on this machine.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Where the command runs. By default where the host was started.
    #[serde(default)]
    pub directory: Option<String>,
    /// Seconds between the request to end and the kill.
    #[serde(default = "default_grace")]
    #[schemars(range(max = 3600))]
    pub stop_grace: u32,
}

fn default_grace() -> u32 {
    5
}

/// The driver.
pub struct Local;

impl Driver for Local {
    type Section = Section;
    type Credentials = NoCredentials;

    const ABOUT: About = About {
        name: "local",
        version: env!("CARGO_PKG_VERSION"),
        keyword: "local",
        summary: "Processes on this machine",
        network: &[],
        interfaces: &["process"],
    };

    fn create(request: &NodeRequest<Section>) -> Result<Observed, Fault> {
        let launch = Launch::read(&request.attributes)?;
        let argv = launch.command.ok_or_else(|| {
            Fault::give_up("local.no-command", format!("the node `{}` has no command to run", request.node_name))
                .detail("Write it in the node's contextualisation section: `type: basic` and `attributes: {command: [PROGRAM, ARGUMENT]}`.")
        })?;
        let command = Command {
            argv,
            // Nothing is inherited, so there is nothing to unset.
            environment: launch.environment.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
            directory: request.scope.section.directory.clone(),
            labels: request.labels.clone(),
        };
        process::start(&request.instance_id, &command).map(observed).map_err(|fault| match fault.code.as_str() {
            "process.no-such-directory" => fault.at("/directory", "there is no such directory"),
            _ => fault,
        })
    }

    fn find(_: &Scope<Section>, instance_id: &str) -> Result<Option<Observed>, Fault> {
        let found = process::inspect(&[instance_id.to_owned()])?;
        Ok(found.into_iter().map(observed).find(|process| process.phase != Phase::Gone))
    }

    fn observe(_: &Scope<Section>, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        let ids: Vec<String> = handles.iter().map(|handle| handle.data.clone()).collect();
        Ok(process::inspect(&ids)?.into_iter().map(observed).collect())
    }

    fn destroy(scope: &Scope<Section>, handle: &Handle) -> Result<(), Fault> {
        process::stop(&handle.data, Duration::from_secs(scope.section.stop_grace.into()))
    }
}

impl Inventory for Local {
    fn list_owned(_: &Scope<Section>, cursor: Option<&str>) -> Result<Page, Fault> {
        let (processes, cursor) = process::list_all(cursor)?;
        Ok(Page { machines: processes.into_iter().map(owned).collect(), cursor })
    }
}

fn owned(process: Process) -> Owned {
    let infrastructure = process.labels.iter().find(|(name, _)| name == "occopus.infrastructure");
    Owned {
        instance_id: process.instance_id.clone(),
        infrastructure_id: infrastructure.map(|(_, value)| value.clone()).unwrap_or_default(),
        observed: observed(process),
    }
}

/// A process is known by its instance's id: the host finds it by that.
fn observed(process: Process) -> Observed {
    let handle = Handle::new(HANDLE_VERSION, process.instance_id);
    let phase = match process.state {
        State::Running => Phase::Running,
        State::Exited => Phase::Stopped,
        State::Gone => return Observed::new(handle, Phase::Gone),
    };
    let message =
        (phase == Phase::Stopped).then(|| format!("the process ended; what it wrote is in {}", process.output));
    let mut attributes = vec![("output".to_owned(), process.output)];
    if process.pid != 0 {
        attributes.push(("pid".to_owned(), process.pid.to_string()));
    }
    let addresses = vec![Address { value: process.address, internal: true }];
    Observed { handle, phase, addresses, attributes, message }
}

occopus_sdk::export_driver!(Local, inventory);

#[cfg(test)]
mod tests;
