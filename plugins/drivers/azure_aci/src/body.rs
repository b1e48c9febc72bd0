//! Body of the request that makes a container group.

use std::collections::BTreeMap;

use occopus_sdk::{Credential, Encoding, Fault, Launch, NodeRequest, log};
use serde_json::{Value, json};

use crate::group::MADE_TAG;
use crate::section::{SECRET_VARIABLE_PREFIX, Section, given};
use crate::settings::{Network, Settings};
use crate::{handle, names};

/// Variable with the DNS name of a public group, which the existing tool sets.
const FQDN_VARIABLE: &str = "_OCCOPUS_ALLOCATED_FQDN";

/// Returns the body for a group that is made now. `subnet` is the id of the subnet of a private group.
///
/// # Errors
/// `give-up` if the contextualisation section can't be used, `denied` if a secret is missing in the credentials.
pub(crate) fn body(
    request: &NodeRequest<Section>,
    settings: &Settings,
    name: &str,
    subnet: Option<&str>,
) -> Result<Value, Fault> {
    let section = &request.scope.section;
    let credential = request.scope.credential();
    let launch = Launch::read(&request.attributes)?;
    if request.user_data.is_some() {
        log::warn("a container group has no first boot: what was rendered for it is not used");
    }
    let mut requests = json!({"memoryInGB": settings.size.memory, "cpu": settings.size.cpu});
    if let Some((sku, count)) = settings.size.gpu {
        requests["gpu"] = json!({"count": count, "sku": sku});
    }
    let fqdn = public_name(settings, name, &section.endpoint);
    let mut container = json!({
        "image": settings.image,
        "ports": settings.ports,
        "environmentVariables": variables(&launch, fqdn, section, credential)?,
        "resources": {"requests": requests},
    });
    if let Some(command) = &launch.command {
        container["command"] = json!(command);
    }
    let mut properties = json!({
        "osType": settings.os,
        "containers": [{"name": name, "properties": container}],
    });
    if let Some(policy) = settings.restart_policy {
        properties["restartPolicy"] = json!(policy);
    }
    if settings.placement.is_spot {
        properties["priority"] = json!("Spot");
    }
    if settings.has_address() {
        properties["ipAddress"] = match settings.network {
            Network::Public => json!({"type": "Public", "dnsNameLabel": name, "ports": settings.ports}),
            Network::Private(_) => json!({"type": "Private", "ports": settings.ports}),
        };
    }
    if let Some(subnet) = subnet {
        properties["subnetIds"] = json!([{"id": subnet}]);
    }
    if let Some(login) = registry_login(section, credential)? {
        properties["imageRegistryCredentials"] = json!([login]);
    }
    let mut body = json!({"location": settings.location, "tags": tags(request), "properties": properties});
    if let Some(zone) = &settings.placement.zone {
        body["zones"] = json!([zone]);
    }
    if let Some(identity) = given(section.registry_identity.as_ref()) {
        body["identity"] = json!({"type": "UserAssigned", "userAssignedIdentities": {identity: {}}});
    }
    Ok(body)
}

/// Returns the DNS name of a public group.
fn public_name(settings: &Settings, name: &str, endpoint: &str) -> Option<String> {
    (settings.network == Network::Public && settings.has_address())
        .then(|| names::dns_name(name, &settings.location, endpoint))
}

/// Beginning of the names of Occopus' tags, which compare without regard to case.
const OWN_TAGS: &str = "occopus.";

/// Returns the user's tags, and those of Occopus, which count more.
fn tags(request: &NodeRequest<Section>) -> BTreeMap<&str, String> {
    let is_ours = |name: &str| name.get(..OWN_TAGS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OWN_TAGS));
    let users = request.scope.section.tags.iter().flatten().filter(|(name, _)| !is_ours(name));
    let users = users.map(|(name, value)| (name.as_str(), value.to_string()));
    let labels = request.labels.iter().map(|(name, value)| (name.as_str(), value.clone()));
    users.chain(labels).chain([(MADE_TAG, handle::now().to_string())]).collect()
}

/// Returns the environment: the DNS name, the user's variables in their order, and secrets of the credentials.
fn variables(
    launch: &Launch,
    fqdn: Option<String>,
    section: &Section,
    credential: Option<&Credential>,
) -> Result<Vec<Value>, Fault> {
    let secure = section.secure_env.as_deref().unwrap_or_default();
    let is_secure = |name: &str| secure.iter().any(|secure| secure.trim() == name);
    // Of two values for one name the last one counts, as in a shell. Azure refuses both.
    let mut values: Vec<(&str, &str)> = Vec::new();
    let written = launch.environment.iter().filter_map(|(name, value)| match value {
        Some(value) => Some((name.as_str(), value.as_str())),
        None => {
            log::warn(format!("a container group can't unset a variable of its image: `{name}` stays as it is"));
            None
        }
    });
    for (name, value) in fqdn.as_deref().map(|fqdn| (FQDN_VARIABLE, fqdn)).into_iter().chain(written) {
        match values.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => values.push((name, value)),
        }
    }
    let key = |name: &str| if is_secure(name) { "secureValue" } else { "value" };
    let mut variables: Vec<Value> =
        values.iter().map(|(name, value)| json!({"name": name, key(name): value})).collect();
    for (index, name) in secure.iter().enumerate() {
        let name = name.trim();
        if values.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let field = format!("{SECRET_VARIABLE_PREFIX}{name}");
        let secret = credential.and_then(|credential| credential.secret(&field)).ok_or_else(|| {
            let message = format!("the variable `{name}` has no value: neither in `env` nor in auth_data.yaml");
            Fault::give_up("azure.no-secret", message)
                .at(format!("/secure_env/{index}"), format!("write `{field}` into the rule in auth_data.yaml"))
        })?;
        variables.push(json!({"name": name, "secureValue": secret.placeholder(Encoding::Json)}));
    }
    Ok(variables)
}

/// Returns the log-in at the registry of the image.
fn registry_login(section: &Section, credential: Option<&Credential>) -> Result<Option<Value>, Fault> {
    let Some(server) = given(section.registry_server.as_ref()) else { return Ok(None) };
    if let Some(identity) = given(section.registry_identity.as_ref()) {
        return Ok(Some(json!({"server": server, "identity": identity})));
    }
    let secret = |field: &str| {
        let found = credential.and_then(|credential| credential.secret(field));
        found.map(|secret| secret.placeholder(Encoding::Json)).ok_or_else(|| {
            Fault::denied(
                "azure.no-registry-credential",
                format!("the rule in auth_data.yaml has no `{field}` for {server}"),
            )
            .at(
                "/registry_server",
                "write `registry_username` and `registry_password` into auth_data.yaml, or `registry_identity` here",
            )
        })
    };
    Ok(Some(json!({
        "server": server, "username": secret("registry_username")?, "password": secret("registry_password")?,
    })))
}
