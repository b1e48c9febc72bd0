//! The server: assembles the parts of the service, and runs them until shutdown.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode, Uri};
use jiff::Timestamp;
use occopus::{Occopus, OpenError, ServiceSettings};
use occopus_engine::ports::{Store, StoreError};
use occopus_engine::{EngineError, InfrastructureId};
use tokio_util::sync::CancellationToken;
use tower::Layer as _;
use tower_http::normalize_path::NormalizePathLayer;

use crate::access::{Access, AccessConfig, OriginError, RateLimits, Slots, TokenError, Tokens, guard};
use crate::audit::{self, Audit};
use crate::feed::{Feed, FeedObserver};
use crate::idempotency::{self, IdempotentRequests, IdempotentStore};
use crate::listen::{self, BoundListener, ExposureError, ListenError, ListenerConfig, RequestLimits, check_exposure};
use crate::metrics::{self, Metrics};
use crate::operations::{self, Ledger};
use crate::problem::ApiError;
use crate::scheduler::FairScheduler;
use crate::state::Service;
use crate::supervise::{Supervisor, Timing};
use crate::write_probe::WriteProbe;
use crate::{api, page};

/// Interval at which old records are removed.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// Configuration of the service.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Address, TLS and limits of the listener.
    pub listener: ListenerConfig,
    /// Permission to listen without TLS on an address that other machines can reach.
    pub insecure_http: bool,
    /// Time between two passes of maintenance.
    pub interval: Duration,
    /// Time for work under way to finish at shutdown.
    pub grace: Duration,
    /// Settings from the operator's configuration.
    pub settings: ServiceSettings,
}

impl ServerOptions {
    /// Creates options for this address, with defaults.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            listener: ListenerConfig::at(address),
            insecure_http: false,
            interval: Duration::from_secs(10),
            grace: Duration::from_secs(20),
            settings: ServiceSettings::default(),
        }
    }
}

/// Failure to start or run the service.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Address that requires encryption or a token.
    #[error(transparent)]
    Exposure(#[from] ExposureError),
    /// Failure to listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Invalid origin in the configuration.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// Unreadable tokens.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// Failure to open the store or the plugins.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Failure of the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Failure of the listener.
    #[error("connections cannot be accepted: {0}")]
    Io(#[from] io::Error),
}

/// A service that has its port, and does nothing before [`Server::run`].
pub struct Server {
    bound: BoundListener,
    router: Router,
    service: Service,
    grace: Duration,
}

impl Server {
    /// Opens the store and takes the port. Nothing else is done before [`Server::run`].
    ///
    /// # Errors
    /// Fails if the store can't be opened, the tokens can't be read, the address can't or may not be used, or an origin
    /// is invalid: see [`ServeError`].
    pub async fn bind(occopus: Occopus, options: ServerOptions) -> Result<Self, ServeError> {
        let ServerOptions { listener, insecure_http, interval, grace, settings } = options;
        let occopus = Arc::new(occopus);
        let store = occopus.store().await?;
        let tokens = Tokens::new(store.clone());
        check_exposure(listener.address, listener.tls.is_some(), insecure_http, tokens.has_valid().await?)?;
        let bound = listener.bind().await?;
        let default_rates = RateLimits::default();
        let rates = RateLimits {
            requests: settings.requests_per_second.unwrap_or(default_rates.requests),
            burst: settings.requests_at_once.unwrap_or(default_rates.burst),
            ..default_rates
        };
        let default_access = AccessConfig::at(bound.address());
        let access_config = AccessConfig {
            names: settings.names.clone(),
            cors_origins: settings.cors_origins.clone(),
            rates,
            connections: bound.connections(),
            streams_per_token: settings.streams_per_token.map_or(default_access.streams_per_token, NonZeroUsize::get),
            tls: bound.is_tls(),
            ..default_access
        };
        let stream_slots = Slots::new(access_config.stream_limits());
        let access = Access::new(tokens, access_config)?;
        let store: Arc<dyn Store> = Arc::new(IdempotentStore(store));
        let engine = occopus.engine_over(store.clone()).await?;
        let metrics = Arc::new(Metrics::new());
        let ledger = Ledger::new(store.clone());
        let timing = Timing { interval, stop_timeout: Duration::from_secs(30) };
        let observer = Arc::new(StoreObserver { metrics: metrics.clone(), supervisor: OnceLock::new() });
        let feed = Feed::new(engine.clone(), observer.clone());
        let supervisor = Supervisor::new(occopus.clone(), engine.clone(), ledger.clone(), feed.clone(), timing);
        observer.supervisor.get_or_init(|| supervisor.clone());
        let service = Service {
            occopus,
            engine,
            audit: Audit::new(store.clone()),
            store,
            ledger,
            supervisor,
            feed,
            access: access.clone(),
            metrics,
            scheduler: FairScheduler::new(),
            stream_slots,
            started: Timestamp::now(),
            write_probe: WriteProbe::default(),
            settings: Arc::new(settings),
        };
        let default_limits = RequestLimits::default();
        let body_bytes = service.settings.document_bytes.map_or(default_limits.body_bytes, NonZeroUsize::get);
        let limits = RequestLimits { tls: bound.is_tls(), body_bytes, ..default_limits };
        let router = listen::layers(guard(routes(&service), &access), &limits);
        Ok(Self { bound, router, service, grace })
    }

    /// Returns the address, with the actual port.
    pub fn address(&self) -> SocketAddr {
        self.bound.address()
    }

    /// Returns true if connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.bound.is_tls()
    }

    /// Answers requests and maintains infrastructures until `shutdown` is cancelled. Then it accepts no more requests,
    /// lets work under way finish within the grace period, and leaves the rest for the next service.
    ///
    /// # Errors
    /// Fails if the store can't be read at the start, or if the listener fails.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        let Self { bound, router, service, grace } = self;
        let occopus = service.occopus.clone();
        service.feed.start().await?;
        service.supervisor.start().await?;
        let preloading = tokio::spawn(preload_plugins(service.occopus.clone()));
        let cleanup = tokio::spawn(run_cleanup(service.clone()));
        let closing = async {
            shutdown.cancelled().await;
            service.feed.closing.cancel();
            service.supervisor.close(grace).await;
        };
        let (served, ()) = tokio::join!(listen::serve(bound, router, shutdown.clone(), grace), closing);
        preloading.abort();
        cleanup.abort();
        occopus.mark_store_idle().await;
        Ok(served?)
    }
}

/// The observer that passes changes in the store on to the metrics and the supervisor.
struct StoreObserver {
    metrics: Arc<Metrics>,
    /// Supervisor; set after its creation, since it needs the feed, and the feed this observer.
    supervisor: OnceLock<Supervisor>,
}

impl FeedObserver for StoreObserver {
    fn event_stored(&self, event: &str) {
        self.metrics.count_event(event);
    }

    fn request_stored(&self, id: &InfrastructureId) {
        if let Some(supervisor) = self.supervisor.get() {
            supervisor.wake_engine(id);
        }
    }
}

/// Compiles all plugins, so that no request has to wait for that.
async fn preload_plugins(occopus: Arc<Occopus>) {
    let Ok(runtime) = occopus.runtime().await else { return };
    let list = tokio::task::spawn_blocking(move || runtime.list()).await.unwrap_or_default();
    for info in list {
        let keyword = info.description.keyword.clone();
        if let Err(error) = occopus.preload(vec![(info.kind, info.description.keyword)], |_| {}).await {
            tracing::warn!("the plugin {keyword} can't be compiled: {error}");
        }
    }
}

/// Removes old records every [`CLEANUP_INTERVAL`]. Never returns; stopped by aborting its task.
async fn run_cleanup(service: Service) {
    loop {
        tokio::time::sleep(CLEANUP_INTERVAL).await;
        let requests = idempotency::clean_up(&*service.store).await.map_err(EngineError::from);
        for cleaned in [requests, operations::clean_up(&*service.store, &service.engine).await] {
            if let Err(error) = cleaned {
                tracing::warn!("old records could not be removed: {error}");
            }
        }
    }
}

/// Returns the OpenAPI document of the service.
pub fn openapi() -> serde_json::Value {
    let routes = utoipa_axum::router::OpenApiRouter::with_openapi(crate::openapi::document()).merge(api::routes());
    crate::openapi::complete(&routes.into_openapi())
}

fn routes(service: &Service) -> Router {
    let documented = utoipa_axum::router::OpenApiRouter::with_openapi(crate::openapi::document()).merge(api::routes());
    let (routes, document) = documented.split_for_parts();
    let json = crate::openapi::complete(&document);
    let docs = page::api_page(&json);
    let json = bytes::Bytes::from(json.to_string());
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    let routes = routes
        .route("/openapi.json", get(move || std::future::ready((headers, json))))
        .route("/docs", get(move || std::future::ready(docs)))
        .merge(page::routes::<Service>())
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(from_fn_with_state(IdempotentRequests::new(service.store.clone()), idempotency::enforce))
        .layer(from_fn_with_state(service.audit.clone(), audit::record))
        .layer(from_fn_with_state(service.metrics.clone(), metrics::count_request))
        .with_state(service.clone());
    // The Python service has its list under `/infrastructures/`.
    Router::new().fallback_service(NormalizePathLayer::trim_trailing_slash().layer(routes))
}

async fn not_found(uri: Uri) -> impl IntoResponse {
    let problem = ApiError::not_found("request.path", format!("path {} not found", uri.path()));
    problem.with_help("see /docs for the paths of this service")
}

async fn method_not_allowed(method: Method, uri: Uri) -> impl IntoResponse {
    let text = format!("method {method} is not allowed on {}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "request.method", text)
        .with_help("the Allow header lists the allowed methods")
}
