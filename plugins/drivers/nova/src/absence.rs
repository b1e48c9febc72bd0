//! Judgement of servers that Nova does not know. Nova says the same of a server that is gone, and of one of another
//! project or region.

use occopus_sdk::Fault;

use crate::cloud::Cloud;
use crate::handle::Reference;

impl Cloud<'_> {
    /// Checks that this token opens the project and the region that the server was made in, so that the server is gone
    /// if Nova says that there is no such server.
    ///
    /// # Errors
    /// `denied` if it may exist all the same.
    pub(crate) fn require_same_tenancy(&self, server: &Reference) -> Result<(), Fault> {
        let (id, made, here) = (&server.id, &server.tenancy, self.tenancy());
        let cloud = &self.section.endpoint;
        // Handles of version 1 name no project. The section does, and may be wrong with an application credential.
        let written = self.section.project_id.trim();
        let project = made.project.as_deref().unwrap_or(written);
        match here.project.as_deref() {
            Some(ours) if ours == project => {}
            Some(ours) => {
                let message = format!(
                    "this token of {cloud} belongs to project {ours}, and the server {id} was made in {project}"
                );
                return Err(Fault::denied("nova.other-project", message)
                    .at("/project_id", format!("write the project {project}, with credentials that may use it")));
            }
            None => {
                let message = format!(
                    "Nova of {cloud} does not know the server {id}, and Keystone does not say whether this token belongs to \
                     the project {project}, in which it was made"
                );
                return Err(Fault::denied("nova.unknown-project", message));
            }
        }
        let elsewhere = match (&made.region, &here.region) {
            (Some(made), Some(here)) => (made != here).then_some(("region", made, here)),
            _ => match (&made.nova, &here.nova) {
                (Some(made), Some(here)) => (made != here).then_some(("Nova at", made, here)),
                _ => None,
            },
        };
        match elsewhere {
            None => Ok(()),
            Some((what, made, here)) => {
                let message =
                    format!("the server {id} was made by {what} {made} of {cloud}, and requests go to {what} {here}");
                Err(Fault::denied("nova.other-region", message).at("/region_name", "write the region of the server"))
            }
        }
    }
}
