//! Audit: an entry for every request that changes something or was rejected, with its sender and its outcome. Requests
//! that changed nothing may come in any number: each caller has a quota of entries for them, and the next entry has the
//! number of requests left out before it. These entries are in a log of their own, with its own limit: they never
//! displace entries of requests that changed something.
//!
//! `service/audit/ID` is an entry of a request that changed something, `service/audit-unchanged/ID` one of a request that
//! did not. Entries of earlier versions are all under the first, and have no version.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use http::header::LOCATION;
use jiff::{Timestamp, ToSpan as _};
use occopus_api::AuditEntry;
use occopus_engine::ports::{Store, StoreError, Transaction, Write};
use occopus_engine::{Pages, RecordError, RecordFormat, VersionField};
use tokio::time::Instant;
use uuid::Uuid;

use crate::access::Caller;
use crate::listen::{Peer, network_of};

/// Prefix of the entries of requests that changed something.
const CHANGED_PREFIX: &str = "service/audit/";
/// Prefix of the entries of requests that changed nothing.
const UNCHANGED_PREFIX: &str = "service/audit-unchanged/";
/// Format of the entries.
const FORMAT: RecordFormat = RecordFormat::new(1, VersionField::V);
/// Days for which entries are kept.
const RETENTION_DAYS: i64 = 90;
/// Approximate limit on the entries of requests that changed something: beyond it the oldest are removed.
const MAX_CHANGED_ENTRIES: usize = 100_000;
/// Approximate limit on the entries of requests that changed nothing.
const MAX_UNCHANGED_ENTRIES: usize = 20_000;
/// Number of new entries after which old ones are removed.
const WRITES_PER_PRUNE: u64 = 64;
/// Entries of one caller for requests that changed nothing, in one burst.
const UNCHANGED_BURST: u32 = 60;
/// Time after which a caller may have another such entry.
const UNCHANGED_REFILL_INTERVAL: Duration = Duration::from_secs(10);
/// Callers whose quotas are tracked. When there are more, full quotas are dropped, and further addresses without a token
/// share one quota.
const MAX_TRACKED_CALLERS: usize = 1024;
/// Characters that are kept of a method, of a path without a route, and of an id.
const MAX_TEXT_CHARS: usize = 64;

/// The audit. Clones share its logs and quotas.
#[derive(Clone)]
pub(crate) struct Audit {
    changed: EntryLog,
    unchanged: EntryLog,
    quotas: Arc<Mutex<HashMap<CallerKey, UnchangedQuota>>>,
}

/// Log of entries of one kind, with their limit. Clones share it.
#[derive(Clone)]
struct EntryLog {
    store: Arc<dyn Store>,
    prefix: &'static str,
    max_entries: usize,
    written: Arc<AtomicU64>,
    /// Number of entries, once they were counted.
    entry_count: Arc<tokio::sync::Mutex<Option<usize>>>,
}

/// Key of a quota.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum CallerKey {
    /// Owner of the token with this name. Bounded by the number of tokens.
    Token(String),
    /// Address, or network, of a sender without a token.
    Address(Option<IpAddr>),
    /// All further addresses, when too many quotas are tracked.
    OtherAddresses,
}

/// Quota of a caller for entries of requests that changed nothing.
struct UnchangedQuota {
    remaining: u32,
    refilled_at: Instant,
    /// Requests without an entry since the last entry.
    omitted: u64,
}

/// Entries that this version can't read.
#[derive(Default)]
struct Unreadable {
    count: usize,
    /// Error of the last of them.
    last: Option<RecordError>,
}

impl Unreadable {
    fn note<T>(&mut self, decoded: Result<T, RecordError>) -> Option<T> {
        decoded.map_err(|error| (self.count, self.last) = (self.count + 1, Some(error))).ok()
    }
}

impl UnchangedQuota {
    fn full() -> Self {
        Self { remaining: UNCHANGED_BURST, refilled_at: Instant::now(), omitted: 0 }
    }

    /// Adds the entries that have become available since the last refill.
    fn refill(&mut self) -> &mut Self {
        let more = self.refilled_at.elapsed().as_secs() / UNCHANGED_REFILL_INTERVAL.as_secs();
        if let Some(more) = u32::try_from(more).ok().filter(|more| *more > 0) {
            self.remaining = self.remaining.saturating_add(more).min(UNCHANGED_BURST);
            self.refilled_at = Instant::now();
        }
        self
    }
}

impl EntryLog {
    fn new(store: Arc<dyn Store>, prefix: &'static str, max_entries: usize) -> Self {
        Self { store, prefix, max_entries, written: Arc::default(), entry_count: Arc::default() }
    }

    async fn write(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let mut writes = vec![FORMAT.put(format!("{}{}", self.prefix, entry.id), entry)?];
        if self.written.fetch_add(1, Ordering::Relaxed).is_multiple_of(WRITES_PER_PRUNE) {
            writes.extend(self.prune_writes(entry.time).await?);
        }
        self.store.commit(Transaction { compares: Vec::new(), writes }).await.map(drop)
    }

    /// Returns removals of entries that are expired or over the limit. Reads the oldest entries only.
    async fn prune_writes(&self, now: Timestamp) -> Result<Vec<Write>, StoreError> {
        let mut entry_count = self.entry_count.lock().await;
        let count = match *entry_count {
            Some(count) => count.saturating_add(WRITES_PER_PRUNE as usize),
            None => self.count().await?,
        };
        let cutoff = now.checked_sub((RETENTION_DAYS * 24).hours()).unwrap_or(Timestamp::UNIX_EPOCH);
        let is_old = |key: &str| self.time_of(key).is_some_and(|time| time < cutoff);
        let found = self.store.range(self.prefix, None, WRITES_PER_PRUNE as usize * 2).await?;
        let excess = count.saturating_sub(self.max_entries);
        let removed: Vec<_> = found
            .into_iter()
            .enumerate()
            .filter(|(index, found)| *index < excess || is_old(&found.key))
            .map(|(_, found)| Write::Delete { key: found.key })
            .collect();
        *entry_count = Some(count.saturating_sub(removed.len()));
        Ok(removed)
    }

    /// Returns the time in the key of an entry, whose id is a UUID of version 7; none for another key.
    fn time_of(&self, key: &str) -> Option<Timestamp> {
        let (seconds, nanoseconds) = Uuid::parse_str(key.strip_prefix(self.prefix)?).ok()?.get_timestamp()?.to_unix();
        Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()
    }

    async fn count(&self) -> Result<usize, StoreError> {
        let (mut pages, mut count) = (Pages::new(&*self.store, self.prefix), 0);
        while let Some(page) = pages.next_page().await? {
            count += page.len();
        }
        Ok(count)
    }

    /// Returns at most `limit` entries after this one; fewer only if there are no more. Those that this version can't read
    /// are left out, and logged.
    async fn read(&self, after: Option<&str>, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let mut after = after.map(|after| format!("{}{after}", self.prefix));
        let (mut entries, mut unreadable) = (Vec::new(), Unreadable::default());
        loop {
            let wanted = limit.saturating_sub(entries.len());
            let found = self.store.range(self.prefix, after.as_deref(), wanted).await?;
            entries.extend(found.iter().filter_map(|entry| unreadable.note(FORMAT.decode_entry(entry))));
            match found.last() {
                Some(last) if found.len() == wanted && entries.len() < limit => after = Some(last.key.clone()),
                _ => break,
            }
        }
        if let Some(error) = unreadable.last {
            tracing::warn!(entries = unreadable.count, "entries of the audit are left out: {error}");
        }
        Ok(entries)
    }
}

impl Audit {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let changed = EntryLog::new(store.clone(), CHANGED_PREFIX, MAX_CHANGED_ENTRIES);
        let unchanged = EntryLog::new(store, UNCHANGED_PREFIX, MAX_UNCHANGED_ENTRIES);
        Self { changed, unchanged, quotas: Arc::default() }
    }

    /// Takes an entry from a caller's quota, and returns the number of requests omitted before it; `None` if the quota is
    /// used up, which counts the request as omitted.
    fn take_unchanged(&self, mut key: CallerKey) -> Option<u64> {
        let mut quotas = self.quotas.lock().unwrap_or_else(PoisonError::into_inner);
        if quotas.len() >= MAX_TRACKED_CALLERS && !quotas.contains_key(&key) {
            quotas.retain(|_, quota| quota.refill().remaining < UNCHANGED_BURST || quota.omitted > 0);
            if quotas.len() >= MAX_TRACKED_CALLERS {
                quotas.retain(|_, quota| quota.remaining < UNCHANGED_BURST);
            }
            if quotas.len() >= MAX_TRACKED_CALLERS && matches!(key, CallerKey::Address(_)) {
                key = CallerKey::OtherAddresses;
            }
        }
        let quota = quotas.entry(key).or_insert_with(UnchangedQuota::full).refill();
        if quota.remaining == 0 {
            quota.omitted = quota.omitted.saturating_add(1);
            return None;
        }
        quota.remaining -= 1;
        Some(std::mem::take(&mut quota.omitted))
    }

    /// Returns entries after this one, the oldest first, at most `limit`.
    pub(crate) async fn read(&self, after: Option<&str>, limit: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let mut entries = self.changed.read(after, limit).await?;
        entries.extend(self.unchanged.read(after, limit).await?);
        entries.sort_by(|one, other| one.id.cmp(&other.id));
        entries.truncate(limit);
        Ok(entries)
    }
}

/// Returns the id of the infrastructure in a path.
fn infrastructure_in(path: &str) -> Option<String> {
    let id = path.strip_prefix("/infrastructures/")?.split('/').next()?;
    (!id.is_empty()).then(|| truncate(id))
}

/// Cuts a text to [`MAX_TEXT_CHARS`].
fn truncate(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Returns true if a request by this route changes something when it succeeds.
fn is_mutating(route: &str) -> bool {
    !matches!(route, "/validate" | "/infrastructures/{id}/plan")
}

/// Middleware around the routes, inside of the guard.
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
    let route = route.as_ref().map_or_else(|| truncate(request.uri().path()), |route| route.as_str().to_owned());
    let action = format!("{} {route}", truncate(request.method().as_str()));
    let infraid = infrastructure_in(request.uri().path());
    let response = next.run(request).await;
    // The id of an infrastructure that this request created is in its response only.
    let location = response.headers().get(LOCATION).and_then(|path| path.to_str().ok());
    let infraid = infraid.or_else(|| location.and_then(infrastructure_in));
    let who = caller.as_ref().map_or_else(|| "nobody".to_owned(), |caller| caller.name.clone());
    let has_changed = is_mutating(&route) && (response.status().is_success() || response.status().is_redirection());
    let (entries, omitted) = match &caller {
        Some(_) if has_changed => (&audit.changed, Some(0)),
        Some(_) => (&audit.unchanged, audit.take_unchanged(CallerKey::Token(who.clone()))),
        None => (&audit.unchanged, audit.take_unchanged(CallerKey::Address(address.map(network_of)))),
    };
    let Some(omitted) = omitted else { return response };
    let entry = AuditEntry {
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
    if let Err(error) = entries.write(&entry).await {
        tracing::error!(action = entry.action, "an audit entry could not be written: {error}");
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

    fn entry(time: Timestamp) -> AuditEntry {
        AuditEntry {
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
        let token = |name: &str| CallerKey::Token(name.to_owned());
        let address = |number: u32| CallerKey::Address(Some(IpAddr::from(number.to_be_bytes())));
        let written = (0..1000).filter(|_| audit.take_unchanged(token("ci")).is_some()).count();
        assert_eq!(written, UNCHANGED_BURST as usize);
        assert_eq!(audit.take_unchanged(token("other")), Some(0));
        tokio::time::advance(UNCHANGED_REFILL_INTERVAL).await;
        assert_eq!(audit.take_unchanged(token("ci")), Some(1000 - u64::from(UNCHANGED_BURST)));
        assert_eq!(audit.take_unchanged(token("ci")), None);
        // Requests from many addresses reset no quota, and tokens keep quotas of their own.
        let written = (0..MAX_TRACKED_CALLERS as u32 * 3)
            .filter(|number| audit.take_unchanged(address(*number)).is_some())
            .count();
        assert!(written <= MAX_TRACKED_CALLERS + UNCHANGED_BURST as usize, "{written}");
        assert_eq!(audit.take_unchanged(token("ci")), None);
        assert_eq!(audit.take_unchanged(token("third")), Some(0));
        assert!(audit.quotas.lock().unwrap().len() <= MAX_TRACKED_CALLERS + 2);
        tokio::time::advance(UNCHANGED_REFILL_INTERVAL * UNCHANGED_BURST).await;
        assert_eq!(audit.take_unchanged(address(u32::MAX)), Some(0));
        assert!(audit.quotas.lock().unwrap().len() < 10, "full quotas are dropped");
    }

    #[tokio::test]
    async fn what_changes_nothing_pushes_out_nothing_of_what_has() {
        let (audit, store) = audit();
        let mut written = Vec::new();
        for at in 0..10 {
            let entry = entry(Timestamp::now());
            let entries = if at % 2 == 0 { &audit.changed } else { &audit.unchanged };
            entries.write(&entry).await.unwrap();
            written.push(entry.id);
        }
        let ids = |entries: Vec<AuditEntry>| entries.into_iter().map(|entry| entry.id).collect::<Vec<_>>();
        assert_eq!(ids(audit.read(None, 4).await.unwrap()), written[..4]);
        assert_eq!(ids(audit.read(Some(&written[3]), 100).await.unwrap()), written[4..]);
        *audit.unchanged.entry_count.lock().await = Some(MAX_UNCHANGED_ENTRIES + 100 - WRITES_PER_PRUNE as usize);
        audit.unchanged.written.store(0, Ordering::Relaxed);
        audit.unchanged.write(&entry(Timestamp::now())).await.unwrap();
        let left = store.keys();
        assert_eq!(left.iter().filter(|key| key.starts_with(CHANGED_PREFIX)).count(), 5);
        assert_eq!(left.len(), 5 + 1);
    }

    #[tokio::test]
    async fn there_are_so_many_entries_and_no_more() {
        let (audit, store) = audit();
        for _ in 0..100 {
            audit.changed.write(&entry(Timestamp::now())).await.unwrap();
        }
        *audit.changed.entry_count.lock().await = Some(MAX_CHANGED_ENTRIES + 30 - WRITES_PER_PRUNE as usize);
        audit.changed.written.store(0, Ordering::Relaxed);
        let last = entry(Timestamp::now());
        audit.changed.write(&last).await.unwrap();
        assert_eq!(store.keys().len(), 100 - 30 + 1);
        assert_eq!(audit.read(None, 1000).await.unwrap().last().unwrap().id, last.id);
        assert_eq!(audit.changed.count().await.unwrap(), 71);
    }

    #[tokio::test]
    async fn entries_without_a_version_are_read_and_unreadable_ones_withhold_no_others() {
        let (audit, store) = audit();
        let earlier = entry(Timestamp::now());
        let key = format!("{CHANGED_PREFIX}{}", earlier.id);
        let put = Write::Put { key, value: serde_json::to_vec(&earlier).unwrap(), lease: None };
        store.commit(Transaction { compares: Vec::new(), writes: vec![put] }).await.unwrap();
        audit.changed.write(&entry(Timestamp::now())).await.unwrap();
        assert_eq!(audit.read(None, 9).await.unwrap().len(), 2);
        let key = || format!("{CHANGED_PREFIX}{}", Uuid::now_v7());
        let newer = RecordFormat::new(2, VersionField::V).put(key(), &earlier).unwrap();
        let corrupt = Write::Put { key: key(), value: b"{".to_vec(), lease: None };
        store.commit(Transaction { compares: Vec::new(), writes: vec![newer, corrupt] }).await.unwrap();
        let last = entry(Timestamp::now());
        audit.changed.write(&last).await.unwrap();
        let read = audit.read(Some(&earlier.id), 2).await.unwrap();
        assert_eq!(read.iter().map(|entry| &entry.id).collect::<Vec<_>>()[1..], [&last.id], "a full page: {read:?}");
    }

    #[tokio::test]
    async fn expired_entries_are_removed_even_if_they_can_not_be_read() {
        let (audit, store) = audit();
        let days_ago = |days: i64| {
            let seconds = Timestamp::now().as_second() - days * 24 * 3600;
            Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds.cast_unsigned(), 0))
        };
        let put = |id: Uuid| Write::Put { key: format!("{CHANGED_PREFIX}{id}"), value: b"{".to_vec(), lease: None };
        let kept = days_ago(RETENTION_DAYS - 1);
        let writes = vec![put(days_ago(RETENTION_DAYS + 1)), put(kept)];
        store.commit(Transaction { compares: Vec::new(), writes }).await.unwrap();
        let new = entry(Timestamp::now());
        audit.changed.write(&new).await.unwrap();
        assert_eq!(store.keys(), [kept.to_string(), new.id].map(|id| format!("{CHANGED_PREFIX}{id}")));
    }

    #[test]
    fn entries_are_short_whatever_the_path_is() {
        let long = format!("/infrastructures/{}/x", "ä".repeat(60_000));
        assert_eq!(infrastructure_in(&long).unwrap().chars().count(), MAX_TEXT_CHARS + 1);
        assert_eq!(truncate(&long).chars().count(), MAX_TEXT_CHARS + 1);
        assert_eq!(infrastructure_in("/infrastructures/one/status").as_deref(), Some("one"));
    }
}
