//! `occopus:host/call`, `cache` and `icmp`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use occopus_engine::ports::{Fault, Reaction, Warning};
use tokio::time::Instant;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::{Call, ContextHandle, HostState};
use crate::bindings::imports::occopus::host::{cache, call, icmp};
use crate::bindings::imports::occopus::types::types as wit;
use crate::convert::fault_to_wit;
use crate::grants::Interface;

/// Bytes of an endpoint.
const MAX_ENDPOINT_BYTES: usize = 8 << 10;

impl wit::Host for HostState {}

impl call::Host for HostState {}

impl call::HostContext for HostState {
    async fn remaining_ms(&mut self, _context: Resource<ContextHandle>) -> Result<u64> {
        let remaining = self.call.deadline.saturating_duration_since(Instant::now());
        Ok(u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX))
    }

    async fn cancelled(&mut self, _context: Resource<ContextHandle>) -> Result<bool> {
        Ok(self.call.context.cancel.is_cancelled())
    }

    async fn progress(
        &mut self,
        _context: Resource<ContextHandle>,
        phase: String,
        detail: Option<String>,
    ) -> Result<()> {
        let bytes = phase.len() + detail.as_ref().map_or(0, String::len);
        if let Some(progress) = &self.call.context.progress
            && self.call.consume_log_budget(bytes)
        {
            let detail = detail.map(|detail| self.call.redact(&detail));
            progress(&self.call.redact(&phase), detail.as_deref());
        }
        Ok(())
    }

    async fn warn(&mut self, _: Resource<ContextHandle>, code: String, message: String, pointer: String) -> Result<()> {
        if self.call.consume_log_budget(code.len() + message.len() + pointer.len()) {
            let [code, message, pointer] = [code, message, pointer].map(|text| self.call.redact(&text));
            self.call.record_warning(Warning { code, message, pointer });
        }
        Ok(())
    }

    async fn url_for(
        &mut self,
        _context: Resource<ContextHandle>,
        endpoint: String,
    ) -> Result<Result<String, wit::Fault>> {
        if endpoint.len() > MAX_ENDPOINT_BYTES {
            let message =
                format!("the endpoint has {} bytes; at most {MAX_ENDPOINT_BYTES} are allowed", endpoint.len());
            return Ok(Err(fault_to_wit(Fault::new(Reaction::GiveUp, "host.endpoint", message))));
        }
        Ok(self.call.grants.url_for(&endpoint).map_err(fault_to_wit))
    }

    async fn drop(&mut self, context: Resource<ContextHandle>) -> Result<()> {
        self.table.delete(context)?;
        Ok(())
    }
}

impl cache::Host for HostState {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>> {
        Ok(self.call.services.tokens.get(&self.call.token_scope, &key))
    }

    async fn put(&mut self, key: String, value: Vec<u8>, lifetime_ms: u64) -> Result<()> {
        let lifetime = Duration::from_millis(lifetime_ms);
        self.call.services.tokens.put(&self.call.token_scope, &key, value, lifetime);
        Ok(())
    }
}

impl icmp::Host for HostState {
    async fn echo(&mut self, address: String, timeout_ms: u64) -> Result<Result<Option<u64>, wit::Fault>> {
        Ok(resolve_and_echo(Arc::clone(&self.call), &address, timeout_ms).await.map_err(fault_to_wit))
    }
}

async fn resolve_and_echo(call: Arc<Call>, address: &str, timeout_ms: u64) -> Result<Option<u64>, Fault> {
    let grants = &call.grants;
    grants.check_interface(Interface::Icmp)?;
    let unresolved = |message: String| Fault::new(Reaction::Retry, "occopus.unresolved", message);
    let addresses: Vec<IpAddr> = match address.parse() {
        Ok(address) => vec![address],
        Err(_) => {
            grants.check_lookup(address)?;
            let found = tokio::net::lookup_host((address, 1)).await;
            found
                .map_err(|error| unresolved(format!("`{address}` can't be resolved: {error}")))?
                .map(|a| a.ip())
                .collect()
        }
    };
    if address.parse::<IpAddr>().is_err() {
        grants.note_resolution(address, &addresses);
    }
    let Some(target) = addresses.first() else {
        return Err(unresolved(format!("`{address}` has no address")));
    };
    grants.check_echo(*target)?;
    let answer = crate::icmp::echo(*target, Duration::from_millis(timeout_ms.min(60_000))).await?;
    Ok(answer.map(|trip| u64::try_from(trip.as_micros()).unwrap_or(u64::MAX)))
}
