//! A look at many servers.

use std::collections::{HashMap, HashSet};

use occopus_sdk::{Fault, Handle, Observed, Phase, Reaction, log};

use crate::cloud::Cloud;
use crate::handle::{HANDLE_VERSION, Reference};
use crate::server::Server;

/// So many are asked for one by one; more are looked up in the list of all.
const MAX_SINGLE_LOOKUPS: usize = 2;

/// Servers by their ids.
type ServersById = HashMap<String, Server>;

impl Cloud<'_> {
    pub(crate) fn observe(&self, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        let wanted: Vec<Reference> = handles.iter().map(Reference::of).collect();
        let mut seen = self.list_by_references(&wanted)?;
        // A list may leave out what is in a part of the cloud that is down: whoever is missing is asked for.
        let mut unclear = HashMap::new();
        for server in &wanted {
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
        self.remove_duplicates(&wanted, &seen);
        // When nothing can be told of any of them, that is what is told.
        if wanted.iter().all(|server| unclear.contains_key(&server.id))
            && let Some((_, fault)) = unclear.drain().next()
        {
            return Err(fault);
        }
        let answer = |(server, handle): (&Reference, &Handle)| match (seen.get(&server.id), unclear.get(&server.id)) {
            (Some(found), _) => self.observed(found, handle),
            (None, Some(fault)) => Observed::new(handle.clone(), Phase::Unknown).because(fault.message.clone()),
            (None, None) => Observed::new(handle.clone(), Phase::Gone),
        };
        let mut observed: Vec<Observed> = wanted.iter().zip(handles).map(answer).collect();
        if self.section.wants_floating_ip() {
            self.add_floating_addresses(&mut observed)?;
        }
        Ok(observed)
    }

    /// What lists show: of all servers, or of those with the name of one. Twins are among them.
    fn list_by_references(&self, wanted: &[Reference]) -> Result<ServersById, Fault> {
        let mut seen = ServersById::new();
        let mut add = |servers: Vec<Server>| seen.extend(servers.into_iter().map(|server| (server.id.clone(), server)));
        if wanted.len() > MAX_SINGLE_LOOKUPS {
            add(self.list_all(None)?);
        } else {
            let names: HashSet<&str> = wanted.iter().filter_map(|server| server.name.as_deref()).collect();
            for name in names {
                add(self.list_all(Some(name))?);
            }
        }
        Ok(seen)
    }

    /// With the handle that was asked for. One of an old version is replaced by what is known now.
    fn observed(&self, server: &Server, handle: &Handle) -> Observed {
        let seen = server.observed(&self.tenancy());
        let handle = if handle.version < HANDLE_VERSION { seen.handle } else { handle.clone() };
        Observed { handle, ..seen }
    }

    /// Deletes what carries the id of a server that lives, beside that server: a creation that the network delivered twice.
    /// One that can't be deleted now is seen again at the next look.
    fn remove_duplicates(&self, wanted: &[Reference], seen: &ServersById) {
        let lives = |server: &&Reference| seen.get(&server.id).is_some_and(Server::is_alive);
        let owners: HashMap<&str, &str> = wanted
            .iter()
            .filter(lives)
            .filter_map(|server| Some((server.instance.as_deref()?, server.id.as_str())))
            .collect();
        let is_wanted = |id: &str| wanted.iter().any(|server| server.id == id);
        for other in seen.values().filter(|other| other.is_alive()) {
            let Some(owner) = other.instance_id().and_then(|mark| owners.get(mark)) else { continue };
            if *owner == other.id || is_wanted(&other.id) {
                continue;
            }
            log::warn(format!("the server {} carries the same id as {owner}: it is deleted", other.id));
            if let Err(fault) = self.delete(&other.reference(self.tenancy())) {
                log::warn(format!("the server {} can't be deleted yet: {fault}", other.id));
            }
        }
    }
}
