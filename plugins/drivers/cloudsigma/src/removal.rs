//! Removal of a server and of the drives that were cloned for it, in whatever state a crash left them.

use std::time::Duration;

use occopus_sdk::{Fault, Reaction};

use crate::cloud::Cloud;
use crate::drive::Drive;
use crate::handle::Reference;
use crate::refusal::BUSY_CODE;

/// Pauses between two looks, growing.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);
/// Number of looks after which the host is asked to call again.
const MAX_LOOKS: usize = 60;
/// Number of deletions that are accepted before it counts as a failure that something is still there.
const MAX_DELETIONS: usize = 8;
/// Time that is left for the answer to the host.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);

/// Looks at something until it is gone.
struct Patience {
    looks: usize,
    deletions: usize,
    pause: Duration,
}

impl Patience {
    fn new() -> Self {
        Self { looks: 0, deletions: 0, pause: FIRST_PAUSE }
    }

    /// Waits for the next look; false if there is none.
    fn wait(&mut self, cloud: &Cloud) -> bool {
        let call = cloud.scope.call();
        self.looks += 1;
        let is_over = self.looks >= MAX_LOOKS || self.deletions >= MAX_DELETIONS;
        if is_over || call.cancelled() || call.remaining() < ANSWER_MARGIN + self.pause {
            return false;
        }
        call.wait(self.pause);
        self.pause = (self.pause * 3 / 2).min(LONGEST_PAUSE);
        true
    }
}

impl Cloud<'_> {
    /// Removes a server and its drives.
    ///
    /// # Errors
    /// Fails if CloudSigma does not confirm it.
    pub(crate) fn destroy(&self, server: &Reference) -> Result<(), Fault> {
        self.remove(&server.server, Some(server))
    }

    /// Removes a server and its drives. With a reference, the account that the server was made in must be the one at hand if
    /// CloudSigma knows no such server.
    pub(crate) fn remove(&self, uuid: &str, reference: Option<&Reference>) -> Result<(), Fault> {
        self.remove_server(uuid)?;
        if let Some(reference) = reference {
            self.require_same_account(reference)?;
        }
        self.remove_drives(|| self.drives_of(uuid))
    }

    /// Stops and deletes a server, until CloudSigma knows it no more.
    fn remove_server(&self, uuid: &str) -> Result<(), Fault> {
        let mut patience = Patience::new();
        loop {
            let Some(server) = self.show(uuid)? else { return Ok(()) };
            let mut reason = format!("it is {}", server.status);
            let done = match server.status.as_str() {
                "stopped" => {
                    patience.deletions += 1;
                    // Its drives are removed by their names: one that the user attached stays.
                    self.delete(&format!("/servers/{uuid}/")).map(drop)
                }
                "stopping" => Ok(()),
                _ => self.act(&server, "stop"),
            };
            match done {
                Ok(()) => {}
                // It was in another state by then.
                Err(fault) if fault.code == BUSY_CODE || fault.reaction == Reaction::NotFound => reason = fault.message,
                Err(fault) => return Err(fault),
            }
            if !patience.wait(self) {
                let message = format!("the server {uuid} was to be removed, and is not gone yet: {reason}");
                return Err(Fault::retry("cloudsigma.not-removed", message));
            }
        }
    }

    /// Deletes drives until a list shows none.
    fn remove_drives(&self, list: impl Fn() -> Result<Vec<Drive>, Fault>) -> Result<(), Fault> {
        let mut patience = Patience::new();
        loop {
            let drives = list()?;
            let Some(first) = drives.first() else { return Ok(()) };
            let mut reason = format!("it is {}", first.status);
            patience.deletions += 1;
            for drive in &drives {
                match self.delete_drive(drive) {
                    Ok(()) => {}
                    // It is still mounted, or being cloned.
                    Err(fault) if fault.code == BUSY_CODE => {
                        patience.deletions = 0;
                        reason = fault.message;
                    }
                    Err(fault) => return Err(fault),
                }
            }
            if !patience.wait(self) {
                let message = format!("the drive {} was to be removed, and is not gone yet: {reason}", first.uuid);
                return Err(Fault::retry("cloudsigma.drive-not-removed", message));
            }
        }
    }

    pub(crate) fn delete_drive(&self, drive: &Drive) -> Result<(), Fault> {
        self.delete(&format!("/drives/{}/", drive.uuid)).map(drop)
    }

    /// Removes drives that were cloned for servers of an instance which has no server.
    pub(crate) fn remove_drives_without_server(&self, instance: &str) -> Result<(), Fault> {
        self.remove_drives(|| self.drives_of_instance(instance))
    }
}
