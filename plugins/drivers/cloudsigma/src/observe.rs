//! Observation of many servers by one list.

use std::collections::{HashMap, HashSet};

use occopus_sdk::{Fault, Handle, Observed, Phase, Reaction, idempotent};

use crate::advance::Progress;
use crate::cloud::Cloud;
use crate::drive::Drive;
use crate::handle::Reference;
use crate::lists::Servers;
use crate::refusal::is_final_refusal;
use crate::server::Server;

/// Servers and drives of one moment.
#[derive(Default)]
struct Snapshot {
    servers: HashMap<String, Server>,
    /// Reasons why nothing is known of a server that is in no list.
    unclear: HashMap<String, Fault>,
    drives: Vec<Drive>,
}

impl Cloud<'_> {
    pub(crate) fn observe(&self, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        let references: Vec<Reference> = handles.iter().map(Reference::of).collect();
        let mut snapshot = Snapshot::default();
        snapshot.servers.extend(self.list_servers()?.into_iter().map(|server| (server.uuid.clone(), server)));
        self.look_for_missing(&references, &mut snapshot)?;
        let is_known = |reference: &Reference| snapshot.servers.contains_key(&reference.server);
        let is_unfinished =
            |reference: &Reference| snapshot.servers.get(&reference.server).is_some_and(Server::is_unfinished);
        let is_gone = |reference: &Reference| !is_known(reference) && !snapshot.unclear.contains_key(&reference.server);
        if references.iter().any(|reference| is_unfinished(reference) || is_gone(reference)) {
            snapshot.drives = self.list_drives()?;
        }
        self.remove_twins(&references, &snapshot);
        // If nothing is known of any of them, the call fails.
        if references.iter().all(|reference| snapshot.unclear.contains_key(&reference.server))
            && let Some((_, fault)) = snapshot.unclear.drain().next()
        {
            return Err(fault);
        }
        // A server that is asked for twice is taken on once.
        let mut seen: HashMap<&str, Observed> = HashMap::new();
        let mut answers = Vec::with_capacity(handles.len());
        for (reference, handle) in references.iter().zip(handles) {
            let observed = match seen.get(reference.server.as_str()) {
                Some(observed) => Observed { handle: handle.clone(), ..observed.clone() },
                None => self.judge(reference, handle, &snapshot),
            };
            seen.entry(&reference.server).or_insert_with(|| observed.clone());
            answers.push(observed);
        }
        Ok(answers)
    }

    /// Reads one by one what is missing from the list, and keeps what may exist elsewhere.
    fn look_for_missing(&self, references: &[Reference], snapshot: &mut Snapshot) -> Result<(), Fault> {
        let mut has_proof = HashSet::new();
        for reference in references {
            let id = &reference.server;
            if snapshot.servers.contains_key(id) || snapshot.unclear.contains_key(id) || has_proof.contains(id) {
                continue;
            }
            let proven = match self.show(id)? {
                Some(found) => {
                    snapshot.servers.insert(found.uuid.clone(), found);
                    continue;
                }
                None => self.require_same_account(reference),
            };
            match proven {
                Ok(()) => drop(has_proof.insert(id.clone())),
                Err(fault) if fault.reaction == Reaction::Denied => drop(snapshot.unclear.insert(id.clone(), fault)),
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Returns the observation under the handle that the host gave, and takes on what is not finished.
    fn judge(&self, reference: &Reference, handle: &Handle, snapshot: &Snapshot) -> Observed {
        if let Some(fault) = snapshot.unclear.get(&reference.server) {
            return Observed::new(handle.clone(), Phase::Unknown).because(fault.message.clone());
        }
        let Some(server) = snapshot.servers.get(&reference.server) else {
            let is_left = snapshot.drives.iter().any(|drive| drive.is_of(&reference.server));
            // `destroy` removes the drive, which costs.
            return if is_left {
                Observed::new(handle.clone(), Phase::Failed).because("the server was removed, and its drive is left")
            } else {
                Observed::new(handle.clone(), Phase::Gone)
            };
        };
        let observed = Observed { handle: handle.clone(), ..server.observed(reference) };
        if server.is_unfinished() {
            return match self.advance(server, &snapshot.drives) {
                Ok(progress) => progress.apply(observed),
                Err(fault) if is_final_refusal(&fault) => Progress::Failed(fault.message).apply(observed),
                Err(fault) => Progress::Pending(fault.message).apply(observed),
            };
        }
        if observed.phase == Phase::Running && !server.has_run() && server.instance_id().is_some() {
            self.mark(server);
        }
        observed
    }

    /// Removes what carries the id of a server that exists, beside that server: a creation that the network delivered
    /// twice.
    fn remove_twins(&self, references: &[Reference], snapshot: &Snapshot) {
        let observed: Vec<_> =
            references.iter().map(|server| (server.instance.as_deref(), server.server.as_str())).collect();
        idempotent::remove_twins(&Servers(self), &observed, snapshot.servers.values());
    }
}
