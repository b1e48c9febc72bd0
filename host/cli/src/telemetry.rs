//! Traces and metrics over OTLP, sent to `OTEL_EXPORTER_OTLP_ENDPOINT` if that is set.
//!
//! The variables are those of the [OpenTelemetry specification](https://opentelemetry.io/docs/specs/otel/protocol/exporter/).
//! HTTP requests go through the program's own client.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use occopus_runtime::TrustedClient;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::Subscriber;
use tracing_opentelemetry::MetricsLayer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

const ENDPOINT_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Time at the end of the program for what has not been sent.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Exporters of traces and metrics, which must be shut down at the end.
pub(crate) struct Telemetry {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
    client: ExporterClient,
}

impl Telemetry {
    /// Creates the exporters; none without an endpoint.
    pub(crate) fn from_environment() -> Option<Result<Self, ExporterBuildError>> {
        let endpoint = std::env::var(ENDPOINT_VARIABLE).ok().filter(|endpoint| !endpoint.is_empty())?;
        Some(Self::with_endpoint(endpoint))
    }

    fn with_endpoint(endpoint: String) -> Result<Self, ExporterBuildError> {
        let client =
            ExporterClient { http: Arc::new(TrustedClient::new("telemetry", endpoint)), tokio: Arc::default() };
        let resource = Resource::builder().with_service_name("occopus").build();
        let spans = SpanExporter::builder().with_http().with_http_client(client.clone()).build()?;
        let metrics = MetricExporter::builder().with_http().with_http_client(client.clone()).build()?;
        let traces = SdkTracerProvider::builder().with_batch_exporter(spans).with_resource(resource.clone()).build();
        let metrics = SdkMeterProvider::builder().with_periodic_exporter(metrics).with_resource(resource).build();
        Ok(Self { traces, metrics, client })
    }

    /// Returns the layer for the subscriber: spans of Occopus, and metrics.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let own_targets = ["occopus", "occopus_engine", "occopus_runtime", "occopus_store"];
        let spans = Targets::new().with_targets(own_targets.map(|target| (target, LevelFilter::DEBUG)));
        let spans = spans.with_target("occopus::metrics", LevelFilter::OFF);
        let metrics = Targets::new().with_target("occopus::metrics", LevelFilter::DEBUG);
        let traces = tracing_opentelemetry::layer().with_tracer(self.traces.tracer("occopus"));
        traces.with_filter(spans).and_then(MetricsLayer::new(self.metrics.clone()).with_filter(metrics))
    }

    /// Sets the runtime that sends requests from now on.
    pub(crate) fn run_on(&self, tokio: Handle) {
        // Only the first call counts, and there is only one.
        let _ = self.client.tokio.set(tokio);
    }

    /// Sends what has not been sent. Blocks; the runtime must still run.
    pub(crate) fn finish(&self) {
        let traces = self.traces.shutdown_with_timeout(SHUTDOWN_TIMEOUT);
        let metrics = self.metrics.shutdown_with_timeout(SHUTDOWN_TIMEOUT);
        for error in [traces.err(), metrics.err()].into_iter().flatten() {
            tracing::warn!("not all traces and metrics could be sent: {error}");
        }
    }
}

/// The HTTP client of the exporters, whose threads are their own: it sends requests on the Tokio runtime.
#[derive(Clone, Debug)]
struct ExporterClient {
    http: Arc<TrustedClient>,
    tokio: Arc<OnceLock<Handle>>,
}

#[async_trait]
impl HttpClient for ExporterClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let Some(tokio) = self.tokio.get() else { return Err("the program has not started".into()) };
        let http = self.http.clone();
        Ok(tokio.spawn(async move { http.send(request).await }).await??)
    }
}
