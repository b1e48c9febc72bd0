//! Creation of a server, step by step: make it, clone its drive, attach that, start. Each step is found again.

use occopus_sdk::http::encoded;
use occopus_sdk::{Fault, NodeRequest, Observed, Phase, Reaction, log};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cloud::{Account, ApiRequest, Cloud, Effect};
use crate::document;
use crate::drive::{Drive, DriveName, Job};
use crate::refusal::{BUSY_CODE, is_final_refusal};
use crate::section::Section;
use crate::server::Server;

#[derive(Deserialize)]
struct Created<T> {
    objects: Vec<T>,
}

/// Progress of a server that was never started.
pub(crate) enum Progress {
    /// Still to come, in words.
    Pending(String),
    /// Failed, and will not come.
    Failed(String),
}

impl Progress {
    pub(crate) fn apply(self, observed: Observed) -> Observed {
        match self {
            Self::Pending(message) => Observed { phase: Phase::Pending, ..observed }.because(message),
            Self::Failed(message) => Observed { phase: Phase::Failed, ..observed }.because(message),
        }
    }
}

impl Cloud<'_> {
    /// Makes the server, stopped and without its drive.
    pub(crate) fn create_server(&self, request: &NodeRequest<Section>, account: &Account) -> Result<Server, Fault> {
        let body = document::body(request, account.now);
        let call = ApiRequest {
            body: Some(&body),
            effect: Effect::Possible,
            pointer: "/description",
            ..ApiRequest::new("POST", "/servers/")
        };
        let made: Created<Server> = self.read(&call)?;
        let is_it = |server: &Server| server.instance_id() == Some(request.instance_id.as_str());
        made.objects
            .into_iter()
            .next()
            .filter(is_it)
            .ok_or_else(|| self.unreadable_fault(&call, "it does not show the server that was requested"))
    }

    /// Takes a server on that exists, and returns it. One that CloudSigma does not let us finish is removed.
    ///
    /// # Errors
    /// A final fault says that nothing is left.
    pub(crate) fn finish(&self, server: &Server, account: &str, drives: &[Drive]) -> Result<Observed, Fault> {
        let observed = server.observed(&server.reference(account, self.location()));
        if !server.is_unfinished() {
            return Ok(observed);
        }
        match self.advance(server, drives) {
            Ok(progress) => Ok(progress.apply(observed)),
            Err(fault) if is_final_refusal(&fault) => match self.remove(&server.uuid, None) {
                Ok(()) => Err(fault),
                // It must not be forgotten: `find` tries again to remove it.
                Err(_) => Err(Fault { reaction: Reaction::UnknownOutcome, ..fault }
                    .detail(format!("the server {} was made for this and can't be removed yet", server.uuid))),
            },
            // It exists: observations take it on.
            Err(fault) => Ok(Progress::Pending(fault.message).apply(observed)),
        }
    }

    /// Takes a server on that an earlier call made.
    ///
    /// # Errors
    /// As [`Cloud::finish`] does.
    pub(crate) fn finish_found(&self, server: &Server, account: &str) -> Result<Observed, Fault> {
        let drives = if server.is_unfinished() { self.drives_of(&server.uuid) } else { Ok(Vec::new()) };
        match drives {
            Ok(drives) => self.finish(server, account, &drives),
            // It exists, whatever became of its drive.
            Err(fault) => Err(Fault { reaction: Reaction::UnknownOutcome, ..fault }),
        }
    }

    /// Does the next steps that are possible now for a server that was never started.
    ///
    /// # Errors
    /// Fails if CloudSigma refuses a step or does not answer.
    pub(crate) fn advance(&self, server: &Server, drives: &[Drive]) -> Result<Progress, Fault> {
        let own: Vec<&Drive> = drives.iter().filter(|drive| drive.is_of(&server.uuid)).collect();
        if let Some(attached) = own.iter().find(|drive| server.has_drive(&drive.uuid)) {
            self.remove_spare_drives(&own, &attached.uuid);
            return self.start(server);
        }
        if let Some(ready) = own.iter().find(|drive| drive.status == "unmounted") {
            return if self.attach(server, ready)? { self.start(server) } else { Ok(pending("its drive is attached")) };
        }
        match own.first() {
            Some(drive) => self.follow(drive),
            None => self.clone_drive(server),
        }
    }

    fn clone_drive(&self, server: &Server) -> Result<Progress, Fault> {
        let Some(instance) = server.instance_id() else { return Ok(pending("it is not ours")) };
        let name = DriveName { infrastructure: server.infrastructure_id(), instance, server: &server.uuid };
        let body = json!({"name": name.text()});
        let path = format!("/libdrives/{}/action/", encoded(self.section.libdrive_id.trim()));
        let call = ApiRequest {
            body: Some(&body),
            query: &[("do", "clone")],
            effect: Effect::Possible,
            pointer: "/libdrive_id",
            ..ApiRequest::new("POST", &path)
        };
        let cloned: Created<Drive> = self.read(&call)?;
        let is_it = |drive: &Drive| drive.is_of(&server.uuid);
        if !cloned.objects.first().is_some_and(is_it) {
            return Err(self.unreadable_fault(&call, "it does not show the drive that was requested"));
        }
        Ok(pending("its drive is being cloned"))
    }

    /// Reads how far the clone of a drive is. A drive whose clone failed is removed.
    fn follow(&self, drive: &Drive) -> Result<Progress, Fault> {
        let job = match drive.job() {
            Some(job) => self.read_if_exists::<Job>(&format!("/jobs/{job}/"))?,
            None => None,
        };
        match job {
            Some(job) if job.has_failed() => {
                self.delete_drive(drive)?;
                Ok(Progress::Failed(format!("CloudSigma could not clone its drive: the job is {}", job.state)))
            }
            Some(job) => {
                let progress = job.data.and_then(|data| data.progress);
                let percent = progress.map_or_else(String::new, |percent| format!(", {percent:.0} %"));
                Ok(pending(&format!("its drive is {}{percent}", drive.status)))
            }
            None => Ok(pending(&format!("its drive is {}", drive.status))),
        }
    }

    /// Attaches a drive in front of those that the user described; false if the server is no longer as it was.
    fn attach(&self, server: &Server, drive: &Drive) -> Result<bool, Fault> {
        let Some(shown) = self.show_raw(&server.uuid)? else { return Ok(false) };
        if shown["status"] != "stopped" || !shown["drives"].as_array().is_some_and(|drives| has_no(drives, drive)) {
            return Ok(false);
        }
        let body = document::with_boot_drive(shown, &drive.uuid);
        self.put(server, &body)?;
        Ok(true)
    }

    fn start(&self, server: &Server) -> Result<Progress, Fault> {
        match self.act(server, "start") {
            Ok(()) => Ok(pending("it starts")),
            // Another call was faster, or its drive is not there yet.
            Err(fault) if fault.code == BUSY_CODE => Ok(pending(&fault.message)),
            Err(fault) => Err(fault),
        }
    }

    /// Marks a running server as one that has run. A failure is no matter: the next observation does it.
    pub(crate) fn mark(&self, server: &Server) {
        let marked = self.show_raw(&server.uuid).and_then(|shown| match shown {
            Some(shown) if shown["meta"].is_object() => self.put(server, &document::with_mark(shown, &server.uuid)),
            _ => Ok(()),
        });
        if let Err(fault) = marked {
            log::warn(format!("the server {} can't be marked as one that has run yet: {fault}", server.uuid));
        }
    }

    pub(crate) fn act(&self, server: &Server, action: &str) -> Result<(), Fault> {
        let body = json!({});
        let path = format!("/servers/{}/action/", server.uuid);
        let query = [("do", action)];
        let call =
            ApiRequest { body: Some(&body), query: &query, pointer: "/description", ..ApiRequest::new("POST", &path) };
        let answer: Value = self.read(&call)?;
        match answer["result"] == "success" {
            true => Ok(()),
            false => Err(self.unreadable_fault(&call, "it does not say `success`")),
        }
    }

    fn put(&self, server: &Server, body: &Value) -> Result<(), Fault> {
        let path = format!("/servers/{}/", server.uuid);
        let call = ApiRequest { body: Some(body), pointer: "/description", ..ApiRequest::new("PUT", &path) };
        self.read::<Server>(&call).map(drop)
    }

    /// Removes clones of one server beside the one that is attached: of a request that the network delivered late.
    fn remove_spare_drives(&self, own: &[&Drive], attached: &str) {
        for spare in own.iter().filter(|drive| drive.uuid != attached && drive.status == "unmounted") {
            log::warn(format!("the drive {} is a second clone of one server: removing it", spare.uuid));
            if let Err(fault) = self.delete_drive(spare) {
                log::warn(format!("the drive {} can't be removed yet: {fault}", spare.uuid));
            }
        }
    }
}

fn has_no(drives: &[Value], drive: &Drive) -> bool {
    drives.iter().all(|each| each["drive"]["uuid"] != drive.uuid.as_str() && each["drive"] != drive.uuid.as_str())
}

fn pending(message: &str) -> Progress {
    Progress::Pending(message.to_owned())
}
