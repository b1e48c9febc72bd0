//! Deletion of servers: requested, and confirmed.

use occopus_sdk::http::encoded;
use occopus_sdk::{Fault, log};

use crate::catalogue::Service;
use crate::cloud::Cloud;
use crate::handle::Reference;
use crate::server::Server;

impl Cloud<'_> {
    /// Deletes a server, and all others that carry its instance id.
    ///
    /// # Errors
    /// Fails if Nova does not confirm it.
    pub(crate) fn destroy(&self, server: &Reference) -> Result<(), Fault> {
        for other in self.delete(server)? {
            log::warn(format!("the server {} carries the same id as {}: it is deleted", other.id, server.id));
            self.delete(&other.reference(self.tenancy()))?;
        }
        Ok(())
    }

    /// Deletes a server, and the floating IP that was allocated for it. Succeeds if Nova shows that it is being
    /// deleted, or says in its own project that there is no such server. Returns other servers that carry its instance
    /// id and are alive.
    pub(crate) fn delete(&self, server: &Reference) -> Result<Vec<Server>, Fault> {
        if self.section.wants_floating_ip() {
            self.release_floating_ip(&server.id)?;
        }
        let accepted = self.remove(Service::Compute, &format!("/servers/{}", encoded(&server.id)))?;
        if !accepted {
            self.require_same_tenancy(server)?;
        }
        let mut others = match &server.name {
            Some(name) => self.list_all(Some(name))?,
            None => Vec::new(),
        };
        let listed = others.iter().find(|other| other.id == server.id).cloned();
        let left = match listed {
            None if accepted => self.show(server)?,
            listed => listed,
        };
        if left.is_some_and(|left| left.is_alive()) {
            let message = format!("the server {} was to be deleted, and Nova shows it as it was", server.id);
            return Err(Fault::retry("nova.not-deleted", message));
        }
        let is_other = |other: &Server| {
            other.id != server.id && other.is_alive() && server.instance.as_deref().is_some_and(|id| other.carries(id))
        };
        others.retain(is_other);
        Ok(others)
    }
}
