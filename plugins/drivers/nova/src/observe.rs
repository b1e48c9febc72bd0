//! Observation of many servers.

use std::collections::{HashMap, HashSet};

use occopus_sdk::{Fault, Handle, Observed, Phase, Reaction, idempotent};

use crate::cloud::Cloud;
use crate::handle::{HANDLE_VERSION, Reference};
use crate::server::Server;
use crate::servers::Servers;

/// Maximum number of servers that are looked up by name or id; more are looked up in the list of all.
const MAX_SINGLE_LOOKUPS: usize = 2;

/// Servers by their ids.
type ServersById = HashMap<String, Server>;

impl Cloud<'_> {
    pub(crate) fn observe(&self, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        let references: Vec<Reference> = handles.iter().map(Reference::of).collect();
        let mut seen = self.list_by_references(&references)?;
        // A list may lack servers in a part of the cloud that is down: those that are missing are looked up by id.
        let mut unclear = HashMap::new();
        for server in &references {
            if seen.contains_key(&server.id) || unclear.contains_key(&server.id) {
                continue;
            }
            match self.show(server) {
                Ok(None) => {}
                Ok(Some(found)) => drop(seen.insert(found.id.clone(), found)),
                Err(fault) if fault.reaction == Reaction::Denied => drop(unclear.insert(server.id.clone(), fault)),
                Err(fault) => return Err(fault),
            }
        }
        self.remove_twins(&references, &seen);
        // If nothing is known of any of them, the call fails.
        if references.iter().all(|server| unclear.contains_key(&server.id))
            && let Some((_, fault)) = unclear.drain().next()
        {
            return Err(fault);
        }
        let answer = |(server, handle): (&Reference, &Handle)| match (seen.get(&server.id), unclear.get(&server.id)) {
            (Some(found), _) => self.observed(found, handle),
            (None, Some(fault)) => Observed::new(handle.clone(), Phase::Unknown).because(fault.message.clone()),
            (None, None) => Observed::new(handle.clone(), Phase::Gone),
        };
        let mut observed: Vec<Observed> = references.iter().zip(handles).map(answer).collect();
        if self.section.wants_floating_ip() {
            self.add_floating_addresses(&mut observed)?;
        }
        Ok(observed)
    }

    /// Lists all servers, or those with the names of the given ones. Twins are among them.
    fn list_by_references(&self, references: &[Reference]) -> Result<ServersById, Fault> {
        let mut seen = ServersById::new();
        let mut add = |servers: Vec<Server>| seen.extend(servers.into_iter().map(|server| (server.id.clone(), server)));
        if references.len() > MAX_SINGLE_LOOKUPS {
            add(self.list_all(None)?);
        } else {
            let names: HashSet<&str> = references.iter().filter_map(|server| server.name.as_deref()).collect();
            for name in names {
                add(self.list_all(Some(name))?);
            }
        }
        Ok(seen)
    }

    /// Returns the observation under the handle that the host gave. A handle of an old version is replaced by what is
    /// known now.
    fn observed(&self, server: &Server, handle: &Handle) -> Observed {
        let seen = server.observed(&self.tenancy());
        let handle = if handle.version < HANDLE_VERSION { seen.handle } else { handle.clone() };
        Observed { handle, ..seen }
    }

    /// Deletes what carries the id of a server that is alive, beside that server: a creation that the network delivered
    /// twice.
    fn remove_twins(&self, references: &[Reference], seen: &ServersById) {
        let observed: Vec<_> =
            references.iter().map(|server| (server.instance.as_deref(), server.id.as_str())).collect();
        let servers = Servers { cloud: self, name: None };
        idempotent::remove_twins(&servers, &observed, seen.values().filter(|server| server.is_alive()));
    }
}
