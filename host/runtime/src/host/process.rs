//! `occopus:host/process`: for plugins that are granted it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use wasmtime::Result;

use super::State;
use crate::bindings::imports::occopus::host::process;
use crate::bindings::imports::occopus::types::types as wit;
use crate::convert::fault_to;
use crate::grants::Interface;
use crate::process::{Command, Ending, Process, State as ProcessState};

fn process(process: Process) -> process::Process {
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

impl State {
    fn may_process(&self) -> Result<(), wit::Fault> {
        self.call.grants.check_interface(Interface::Process).map_err(|refusal| fault_to(refusal.into()))
    }
}

impl process::Host for State {
    async fn start(
        &mut self,
        instance_id: String,
        command: process::Command,
    ) -> Result<Result<process::Process, wit::Fault>> {
        if let Err(fault) = self.may_process() {
            return Ok(Err(fault));
        }
        let command = Command {
            argv: command.argv,
            environment: command.environment,
            directory: command.directory,
            labels: command.labels,
        };
        self.call.sent.fetch_add(1, Ordering::Relaxed);
        Ok(self.call.services.processes.start(&instance_id, command).await.map(process).map_err(fault_to))
    }

    async fn inspect(&mut self, instance_ids: Vec<String>) -> Result<Result<Vec<process::Process>, wit::Fault>> {
        if let Err(fault) = self.may_process() {
            return Ok(Err(fault));
        }
        let found = self.call.services.processes.inspect(&instance_ids).await;
        Ok(found.map(|found| found.into_iter().map(process).collect()).map_err(fault_to))
    }

    async fn stop(&mut self, instance_id: String, grace_ms: u64) -> Result<Result<(), wit::Fault>> {
        if let Err(fault) = self.may_process() {
            return Ok(Err(fault));
        }
        let grace = Duration::from_millis(grace_ms);
        self.call.sent.fetch_add(1, Ordering::Relaxed);
        Ok(self.call.services.processes.stop(&instance_id, grace).await.map_err(fault_to))
    }

    async fn endings(&mut self, instance_ids: Vec<String>) -> Result<Result<Vec<Option<process::Ending>>, wit::Fault>> {
        if let Err(fault) = self.may_process() {
            return Ok(Err(fault));
        }
        let endings = self.call.services.processes.endings(&instance_ids).await;
        let ending = |ending: Ending| match ending {
            Ending::Status(status) => process::Ending::Status(status),
            Ending::Signal(signal) => process::Ending::Signal(signal),
        };
        Ok(endings.map(|endings| endings.into_iter().map(|one| one.map(ending)).collect()).map_err(fault_to))
    }

    async fn tail(&mut self, instance_id: String, lines: u32) -> Result<Result<String, wit::Fault>> {
        if let Err(fault) = self.may_process() {
            return Ok(Err(fault));
        }
        Ok(self.call.services.processes.tail(&instance_id, lines).await.map_err(fault_to))
    }

    async fn list_all(
        &mut self,
        cursor: Option<String>,
    ) -> Result<Result<(Vec<process::Process>, Option<String>), wit::Fault>> {
        if let Err(fault) = self.may_process() {
            return Ok(Err(fault));
        }
        let page = self.call.services.processes.list_all(cursor.as_deref()).await;
        Ok(page.map(|(found, next)| (found.into_iter().map(process).collect(), next)).map_err(fault_to))
    }
}
