//! Events of an infrastructure: a page of stored ones, or a stream (Server-Sent Events).

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use occopus_api::EventPage;
use occopus_engine::InfrastructureId;
use serde::Deserialize;
use utoipa::IntoParams;

use super::common::{PathParams, QueryParams};
use crate::access::{Caller, Scope, SlotGuard};
use crate::feed;
use crate::metrics::OpenStreamGuard;
use crate::problem::ApiError;
use crate::state::{Service, unknown_infrastructure};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Subscriber name for reading the position of the newest event; no cursor is stored for it.
const TRANSIENT_SUBSCRIBER: &str = "service";

/// A selection of events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventQuery {
    /// Only events with ids greater than this one.
    #[param(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    after: Option<u64>,
    /// Maximum number of events in a page; 100 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
}

/// Returns a page of events, or streams them.
///
/// With `Accept: text/event-stream`, the stream begins after `Last-Event-ID` or `after`, otherwise with the next event.
#[utoipa::path(
    get, path = "/infrastructures/{id}/events", tag = "infrastructures",
    security(("token" = ["read"])),
    params(
        ("id" = String, Path, description = "The infrastructure's id"), EventQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "Of a stream: id of the last event that the client received"),
    ),
    responses(
        (status = 200, content((EventPage = "application/json"), (String = "text/event-stream"))),
    ),
)]
pub(crate) async fn events(
    State(service): State<Service>,
    caller: Caller,
    PathParams(id): PathParams<String>,
    QueryParams(query): QueryParams<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id = service.authorize(&caller, Scope::Read, &id)?;
    let accepts = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let exists = service.engine.exists(&id).await?;
    if !exists && service.ledger.pending_operation(&id).await?.is_none() {
        return Err(unknown_infrastructure(&id));
    }
    if accepts.split(',').any(|kind| kind.trim().starts_with("text/event-stream")) {
        let slot = service.stream_slots.acquire(&caller)?;
        return stream(&service, id, &query, &headers, slot).await;
    }
    if query.after.is_some_and(|after| i64::try_from(after).is_err()) {
        return Err(ApiError::bad_request("request.query", "`after` is larger than any event id"));
    }
    let limit = query.limit.unwrap_or(100);
    if !(1..=1000).contains(&limit) {
        return Err(ApiError::bad_request("request.query", "`limit` must be from 1 to 1000"));
    }
    let mut events = service.engine.events(&id, query.after.unwrap_or(0), limit + 1).await?;
    let more = events.len() > limit;
    events.truncate(limit);
    let next = events.last().and_then(|event| event.id).filter(|_| more);
    Ok(Json(EventPage { events, next }).into_response())
}

async fn stream(
    service: &Service,
    id: InfrastructureId,
    query: &EventQuery,
    headers: &HeaderMap,
    slot: SlotGuard,
) -> Result<Response, ApiError> {
    let newest = service.engine.cursor(&id, TRANSIENT_SUBSCRIBER).await?;
    let last = headers.get(LAST_EVENT_ID).and_then(|last| last.to_str().ok()?.parse::<u64>().ok());
    // An id beyond the newest belongs to an earlier infrastructure with the same id.
    let after = last.or(query.after).map_or(newest, |after| if after > newest { 0 } else { after });
    let open = (OpenStreamGuard::new(&service.metrics), slot);
    let frames = feed::subscribe(service.feed.clone(), id, after).map(move |frame| {
        let _open = &open;
        frame
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // A proxy must not buffer events.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(frames)).into_response())
}
