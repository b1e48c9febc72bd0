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
use crate::api::collect;
use crate::problem::Problem;
use crate::stored::decode;
use record::{Answer, Repeatable};
use store::Keyed;

pub(crate) use store::{OnceStore, promises};

/// Under this name comes the key.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The start of the records.
pub(crate) const REPEATABLE: &str = "service/repeatable/";
/// For so long a request may be repeated with its key.
const REPEATABLE_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// The same request is waited for where another service works on it.
const ELSEWHERE: Duration = Duration::from_secs(30);
/// Between two looks.
const AGAIN: Duration = Duration::from_millis(100);
/// Larger answers are not kept. No request that changes something has one.
const ANSWER: usize = 64 * 1024;

/// Knows requests by their keys. Clones are the same.
#[derive(Clone)]
pub(crate) struct Requests {
    store: Arc<dyn Store>,
    /// Those that are worked on here.
    turns: Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>,
}

impl Requests {
    /// Kept in this store.
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, turns: Arc::default() }
    }

    /// Where the same request waits until this one is answered.
    fn turn(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(key.to_owned(), Arc::downgrade(&turn));
        turn
    }

    async fn known(&self, key: &str) -> Result<(u64, Option<Repeatable>), StoreError> {
        let entry = self.store.get(key).await?;
        let record = entry.as_ref().map(decode::<Repeatable>).transpose()?;
        let revision = entry.map_or(0, |entry| entry.modified);
        Ok((revision, record.filter(|record| is_fresh(record.time))))
    }

    /// The answer of the first time, when it was done elsewhere.
    async fn answered(&self, key: &str) -> Result<Response, Problem> {
        let began = tokio::time::Instant::now();
        loop {
            if let Some(response) = self.known(key).await?.1.and_then(|record| record.replay()) {
                return Ok(response);
            }
            if began.elapsed() >= ELSEWHERE {
                let text = "a request with this Idempotency-Key was done, and its answer was lost with whoever did it";
                let problem = Problem::new(StatusCode::CONFLICT, "request.answer-lost", text);
                return Err(problem.help("GET what it was about; use a new key for a new request"));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn once(&self, caller: &Caller, request: Request, next: Next) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let Some(given) = parts.headers.get(IDEMPOTENCY_KEY) else {
            return Ok(next.run(Request::from_parts(parts, body)).await);
        };
        // For each route: a client that numbers its requests to one thing says nothing of those to another.
        let route = format!("\n{} {}\n", parts.method, parts.uri.path());
        let key = hexadecimal(&[caller.name.as_bytes(), route.as_bytes(), given.as_bytes()].concat());
        let key = format!("{REPEATABLE}{key}");
        let path = parts.uri.path_and_query().map_or_else(|| parts.uri.path(), |path| path.as_str());
        let what = format!("{} {path}", parts.method);
        let body = collect(body).await?;
        let digest = hexadecimal(&body);

        let turn = self.turn(&key).lock_owned().await;
        let (revision, known) = self.known(&key).await?;
        if let Some(known) = known {
            if !known.is_of(&what, &digest) {
                let text = "this Idempotency-Key came with another request before";
                let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "request.key-reused", text);
                return Err(problem.help("use a new key for a new request"));
            }
            return self.answered(&key).await;
        }
        let keyed = Arc::new(Keyed::new(key.clone(), what, digest, revision));
        let (store, request) = (self.store.clone(), Request::from_parts(parts, Body::from(body)));
        // A task of its own: who is cut off sends the same again, and is to find the answer.
        let working = tokio::spawn(async move {
            let response = keyed.scope(next.run(request)).await;
            let response = kept(&*store, &keyed, response).await;
            drop(turn);
            (response, keyed)
        });
        let (response, keyed) = match working.await {
            Ok(done) => done,
            // It is not cancelled by anybody, so it has panicked.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        if keyed.is_overtaken() { self.answered(&key).await } else { Ok(response) }
    }
}

/// Keeps the answer to a request that has changed something, or was fine as it was.
async fn kept(store: &dyn Store, keyed: &Keyed, response: Response) -> Response {
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
    let answer = (body.len() <= ANSWER).then(|| Answer::new(status, &parts.headers, &body)).flatten();
    if let Some(answer) = answer
        && let Err(error) = keyed.keep(store, answer).await
    {
        tracing::warn!(request = keyed.request, "an answer could not be kept for the same request: {error}");
    }
    Response::from_parts(parts, Body::from(body))
}

/// Goes around the routes, inside of the guard.
pub(crate) async fn once(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let changes = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH | Method::DELETE);
    match request.extensions().get::<Caller>().cloned() {
        // Who only looks changes nothing: there is nothing to be kept for them.
        Some(caller) if changes && caller.scope > Scope::Read && request.headers().contains_key(IDEMPOTENCY_KEY) => {
            requests.once(&caller, request, next).await.unwrap_or_else(Problem::into_response)
        }
        _ => next.run(request).await,
    }
}

/// Whether it is the record of a request that can't be repeated any more.
pub(crate) fn is_past(entry: &Entry) -> bool {
    entry.key.starts_with(REPEATABLE) && decode::<Repeatable>(entry).is_ok_and(|record| !is_fresh(record.time))
}

fn is_fresh(time: Timestamp) -> bool {
    Timestamp::now().duration_since(time).unsigned_abs() < REPEATABLE_FOR
}

fn hexadecimal(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
