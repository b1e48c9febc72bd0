//! Grants of one call: the checks that every access to the network, to secrets and to host interfaces goes through.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use occopus_engine::ports::Fault;
use uuid::Uuid;

use super::address::{AddressClass, NetworkZone, classify};
use super::announced::{AnnouncedHosts, AnnouncementRegistry};
use super::endpoint::{Endpoint, node_target};
use super::target::{NetworkTarget, TargetKind, join_host_port, normalize_host};
use crate::http::TlsIdentity;

use super::refusal::yaml_quoted;
use super::{GrantRefusal, GrantSubject, Interface, NodeAddress};

/// Grants of one call. They are made for the call, and dropped with it.
#[derive(Debug)]
pub struct CallGrants {
    pub(super) plugin: String,
    /// Key of the configuration under which this plugin's grants are written.
    pub(super) config_key: String,
    targets: Vec<(NetworkTarget, GrantSource)>,
    /// Hosts that its endpoints announce, if the plugin may follow them.
    announced: Vec<Arc<AnnouncedHosts>>,
    interfaces: BTreeSet<Interface>,
    /// Certificates for the endpoint.
    tls_identity: Option<TlsIdentity>,
    may_run_commands: bool,
    /// Set for an offline call, which reaches nothing: a description, a preview, a check.
    offline: bool,
    /// Network zones of the endpoints of its section.
    endpoint_zones: Vec<NetworkZone>,
    /// Unix sockets, by their generated host names.
    sockets: Mutex<BTreeMap<String, PathBuf>>,
    /// Names by the addresses to which they resolved in this call.
    resolved_names: Mutex<BTreeMap<IpAddr, BTreeSet<String>>>,
}

/// Source of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GrantSource {
    /// Endpoint in the section at hand.
    Endpoint,
    /// Address of the node at hand.
    Node,
    /// Configuration of the operator.
    Operator,
    /// Need of a bundled plugin.
    Bundled,
}

impl CallGrants {
    pub(super) fn new(subject: &GrantSubject<'_>, known: &AnnouncementRegistry) -> Self {
        let needs = |need: &str| subject.needs_network.iter().any(|line| line == need);
        let (mut targets, mut announced) = (Vec::new(), Vec::new());
        // An invalid endpoint grants nothing; `url_for` reports it to the user.
        let endpoints: Vec<_> = subject.endpoints.iter().filter_map(|text| Endpoint::parse(text).ok()).collect();
        if needs("endpoint") {
            let follows = subject.may_follow_announcements();
            for endpoint in &endpoints {
                targets.push((endpoint.target(), GrantSource::Endpoint));
                if let (true, Endpoint::Url { host, port, .. }) = (follows, endpoint) {
                    announced.push(known.for_endpoint(subject.plugin_identity, host, *port));
                }
            }
        }
        if needs("node-address") {
            let nodes = subject.node_addresses.iter().filter_map(|address| node_target(address));
            targets.extend(nodes.map(|target| (target, GrantSource::Node)));
        }
        let own: Vec<NetworkTarget> = endpoints.iter().map(Endpoint::target).collect();
        if subject.bundled {
            let lines = subject.needs_network.iter().filter_map(|line| line.parse::<NetworkTarget>().ok());
            targets.extend(lines.filter_map(|line| Some((line.for_endpoints(&own)?, GrantSource::Bundled))));
        }
        if let Some(operator) = subject.operator {
            let lines = operator.network.iter().filter_map(|line| line.for_endpoints(&own));
            targets.extend(lines.map(|target| (target, GrantSource::Operator)));
        }
        Self {
            plugin: subject.plugin.to_owned(),
            config_key: subject.config_key.unwrap_or(subject.plugin).to_owned(),
            targets,
            announced,
            interfaces: subject.interfaces(),
            tls_identity: None,
            may_run_commands: subject.may_run_commands(),
            offline: false,
            endpoint_zones: endpoints.iter().map(Endpoint::zone).collect(),
            sockets: Mutex::default(),
            resolved_names: Mutex::default(),
        }
    }

    /// Returns the same grants, with these certificates for the endpoint.
    pub(crate) fn with_tls_identity(self, identity: Option<TlsIdentity>) -> Self {
        Self { tls_identity: identity, ..self }
    }

    /// Returns the certificates for a host: all of them for the endpoint, the authorities alone for announced hosts,
    /// none for others.
    pub(crate) fn tls_identity_for(&self, host: &str, port: u16) -> Option<TlsIdentity> {
        let identity = self.tls_identity.as_ref()?;
        let host = normalize_host(host);
        let address = host.parse::<IpAddr>().ok();
        let covers = |target: &NetworkTarget| match address {
            Some(address) => target.covers_address(address, Some(port)),
            None => target.covers_name(&host, port),
        };
        if self.targets.iter().any(|(target, source)| *source == GrantSource::Endpoint && covers(target)) {
            return Some(identity.clone());
        }
        self.announced.iter().any(|announced| announced.any(covers)).then(|| identity.authorities_only()).flatten()
    }

    /// Returns whether requests go through the proxies that the environment names. A node is connected to directly: the
    /// call checks whether it can be reached.
    pub(crate) fn uses_proxies(&self) -> bool {
        self.targets.iter().all(|(_, source)| *source != GrantSource::Node)
    }

    /// Creates the grants of a call that reaches nothing, whatever is granted to the plugin.
    pub(crate) fn offline(subject: &GrantSubject<'_>) -> Self {
        let without_grants =
            GrantSubject { plugin: subject.plugin, config_key: subject.config_key, ..GrantSubject::default() };
        let grants = Self::new(&without_grants, &AnnouncementRegistry::default());
        Self { offline: true, may_run_commands: subject.may_run_commands(), ..grants }
    }

    /// Checks an address that the driver of this call reports for a node. An address of this machine is allowed only if
    /// the driver's own endpoint is on this machine or the driver starts programs itself; a link-local, reserved or
    /// metadata address only if the driver's endpoint is at one.
    ///
    /// # Errors
    /// Returns the reason if the address is not allowed.
    pub fn check_node(&self, address: &NodeAddress) -> Result<(), &'static str> {
        match address.zone() {
            NetworkZone::Public | NetworkZone::Private => Ok(()),
            NetworkZone::ThisMachine
                if self.endpoint_zones.contains(&NetworkZone::ThisMachine)
                    || self.interfaces.contains(&Interface::Process) =>
            {
                Ok(())
            }
            NetworkZone::Guarded if self.endpoint_zones.contains(&NetworkZone::Guarded) => Ok(()),
            NetworkZone::ThisMachine => Err("it is this machine, and the driver's endpoint is elsewhere"),
            NetworkZone::Guarded => {
                Err("it is link-local, reserved or a metadata service, and the driver's endpoint is elsewhere")
            }
        }
    }

    /// Returns whether the call is offline: a description, a preview, a check.
    pub(crate) fn is_offline(&self) -> bool {
        self.offline
    }

    /// Checks the use of commands that the user's templates name (`cmd`). Text that others than the program's own
    /// contextualisers render is not known to be the user's.
    ///
    /// # Errors
    /// Returns [`GrantRefusal`] if the call may not run commands.
    pub fn check_command(&self) -> Result<(), GrantRefusal> {
        if self.may_run_commands { Ok(()) } else { Err(GrantRefusal::interface(self, Interface::Process.name())) }
    }

    /// Checks a connection to a host, by the name or the address that the call wrote. Must be called before resolution.
    ///
    /// # Errors
    /// Returns [`GrantRefusal`] if the host is not granted.
    pub fn check_name(&self, host: &str, port: u16) -> Result<(), GrantRefusal> {
        let host = normalize_host(host);
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.check_address(address, port, None);
        }
        if lock(&self.sockets).contains_key(&host) || self.any_target(|target| target.covers_name(&host, port)) {
            return Ok(());
        }
        Err(self.network_refusal(&join_host_port(&host, port), NOT_GRANTED_REASON, &join_host_port(&host, port)))
    }

    /// Checks a connection to an address. `name` is the host name that resolved to it; none if the guest wrote the
    /// address itself. Must be called for each address that will be connected to, right before.
    ///
    /// # Errors
    /// Returns [`GrantRefusal`] if the address is not granted, or its class takes a grant of its own.
    pub fn check_address(&self, address: IpAddr, port: u16, name: Option<&str>) -> Result<(), GrantRefusal> {
        let address = address.to_canonical();
        match name {
            Some(name) => {
                self.check_name(name, port)?;
                self.check_address_class(address, port, Some(&normalize_host(name)))
            }
            None if self.any_target(|target| target.covers_address(address, Some(port))) => {
                self.check_address_class(address, port, None)
            }
            None => {
                // The guest may have resolved a granted name by itself.
                let names = lock(&self.resolved_names).get(&address).cloned().unwrap_or_default();
                let by_name = names.iter().any(|name| self.check_address(address, port, Some(name)).is_ok());
                let line = join_host_port(&address.to_string(), port);
                if by_name { Ok(()) } else { Err(self.network_refusal(&line, NOT_GRANTED_REASON, &line)) }
            }
        }
    }

    /// Checks a connection that the plugin opens itself in a call with a credential. The host can't search what is sent
    /// there, so it takes a grant of the operator: an endpoint is for the host's HTTP client.
    pub(crate) fn check_raw_connection(&self, address: IpAddr, port: u16) -> Result<(), GrantRefusal> {
        self.check_address(address, port, None)?;
        let address = address.to_canonical();
        let names = lock(&self.resolved_names).get(&address).cloned().unwrap_or_default();
        let by_operator =
            self.targets.iter().filter(|(_, source)| *source == GrantSource::Operator).any(|(target, _)| {
                target.covers_address(address, Some(port)) || names.iter().any(|name| target.covers_name(name, port))
            });
        let line = join_host_port(&address.to_string(), port);
        let request = format!("a connection of its own to {line}");
        if by_operator { Ok(()) } else { Err(self.network_refusal(&request, RAW_CONNECTION_REASON, &line)) }
    }

    /// Checks the resolution of a name. Allowed only if some port of it is granted: a lookup discloses the name to
    /// foreign servers.
    ///
    /// # Errors
    /// Returns [`GrantRefusal`] if no port of the name is granted.
    pub fn check_lookup(&self, name: &str) -> Result<(), GrantRefusal> {
        let name = normalize_host(name);
        let granted = self.any_target(|target| match &target.0 {
            TargetKind::Host { port, .. } => target.covers_name(&name, port.unwrap_or(1)),
            TargetKind::Socket(_) | TargetKind::Announced | TargetKind::Companion { .. } => false,
        });
        let request = format!("the addresses of {name}");
        if granted { Ok(()) } else { Err(self.network_refusal(&request, NOT_GRANTED_REASON, &format!("{name}:*"))) }
    }

    /// Checks an ICMP echo to an address.
    ///
    /// # Errors
    /// Returns [`GrantRefusal`] if the address is not granted, or its class takes a grant of its own.
    pub fn check_echo(&self, address: IpAddr) -> Result<(), GrantRefusal> {
        let address = address.to_canonical();
        let line = super::target::any_port_target(address);
        let request = format!("an ICMP echo of {address}");
        let by_name = || {
            let names = lock(&self.resolved_names).get(&address).cloned().unwrap_or_default();
            names.iter().any(|name| self.check_lookup(name).is_ok())
        };
        if !self.any_target(|target| target.covers_address(address, None)) && !by_name() {
            return Err(self.network_refusal(&request, NOT_GRANTED_REASON, &line));
        }
        if self.is_class_granted(address, None, None) {
            Ok(())
        } else {
            Err(self.network_refusal(&request, class_refusal_reason(address), &line))
        }
    }

    /// Checks the use of a host interface.
    ///
    /// # Errors
    /// Returns [`GrantRefusal`] if the interface is not granted.
    pub fn check_interface(&self, interface: Interface) -> Result<(), GrantRefusal> {
        if self.interfaces.contains(&interface) {
            Ok(())
        } else {
            let name = interface.name();
            Err(match self.offline {
                true => GrantRefusal::permanent(self, &format!("the host interface `{name}`"), OFFLINE_REASON),
                false => GrantRefusal::interface(self, name),
            })
        }
    }

    /// Checks the sending of secrets to a host. A host is not allowed for being the node at hand, or for being
    /// announced by an endpoint: those do not own the credential.
    ///
    /// # Errors
    /// Returns [`GrantRefusal`] if secrets may not be sent there.
    pub fn check_secrets(&self, host: &str, port: u16) -> Result<(), GrantRefusal> {
        let host = normalize_host(host);
        let address = host.parse::<IpAddr>().ok();
        let covers = |target: &NetworkTarget| match address {
            Some(address) => target.covers_address(address, Some(port)),
            None => target.covers_name(&host, port),
        };
        let is_socket = lock(&self.sockets).contains_key(&host);
        if is_socket || self.targets.iter().any(|(target, source)| *source != GrantSource::Node && covers(target)) {
            return Ok(());
        }
        let line = join_host_port(&host, port);
        Err(self.network_refusal(
            &format!("a secret to be sent to {line}"),
            "secrets go to granted targets only",
            &line,
        ))
    }

    /// Records that a name resolved to these addresses in this call, so that the guest may connect to them by address
    /// if the name is granted.
    pub fn note_resolution(&self, name: &str, addresses: &[IpAddr]) {
        let name = normalize_host(name);
        let mut resolved = lock(&self.resolved_names);
        for address in addresses {
            resolved.entry(address.to_canonical()).or_default().insert(name.clone());
        }
    }

    /// Returns the URL under which the guest reaches an endpoint (`call.context.url-for`).
    ///
    /// # Errors
    /// Fails if the endpoint is not valid, or is a unix socket that is not granted.
    pub fn url_for(&self, endpoint: &str) -> Result<String, Fault> {
        let path = match Endpoint::parse(endpoint)? {
            Endpoint::Url { url, .. } => return Ok(url),
            Endpoint::Socket(path) => path,
        };
        if !self.any_target(|target| matches!(&target.0, TargetKind::Socket(granted) if *granted == path)) {
            let line = format!("unix://{}", path.display());
            return Err(self.network_refusal(&line, NOT_GRANTED_REASON, &line).into());
        }
        let mut sockets = lock(&self.sockets);
        let known = sockets.iter().find(|(_, known)| **known == path).map(|(host, _)| host.clone());
        let host = known.unwrap_or_else(|| {
            // `.invalid` never resolves (RFC 6761), and the rest can't be guessed.
            let host = format!("socket-{}.invalid", Uuid::new_v4().simple());
            sockets.insert(host.clone(), path);
            host
        });
        Ok(format!("http://{host}"))
    }

    /// Returns the unix socket behind a host name that [`url_for`](Self::url_for) generated.
    pub fn socket_of(&self, host: &str) -> Option<PathBuf> {
        lock(&self.sockets).get(&normalize_host(host)).cloned()
    }

    /// Returns the hosts that this server announced, if it is an endpoint whose answers are to be read for them.
    pub(crate) fn announcements_of(&self, host: &str, port: u16) -> Option<&Arc<AnnouncedHosts>> {
        self.announced.iter().find(|announced| announced.is_endpoint(host, port))
    }

    fn any_target(&self, test: impl Fn(&NetworkTarget) -> bool) -> bool {
        self.targets.iter().any(|(target, _)| test(target))
            || self.announced.iter().any(|announced| announced.any(&test))
    }

    fn check_address_class(&self, address: IpAddr, port: u16, name: Option<&str>) -> Result<(), GrantRefusal> {
        if self.is_class_granted(address, Some(port), name) {
            return Ok(());
        }
        let line = join_host_port(&address.to_string(), port);
        let request = name.map_or(line.clone(), |name| format!("{} at {address}", join_host_port(name, port)));
        Err(self.network_refusal(&request, class_refusal_reason(address), &line))
    }

    /// Returns whether the grants suffice for the class of this address.
    fn is_class_granted(&self, address: IpAddr, port: Option<u16>, name: Option<&str>) -> bool {
        match classify(address) {
            AddressClass::Ordinary => true,
            AddressClass::Loopback => {
                // `localhost` means this machine. Any other name that resolves to it may be an attack by DNS.
                name.is_some_and(|name| name == "localhost" || name.ends_with(".localhost"))
                    || self.any_target(|target| {
                        target.names_address(address, port, |network| classify(network) == AddressClass::Loopback)
                    })
            }
            AddressClass::Guarded => self
                .targets
                .iter()
                .any(|(target, source)| *source == GrantSource::Operator && target.is_address(address, port)),
        }
    }

    fn network_refusal(&self, request: &str, reason: &str, line: &str) -> GrantRefusal {
        match self.offline {
            true => GrantRefusal::permanent(self, request, OFFLINE_REASON),
            false => GrantRefusal::network(self, request, reason, line),
        }
    }
}

const OFFLINE_REASON: &str = "this call is made offline: it has no network, no credentials and no host interfaces";
const RAW_CONNECTION_REASON: &str =
    "a call with a credential reaches its endpoint by HTTP alone (`wasi:http`), where answers are searched for it";
const NOT_GRANTED_REASON: &str = "this is neither the endpoint of its section nor granted to it";

fn class_refusal_reason(address: IpAddr) -> &'static str {
    match classify(address) {
        AddressClass::Loopback => "this machine itself must be granted by its address",
        _ => "metadata, link-local and reserved addresses must be granted one by one",
    }
}

/// Locks a mutex, also after a panic: the values behind it are consistent at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GrantRefusal {
    /// Creates the refusal of a network target. `target` is the line that would allow it.
    fn network(grants: &CallGrants, request: &str, reason: &str, target: &str) -> Self {
        Self::new(grants, request, reason, "network", target)
    }

    /// Creates the refusal of a host interface.
    fn interface(grants: &CallGrants, name: &str) -> Self {
        Self::new(grants, &format!("the host interface `{name}`"), "it is off unless granted", "interfaces", name)
    }

    /// Creates the refusal of a request that nothing would allow.
    fn permanent(grants: &CallGrants, request: &str, reason: &str) -> Self {
        Self { configuration: String::new(), ..Self::new(grants, request, reason, "network", "") }
    }

    fn new(grants: &CallGrants, request: &str, reason: &str, key: &str, item: &str) -> Self {
        // A guest chose some of this text: nothing of it may break out of its line. JSON strings are YAML strings.
        let configuration =
            format!("plugins:\n  {}:\n    {key}: [{}]", yaml_quoted(&grants.config_key), yaml_quoted(item));
        let printable = |text: &str| text.replace(char::is_control, "?");
        Self {
            plugin: printable(&grants.plugin),
            request: printable(request),
            reason: reason.to_owned(),
            configuration,
        }
    }
}
