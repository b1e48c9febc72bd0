//! Who did what: every request that changes something, or was refused, with who sent it and what came of it. Of what changes
//! nothing, which may come in any number, each caller has some entries, and the next one says how many there were in between.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use http::header::LOCATION;
use jiff::{Timestamp, ToSpan as _};
use occopus_engine::ports::{Store, StoreError, Transaction, Write};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::Caller;
use crate::listen::{Peer, neighbourhood};
use crate::stored::unwritable;

const AUDIT: &str = "service/audit/";
/// Entries are kept for so many days.
const KEPT_FOR: i64 = 90;
/// There are not more than about so many: for others the oldest go.
const MOST: usize = 100_000;
/// Old entries are looked for once in so many new ones.
const PRUNED_EVERY: u64 = 64;
/// Entries of one caller of what changed nothing, at once; and after so long there may be another one.
const UNCHANGED: u32 = 60;
const UNCHANGED_EVERY: Duration = Duration::from_secs(10);
/// Callers whose entries are counted. Those of whom nothing need be known are forgotten when there are more.
const COUNTED: usize = 1024;
/// Characters of a path that is no route, and of an id that is none.
const LONGEST: usize = 64;

/// The entries. Clones are the same.
#[derive(Clone)]
pub(crate) struct Audit {
    store: Arc<dyn Store>,
    written: Arc<AtomicU64>,
    /// Number of entries, once they were counted.
    number: Arc<tokio::sync::Mutex<Option<usize>>>,
    unchanged: Arc<Mutex<HashMap<String, Unchanged>>>,
}

/// Entries of what changed nothing that a caller has left.
struct Unchanged {
    left: u32,
    since: Instant,
    /// Not written since the last one that was.
    omitted: u64,
}

impl Unchanged {
    fn all() -> Self {
        Self { left: UNCHANGED, since: Instant::now(), omitted: 0 }
    }

    /// With what has become free since.
    fn filled(&mut self) -> &mut Self {
        let more = self.since.elapsed().as_secs() / UNCHANGED_EVERY.as_secs();
        if let Some(more) = u32::try_from(more).ok().filter(|more| *more > 0) {
            self.left = self.left.saturating_add(more).min(UNCHANGED);
            self.since = Instant::now();
        }
        self
    }
}

/// One request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Entry {
    /// Later ones are greater.
    pub(crate) id: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) time: Timestamp,
    /// The name of the token.
    pub(crate) who: String,
    /// Where they are.
    pub(crate) address: Option<String>,
    /// Method and route: `POST /infrastructures/{id}/suspend`.
    pub(crate) action: String,
    /// The infrastructure's id.
    pub(crate) infraid: Option<String>,
    /// The status of the answer.
    pub(crate) outcome: u16,
    /// Requests of this caller before this one that changed nothing and have no entry, since there were so many of them.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(crate) omitted: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_none(number: &u64) -> bool {
    *number == 0
}

impl Audit {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, written: Arc::default(), number: Arc::default(), unchanged: Arc::default() }
    }

    async fn write(&self, entry: &Entry) -> Result<(), StoreError> {
        let key = format!("{AUDIT}{}", entry.id);
        let value = serde_json::to_vec(entry).map_err(|error| unwritable(&key, &error))?;
        let mut writes = vec![Write::Put { key, value, lease: None }];
        if self.written.fetch_add(1, Ordering::Relaxed).is_multiple_of(PRUNED_EVERY) {
            writes.extend(self.old(entry.time).await?);
        }
        self.store.commit(Transaction { compares: Vec::new(), writes }).await.map(drop)
    }

    /// Removals of what is old, or too much.
    async fn old(&self, now: Timestamp) -> Result<Vec<Write>, StoreError> {
        let mut number = self.number.lock().await;
        let known = match *number {
            Some(known) => known.saturating_add(PRUNED_EVERY as usize),
            None => self.count().await?,
        };
        let old = now.checked_sub((KEPT_FOR * 24).hours()).unwrap_or(Timestamp::UNIX_EPOCH);
        let found = self.store.range(AUDIT, None, PRUNED_EVERY as usize * 2).await?;
        let too_many = known.saturating_sub(MOST);
        let is_old = |value: &[u8]| serde_json::from_slice::<Entry>(value).is_ok_and(|entry| entry.time < old);
        let removed: Vec<_> = found
            .into_iter()
            .enumerate()
            .filter(|(at, found)| *at < too_many || is_old(&found.value))
            .map(|(_, found)| Write::Delete { key: found.key })
            .collect();
        *number = Some(known.saturating_sub(removed.len()));
        Ok(removed)
    }

    async fn count(&self) -> Result<usize, StoreError> {
        let (mut number, mut after) = (0, None::<String>);
        loop {
            let page = self.store.range(AUDIT, after.as_deref(), 1000).await?;
            number += page.len();
            match page.into_iter().last() {
                Some(last) => after = Some(last.key),
                None => return Ok(number),
            }
        }
    }

    /// Whether there is to be an entry of something that changed nothing, and how many there were not before it.
    fn may_write(&self, who: &str) -> Option<u64> {
        let mut unchanged = self.unchanged.lock().unwrap_or_else(PoisonError::into_inner);
        if unchanged.len() >= COUNTED && !unchanged.contains_key(who) {
            unchanged.retain(|_, one| one.filled().left < UNCHANGED || one.omitted > 0);
            if unchanged.len() >= COUNTED {
                unchanged.clear();
            }
        }
        let one = unchanged.entry(who.to_owned()).or_insert_with(Unchanged::all).filled();
        if one.left == 0 {
            one.omitted = one.omitted.saturating_add(1);
            return None;
        }
        one.left -= 1;
        Some(std::mem::take(&mut one.omitted))
    }

    /// Entries after this one, the oldest first, at most so many.
    pub(crate) async fn read(&self, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let after = after.map(|after| format!("{AUDIT}{after}"));
        let found = self.store.range(AUDIT, after.as_deref(), limit).await?;
        Ok(found.iter().filter_map(|entry| serde_json::from_slice(&entry.value).ok()).collect())
    }
}

/// The id in a path.
fn infrastructure(path: &str) -> Option<String> {
    let id = path.strip_prefix("/infrastructures/")?.split('/').next()?;
    (!id.is_empty()).then(|| short(id))
}

/// Cuts a text to what an id can have.
fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether a request by this route changes something when it is done.
fn changes(route: &str) -> bool {
    !matches!(route, "/validate" | "/infrastructures/{id}/plan")
}

/// Goes around the routes, inside of the guard.
pub(crate) async fn record(
    State(audit): State<Audit>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return next.run(request).await;
    }
    let caller = request.extensions().get::<Caller>().cloned();
    let address = request.extensions().get::<Peer>().map(Peer::address);
    let route = route.as_ref().map_or_else(|| short(request.uri().path()), |route| route.as_str().to_owned());
    let action = format!("{} {route}", short(request.method().as_str()));
    let infraid = infrastructure(request.uri().path());
    let response = next.run(request).await;
    // What was made by this request is named in its answer only.
    let location = response.headers().get(LOCATION).and_then(|path| path.to_str().ok());
    let infraid = infraid.or_else(|| location.and_then(infrastructure));
    let who = caller.as_ref().map_or_else(|| "nobody".to_owned(), |caller| caller.name.clone());
    let has_changed = changes(&route) && (response.status().is_success() || response.status().is_redirection());
    let omitted = match &caller {
        Some(_) if has_changed => Some(0),
        Some(_) => audit.may_write(&who),
        None => audit.may_write(&format!("{who} {:?}", address.map(neighbourhood))),
    };
    let Some(omitted) = omitted else { return response };
    let entry = Entry {
        id: Uuid::now_v7().to_string(),
        time: Timestamp::now(),
        who,
        address: address.map(|address| address.to_string()),
        action,
        infraid,
        outcome: response.status().as_u16(),
        omitted,
    };
    tracing::info!(target: "occopus::audit", who = entry.who, action = entry.action, infrastructure = entry.infraid, outcome = entry.outcome);
    if let Err(error) = audit.write(&entry).await {
        tracing::error!(action = entry.action, "an entry of the audit could not be written: {error}");
    }
    response
}

#[cfg(test)]
mod tests {
    use occopus_engine::ports::SystemClock;
    use occopus_engine::testing::MemoryStore;

    use super::*;

    fn audit() -> (Audit, MemoryStore) {
        let store = MemoryStore::new(Arc::new(SystemClock));
        (Audit::new(Arc::new(store.clone())), store)
    }

    fn entry(time: Timestamp) -> Entry {
        Entry {
            id: Uuid::now_v7().to_string(),
            time,
            who: "ci".into(),
            address: None,
            action: "POST /validate".into(),
            infraid: None,
            outcome: 200,
            omitted: 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_nothing_has_some_entries_and_then_a_number() {
        let (audit, _) = audit();
        let written = (0..1000).filter(|_| audit.may_write("ci").is_some()).count();
        assert_eq!(written, UNCHANGED as usize);
        assert_eq!(audit.may_write("other"), Some(0));
        tokio::time::advance(UNCHANGED_EVERY).await;
        assert_eq!(audit.may_write("ci"), Some(1000 - u64::from(UNCHANGED)));
        assert_eq!(audit.may_write("ci"), None);
        for number in 0..COUNTED * 3 {
            audit.may_write(&format!("nobody {number}"));
        }
        assert!(audit.unchanged.lock().unwrap().len() <= COUNTED);
    }

    #[tokio::test]
    async fn there_are_so_many_entries_and_no_more() {
        let (audit, store) = audit();
        for _ in 0..100 {
            audit.write(&entry(Timestamp::now())).await.unwrap();
        }
        *audit.number.lock().await = Some(MOST + 30 - PRUNED_EVERY as usize);
        audit.written.store(0, Ordering::Relaxed);
        let last = entry(Timestamp::now());
        audit.write(&last).await.unwrap();
        assert_eq!(store.keys().len(), 100 - 30 + 1);
        assert_eq!(audit.read(None, 1000).await.unwrap().last().unwrap().id, last.id);
        assert_eq!(audit.count().await.unwrap(), 71);
    }

    #[test]
    fn entries_are_short_whatever_the_path_is() {
        let long = format!("/infrastructures/{}/x", "ä".repeat(60_000));
        assert_eq!(infrastructure(&long).unwrap().chars().count(), LONGEST + 1);
        assert_eq!(short(&long).chars().count(), LONGEST + 1);
        assert_eq!(infrastructure("/infrastructures/one/status").as_deref(), Some("one"));
    }
}
