//! Lists of servers and drives (<https://docs.cloudsigma.com/en/latest/general.html>): 20 on a page unless all are requested.

use std::collections::HashSet;
use std::time::Duration;

use occopus_sdk::http::encoded;
use occopus_sdk::idempotent::Machines;
use occopus_sdk::{Fault, Observed, Owned, Page, Phase};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cloud::{ApiRequest, Cloud};
use crate::drive::Drive;
use crate::handle::Reference;
use crate::server::Server;

#[derive(Deserialize)]
struct List<T> {
    meta: ListMeta,
    objects: Vec<T>,
}

#[derive(Deserialize)]
struct ListMeta {
    total_count: usize,
    #[allow(dead_code, reason = "an answer without it is not a list of CloudSigma")]
    limit: usize,
    offset: usize,
}

/// The servers of an account, as far as their identity is concerned.
pub(crate) struct Servers<'a>(pub(crate) &'a Cloud<'a>);

impl Machines for Servers<'_> {
    type Machine = Server;

    /// Times at which attempts begin are whole seconds.
    const LIST_LAG: Duration = Duration::from_secs(1);
    const SEARCH_PAUSES: &'static [Duration] =
        &[Duration::from_millis(500), Duration::from_millis(1500), Duration::from_secs(3), Duration::from_secs(5)];

    fn list(&self, instance_id: &str) -> Result<Vec<Server>, Fault> {
        let mut found = self.0.list_servers()?;
        found.retain(|server| server.instance_id() == Some(instance_id));
        Ok(found)
    }

    fn destroy(&self, server: &Server) -> Result<(), Fault> {
        self.0.remove(&server.uuid, None)
    }

    fn id(server: &Server) -> &str {
        &server.uuid
    }

    fn instance_id(server: &Server) -> Option<&str> {
        server.instance_id()
    }

    /// The time at which the attempt began: CloudSigma keeps no time of a server's creation.
    fn created(server: &Server) -> impl Ord {
        server.begun()
    }
}

impl Cloud<'_> {
    pub(crate) fn list_servers(&self) -> Result<Vec<Server>, Fault> {
        self.list_all("/servers/detail/", &[])
    }

    /// Lists all drives that are ours.
    pub(crate) fn list_drives(&self) -> Result<Vec<Drive>, Fault> {
        self.list_own_drives(&[])
    }

    /// Lists the drives that were cloned for a server.
    pub(crate) fn drives_of(&self, server: &str) -> Result<Vec<Drive>, Fault> {
        let mut drives = self.list_own_drives(&[("name__contains", server)])?;
        drives.retain(|drive| drive.is_of(server));
        Ok(drives)
    }

    /// Lists the drives that were cloned for servers of an instance.
    pub(crate) fn drives_of_instance(&self, instance: &str) -> Result<Vec<Drive>, Fault> {
        let mut drives = self.list_own_drives(&[("name__contains", instance)])?;
        drives.retain(|drive| drive.identity().is_some_and(|name| name.instance == instance));
        Ok(drives)
    }

    fn list_own_drives(&self, filter: &[(&str, &str)]) -> Result<Vec<Drive>, Fault> {
        let mut drives: Vec<Drive> = self.list_all("/drives/detail/", filter)?;
        drives.retain(|drive| drive.identity().is_some());
        Ok(drives)
    }

    /// Lists everything at once. Where the API gives less, the rest is read from there on; a list that changes meanwhile is
    /// read another time.
    fn list_all<T: DeserializeOwned>(&self, path: &str, filter: &[(&str, &str)]) -> Result<Vec<T>, Fault> {
        let mut all: Vec<T> = Vec::new();
        let mut total = None;
        loop {
            let offset = all.len().to_string();
            let mut query = filter.to_vec();
            query.push(("limit", "0"));
            if !all.is_empty() {
                query.push(("offset", &offset));
            }
            let call = ApiRequest { query: &query, ..ApiRequest::new("GET", path) };
            let page: List<T> = self.read(&call)?;
            let is_same = total.is_none_or(|total| total == page.meta.total_count) && page.meta.offset == all.len();
            let is_stuck = page.objects.is_empty() && page.meta.total_count > all.len();
            if !is_same || is_stuck {
                let message = format!("a list of the API at {} changed while it was read", self.section.endpoint);
                return Err(Fault::retry("cloudsigma.list-changed", message));
            }
            total = Some(page.meta.total_count);
            all.extend(page.objects);
            if all.len() >= page.meta.total_count {
                return Ok(all);
            }
        }
    }

    /// Shows a server; none if CloudSigma says that there is no such server.
    pub(crate) fn show(&self, uuid: &str) -> Result<Option<Server>, Fault> {
        let Some(shown) = self.show_raw(uuid)? else { return Ok(None) };
        let call = ApiRequest::new("GET", "");
        let server: Server =
            serde_json::from_value(shown).map_err(|error| self.unreadable_fault(&call, &error.to_string()))?;
        if server.uuid == uuid { Ok(Some(server)) } else { Err(self.unreadable_fault(&call, "it is another server")) }
    }

    /// Shows a server with all that the API shows of it.
    pub(crate) fn show_raw(&self, uuid: &str) -> Result<Option<Value>, Fault> {
        self.read_if_exists(&format!("/servers/{}/", encoded(uuid)))
    }

    /// Lists our servers, and our drives whose servers do not exist.
    pub(crate) fn list_owned(&self) -> Result<Page, Fault> {
        let account = self.account()?.id;
        // Drives first: the server of a drive is older than the drive.
        let drives = self.list_drives()?;
        let servers = self.list_servers()?;
        let mut machines: Vec<Owned> =
            servers.iter().filter_map(|server| server.owned(&account, self.location())).collect();
        let mut known: HashSet<&str> = servers.iter().map(|server| server.uuid.as_str()).collect();
        for name in drives.iter().filter_map(Drive::identity) {
            if known.insert(name.server) {
                let reference = Reference::new(name.server, &account, self.location(), Some(name.instance));
                let observed = Observed::new(reference.handle(), Phase::Stopped).because("its drive is left");
                machines.push(Owned {
                    instance_id: name.instance.to_owned(),
                    infrastructure_id: name.infrastructure.to_owned(),
                    observed,
                });
            }
        }
        Ok(Page { machines, cursor: None })
    }
}
