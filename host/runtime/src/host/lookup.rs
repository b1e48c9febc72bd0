//! `wasi:sockets/ip-name-lookup`, for granted names only. A lookup of any other name would leak data: the name itself
//! reaches the servers of its domain.

use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::SocketError;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    Host, HostResolveAddressStream, ResolveAddressStream, add_to_linker as add,
};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddress, Network};
use wasmtime_wasi::sockets::WasiSocketsView;

use super::HostState;

/// Bytes of a host name, with a dot at its end.
const MAX_HOST_NAME_BYTES: usize = 254;

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> Result<()> {
    add::<HostState, HasSelf<HostState>>(linker, |state| state)
}

impl Host for HostState {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        // An address resolves to itself: no server is queried, and nothing is granted by it.
        if name.parse::<std::net::IpAddr>().is_ok() {
            return Host::resolve_addresses(&mut self.sockets(), network, name);
        }
        // A valid name is not longer (RFC 1035); a longer one is sent to no server.
        if name.len() > MAX_HOST_NAME_BYTES {
            return Err(ErrorCode::InvalidArgument.into());
        }
        // A lookup has no port; a name that is granted on any port may be looked up.
        if let Err(refusal) = self.call.grants.check_lookup(&name) {
            self.call.record_refusal(&refusal.to_string());
            return Err(ErrorCode::AccessDenied.into());
        }
        let stream = Host::resolve_addresses(&mut self.sockets(), network, name.clone())?;
        self.lookups.insert(stream.rep(), name);
        Ok(stream)
    }
}

impl HostResolveAddressStream for HostState {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let name = self.lookups.get(&stream.rep()).cloned();
        let next = HostResolveAddressStream::resolve_next_address(&mut self.sockets(), stream)?;
        if let (Some(name), Some(address)) = (name, &next) {
            let address = match address {
                IpAddress::Ipv4((a, b, c, d)) => std::net::Ipv4Addr::new(*a, *b, *c, *d).into(),
                IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => {
                    std::net::Ipv6Addr::new(*a, *b, *c, *d, *e, *f, *g, *h).into()
                }
            };
            self.call.grants.note_resolution(&name, &[address]);
        }
        Ok(next)
    }

    fn subscribe(&mut self, stream: Resource<ResolveAddressStream>) -> Result<Resource<DynPollable>> {
        HostResolveAddressStream::subscribe(&mut self.sockets(), stream)
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> Result<()> {
        self.lookups.remove(&stream.rep());
        HostResolveAddressStream::drop(&mut self.sockets(), stream)
    }
}

impl network::Host for HostState {
    fn convert_error_code(&mut self, error: SocketError) -> Result<ErrorCode> {
        network::Host::convert_error_code(&mut self.sockets(), error)
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> Result<Option<ErrorCode>> {
        network::Host::network_error_code(&mut self.sockets(), error)
    }
}

impl network::HostNetwork for HostState {
    fn drop(&mut self, network: Resource<Network>) -> Result<()> {
        network::HostNetwork::drop(&mut self.sockets(), network)
    }
}
