//! Who did what: every request that changes something, or was refused, with who sent it and what came of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use http::header::LOCATION;
use jiff::{Timestamp, ToSpan as _};
use occopus_engine::ports::{Store, StoreError, Transaction, Write};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::Caller;
use crate::stored::unwritable;

const AUDIT: &str = "service/audit/";
/// Entries are kept for so many days.
const KEPT_FOR: i64 = 90;
/// Old entries are looked for once in so many new ones.
const PRUNED_EVERY: u64 = 64;

/// The entries. Clones are the same.
#[derive(Clone)]
pub(crate) struct Audit {
    store: Arc<dyn Store>,
    written: Arc<AtomicU64>,
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
}

impl Audit {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, written: Arc::default() }
    }

    async fn write(&self, entry: &Entry) -> Result<(), StoreError> {
        let key = format!("{AUDIT}{}", entry.id);
        let value = serde_json::to_vec(entry).map_err(|error| unwritable(&key, &error))?;
        let mut writes = vec![Write::Put { key, value, lease: None }];
        if self.written.fetch_add(1, Ordering::Relaxed).is_multiple_of(PRUNED_EVERY) {
            let old = entry.time.checked_sub((KEPT_FOR * 24).hours()).unwrap_or(Timestamp::UNIX_EPOCH);
            for found in self.store.range(AUDIT, None, PRUNED_EVERY as usize * 2).await? {
                let is_old = serde_json::from_slice::<Entry>(&found.value).is_ok_and(|entry| entry.time < old);
                if is_old {
                    writes.push(Write::Delete { key: found.key });
                }
            }
        }
        self.store.commit(Transaction { compares: Vec::new(), writes }).await.map(drop)
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
    (!id.is_empty()).then(|| id.to_owned())
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
    let route = route.as_ref().map_or_else(|| request.uri().path().to_owned(), |route| route.as_str().to_owned());
    let action = format!("{} {route}", request.method());
    let infraid = infrastructure(request.uri().path());
    let response = next.run(request).await;
    // What was made by this request is named in its answer only.
    let location = response.headers().get(LOCATION).and_then(|path| path.to_str().ok());
    let infraid = infraid.or_else(|| location.and_then(infrastructure));
    let entry = Entry {
        id: Uuid::now_v7().to_string(),
        time: Timestamp::now(),
        who: caller.as_ref().map_or_else(|| "nobody".to_owned(), |caller| caller.name.clone()),
        address: caller.and_then(|caller| caller.address).map(|address| address.to_string()),
        action,
        infraid,
        outcome: response.status().as_u16(),
    };
    tracing::info!(target: "occopus::audit", who = entry.who, action = entry.action, infrastructure = entry.infraid, outcome = entry.outcome);
    if let Err(error) = audit.write(&entry).await {
        tracing::error!(action = entry.action, "an entry of the audit could not be written: {error}");
    }
    response
}
