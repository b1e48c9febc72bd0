//! The `local` driver: a node is a process on the machine of the host, with a loopback address of its own.
//!
//! The host starts, watches and stops processes at this plugin's request. They go on when the host ends.

use std::time::Duration;

use occopus_sdk::process::{self, Command, Ending, Process, State};
use occopus_sdk::{
    About, Address, Detail, Driver, Fault, Handle, Inventory, Launch, NoCredentials, NodeRequest, Observed, Owned,
    Page, Phase, Scope,
};
use schemars::JsonSchema;
use serde::Deserialize;

/// Version of the format of a handle: the instance's id.
const HANDLE_VERSION: u32 = 1;

/// A process on this machine.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Directory in which the command runs; by default the one in which the host was started.
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
        let command = command(request)?;
        let started = process::start(&request.instance_id, &command).map_err(|fault| match fault.code.as_str() {
            "process.no-such-directory" => fault.at("/directory", "there is no such directory"),
            _ => fault,
        })?;
        let handle = Handle::new(HANDLE_VERSION, started.instance_id.clone());
        // It may have ended already.
        Ok(observed_with_endings(vec![started]).pop().unwrap_or_else(|| Observed::new(handle, Phase::Pending)))
    }

    fn find(_: &Scope<Section>, instance_id: &str) -> Result<Option<Observed>, Fault> {
        let found = process::inspect(&[instance_id.to_owned()])?;
        Ok(observed_with_endings(found).into_iter().find(|process| process.phase != Phase::Gone))
    }

    fn observe(_: &Scope<Section>, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        let ids: Vec<String> = handles.iter().map(|handle| handle.data.clone()).collect();
        Ok(observed_with_endings(process::inspect(&ids)?))
    }

    fn destroy(scope: &Scope<Section>, handle: &Handle) -> Result<(), Fault> {
        process::stop(&handle.data, Duration::from_secs(scope.section.stop_grace.into()))
    }

    /// Checks the command and the form of the directory. A check has no files: a missing directory or program shows
    /// when the process is started.
    fn check(request: &NodeRequest<Section>) -> Vec<Detail> {
        let detail = |pointer: &str, message: String| Detail { pointer: pointer.to_owned(), message };
        let mut found: Vec<Detail> =
            directory_mistake(&request.scope.section).map(|why| detail("/directory", why)).into_iter().collect();
        if let Err(fault) = command(request) {
            found.push(detail("", fault.message));
            found.extend(fault.details);
        }
        found
    }

    fn tail(_: &Scope<Section>, handle: &Handle, lines: u32) -> Result<String, Fault> {
        process::tail(&handle.data, lines)
    }
}

/// Returns the command to run. Every mistake in it that shows without running it is an error.
fn command(request: &NodeRequest<Section>) -> Result<Command, Fault> {
    let launch = Launch::read(&request.attributes)?;
    let argv = launch.command.ok_or_else(|| {
        Fault::give_up("local.no-command", format!("the node `{}` has no command to run", request.node_name)).detail(
            "Write it in the node's contextualisation section: `type: basic` and \
             `attributes: {command: [PROGRAM, ARGUMENT]}`.",
        )
    })?;
    let unusable = |why: &str| Fault::give_up("local.bad-command", format!("`command` can't be run: {why}"));
    if argv.first().is_none_or(|program| program.trim().is_empty()) {
        return Err(unusable("its first word, the program, is empty"));
    }
    if argv.iter().any(|word| word.contains('\0')) {
        return Err(unusable("a zero byte is in it"));
    }
    // Nothing is inherited, so there is nothing to unset.
    let environment: Vec<(String, String)> =
        launch.environment.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    if let Some((name, _)) = environment.iter().find(|(_, value)| value.contains('\0')) {
        return Err(unusable(&format!("a zero byte is in the variable `{name}`")));
    }
    Ok(Command {
        argv,
        environment,
        directory: request.scope.section.directory.clone(),
        labels: request.labels.clone(),
    })
}

fn directory_mistake(section: &Section) -> Option<String> {
    let directory = section.directory.as_ref()?;
    let wrong = directory.trim().is_empty() || directory.contains('\0');
    wrong.then(|| format!("`{}` is not a directory", directory.escape_debug()))
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

/// Returns observations of processes, with the endings of those that ended.
fn observed_with_endings(processes: Vec<Process>) -> Vec<Observed> {
    let exited = processes.iter().filter(|process| process.state == State::Exited);
    let ids: Vec<String> = exited.map(|process| process.instance_id.clone()).collect();
    // Endings are evidence only: without them it is known that the processes ended.
    let endings = if ids.is_empty() { Ok(Vec::new()) } else { process::endings(&ids) };
    let mut endings = endings.unwrap_or_default().into_iter();
    let with_ending = |process: Process| {
        let ending = if process.state == State::Exited { endings.next().flatten() } else { None };
        let seen = observed(process);
        match ending {
            Some(Ending::Status(status)) => seen.because(format!("the process ended (exit status {status})")),
            Some(Ending::Signal(signal)) => seen.because(format!("the process ended by signal {signal}")),
            None => seen,
        }
    };
    processes.into_iter().map(with_ending).collect()
}

/// Returns the observation of a process. Its handle is the instance's id, by which the host finds it.
fn observed(process: Process) -> Observed {
    let handle = Handle::new(HANDLE_VERSION, process.instance_id);
    let phase = match process.state {
        State::Running => Phase::Running,
        State::Exited => Phase::Stopped,
        State::Gone => return Observed::new(handle, Phase::Gone),
    };
    let message = (phase == Phase::Stopped).then(|| "the process ended".to_owned());
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
