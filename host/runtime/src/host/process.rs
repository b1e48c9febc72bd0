//! `occopus:host/process`: for plugins that are granted it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use wasmtime::Result;

use super::HostState;
use crate::bindings::imports::occopus::host::process;
use crate::bindings::imports::occopus::types::types as wit;
use crate::convert::fault_to_wit;
use crate::grants::Interface;
use crate::process::{Process, ProcessCommand, ProcessExit, ProcessState};

fn process_to_wit(process: Process) -> process::Process {
    process::Process {
        instance_id: process.instance_id,
        state: match process.state {
            ProcessState::Running => process::State::Running,
            ProcessState::Exited => process::State::Exited,
            ProcessState::Gone => process::State::Gone,
        },
        pid: process.pid,
        address: process.address,
        output: process.output,
        labels: process.labels,
    }
}

impl HostState {
    fn check_process_granted(&self) -> Result<(), wit::Fault> {
        self.call.grants.check_interface(Interface::Process).map_err(|refusal| fault_to_wit(refusal.into()))
    }
}

impl process::Host for HostState {
    async fn start(
        &mut self,
        instance_id: String,
        command: process::Command,
    ) -> Result<Result<process::Process, wit::Fault>> {
        if let Err(fault) = self.check_process_granted() {
            return Ok(Err(fault));
        }
        let command = ProcessCommand {
            argv: command.argv,
            environment: command.environment,
            directory: command.directory,
            labels: command.labels,
        };
        self.call.possible_effects.fetch_add(1, Ordering::Relaxed);
        Ok(self.call.services.processes.start(&instance_id, command).await.map(process_to_wit).map_err(fault_to_wit))
    }

    async fn inspect(&mut self, instance_ids: Vec<String>) -> Result<Result<Vec<process::Process>, wit::Fault>> {
        if let Err(fault) = self.check_process_granted() {
            return Ok(Err(fault));
        }
        let found = self.call.services.processes.inspect(&instance_ids).await;
        Ok(found.map(|found| found.into_iter().map(process_to_wit).collect()).map_err(fault_to_wit))
    }

    async fn stop(&mut self, instance_id: String, grace_ms: u64) -> Result<Result<(), wit::Fault>> {
        if let Err(fault) = self.check_process_granted() {
            return Ok(Err(fault));
        }
        let grace = Duration::from_millis(grace_ms);
        self.call.possible_effects.fetch_add(1, Ordering::Relaxed);
        Ok(self.call.services.processes.stop(&instance_id, grace).await.map_err(fault_to_wit))
    }

    async fn endings(&mut self, instance_ids: Vec<String>) -> Result<Result<Vec<Option<process::Ending>>, wit::Fault>> {
        if let Err(fault) = self.check_process_granted() {
            return Ok(Err(fault));
        }
        let exits = self.call.services.processes.exits(&instance_ids).await;
        let to_wit = |exit: ProcessExit| match exit {
            ProcessExit::Status(status) => process::Ending::Status(status),
            ProcessExit::Signal(signal) => process::Ending::Signal(signal),
        };
        Ok(exits.map(|exits| exits.into_iter().map(|exit| exit.map(to_wit)).collect()).map_err(fault_to_wit))
    }

    async fn tail(&mut self, instance_id: String, lines: u32) -> Result<Result<String, wit::Fault>> {
        if let Err(fault) = self.check_process_granted() {
            return Ok(Err(fault));
        }
        Ok(self.call.services.processes.tail(&instance_id, lines).await.map_err(fault_to_wit))
    }

    async fn list_all(
        &mut self,
        cursor: Option<String>,
    ) -> Result<Result<(Vec<process::Process>, Option<String>), wit::Fault>> {
        if let Err(fault) = self.check_process_granted() {
            return Ok(Err(fault));
        }
        let page = self.call.services.processes.list_all(cursor.as_deref()).await;
        Ok(page.map(|(found, next)| (found.into_iter().map(process_to_wit).collect(), next)).map_err(fault_to_wit))
    }
}
