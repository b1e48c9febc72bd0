//! A compiled component, and one instance of it for each request.

use std::path::Path;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use occopus_model::files;
use tokio::sync::oneshot;
use wasmparser::Parser;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Cache, CacheConfig, Config, Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::error::ServeError;

/// Time after which a busy instance yields.
const EPOCH_TICK: Duration = Duration::from_millis(10);

/// Time that a request may take, its answer's body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A compiled and linked component.
pub(super) struct ServedComponent {
    service: ProxyPre<ServeState>,
    variables: Vec<(String, String)>,
}

impl ServedComponent {
    /// Reads and compiles a component; takes the compiled code from Wasmtime's cache if it is there. Blocks.
    pub(super) fn load(path: &Path, variables: Vec<(String, String)>) -> Result<Self, ServeError> {
        let not_a_component = |reason: String| ServeError::NotAComponent { path: path.to_owned(), reason };
        let wrong_world = |reason: String| ServeError::WrongWorld { path: path.to_owned(), reason };
        let setup = |error: wasmtime::Error| ServeError::Compiler { message: format!("{error:#}") };

        let bytes =
            crate::read_component(path).map_err(|source| ServeError::from_read_error(path.to_owned(), source))?;
        if Parser::is_core_wasm(&bytes) {
            return Err(not_a_component("it is a core module; build it with the target `wasm32-wasip2`".into()));
        }
        if !Parser::is_component(&bytes) {
            return Err(not_a_component("it does not begin with a WebAssembly header".into()));
        }
        let engine = engine().map_err(setup)?;
        let component = Component::new(&engine, &bytes).map_err(|error| not_a_component(format!("{error:#}")))?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(setup)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).map_err(setup)?;
        let linked = linker.instantiate_pre(&component).map_err(|error| wrong_world(format!("{error:#}")))?;
        let service = ProxyPre::new(linked).map_err(|error| wrong_world(format!("{error:#}")))?;
        start_epoch_ticker(&engine)?;
        Ok(Self { service, variables })
    }

    /// Answers a request. The instance goes on after this returns, until it has sent the answer's body.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> wasmtime::Result<Response<HyperOutgoingBody>> {
        let mut store = Store::new(self.service.engine(), ServeState::new(&self.variables));
        // A busy instance yields at each tick. So it cannot hold a thread for itself, and ends with its time-out below.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let (sender, receiver) = oneshot::channel();
        let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
        let answer = store.data_mut().http().new_response_outparam(sender)?;
        let service = self.service.clone();
        let run = tokio::spawn(async move {
            let call = async {
                let instance = service.instantiate_async(&mut store).await?;
                instance.wasi_http_incoming_handler().call_handle(&mut store, request, answer).await
            };
            match tokio::time::timeout(REQUEST_TIMEOUT, call).await {
                Ok(outcome) => outcome,
                Err(_) => Err(wasmtime::Error::msg(format!("it took longer than {} s", REQUEST_TIMEOUT.as_secs()))),
            }
        });
        match receiver.await {
            Ok(Ok(response)) => {
                tokio::spawn(async move {
                    if let Err(error) = flatten_join_result(run.await) {
                        tracing::warn!(error = format!("{error:#}"), "a request failed after its answer had begun");
                    }
                });
                Ok(response)
            }
            Ok(Err(code)) => Err(wasmtime::Error::msg(format!("it gave up: {code:?}"))),
            Err(_) => Err(match flatten_join_result(run.await) {
                Ok(()) => wasmtime::Error::msg("it ended without an answer"),
                Err(error) => error,
            }),
        }
    }
}

fn flatten_join_result(run: Result<wasmtime::Result<()>, tokio::task::JoinError>) -> wasmtime::Result<()> {
    run.unwrap_or_else(|error| Err(wasmtime::Error::msg(error.to_string())))
}

fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.epoch_interruption(true);
    // Native code is run from there: nobody else may write to it.
    let opened = Cache::new(CacheConfig::new()).and_then(|cache| {
        files::create_private_dir(cache.directory())?;
        Ok(cache)
    });
    match opened {
        Ok(cache) => {
            config.cache(Some(cache));
        }
        Err(error) => tracing::debug!(error = format!("{error:#}"), "no cache of compiled code"),
    }
    Engine::new(&config)
}

/// Starts the thread that increments the epoch. It ends with the engine.
fn start_epoch_ticker(engine: &Engine) -> Result<(), ServeError> {
    let engine = engine.weak();
    std::thread::Builder::new()
        .name("serve-tick".into())
        .spawn(move || {
            while let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
                drop(engine);
                std::thread::sleep(EPOCH_TICK);
            }
        })
        .map_err(|error| ServeError::Compiler { message: error.to_string() })?;
    Ok(())
}

/// State of one instance.
struct ServeState {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
}

impl ServeState {
    fn new(variables: &[(String, String)]) -> Self {
        let mut wasi = WasiCtx::builder();
        wasi.envs(variables);
        // Both go to standard error: standard output is for the command line.
        wasi.stdout(std::io::stderr());
        wasi.inherit_stderr();
        Self { wasi: wasi.build(), http: WasiHttpCtx::new(), table: ResourceTable::new() }
    }
}

impl WasiView for ServeState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for ServeState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        // The default hooks send requests to wherever the component directs them.
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: Default::default() }
    }
}
