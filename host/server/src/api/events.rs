//! What happened, by the page or as it happens.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::common::{PathParams, QueryParams};
use crate::access::{Caller, Scope, SlotGuard};
use crate::feed;
use crate::metrics::OpenStreamGuard;
use crate::problem::ApiError;
use crate::state::{Service, unknown_infrastructure};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// A name for those who only want to know how far it has come; nothing is remembered for it.
const TRANSIENT_SUBSCRIBER: &str = "service";

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventQuery {
    /// Those after the one with this number.
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    after: Option<u64>,
    /// At most so many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// A page of events.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct EventPage {
    /// Each with `id`, `time`, `infra_id`, `event`, and what goes with it.
    #[schema(value_type = Vec<Object>)]
    events: Vec<Value>,
    /// `after` of the next page, if there is one.
    next: Option<u64>,
}

/// What happened to an infrastructure: a page, or, as `text/event-stream`, what happens from now on, or after
/// `Last-Event-ID`.
#[utoipa::path(
    get, path = "/infrastructures/{id}/events", tag = "infrastructures",
    security(("token" = ["read"])),
    params(
        ("id" = String, Path, description = "The infrastructure's id"), EventQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Of a stream: the last event that arrived"),
    ),
    responses(
        (status = 200, content((EventPage = "application/json"), (String = "text/event-stream"))),
    ),
)]
pub(crate) async fn events(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
    QueryParams(wanted): QueryParams<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    service.authorize(&caller, Scope::Read, &id)?;
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let exists = service.engine.exists(&id).await?;
    if !exists && service.ledger.pending_operation(&id).await?.is_none() {
        return Err(unknown_infrastructure(&id));
    }
    if accepts.split(',').any(|kind| kind.trim().starts_with("text/event-stream")) {
        let taking = service.stream_slots.acquire(&caller)?;
        return stream(&service, id, &wanted, &headers, taking).await;
    }
    if wanted.after.is_some_and(|after| i64::try_from(after).is_err()) {
        return Err(ApiError::bad_request("request.query", "`after` is larger than any number of an event"));
    }
    let limit = wanted.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(ApiError::bad_request("request.query", "`limit` must be from 1 to 1000"));
    }
    let mut events = service.engine.events(&id, wanted.after.unwrap_or(0), limit + 1).await?;
    let more = events.len() > limit;
    events.truncate(limit);
    let next = events.last().and_then(|event| event.id).filter(|_| more);
    Ok(Json(EventPage { events: events.iter().map(|event| json!(event)).collect(), next }).into_response())
}

async fn stream(
    service: &Service,
    id: String,
    wanted: &EventQuery,
    headers: &HeaderMap,
    taking: SlotGuard,
) -> Result<Response, ApiError> {
    let newest = service.engine.cursor(&id, TRANSIENT_SUBSCRIBER).await?;
    let last = headers.get(LAST_EVENT_ID).and_then(|last| last.to_str().ok()?.parse::<u64>().ok());
    // A number that has not been reached is of another infrastructure that had this id.
    let after = last.or(wanted.after).map_or(newest, |after| if after > newest { 0 } else { after });
    let open = (OpenStreamGuard::new(&service.metrics), taking);
    let frames = feed::subscribe(service.feed.clone(), id, after).map(move |frame| {
        let _open = &open;
        frame
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // A proxy that collects them would keep them from arriving.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(frames)).into_response())
}
