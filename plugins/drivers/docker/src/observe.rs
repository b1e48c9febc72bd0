//! Observation of many containers at once.

use std::collections::{HashMap, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use occopus_sdk::{Fault, Handle, Observed, Phase};
use serde_json::json;

use crate::container::Container;
use crate::engine::Engine;
use crate::identity::{Presence, Reference};

/// Maximum number of ids in one query: 73 bytes each, and proxies take lines of 8 KiB.
const MAX_IDS_PER_QUERY: usize = 100;
/// Maximum number of missing containers that are inspected one by one; more are looked up by a second list.
const MAX_SINGLE_LOOKUPS: usize = 8;
/// Maximum number of containers that ended or restart and are inspected in one call.
const MAX_INSPECTIONS: usize = 20;

/// Proof that a container that the list lacks is gone, or the reason why there is none.
type AbsenceProof = Result<(), Fault>;

impl Engine<'_> {
    /// Observes containers by their handles. The list alone shows what is there; what it lacks counts as gone only when
    /// [`Engine::identify`] and a second answer confirm it.
    pub(crate) fn observe(&self, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
        let references = handles.iter().map(Reference::read).collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<&str> = references.iter().map(|reference| reference.container.as_str()).collect();
        let listed = self.list_by_ids(&ids)?;
        let absent: Vec<&Reference> =
            references.iter().filter(|reference| !listed.contains_key(&reference.container)).collect();
        let missing = self.prove_missing(&absent);
        // With nothing seen and nothing proven there is no answer.
        if listed.is_empty() && !missing.is_empty() && missing.values().all(Result::is_err) {
            return missing.into_values().find_map(Result::err).map_or(Ok(Vec::new()), Err);
        }
        let mut explanations = MAX_INSPECTIONS;
        let of = |(handle, reference): (&Handle, &Reference)| match listed.get(&reference.container) {
            Some(container) => Observed { handle: handle.clone(), ..self.observe_listed(container, &mut explanations) },
            None => match missing.get(reference.container.as_str()) {
                Some(Ok(())) => Observed::new(handle.clone(), Phase::Gone),
                Some(Err(fault)) => Observed::new(handle.clone(), Phase::Unknown).because(fault.message.clone()),
                None => Observed::new(handle.clone(), Phase::Unknown),
            },
        };
        Ok(handles.iter().zip(&references).map(of).collect())
    }

    /// Observes one container that was just created or found; none if the list does not show it.
    pub(crate) fn observe_one(&self, reference: &Reference) -> Option<Observed> {
        let listed = self.list_by_ids(&[&reference.container]).ok()?;
        let container = listed.get(&reference.container)?;
        Some(Observed { handle: reference.handle(), ..self.observe_listed(container, &mut 1) })
    }

    fn list_by_ids(&self, ids: &[&str]) -> Result<HashMap<String, Container>, Fault> {
        let mut seen = HashMap::with_capacity(ids.len());
        for some in ids.chunks(MAX_IDS_PER_QUERY) {
            let listed = self.list(&json!({ "id": some }), None)?;
            seen.extend(listed.into_iter().map(|container| (container.id.clone(), container)));
        }
        Ok(seen)
    }

    /// Looks up containers that the list lacks a second time: ok for those that are proven to be gone.
    fn prove_missing<'a>(&self, absent: &[&'a Reference]) -> HashMap<&'a str, AbsenceProof> {
        if absent.is_empty() {
            return HashMap::new();
        }
        let answering = self.identify();
        let mut found = HashMap::with_capacity(absent.len());
        let mut same = Vec::new();
        for reference in absent.iter().copied() {
            let checked = answering
                .clone()
                .and_then(|answering| self.require_same(reference.engine.as_deref(), answering.as_deref()));
            match checked {
                Ok(()) => same.push(reference),
                Err(fault) => drop(found.insert(reference.container.as_str(), Err(fault))),
            }
        }
        for some in same.chunks(MAX_IDS_PER_QUERY) {
            found.extend(self.prove_missing_on_same_engine(some));
        }
        found
    }

    /// Looks up a few by their ids; many by a second list, and one of them by its id, which no other engine knows.
    fn prove_missing_on_same_engine<'a>(&self, some: &[&'a Reference]) -> Vec<(&'a str, AbsenceProof)> {
        if some.len() <= MAX_SINGLE_LOOKUPS {
            return some.iter().map(|one| (one.container.as_str(), self.require_absence(&one.container))).collect();
        }
        let ids: Vec<&str> = some.iter().map(|reference| reference.container.as_str()).collect();
        let asked = self.list_by_ids(&ids).and_then(|again| {
            let witness = ids.iter().find(|id| !again.contains_key(**id));
            witness.map_or(Ok(()), |witness| self.require_absence(witness))?;
            Ok(again.into_keys().collect::<HashSet<_>>())
        });
        let there = || Fault::retry("docker.still-there", "the engine's list lacked it, and has it again");
        let of = |id: &'a str| match &asked {
            Ok(again) if again.contains(id) => (id, Err(there())),
            Ok(_) => (id, Ok(())),
            Err(fault) => (id, Err(fault.clone())),
        };
        some.iter().map(|reference| of(&reference.container)).collect()
    }

    /// Observes a container of the list. Adds the reason of its end or the number of its restarts, for up to `left`
    /// containers.
    fn observe_listed(&self, container: &Container, left: &mut usize) -> Observed {
        let seen = container.observed(None);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        if *left == 0 || !container.needs_inspection(i64::try_from(now).unwrap_or(i64::MAX)) {
            return seen;
        }
        *left -= 1;
        match self.inspect(&container.id) {
            Ok(Presence::Present(inspected)) => inspected.explain(seen),
            // The list has what matters.
            Ok(Presence::Absent) | Err(_) => seen,
        }
    }
}
