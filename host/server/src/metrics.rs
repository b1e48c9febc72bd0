//! Metrics for Prometheus: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use occopus_engine::InfrastructureState;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The metrics of the service.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram>,
    events: Family<EventLabels, Counter>,
    pub(crate) streams: Gauge,
    infrastructures: Family<StateLabels, Gauge>,
    pub(crate) supervised: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    event: String,
}

/// Labels of the number of infrastructures in a state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: String,
}

fn latency_histogram() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0])
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("occopus");
        let (requests, seconds) =
            (Family::default(), Family::new_with_constructor(latency_histogram as fn() -> Histogram));
        let (events, infrastructures) = (Family::default(), Family::default());
        let (streams, supervised) = (Gauge::default(), Gauge::default());
        registry.register("http_requests", "Requests that were answered", requests.clone());
        registry.register("http_request_seconds", "Time until the head of the answer", seconds.clone());
        registry.register("events", "Events of infrastructures that were stored", events.clone());
        registry.register("event_streams", "Open streams of events", streams.clone());
        registry.register("infrastructures", "Infrastructures by state", infrastructures.clone());
        registry.register("looked_after", "Infrastructures that this service works on", supervised.clone());
        Self { registry, requests, seconds, events, streams, infrastructures, supervised }
    }

    /// Counts a stored event.
    pub(crate) fn count_event(&self, event: &str) {
        self.events.get_or_create(&EventLabels { event: event.to_owned() }).inc();
    }

    /// Sets the number of infrastructures in each state, given the state of each.
    pub(crate) fn set_infrastructures(&self, states: impl Iterator<Item = InfrastructureState>) {
        let mut counts: HashMap<InfrastructureState, i64> =
            InfrastructureState::all().map(|state| (state, 0)).collect();
        states.for_each(|state| *counts.entry(state).or_default() += 1);
        for (state, count) in counts {
            self.infrastructures.get_or_create(&StateLabels { state: state.to_string() }).set(count);
        }
    }

    /// Returns all metrics as OpenMetrics text.
    pub(crate) fn to_openmetrics(&self) -> String {
        let mut text = String::new();
        // Writing into a `String` does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Middleware that counts requests and the time until the head of their responses.
pub(crate) async fn count_request(
    State(metrics): State<Arc<Metrics>>,
    route: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    // Not the path itself: clients could create any number of labels.
    let route = route.map_or_else(|| "none".to_owned(), |route| route.as_str().to_owned());
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let response = next.run(request).await;
    let status = response.status().as_u16();
    metrics.requests.get_or_create(&RequestLabels { method, route: route.clone(), status }).inc();
    metrics.seconds.get_or_create(&RouteLabels { route }).observe(started.elapsed().as_secs_f64());
    response
}

/// Counts one open event stream until it is dropped.
pub(crate) struct OpenStreamGuard(Arc<Metrics>);

impl OpenStreamGuard {
    pub(crate) fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.streams.inc();
        Self(metrics.clone())
    }
}

impl Drop for OpenStreamGuard {
    fn drop(&mut self) {
        self.0.streams.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_counted() {
        let metrics = Metrics::new();
        for number in [2_usize, 0] {
            metrics
                .set_infrastructures(InfrastructureState::all().flat_map(|state| std::iter::repeat_n(state, number)));
            let text = metrics.to_openmetrics();
            for state in InfrastructureState::all() {
                let line = format!("occopus_infrastructures{{state=\"{state}\"}} {number}\n");
                assert!(text.contains(&line), "{line}{text}");
            }
        }
    }
}
