//! A small Azure for tests: tokens, resource groups, networks and container groups.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use occopus_sdk::http::{HttpError, HttpErrorKind, Request, Response};
use serde_json::{Value, json};

pub(super) const SUBSCRIPTION: &str = "11111111-2222-3333-4444-555555555555";
pub(super) const ENDPOINT: &str = "http://azure.test";

/// Shared with the handler of the fake host.
pub(super) type Shared = Arc<Mutex<Azure>>;

/// Resources by their paths in lower case, and what happened to them.
#[derive(Default)]
pub(super) struct Azure {
    pub(super) resources: BTreeMap<String, Value>,
    /// Method and path of each call in order, with its body.
    pub(super) calls: Vec<(String, Value)>,
    /// Answers in the place of Azure's own, by the beginning of method and path. Each is used so many times.
    pub(super) overrides: Vec<(String, usize, (u16, Value))>,
    /// Calls whose answers are lost after Azure has acted, by the beginning of method and path.
    pub(super) lost: Vec<String>,
    /// Deletions of networks that are refused, since Azure holds the subnet until the link is deleted.
    pub(super) holds_subnets: bool,
    /// Number of polls until the deletion of a group has ended, where it is an operation.
    pub(super) deletion_polls: Option<usize>,
    /// Deletions under way: path, and polls that are left.
    deletions: Vec<(String, usize)>,
    /// Number of resources of a page.
    pub(super) page_size: usize,
    /// Value of the header with the number of reads that are left.
    pub(super) reads_left: Option<u64>,
}

impl Azure {
    pub(super) fn shared() -> Shared {
        Arc::new(Mutex::new(Self { page_size: 1000, ..Self::default() }))
    }

    pub(super) fn count(&self, start: &str) -> usize {
        self.calls.iter().filter(|(what, _)| what.starts_with(start)).count()
    }

    pub(super) fn body_of(&self, start: &str) -> Value {
        self.calls
            .iter()
            .rev()
            .find(|(what, _)| what.starts_with(start))
            .map(|(_, body)| body.clone())
            .unwrap_or_default()
    }

    /// Changes the group of this name.
    pub(super) fn change(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let (_, group) =
            self.resources.iter_mut().find(|(path, _)| path.ends_with(name)).expect("there is such a resource");
        change(group);
    }

    pub(super) fn answer(&mut self, request: &Request) -> Result<Response, HttpError> {
        let (path, query) =
            request.url.strip_prefix(ENDPOINT).expect("the endpoint").split_once('?').unwrap_or((&request.url, ""));
        let path = path.strip_prefix(ENDPOINT).unwrap_or(path).to_lowercase();
        let what = format!("{} {path}", request.method);
        let body = serde_json::from_slice(&request.body).unwrap_or_default();
        self.calls.push((what.clone(), body));
        let body = self.calls.last().expect("pushed").1.clone();
        let (status, answer) = match self.overridden(&what) {
            Some(answer) => answer,
            None if path.ends_with("/oauth2/v2.0/token") => {
                (200, json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "token-1"}))
            }
            None if path.contains("/operations/") => self.poll(&path),
            None => self.act(&request.method, &path, query, body),
        };
        if let Some(at) = self.lost.iter().position(|start| what.starts_with(start.as_str())) {
            self.lost.remove(at);
            return Err(HttpError { kind: HttpErrorKind::MaybeSent, message: "the answer was lost".to_owned() });
        }
        let mut headers = vec![("x-ms-correlation-request-id".to_owned(), "c-1".to_owned())];
        headers.extend(
            self.reads_left.map(|left| ("x-ms-ratelimit-remaining-subscription-reads".to_owned(), left.to_string())),
        );
        if status == 202 {
            let number = self.deletions.len() - 1;
            let url = format!(
                "{ENDPOINT}/subscriptions/{SUBSCRIPTION}/providers/x/operations/{number}?api-version=2018-06-01"
            );
            headers.extend([("Azure-AsyncOperation".to_owned(), url), ("Retry-After".to_owned(), "0".to_owned())]);
        }
        let body = if answer.is_null() { Vec::new() } else { answer.to_string().into_bytes() };
        Ok(Response { status, headers, body })
    }

    fn overridden(&mut self, what: &str) -> Option<(u16, Value)> {
        let found =
            self.overrides.iter_mut().find(|(start, times, _)| *times > 0 && what.starts_with(start.as_str()))?;
        found.1 -= 1;
        Some(found.2.clone())
    }

    fn act(&mut self, method: &str, path: &str, query: &str, body: Value) -> (u16, Value) {
        let group: Vec<&str> = path.split('/').collect();
        let resource_group = group.get(..5).map(|parts| parts.join("/")).unwrap_or_default();
        let is_group = group.len() == 5;
        if !is_group && !self.resources.contains_key(&resource_group) {
            let name = group.get(4).copied().unwrap_or_default();
            return refusal(404, "ResourceGroupNotFound", &format!("Resource group '{name}' could not be found."));
        }
        match method {
            "PUT" => self.put(path, body),
            "DELETE" => self.delete(path),
            _ if path.ends_with("containergroups") || path.ends_with("virtualnetworks") => self.list(path, query),
            _ if path.ends_with("/resources") => {
                let inside = format!("{resource_group}/providers/");
                let all: Vec<&String> = self.resources.keys().filter(|path| path.starts_with(&inside)).collect();
                (200, json!({"value": all.iter().map(|path| json!({"id": path})).collect::<Vec<_>>()}))
            }
            _ if path.ends_with("/logs") => (200, json!({"content": "one\ntwo\nthree\n"})),
            _ => match self.resources.get(path) {
                Some(resource) => (200, resource.clone()),
                None => not_found(path),
            },
        }
    }

    fn put(&mut self, path: &str, mut body: Value) -> (u16, Value) {
        let is_new = !self.resources.contains_key(path);
        if let Some(subnet) = body["properties"]["subnetIds"][0]["id"].as_str().map(str::to_lowercase)
            && !self.resources.contains_key(&subnet)
        {
            return refusal(400, "InvalidResourceReference", &format!("Resource {subnet} referenced was not found."));
        }
        body["id"] = json!(path);
        body["name"] = json!(path.rsplit('/').next());
        if path.contains("/containergroups/") {
            body["properties"]["provisioningState"] = json!("Pending");
            body["properties"]["instanceView"] = json!({"events": [], "state": "Pending"});
        }
        for subnet in body["properties"]["subnets"].as_array().cloned().unwrap_or_default() {
            let name = subnet["name"].as_str().unwrap_or_default();
            self.resources.insert(format!("{path}/subnets/{name}"), subnet.clone());
        }
        self.resources.insert(path.to_owned(), body.clone());
        (if is_new { 201 } else { 200 }, body)
    }

    fn poll(&mut self, path: &str) -> (u16, Value) {
        let number: usize = path.rsplit('/').next().and_then(|number| number.parse().ok()).expect("an operation");
        let (path, left) = &mut self.deletions[number];
        *left = left.saturating_sub(1);
        let is_done = *left == 0;
        let path = path.clone();
        if is_done {
            self.resources.remove(&path);
        }
        (200, json!({"status": if is_done { "Succeeded" } else { "InProgress" }}))
    }

    fn delete(&mut self, path: &str) -> (u16, Value) {
        if let Some(polls) =
            self.deletion_polls.filter(|_| path.contains("/containergroups/") && self.resources.contains_key(path))
        {
            self.deletions.push((path.to_owned(), polls));
            return (202, Value::Null);
        }
        if path.ends_with("/serviceassociationlinks/default") {
            self.holds_subnets = false;
            return (200, Value::Null);
        }
        let is_used = self.resources.values().any(|resource| {
            let subnet = resource["properties"]["subnetIds"][0]["id"].as_str();
            subnet.is_some_and(|subnet| subnet.to_lowercase().starts_with(path))
        });
        if path.contains("/virtualnetworks/") && (self.holds_subnets || is_used) {
            return refusal(400, "InUseSubnetCannotBeDeleted", "Subnet containers is in use and cannot be deleted.");
        }
        let removed = self.resources.remove(path);
        self.resources.retain(|other, _| !other.starts_with(&format!("{path}/")));
        match removed {
            Some(resource) => (200, resource),
            None => (204, Value::Null),
        }
    }

    fn list(&self, path: &str, query: &str) -> (u16, Value) {
        let from: usize = query.split("skip=").nth(1).and_then(|skip| skip.parse().ok()).unwrap_or_default();
        let inside = |other: &&String| other.strip_prefix(path).is_some_and(|rest| rest.matches('/').count() == 1);
        let all: Vec<&String> = self.resources.keys().filter(inside).collect();
        let without_views = |path: &&String| {
            let mut resource = self.resources[*path].clone();
            resource["properties"].as_object_mut().expect("an object").remove("instanceView");
            for container in resource["properties"]["containers"].as_array_mut().into_iter().flatten() {
                container["properties"].as_object_mut().expect("an object").remove("instanceView");
            }
            resource
        };
        let page: Vec<Value> = all.iter().skip(from).take(self.page_size).map(without_views).collect();
        let mut answer = json!({"value": page});
        if from + self.page_size < all.len() {
            answer["nextLink"] = json!(format!("{ENDPOINT}{path}?skip={}", from + self.page_size));
        }
        (200, answer)
    }
}

/// Returns an error as Azure sends it.
pub(super) fn refusal(status: u16, code: &str, message: &str) -> (u16, Value) {
    (status, json!({"error": {"code": code, "message": message}}))
}

fn not_found(path: &str) -> (u16, Value) {
    refusal(404, "ResourceNotFound", &format!("The Resource '{path}' was not found."))
}
