//! Observation of many container groups.
//!
//! Lists leave out the instance views, and with them whether a group still runs. A few groups are read one by one. Many are
//! listed by the page, and of these only some are read, those first of which least is known:
//!
//! - groups whose last operation did not succeed, and groups that did not run when they were read last: their views have the
//!   reason;
//! - groups that were not read for [`VIEW_INTERVAL`], the oldest first, up to [`MAX_VIEWS`] in one call.
//!
//! The others are as the list has them: their last operation succeeded, and they ran within the time that it takes to read all.
//! No more groups are read in a call in which Azure throttles, or says that few requests are left.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use occopus_azure_arm::{Arm, Call};
use occopus_sdk::http::Response;
use occopus_sdk::{Fault, Handle, Observed, Phase, Reaction};

use crate::group::Group;
use crate::handle::Reference;
use crate::{arm, handle, state};

/// Maximum number of groups that are read one by one, without a list.
const MAX_WITHOUT_LIST: usize = 4;
/// Maximum number of listed groups that are read in one call.
const MAX_VIEWS: usize = 50;
/// Time for which a group that ran is not read again.
const VIEW_INTERVAL: Duration = Duration::from_secs(60);
/// Number of reads that are left for others.
const MIN_READS_LEFT: u64 = 100;
/// Time that is left for the answer to the host, and for what the list lacks.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);

/// Answer about a group: none if Azure says that it does not exist.
type Known = Result<Option<Group>, Fault>;

/// Observes groups by their handles.
pub(crate) fn observe(arm: &Arm<'_>, handles: &[Handle]) -> Result<Vec<Observed>, Fault> {
    let references: Vec<Reference> = handles.iter().map(Reference::of).collect();
    let mut known: HashMap<String, Known> = HashMap::with_capacity(references.len());
    let mut by_list: BTreeMap<String, Vec<&Reference>> = BTreeMap::new();
    for reference in &references {
        let same = by_list.entry(reference.list_path()).or_default();
        if !same.contains(&reference) {
            same.push(reference);
        }
    }
    for same in by_list.values() {
        observe_some(arm, same, &mut known)?;
    }
    // If nothing is known of any of them, the call fails. Of one that was just made, that much is known.
    if known.values().all(|known| known.as_ref().is_err_and(|fault| fault.code != arm::TOO_YOUNG_CODE))
        && let Some((_, Err(fault))) = known.drain().next()
    {
        return Err(fault);
    }
    let of = |(reference, handle): (&Reference, &Handle)| match known.get(&reference.path()) {
        Some(Ok(Some(group))) => Observed { handle: handle.clone(), ..group.observed(reference) },
        Some(Ok(None)) => Observed::new(handle.clone(), Phase::Gone),
        Some(Err(fault)) => Observed::new(handle.clone(), Phase::Unknown).because(fault.message.clone()),
        None => Observed::new(handle.clone(), Phase::Unknown),
    };
    Ok(references.iter().zip(handles).map(of).collect())
}

/// Observes groups of one resource group.
fn observe_some(arm: &Arm<'_>, references: &[&Reference], known: &mut HashMap<String, Known>) -> Result<(), Fault> {
    let Some(first) = references.first() else { return Ok(()) };
    let mut listed = HashMap::new();
    if references.len() > MAX_WITHOUT_LIST {
        let groups = arm::list_groups(arm, first)?.unwrap_or_default();
        listed.extend(groups.into_iter().map(|group| (group.name.to_ascii_lowercase(), group)));
        read_views(arm, references, &mut listed);
    }
    for reference in references {
        let group = match listed.remove(&reference.name.to_ascii_lowercase()) {
            Some(group) => Ok(Some(group)),
            // A list may lack it.
            None => arm::read_group(arm, reference),
        };
        match group {
            // The next ones would be refused, too.
            Err(fault) if fault.reaction == Reaction::Denied && references.len() > MAX_WITHOUT_LIST => {
                return Err(fault);
            }
            group => drop(known.insert(reference.path(), group)),
        }
    }
    Ok(())
}

/// Replaces listed groups by what Azure says of each, where it is worth a request.
fn read_views(arm: &Arm<'_>, references: &[&Reference], listed: &mut HashMap<String, Group>) {
    let Some(first) = references.first() else { return };
    let key = format!("aci views\n{}", first.list_path());
    let now = handle::now();
    let mut views = Views::load(arm.cache().get(&key));
    let mut worth: Vec<(u64, &Reference)> = references
        .iter()
        .filter_map(|reference| {
            let group = listed.get(&reference.name.to_ascii_lowercase())?;
            let since = if has_succeeded(group) { views.read_at(&reference.name) } else { 0 };
            (now.saturating_sub(since) >= VIEW_INTERVAL.as_secs()).then_some((since, *reference))
        })
        .collect();
    worth.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
    for (_, reference) in worth.into_iter().take(MAX_VIEWS) {
        if arm.call().cancelled() || arm.call().remaining() < ANSWER_MARGIN {
            break;
        }
        let Ok(response) = arm.send(&Call::get(&reference.path(), arm::API_VERSION)) else { break };
        let Ok(group) = response.json::<Group>() else { break };
        if !reference.is_id(&group.id) {
            break;
        }
        views.note(&reference.name, (state::judge(&group).phase == Phase::Running).then_some(now));
        listed.insert(reference.name.to_ascii_lowercase(), group);
        if reads_left(&response).is_some_and(|left| left < MIN_READS_LEFT) {
            break;
        }
    }
    views.retain(listed);
    arm.cache().put(&key, &views.to_bytes(), Duration::from_secs(3600));
}

fn has_succeeded(group: &Group) -> bool {
    group.properties.provisioning_state.as_deref().is_some_and(|state| state.eq_ignore_ascii_case("succeeded"))
}

/// Returns the number of reads that are left for now, if Azure says so.
fn reads_left(response: &Response) -> Option<u64> {
    response.header("x-ms-ratelimit-remaining-subscription-reads")?.trim().parse().ok()
}

/// Times at which groups were read and ran, by a digest of their names, in seconds since 1970. They are kept in the host's
/// cache: without it, groups are read earlier than they need be.
#[derive(Debug, Default, PartialEq, Eq)]
struct Views(HashMap<u64, u32>);

/// Bytes of one group in the cache.
const VIEW_BYTES: usize = 12;
/// Maximum number of groups in the cache, where a value has up to 64 KiB.
const MAX_KEPT_VIEWS: usize = 5_000;

impl Views {
    fn load(kept: Option<Vec<u8>>) -> Self {
        let kept = kept.unwrap_or_default();
        let read = |bytes: &[u8]| {
            let (name, at) = bytes.split_at_checked(8)?;
            Some((u64::from_le_bytes(name.try_into().ok()?), u32::from_le_bytes(at.try_into().ok()?)))
        };
        Self(kept.chunks_exact(VIEW_BYTES).filter_map(read).collect())
    }

    fn read_at(&self, name: &str) -> u64 {
        self.0.get(&digest(name)).copied().unwrap_or_default().into()
    }

    fn note(&mut self, name: &str, at: Option<u64>) {
        match at.and_then(|at| u32::try_from(at).ok()) {
            Some(at) => drop(self.0.insert(digest(name), at)),
            None => drop(self.0.remove(&digest(name))),
        }
    }

    /// Forgets groups that are no longer listed.
    fn retain(&mut self, listed: &HashMap<String, Group>) {
        let digests: HashSet<u64> = listed.keys().map(|name| digest(name)).collect();
        self.0.retain(|digest, _| digests.contains(digest));
    }

    /// Returns what is kept: the latest.
    fn to_bytes(&self) -> Vec<u8> {
        let mut all: Vec<(&u64, &u32)> = self.0.iter().collect();
        all.sort_by_key(|(digest, at)| (std::cmp::Reverse(**at), **digest));
        all.truncate(MAX_KEPT_VIEWS);
        all.into_iter().flat_map(|(digest, at)| digest.to_le_bytes().into_iter().chain(at.to_le_bytes())).collect()
    }
}

/// Computes the digest FNV-1a of a name, without regard to case.
fn digest(name: &str) -> u64 {
    let add = |hash: u64, byte: u8| (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0000_0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_kept_in_a_few_bytes() {
        let mut views = Views::default();
        views.note("occopus-A", Some(1_796_059_867));
        views.note("b", Some(5));
        views.note("b", None);
        assert_eq!(Views::load(Some(views.to_bytes())), views);
        assert_eq!((views.read_at("OCCOPUS-a"), views.read_at("b")), (1_796_059_867, 0));
        (0..10_000).for_each(|number: u64| views.note(&number.to_string(), Some(number)));
        assert!(views.to_bytes().len() < 64 << 10);
        let kept = Views::load(Some(views.to_bytes()));
        assert_eq!((kept.read_at("9999"), kept.read_at("1")), (9999, 0));
        assert_eq!(Views::load(Some(vec![1; 11])), Views::default());
        assert_eq!(Views::load(None), Views::default());
    }
}
