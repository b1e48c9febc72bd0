//! Checks that need no cloud.

use occopus_azure_arm::endpoint_mistake;
use occopus_sdk::{Detail, Launch, NodeRequest};

use crate::section::{Section, given};
use crate::settings::Settings;

/// Ports that Azure keeps for itself
/// (<https://learn.microsoft.com/azure/container-instances/container-instances-faq>).
const RESERVED_PORTS: [(u16, u16); 10] = [
    (22, 22),
    (1025, 1027),
    (3389, 3399),
    (9999, 9999),
    (19_000, 19_000),
    (19_080, 19_080),
    (19_100, 19_100),
    (19_390, 19_390),
    (20_000, 30_000),
    (49_152, 65_534),
];

/// Returns all mistakes that `create` or Azure would refuse whatever there is in the cloud, and warns of what is doubtful.
pub(crate) fn check(request: &NodeRequest<Section>) -> Vec<Detail> {
    let section = &request.scope.section;
    let mut found = Vec::new();
    let mut add = |pointer: &str, message: String| found.push(Detail { pointer: pointer.to_owned(), message });
    if let Some(why) = endpoint_mistake(&section.endpoint) {
        add("/endpoint", why);
    }
    if let Err(fault) = Launch::read(&request.attributes) {
        add("", fault.message);
    }
    for (index, name) in section.secure_env.iter().flatten().enumerate() {
        if !is_variable(name.trim()) {
            add(&format!("/secure_env/{index}"), format!("`{}` is not the name of a variable", name.trim()));
        }
    }
    match Settings::read(section) {
        Ok(settings) => warn(request, &settings),
        Err(mistakes) => found.extend(mistakes),
    }
    found
}

fn is_variable(name: &str) -> bool {
    let is_good = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    name.chars().all(is_good) && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

fn warn(request: &NodeRequest<Section>, settings: &Settings) {
    let (section, call) = (&request.scope.section, request.scope.call());
    let is_public = settings.network == crate::settings::Network::Public;
    if is_public && !settings.has_address() {
        call.warn(
            "azure.no-address",
            "without `ports` the container group has no address, and nobody reaches it",
            "/network_type",
        );
    }
    let unused = [("/vnet_name", &section.vnet_name), ("/subnet_name", &section.subnet_name)];
    for (pointer, _) in unused.into_iter().filter(|(_, name)| is_public && given(name.as_ref()).is_some()) {
        call.warn("azure.unused", "a public container group joins no network; this is not used", pointer);
    }
    let is_reserved = |port: u16| RESERVED_PORTS.iter().any(|(first, last)| (*first..=*last).contains(&port));
    for (index, port) in settings.ports.iter().enumerate().filter(|(_, port)| is_reserved(port.port)) {
        let message = format!("Azure keeps port {} of container groups for itself", port.port);
        call.warn("azure.reserved-port", &message, &format!("/ports/{index}"));
    }
    if request.user_data.as_ref().is_some_and(|data| !data.is_empty()) {
        let message = "a container group has no first boot; use `contextualisation: {type: docker}` for its command and environment";
        call.warn("azure.user-data", message, "/image");
    }
}
