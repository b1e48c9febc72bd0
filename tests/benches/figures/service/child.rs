//! The service in a process of its own, over a cloud in its memory, with two servers beside it that answer a constant body.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use occopus::{Config, Occopus, ServiceSettings};
use occopus_engine::testing::FakeCloud;
use occopus_server::access::{Access, AccessConfig, NewToken, RateLimits, Scope, Tokens, guard};
use occopus_server::listen::{ListenerConfig, RequestLimits, layers, serve};
use occopus_server::{Server, ServerOptions};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::measure::cpu_of;

/// Holds the [`Setup`] in the child.
const SETUP_VARIABLE: &str = "OCCOPUS_FIGURES_SERVICE";

/// Configuration without rate limits, which are not measured.
const UNLIMITED_RATE: NonZeroU32 = NonZeroU32::new(1_000_000).unwrap();

/// Setup of the child.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// Time that the creation of a machine takes.
    pub(crate) create: Duration,
    /// Time until it runs after that.
    pub(crate) boot: Duration,
    /// Set if the service requires a token.
    pub(crate) closed: bool,
}

/// Addresses of the child.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Addresses {
    /// Address of the service.
    pub(crate) service: SocketAddr,
    /// Address of a constant body behind the layers and the guard of the service.
    pub(crate) guarded: SocketAddr,
    /// Address of a constant body without them.
    pub(crate) bare: SocketAddr,
    /// Token, if one is required.
    pub(crate) token: Option<String>,
}

/// A child, which ends when this is dropped.
pub(crate) struct Child {
    process: std::process::Child,
    pub(crate) addresses: Addresses,
    _home: TempDir,
}

impl Child {
    /// Starts a child with an empty store, and waits until it has compiled or loaded its plugins.
    pub(crate) fn start(setup: Setup) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let program = std::env::current_exe().expect("the path of this program");
        let setup = serde_json::to_string(&(home.path(), setup)).expect("JSON");
        let mut process = Command::new(program)
            .env(SETUP_VARIABLE, setup)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the child starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        let child = Self { process, addresses: serde_json::from_str(&line).expect("addresses"), _home: home };
        child.wait_until_idle();
        child
    }

    /// Waits until it is almost idle.
    pub(crate) fn wait_until_idle(&self) {
        loop {
            let before = cpu_of(self.id());
            std::thread::sleep(Duration::from_secs(1));
            if cpu_of(self.id()) - before <= Duration::from_millis(50) {
                return;
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Serves until the parent has ended, if this process is such a child.
pub(crate) fn is_child() -> bool {
    let Ok(setup) = std::env::var(SETUP_VARIABLE) else { return false };
    let setup = serde_json::from_str(&setup).expect("a setup");
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let (home, setup): (PathBuf, Setup) = setup;
    tokio.block_on(run(&home, setup));
    true
}

async fn run(home: &Path, setup: Setup) {
    let cloud = FakeCloud::new();
    cloud.set_timing(setup.create, setup.boot, Duration::ZERO, Duration::ZERO);
    let mut config = Config::in_folder(home);
    // Plugins are compiled once for all children.
    config.directories.cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins-compiled-for-figures");
    // The cloud accepts any number of calls at a time.
    config.calls_per_endpoint = NonZeroUsize::new(2_000);
    let anything = serde_json::json!({"type": "object"});
    let occopus = Occopus::new(config)
        .with_driver("made-up", Arc::new(cloud.clone()), anything.clone())
        .with_health_checker("made-up", Arc::new(cloud), anything);
    let tokens = Tokens::new(occopus.store().await.expect("a store"));
    let token = if setup.closed {
        let new = NewToken { name: "reader".into(), scope: Scope::Admin, infrastructures: None, expires: None };
        Some(tokens.create(new).await.expect("a token").0.reveal().to_owned())
    } else {
        None
    };
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = ServiceSettings {
        requests_per_second: Some(UNLIMITED_RATE),
        requests_at_once: Some(UNLIMITED_RATE),
        ..ServiceSettings::default()
    };
    let server =
        Server::bind(occopus, ServerOptions { settings, ..ServerOptions::at(anywhere) }).await.expect("a service");

    let constant = Router::new()
        .route("/infrastructures/{id}", get(body).put(set_body))
        .with_state(Arc::<OnceLock<axum::body::Bytes>>::default());
    let bound = ListenerConfig::at(anywhere).bind().await.expect("a port");
    let rates = RateLimits { requests: UNLIMITED_RATE, burst: UNLIMITED_RATE, ..RateLimits::default() };
    let access = Access::new(tokens, AccessConfig { rates, ..AccessConfig::at(bound.address()) }).expect("a door");
    let guarded = layers(guard(constant.clone(), &access), &RequestLimits::default());
    let bare = tokio::net::TcpListener::bind(anywhere).await.expect("a port");
    let at = Addresses {
        service: server.address(),
        guarded: bound.address(),
        bare: bare.local_addr().expect("an address"),
        token,
    };

    let shutdown = CancellationToken::new();
    tokio::spawn(server.run(shutdown.clone()));
    tokio::spawn(serve(bound, guarded, shutdown.clone(), Duration::ZERO));
    tokio::spawn(axum::serve(bare, constant).into_future());
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", serde_json::to_string(&at).expect("JSON")).and_then(|()| stdout.flush()).expect("written");
    let parent = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ = parent.await;
}

async fn body(State(constant): State<Arc<OnceLock<axum::body::Bytes>>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], constant.get().cloned().unwrap_or_default())
}

async fn set_body(State(constant): State<Arc<OnceLock<axum::body::Bytes>>>, body: axum::body::Bytes) {
    constant.set(body).expect("set once");
}
