//! What a plugin can call: the host's side of the contract. The state belongs to one call and goes with it.

mod call;
mod handles;
mod inputs;
mod log;
mod lookup;
mod outgoing;
mod process;
mod secrets;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use occopus_engine::ports::{CallContext, ContextRequest as ContextInput, CreateRequest, HealthTarget, Warning};
use serde_json::Value;
use tokio::time::Instant;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::call_clock::{CallClock, WorkBudget};
use crate::convert::ReportedWarnings;
use crate::grants::CallGrants;
use crate::http::{BodyMemoryPool, CallBodyMemory, HttpClient};
use crate::limits::{CallLimits, StoreLimiter};
use crate::process::Processes;
use crate::secrets::CallSecrets;
use crate::token_cache::TokenCache;

#[allow(unreachable_pub, reason = "the generated bindings want them public")]
pub use handles::{
    ConfigScopeHandle, ContextHandle, ContextRequestHandle, CredentialHandle, FactsHandle, HealthTargetHandle,
    NodeRequestHandle, RegistrationHandle, ScopeHandle, SecretHandle,
};
pub(crate) use outgoing::HttpHooks;
pub(crate) use secrets::KeyDisclosureRefused;

/// Bytes of what is told of one refusal: a guest chose some of it.
const MAX_REFUSAL_BYTES: usize = 2048;

/// The beginning of a text, of so many bytes at most.
pub(crate) fn truncated(text: &str, most: usize) -> String {
    match text.len() <= most {
        true => text.to_owned(),
        false => format!("{}…", &text[..text.floor_char_boundary(most)]),
    }
}

/// What all calls share.
pub(crate) struct HostServices {
    pub(crate) http: HttpClient,
    pub(crate) processes: Processes,
    pub(crate) tokens: TokenCache,
    /// For bodies.
    pub(crate) body_memory: Arc<BodyMemoryPool>,
    pub(crate) limits: CallLimits,
    pub(crate) allow_commands: bool,
    /// Addresses that users were told of.
    pub(crate) reported_warnings: ReportedWarnings,
}

/// One call.
pub(crate) struct Call {
    /// The plugin's name.
    pub(crate) plugin: String,
    pub(crate) context: CallContext,
    pub(crate) deadline: Instant,
    pub(crate) grants: CallGrants,
    pub(crate) secrets: Option<CallSecrets>,
    /// Under which tokens are kept: the plugin and the credential.
    pub(crate) token_scope: String,
    pub(crate) input: CallInput,
    pub(crate) services: Arc<HostServices>,
    /// For bodies.
    pub(crate) body_memory: Arc<CallBodyMemory>,
    /// Time for which it has computed, the host's own work for it included.
    pub(crate) clock: CallClock,
    /// Bytes that may still be logged.
    pub(crate) log_bytes_left: AtomicUsize,
    /// What was refused, with the lines that would allow it, to be shown with the call's fault.
    pub(crate) refusals: Mutex<Vec<String>>,
    /// Requests that a server may have seen, and anything else that may have had an effect.
    pub(crate) possible_effects: AtomicUsize,
    /// The last request found no server.
    pub(crate) unreachable: AtomicBool,
    /// The code of the last request's error, if that does not pass by itself.
    pub(crate) permanent_code: Mutex<Option<&'static str>>,
    /// What the plugin finds doubtful in the user's section.
    pub(crate) warnings: Mutex<Vec<Warning>>,
    /// Bytes of linear memory, known when the call has ended.
    pub(crate) linear_memory_bytes: AtomicUsize,
}

/// What the plugin is called with.
pub(crate) enum CallInput {
    /// `describe`.
    Describe,
    /// One access to a cloud, or to a configuration server.
    Section(Arc<Value>),
    /// `create`.
    Node(CreateRequest),
    Health(HealthTarget),
    Context(ContextInput),
}

impl CallInput {
    /// The user's section.
    pub(crate) fn section(&self) -> &Value {
        match self {
            Self::Describe => &Value::Null,
            Self::Section(section) => section,
            Self::Node(request) => &request.scope.section,
            Self::Health(target) => &target.section,
            Self::Context(request) => &request.section,
        }
    }
}

impl Call {
    /// Logs a refusal, and remembers it for the call's fault.
    pub(crate) fn record_refusal(&self, refusal: &str) {
        let refusal = self.sanitized(refusal, MAX_REFUSAL_BYTES);
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.contains(&refusal) {
            return;
        }
        // Who keeps trying gets no longer list.
        if refusals.len() < 8 {
            refusals.push(refusal.clone());
        }
        drop(refusals);
        if self.consume_log_budget(refusal.len()) {
            tracing::warn!(plugin = %self.plugin, "{refusal}");
        }
    }

    /// Paces long work of the host for this call.
    pub(crate) fn work_budget(&self) -> WorkBudget {
        WorkBudget::limited(&self.clock, self.services.limits.compute_time())
    }

    /// Keeps a warning. Who keeps warning gets no longer list.
    pub(crate) fn record_warning(&self, warning: Warning) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < 32 && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Without the secrets of this call.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.secrets.as_ref().map_or_else(|| text.to_owned(), |secrets| secrets.redact(text))
    }
}

/// The state of one store.
pub(crate) struct HostState {
    pub(crate) call: Arc<Call>,
    pub(crate) limits: StoreLimiter,
    /// What the plugin wrote to its standard output and error.
    pub(crate) output: MemoryOutputPipe,
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    http_hooks: HttpHooks,
    /// Names that are being resolved, by the handle of the stream of addresses.
    lookups: HashMap<u32, String>,
}

impl HostState {
    pub(crate) fn new(call: Arc<Call>) -> Self {
        let limits = &call.services.limits;
        let output = MemoryOutputPipe::new(limits.log_bytes);
        let grants = Arc::clone(&call);
        let wasi = WasiCtxBuilder::new()
            .stdout(output.clone())
            .stderr(output.clone())
            .allow_tcp(true)
            .allow_udp(false)
            // Lookups are answered by `lookup`, for granted names only.
            .allow_ip_name_lookup(true)
            .socket_addr_check(move |address, usage| {
                let call = Arc::clone(&grants);
                Box::pin(async move {
                    use wasmtime_wasi::sockets::SocketAddrUse;
                    // A socket is bound to nothing in particular before it connects; that reaches nobody.
                    if matches!(usage, SocketAddrUse::TcpBind) {
                        return address.ip().is_unspecified() && address.port() == 0;
                    }
                    // No answer could be searched for secrets there.
                    let check = if call.secrets.as_ref().is_some_and(CallSecrets::has_secrets) {
                        call.grants.check_raw_connection(address.ip(), address.port())
                    } else {
                        call.grants.check_address(address.ip(), address.port(), None)
                    };
                    match check {
                        Ok(()) => {
                            call.possible_effects.fetch_add(1, Ordering::Relaxed);
                            matches!(usage, SocketAddrUse::TcpConnect)
                        }
                        Err(refusal) => {
                            call.record_refusal(&refusal.to_string());
                            false
                        }
                    }
                })
            })
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self {
            limits: StoreLimiter::new(limits),
            output,
            table,
            wasi,
            http: WasiHttpCtx::new(),
            http_hooks: HttpHooks::new(Arc::clone(&call)),
            lookups: HashMap::new(),
            call,
        }
    }

    pub(crate) fn push<T: Send + 'static>(
        &mut self,
        resource: T,
    ) -> wasmtime::Result<wasmtime::component::Resource<T>> {
        Ok(self.table.push(resource)?)
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for HostState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.http_hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

/// Everything that a component may import.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    use crate::bindings::imports::occopus;
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    lookup::add_to_linker(linker)?;
    outgoing::add_to_linker(linker)?;
    linker.allow_shadowing(false);
    occopus::types::types::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    occopus::host::log::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    occopus::host::call::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    occopus::host::secrets::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    occopus::host::reveal::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    occopus::host::cache::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    occopus::host::icmp::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    occopus::host::process::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    occopus::driver::inputs::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    occopus::health::inputs::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    occopus::context::inputs::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)?;
    occopus::config::inputs::add_to_linker::<HostState, HasSelf<HostState>>(linker, |state| state)
}

/// The interfaces of [`link`] that are ours, for messages.
pub(crate) const HOST_INTERFACES: &[&str] = &[
    "occopus:types/types@0.1.0",
    "occopus:host/log@0.1.0",
    "occopus:host/call@0.1.0",
    "occopus:host/secrets@0.1.0",
    "occopus:host/reveal@0.1.0",
    "occopus:host/cache@0.1.0",
    "occopus:host/icmp@0.1.0",
    "occopus:host/process@0.1.0",
    "occopus:driver/inputs@0.1.0",
    "occopus:health/inputs@0.1.0",
    "occopus:context/inputs@0.1.0",
    "occopus:config/inputs@0.1.0",
];
