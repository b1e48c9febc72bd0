//! Host side of the contract: everything that a plugin can call. The state belongs to one call and is dropped with it.

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

use occopus_engine::ports::{CallContext, ContextRequest, CreateRequest, HealthTarget, Warning};
use serde_json::Value;
use tokio::time::Instant;
use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::call_clock::{CallClock, WorkBudget};
use crate::grants::CallGrants;
use crate::http::{BodyMemoryPool, CallBodyMemory, HttpClient};
use crate::limits::{CallLimits, StoreLimiter};
use crate::process::Processes;
use crate::reported_warnings::ReportedWarnings;
use crate::secrets::CallSecrets;
use crate::token_cache::TokenCache;

#[allow(unreachable_pub, reason = "the generated bindings need them public")]
pub use handles::{
    ConfigScopeHandle, ContextHandle, ContextRequestHandle, CredentialHandle, FactsHandle, HealthTargetHandle,
    NodeRequestHandle, RegistrationHandle, ScopeHandle, SecretHandle,
};
pub(crate) use outgoing::HttpHooks;
pub(crate) use secrets::KeyDisclosureRefused;

/// Bytes of the report of one refusal: a guest chose part of its text.
const MAX_REFUSAL_BYTES: usize = 2048;

/// Returns the beginning of a text: at most `max_bytes`, and `…` if that is not all of it.
pub(crate) fn truncated(text: &str, max_bytes: usize) -> String {
    match text.len() <= max_bytes {
        true => text.to_owned(),
        false => format!("{}…", &text[..text.floor_char_boundary(max_bytes)]),
    }
}

/// Services that all calls share.
pub(crate) struct HostServices {
    pub(crate) http: HttpClient,
    pub(crate) processes: Processes,
    pub(crate) tokens: TokenCache,
    /// Memory for HTTP bodies of all calls.
    pub(crate) body_memory: Arc<BodyMemoryPool>,
    pub(crate) limits: CallLimits,
    pub(crate) allow_commands: bool,
    /// Addresses about which a warning was logged.
    pub(crate) reported_warnings: ReportedWarnings,
}

/// A call of a plugin.
pub(crate) struct Call {
    /// Name of the plugin.
    pub(crate) plugin: String,
    pub(crate) context: CallContext,
    pub(crate) deadline: Instant,
    pub(crate) grants: CallGrants,
    pub(crate) secrets: Option<CallSecrets>,
    /// Scope of its tokens in the cache: the plugin and the credential.
    pub(crate) token_scope: String,
    pub(crate) input: CallInput,
    pub(crate) services: Arc<HostServices>,
    /// Memory for HTTP bodies of this call.
    pub(crate) body_memory: Arc<CallBodyMemory>,
    /// Compute time, the host's own work for the call included.
    pub(crate) clock: CallClock,
    /// Bytes left in the log budget.
    pub(crate) log_bytes_left: AtomicUsize,
    /// Refusals, with the lines that would allow them, to be reported with the call's fault.
    pub(crate) refusals: Mutex<Vec<String>>,
    /// Number of requests that a server may have seen, and of anything else that may have had an effect.
    pub(crate) possible_effects: AtomicUsize,
    /// Set if the last request failed before it was sent.
    pub(crate) unreachable: AtomicBool,
    /// Code of the last request's error, if that is permanent.
    pub(crate) permanent_code: Mutex<Option<&'static str>>,
    /// Warnings of the plugin about the user's section.
    pub(crate) warnings: Mutex<Vec<Warning>>,
    /// Bytes of linear memory, known when the call has ended.
    pub(crate) linear_memory_bytes: AtomicUsize,
}

/// Input of a call.
pub(crate) enum CallInput {
    /// `describe`.
    Describe,
    /// An access to a cloud, or to a configuration server.
    Section(Arc<Value>),
    /// `create`.
    Node(CreateRequest),
    Health(HealthTarget),
    Context(ContextRequest),
}

impl CallInput {
    /// Returns the user's section; null for `describe`.
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
    /// Logs a refusal, and records it for the call's fault.
    pub(crate) fn record_refusal(&self, refusal: &str) {
        let refusal = self.sanitized(refusal, MAX_REFUSAL_BYTES);
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.contains(&refusal) {
            return;
        }
        // Bounded, however often the plugin tries.
        if refusals.len() < 8 {
            refusals.push(refusal.clone());
        }
        drop(refusals);
        if self.consume_log_budget(refusal.len()) {
            tracing::warn!(plugin = %self.plugin, "{refusal}");
        }
    }

    /// Returns the compute budget for long work of the host in this call.
    pub(crate) fn work_budget(&self) -> WorkBudget {
        WorkBudget::limited(&self.clock, self.services.limits.compute_time())
    }

    /// Records a warning; a call has at most 32.
    pub(crate) fn record_warning(&self, warning: Warning) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < 32 && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Returns the warnings so far, about the `section` of the implementation to which this pointer leads.
    pub(crate) fn take_warnings(&self, section: &str) -> Vec<Warning> {
        let warnings = std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner));
        warnings.into_iter().map(|warning| warning.within(section)).collect()
    }

    /// Returns a text without the secrets of this call.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.secrets.as_ref().map_or_else(|| text.to_owned(), |secrets| secrets.redact(text))
    }
}

/// State of one Wasmtime store, which serves one call.
pub(crate) struct HostState {
    pub(crate) call: Arc<Call>,
    pub(crate) limits: StoreLimiter,
    /// Standard output and error of the plugin.
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
                    // A socket may be bound to the unspecified address before it connects; that reaches no host.
                    if matches!(usage, SocketAddrUse::TcpBind) {
                        return address.ip().is_unspecified() && address.port() == 0;
                    }
                    // Answers on such a connection can't be searched for secrets.
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

/// Adds everything that a component may import.
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

/// Interfaces of [`add_to_linker`] that Occopus defines, for messages.
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
