//! Calls of Nova that create, list and show servers.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use occopus_sdk::http::encoded;
use occopus_sdk::idempotent::Machines;
use occopus_sdk::{Fault, NodeRequest, Reaction};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::catalogue::Service;
use crate::cloud::{Cloud, Effect, ServiceRequest};
use crate::handle::Reference;
use crate::preflight::user_data_too_long;
use crate::section::{Section, given};
use crate::server::Server;

/// Size in GB of a volume whose size is given as 0, as the existing tool has it.
const DEFAULT_VOLUME_GB: u32 = 50;

#[derive(Deserialize)]
struct CreateAnswer {
    server: Identity,
}

#[derive(Deserialize)]
struct Identity {
    #[serde(deserialize_with = "crate::server::id")]
    id: String,
}

#[derive(Deserialize)]
struct ServerAnswer {
    server: Server,
}

#[derive(Deserialize)]
struct ServerPage {
    servers: Vec<Server>,
    #[serde(default)]
    servers_links: Vec<Value>,
}

/// Returns true if there is another page. The link itself is of no use: it may name a host behind a proxy.
pub(crate) fn has_next(links: &[Value]) -> bool {
    links.iter().any(|link| link.get("rel").and_then(Value::as_str) == Some("next"))
}

/// The servers of a project, as far as their identity is concerned.
pub(crate) struct Servers<'a> {
    pub(crate) cloud: &'a Cloud<'a>,
    /// The name of those that are searched for, if it is known. It makes lists short.
    pub(crate) name: Option<&'a str>,
}

impl Machines for Servers<'_> {
    type Machine = Server;

    /// Times of creation are whole seconds. Lists come from the database that servers are written to.
    const LIST_LAG: Duration = Duration::from_secs(1);
    const SEARCH_PAUSES: &'static [Duration] =
        &[Duration::from_millis(500), Duration::from_millis(1500), Duration::from_secs(3), Duration::from_secs(5)];

    fn list(&self, instance_id: &str) -> Result<Vec<Server>, Fault> {
        let mut found = self.cloud.list_all(self.name)?;
        found.retain(|server| server.is_alive() && server.carries(instance_id));
        Ok(found)
    }

    fn destroy(&self, server: &Server) -> Result<(), Fault> {
        self.cloud.delete(&server.reference(self.cloud.tenancy())).map(drop)
    }

    fn id(server: &Server) -> &str {
        &server.id
    }

    fn instance_id(server: &Server) -> Option<&str> {
        server.instance_id()
    }

    fn created(server: &Server) -> impl Ord {
        server.created()
    }
}

/// Returns the server's name in Nova.
pub(crate) fn name(request: &NodeRequest<Section>) -> &str {
    given(request.scope.section.server_name.as_ref()).unwrap_or(&request.machine_name)
}

impl Cloud<'_> {
    /// Creates a server.
    pub(crate) fn create_server(&self, request: &NodeRequest<Section>) -> Result<Reference, Fault> {
        let section = self.section;
        let (image, flavor) = (self.image()?, self.flavor()?);
        let labels: BTreeMap<&str, &str> =
            request.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let mut server = json!({
            "name": name(request), "flavorRef": flavor, "min_count": 1, "max_count": 1, "metadata": labels,
        });
        match section.volume_size {
            None => server["imageRef"] = json!(image),
            // Nova makes the volume, and removes it if the server can't be made.
            Some(size) => {
                server["block_device_mapping_v2"] = json!([{
                    "boot_index": "0",
                    "source_type": "image",
                    "uuid": image,
                    "destination_type": "volume",
                    "volume_size": if size == 0 { DEFAULT_VOLUME_GB } else { size },
                    "delete_on_termination": !section.volume_persist.unwrap_or(false),
                }]);
            }
        }
        if let Some(network) = given(section.network_id.as_ref()) {
            server["networks"] = json!([{"uuid": network}]);
        }
        if let Some(key) = given(section.key_name.as_ref()) {
            server["key_name"] = json!(key);
        }
        let groups: Vec<Value> = section
            .security_groups
            .iter()
            .flatten()
            .filter_map(|group| group.given().map(|name| json!({"name": name})))
            .collect();
        if !groups.is_empty() {
            server["security_groups"] = json!(groups);
        }
        if let Some(data) = request.user_data.as_ref().filter(|data| !data.is_empty()) {
            let data = STANDARD.encode(data);
            if let Some(message) = user_data_too_long(&data) {
                return Err(Fault::give_up("nova.user-data-too-long", message)
                    .at("#user-data", "this template makes it; let the machine fetch large files itself"));
            }
            server["user_data"] = json!(data);
        }
        let body = json!({"server": server});
        let call = ServiceRequest {
            effect: Effect::Possible,
            body: Some(&body),
            ..ServiceRequest::new(Service::Compute, "POST", "/servers")
        };
        let id = self.read::<CreateAnswer>(&call)?.server.id;
        Ok(Reference::new(&id, self.tenancy(), Some(&request.instance_id), name(request)))
    }

    /// Lists a page; returns it with the marker of the next.
    pub(crate) fn list_page(
        &self,
        name: Option<&str>,
        marker: Option<&str>,
    ) -> Result<(Vec<Server>, Option<String>), Fault> {
        let name = name.map(name_pattern);
        let filters = [name.as_deref().map(|name| ("name", name)), marker.map(|marker| ("marker", marker))];
        let query: Vec<(&str, &str)> = filters.into_iter().flatten().collect();
        let listed: ServerPage = self.read(&ServiceRequest {
            query: &query,
            ..ServiceRequest::new(Service::Compute, "GET", "/servers/detail")
        })?;
        let next = listed.servers.last().filter(|_| has_next(&listed.servers_links)).map(|server| server.id.clone());
        Ok((listed.servers, next.filter(|next| marker != Some(next))))
    }

    pub(crate) fn list_all(&self, name: Option<&str>) -> Result<Vec<Server>, Fault> {
        let (mut all, mut marker) = (Vec::new(), None);
        loop {
            let (page, next) = self.list_page(name, marker.as_deref())?;
            all.extend(page);
            if next.is_none() {
                return Ok(all);
            }
            marker = next;
        }
    }

    /// Shows a server; none if Nova of its own project and region says that there is no such server.
    pub(crate) fn show(&self, server: &Reference) -> Result<Option<Server>, Fault> {
        let path = format!("/servers/{}", encoded(&server.id));
        let call = ServiceRequest::new(Service::Compute, "GET", &path);
        match self.read::<ServerAnswer>(&call) {
            Ok(shown) if shown.server.id == server.id => Ok(Some(shown.server)),
            Ok(_) => Err(self.unreadable_fault(&call, "it is about another server")),
            Err(fault) if fault.reaction == Reaction::NotFound => {
                self.require_same_tenancy(server)?;
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }
}

/// Returns a regular expression for a name, since Nova takes names for such.
fn name_pattern(name: &str) -> String {
    let mut pattern = String::from("^");
    for letter in name.chars() {
        if !letter.is_alphanumeric() && !matches!(letter, '-' | '_' | ' ') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern + "$"
}
