//! Requests with an `Idempotency-Key` are done once, however often they are sent within a day: all that change something, by
//! whatever route. Who sends one again gets the answer of the first time. A request that changed nothing and failed may be tried
//! again under its key.

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
use occopus_engine::ports::{Entry, Store, StoreError};
use sha2::{Digest as _, Sha256};

use crate::access::{Caller, Scope};
use crate::api::collect_body;
use crate::codec::decode_record;
use crate::problem::ApiError;
use record::{IdempotencyRecord, RecordedResponse};
use store::KeyedRequest;

pub(crate) use store::{IdempotentStore, note_operation};

/// Under this name comes the key.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The start of the records.
pub(crate) const KEY_PREFIX: &str = "service/repeatable/";
/// For so long a request may be repeated with its key.
const RECORD_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// The same request is waited for where another service works on it.
const REMOTE_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Larger answers are not kept. No request that changes something has one.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Knows requests by their keys. Clones are the same.
#[derive(Clone)]
pub(crate) struct IdempotentRequests {
    store: Arc<dyn Store>,
    /// Those that are worked on here.
    locks: Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>,
}

impl IdempotentRequests {
    /// Kept in this store.
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, locks: Arc::default() }
    }

    /// Where the same request waits until this one is answered.
    fn request_lock(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(key.to_owned(), Arc::downgrade(&turn));
        turn
    }

    async fn find_record(&self, key: &str) -> Result<(u64, Option<IdempotencyRecord>), StoreError> {
        let entry = self.store.get(key).await?;
        let record = entry.as_ref().map(decode_record::<IdempotencyRecord>).transpose()?;
        let revision = entry.map_or(0, |entry| entry.modified);
        Ok((revision, record.filter(|record| is_fresh(record.time))))
    }

    /// The answer of the first time, when it was done elsewhere.
    async fn wait_for_answer(&self, key: &str) -> Result<Response, ApiError> {
        let began = tokio::time::Instant::now();
        loop {
            if let Some(response) = self.find_record(key).await?.1.and_then(|record| record.replay()) {
                return Ok(response);
            }
            if began.elapsed() >= REMOTE_ANSWER_TIMEOUT {
                let text = "a request with this Idempotency-Key was done, and its answer was lost with whoever did it";
                let problem = ApiError::new(StatusCode::CONFLICT, "request.answer-lost", text);
                return Err(problem.with_help("GET what it was about; use a new key for a new request"));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    async fn run_once(&self, caller: &Caller, request: Request, next: Next) -> Result<Response, ApiError> {
        let (parts, body) = request.into_parts();
        let Some(given) = parts.headers.get(IDEMPOTENCY_KEY) else {
            return Ok(next.run(Request::from_parts(parts, body)).await);
        };
        // For each route: a client that numbers its requests to one thing says nothing of those to another.
        let route = format!("\n{} {}\n", parts.method, parts.uri.path());
        let key = sha256_hex(&[caller.name.as_bytes(), route.as_bytes(), given.as_bytes()].concat());
        let key = format!("{KEY_PREFIX}{key}");
        let path = parts.uri.path_and_query().map_or_else(|| parts.uri.path(), |path| path.as_str());
        let what = format!("{} {path}", parts.method);
        let body = collect_body(body).await?;
        let digest = sha256_hex(&body);

        let turn = self.request_lock(&key).lock_owned().await;
        let (revision, known) = self.find_record(&key).await?;
        if let Some(known) = known {
            if !known.is_same_request(&what, &digest) {
                let text = "this Idempotency-Key came with another request before";
                let problem = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "request.key-reused", text);
                return Err(problem.with_help("use a new key for a new request"));
            }
            return self.wait_for_answer(&key).await;
        }
        let keyed = Arc::new(KeyedRequest::new(key.clone(), what, digest, revision));
        let (store, request) = (self.store.clone(), Request::from_parts(parts, Body::from(body)));
        // A task of its own: who is cut off sends the same again, and is to find the answer.
        let working = tokio::spawn(async move {
            let response = keyed.scope(next.run(request)).await;
            let response = keep_answer(&*store, &keyed, response).await;
            drop(turn);
            (response, keyed)
        });
        let (response, keyed) = match working.await {
            Ok(done) => done,
            // It is not cancelled by anybody, so it has panicked.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        if keyed.is_overtaken() { self.wait_for_answer(&key).await } else { Ok(response) }
    }
}

/// Keeps the answer to a request that has changed something, or was fine as it was.
async fn keep_answer(store: &dyn Store, keyed: &KeyedRequest, response: Response) -> Response {
    let status = response.status();
    // What could not be said now can be said when it is asked for again.
    let is_final = status.is_success() || (keyed.is_done() && status != StatusCode::SERVICE_UNAVAILABLE);
    if !is_final || keyed.is_overtaken() {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        // Bodies of these answers are there at once, and do not break off.
        Err(_) => return Response::from_parts(parts, Body::empty()),
    };
    let answer =
        (body.len() <= MAX_ANSWER_BYTES).then(|| RecordedResponse::new(status, &parts.headers, &body)).flatten();
    if let Some(answer) = answer
        && let Err(error) = keyed.store_answer(store, answer).await
    {
        tracing::warn!(request = keyed.request, "an answer could not be kept for the same request: {error}");
    }
    Response::from_parts(parts, Body::from(body))
}

/// Goes around the routes, inside of the guard.
pub(crate) async fn enforce(State(requests): State<IdempotentRequests>, request: Request, next: Next) -> Response {
    let changes = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH | Method::DELETE);
    match request.extensions().get::<Caller>().cloned() {
        // Who only looks changes nothing: there is nothing to be kept for them.
        Some(caller) if changes && caller.scope > Scope::Read && request.headers().contains_key(IDEMPOTENCY_KEY) => {
            requests.run_once(&caller, request, next).await.unwrap_or_else(ApiError::into_response)
        }
        _ => next.run(request).await,
    }
}

/// Whether it is the record of a request that can't be repeated any more.
pub(crate) fn is_expired(entry: &Entry) -> bool {
    entry.key.starts_with(KEY_PREFIX)
        && decode_record::<IdempotencyRecord>(entry).is_ok_and(|record| !is_fresh(record.time))
}

fn is_fresh(time: Timestamp) -> bool {
    Timestamp::now().duration_since(time).unsigned_abs() < RECORD_TTL
}

fn sha256_hex(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
