//! Drives, which are ours by their names (<https://docs.cloudsigma.com/en/latest/drives.html>).

use serde::Deserialize;

use crate::cloud::{id, is_id};

const PREFIX: &str = "occopus ";

/// A drive.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Drive {
    #[serde(deserialize_with = "id")]
    pub(crate) uuid: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    pub(crate) status: String,
    #[serde(default)]
    jobs: Option<Vec<JobLink>>,
}

#[derive(Debug, Clone, Deserialize)]
struct JobLink {
    uuid: String,
}

/// A job that CloudSigma does in the background, such as a clone.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Job {
    #[serde(default)]
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) data: Option<JobData>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct JobData {
    #[serde(default)]
    pub(crate) progress: Option<f64>,
}

impl Job {
    /// Returns true if it has ended without success. Other states than these are not documented.
    pub(crate) fn has_failed(&self) -> bool {
        let state = self.state.to_lowercase();
        ["fail", "error", "abort", "cancel"].iter().any(|word| state.contains(word))
    }
}

/// Identity of a drive by its name, `occopus INFRASTRUCTURE INSTANCE SERVER`. Copies of a drive have another end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DriveName<'t> {
    pub(crate) infrastructure: &'t str,
    pub(crate) instance: &'t str,
    pub(crate) server: &'t str,
}

impl<'t> DriveName<'t> {
    fn read(name: &'t str) -> Option<Self> {
        let (rest, server) = name.strip_prefix(PREFIX)?.rsplit_once(' ')?;
        let (infrastructure, instance) = rest.rsplit_once(' ')?;
        (is_id(server) && server.len() == 36 && is_id(instance)).then_some(Self { infrastructure, instance, server })
    }

    pub(crate) fn text(&self) -> String {
        format!("{PREFIX}{} {} {}", self.infrastructure, self.instance, self.server)
    }
}

impl Drive {
    /// Returns the identity in its name; none if it is not ours.
    pub(crate) fn identity(&self) -> Option<DriveName<'_>> {
        DriveName::read(&self.name)
    }

    /// Returns true if it was cloned for this server.
    pub(crate) fn is_of(&self, server: &str) -> bool {
        self.identity().is_some_and(|name| name.server == server)
    }

    /// Returns the job that makes it.
    pub(crate) fn job(&self) -> Option<&str> {
        self.jobs.iter().flatten().map(|job| job.uuid.as_str()).find(|job| is_id(job))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let (server, instance) = ("0dacaaf7-1ba8-451d-b135-8848e76381ee", "5b4a69a3-8e78-4c45-a8ba-8b13f0895e23");
        for infrastructure in ["my infra", "a", ""] {
            let name = DriveName { infrastructure, instance, server };
            assert_eq!(DriveName::read(&name.text()), Some(name));
        }
        let text = DriveName { infrastructure: "a", instance, server }.text();
        // Copies by CloudSigma's ways of naming, and names of others.
        for other in [format!("{text}_1"), format!("{text}_2015-03-19"), format!("my {text}"), "occopus".into()] {
            assert_eq!(DriveName::read(&other), None, "{other}");
        }
    }

    #[test]
    fn a_job_has_failed_by_its_state() {
        let job = |state: &str| Job { state: state.to_owned(), data: None };
        assert!(["failed", "ERROR", "cancelled", "aborted"].iter().all(|state| job(state).has_failed()));
        assert!(!["success", "started", "", "queued"].iter().any(|state| job(state).has_failed()));
    }
}
