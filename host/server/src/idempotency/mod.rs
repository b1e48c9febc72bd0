//! Idempotency: requests with an `Idempotency-Key` have their effect once, however often they are sent within a day. This
//! holds for all requests that change something, by whatever route. A repetition gets the first response. A request that
//! failed and changed nothing may be sent again under its key.

mod record;
mod store;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, Method, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use occopus_engine::ports::{Entry, Store, StoreError, Transaction, Write};
use occopus_engine::{Pages, RecordFormat, VersionField};
use sha2::{Digest as _, Sha256};

use crate::access::{Caller, Scope};
use crate::api::collect_body;
use crate::problem::ApiError;
use record::{IdempotencyRecord, RecordedResponse};
use store::KeyedRequest;

pub(crate) use store::{IdempotentStore, note_operation};

/// Request header that carries the key.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Prefix of the records' keys.
const KEY_PREFIX: &str = "service/repeatable/";
/// Format of the records.
const FORMAT: RecordFormat = RecordFormat::new(1, VersionField::V);
/// Time for which a request may be repeated with its key.
const RECORD_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Time for which the response of the same request at another service is awaited.
const REMOTE_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two reads of the record.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Largest response that is recorded, in bytes. No request that changes something has a larger one.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Requests by their keys. Clones share the store and the locks.
#[derive(Clone)]
pub(crate) struct IdempotentRequests {
    store: Arc<dyn Store>,
    /// Locks of the requests that this service handles now.
    locks: Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>,
}

impl IdempotentRequests {
    /// Creates access to the requests recorded in this store.
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, locks: Arc::default() }
    }

    /// Returns the lock that a request holds until it is answered; its repetition waits for it.
    fn request_lock(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        locks.insert(key.to_owned(), Arc::downgrade(&lock));
        lock
    }

    async fn find_record(&self, key: &str) -> Result<(u64, Option<IdempotencyRecord>), StoreError> {
        let entry = self.store.get(key).await?;
        let record = entry.as_ref().map(|entry| FORMAT.decode_entry::<IdempotencyRecord>(entry)).transpose()?;
        let revision = entry.map_or(0, |entry| entry.modified);
        Ok((revision, record.filter(|record| is_fresh(record.time))))
    }

    /// Waits for the recorded response of a request that was done before, perhaps at another service.
    async fn wait_for_answer(&self, key: &str) -> Result<Response, ApiError> {
        let started = tokio::time::Instant::now();
        loop {
            if let Some(response) = self.find_record(key).await?.1.and_then(|record| record.replay()) {
                return Ok(response);
            }
            if started.elapsed() >= REMOTE_ANSWER_TIMEOUT {
                let text = "the request with this Idempotency-Key was done, but its response was lost";
                let problem = ApiError::new(StatusCode::CONFLICT, "request.answer-lost", text);
                return Err(problem.with_help("GET the resource to see its state; use a new key for a new request"));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn run_once(&self, caller: &Caller, request: Request, next: Next) -> Result<Response, ApiError> {
        let (parts, body) = request.into_parts();
        let Some(client_key) = parts.headers.get(IDEMPOTENCY_KEY) else {
            return Ok(next.run(Request::from_parts(parts, body)).await);
        };
        // Keys are separate for each route: a client that numbers its requests to one resource may use the same numbers
        // for another.
        let route = format!("\n{} {}\n", parts.method, parts.uri.path());
        let key = sha256_hex(&[caller.name.as_bytes(), route.as_bytes(), client_key.as_bytes()].concat());
        let key = format!("{KEY_PREFIX}{key}");
        let path = parts.uri.path_and_query().map_or_else(|| parts.uri.path(), |path| path.as_str());
        let method_and_path = format!("{} {path}", parts.method);
        let body = collect_body(body).await?;
        let digest = sha256_hex(&body);

        let lock = self.request_lock(&key).lock_owned().await;
        let (revision, record) = self.find_record(&key).await?;
        if let Some(record) = record {
            if !record.is_same_request(&method_and_path, &digest) {
                let text = "this Idempotency-Key was used for another request before";
                let problem = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "request.key-reused", text);
                return Err(problem.with_help("use a new key for a new request"));
            }
            return self.wait_for_answer(&key).await;
        }
        let keyed = Arc::new(KeyedRequest::new(key.clone(), method_and_path, digest, revision));
        let (store, request) = (self.store.clone(), Request::from_parts(parts, Body::from(body)));
        // A task of its own: a client that was disconnected sends the same request again, and is to find the response.
        let handling = tokio::spawn(async move {
            let response = keyed.scope(next.run(request)).await;
            let response = keep_answer(&*store, &keyed, response).await;
            drop(lock);
            (response, keyed)
        });
        let (response, keyed) = match handling.await {
            Ok(done) => done,
            // Nothing cancels the task, so it has panicked.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        if keyed.is_overtaken() { self.wait_for_answer(&key).await } else { Ok(response) }
    }
}

/// Records the response to a request that has changed something or succeeded, and returns it.
async fn keep_answer(store: &dyn Store, keyed: &KeyedRequest, response: Response) -> Response {
    let status = response.status();
    // A failure that changed nothing, or an unavailable service, may have another response next time.
    let is_final = status.is_success() || (keyed.is_done() && status != StatusCode::SERVICE_UNAVAILABLE);
    if !is_final || keyed.is_overtaken() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        // Bodies of these responses are complete in memory, and do not break off.
        Err(_) => return Response::from_parts(parts, Body::empty()),
    };
    let answer =
        (body.len() <= MAX_ANSWER_BYTES).then(|| RecordedResponse::new(status, &parts.headers, &body)).flatten();
    if let Some(answer) = answer
        && let Err(error) = keyed.store_answer(store, answer).await
    {
        tracing::warn!(
            request = keyed.request,
            "a response could not be recorded for repetitions of its request: {error}"
        );
    }
    Response::from_parts(parts, Body::from(body))
}

/// Middleware around the routes, inside of the guard.
pub(crate) async fn enforce(State(requests): State<IdempotentRequests>, request: Request, next: Next) -> Response {
    let changes = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH | Method::DELETE);
    match request.extensions().get::<Caller>().cloned() {
        // A caller that may only read changes nothing: no record is needed.
        Some(caller) if changes && caller.scope > Scope::Read && request.headers().contains_key(IDEMPOTENCY_KEY) => {
            requests.run_once(&caller, request, next).await.unwrap_or_else(ApiError::into_response)
        }
        _ => next.run(request).await,
    }
}

/// Removes the records of requests that can't be repeated any more. Unreadable ones stay.
///
/// # Errors
/// Fails if the store does not answer; the next call removes the rest.
pub(crate) async fn clean_up(store: &dyn Store) -> Result<(), StoreError> {
    let mut pages = Pages::new(store, KEY_PREFIX);
    while let Some(page) = pages.next_page().await? {
        let is_expired =
            |entry: &Entry| FORMAT.decode_entry::<IdempotencyRecord>(entry).is_ok_and(|record| !is_fresh(record.time));
        let expired = page.into_iter().filter(is_expired);
        let writes: Vec<_> = expired.map(|entry| Write::Delete { key: entry.key }).collect();
        if !writes.is_empty() {
            store.commit(Transaction { compares: Vec::new(), writes }).await?;
        }
    }
    Ok(())
}

fn is_fresh(time: Timestamp) -> bool {
    Timestamp::now().duration_since(time).unsigned_abs() < RECORD_TTL
}

fn sha256_hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use occopus_engine::ports::SystemClock;
    use occopus_engine::testing::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn records_expire_and_those_of_a_newer_version_stay() {
        let store = MemoryStore::new(Arc::new(SystemClock));
        let put = |name: &str, hours: i64, format: RecordFormat| {
            let time = Timestamp::now().checked_sub(hours.hours()).unwrap();
            let record = serde_json::json!({"digest": "d", "infraid": "i", "operation": "o", "time": time});
            format.put(format!("{KEY_PREFIX}{name}"), &record).unwrap()
        };
        let newer = RecordFormat::new(2, VersionField::V);
        let writes = vec![put("fresh", 1, FORMAT), put("expired", 25, FORMAT), put("newer", 25, newer)];
        store.commit(Transaction { compares: Vec::new(), writes }).await.unwrap();
        clean_up(&store).await.unwrap();
        assert_eq!(store.keys(), ["fresh", "newer"].map(|name| format!("{KEY_PREFIX}{name}")));
        let requests = IdempotentRequests::new(Arc::new(store));
        assert!(requests.find_record(&format!("{KEY_PREFIX}fresh")).await.unwrap().1.is_some());
        let error = requests.find_record(&format!("{KEY_PREFIX}newer")).await.unwrap_err();
        assert!(error.to_string().contains("newer program"), "{error}");
    }
}
