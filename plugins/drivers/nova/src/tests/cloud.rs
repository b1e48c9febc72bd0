//! A small cloud that keeps servers, and can be set to misbehave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use occopus_sdk::http::{HttpError, HttpErrorKind, Request, Response};
use serde_json::{Value, json};

/// Status, headers, body.
pub(super) type Answer = (u16, Vec<(String, String)>, Value);

#[derive(Debug)]
pub(super) struct Cloud {
    /// Project that tokens open; servers of others are not shown.
    pub(super) project: Option<&'static str>,
    pub(super) region: &'static str,
    /// Set if the network delivers creations twice.
    pub(super) duplicates_creations: bool,
    /// Set if deletions are accepted and have no effect.
    pub(super) ignores_deletions: bool,
    pub(super) servers: Vec<Value>,
    pub(super) floating: Vec<Value>,
    pub(super) calls: Vec<(String, Value)>,
    pub(super) logins: usize,
    /// Expiry of tokens, by the cloud's clock.
    pub(super) token_expiry: Option<&'static str>,
    /// Tokens up to this number are no longer good.
    pub(super) revoked: usize,
    /// Answers to calls that begin so, instead of the real ones.
    pub(super) overrides: BTreeMap<&'static str, Answer>,
    /// Calls that take effect and whose answers are lost.
    pub(super) lost_answers: Vec<&'static str>,
    /// Port that takes a free address right after another one did.
    pub(super) competing_port: Option<&'static str>,
}

impl Default for Cloud {
    fn default() -> Self {
        Self {
            project: Some("p-1"),
            region: "One",
            duplicates_creations: false,
            ignores_deletions: false,
            servers: Vec::new(),
            floating: Vec::new(),
            calls: Vec::new(),
            logins: 0,
            token_expiry: None,
            revoked: 0,
            overrides: BTreeMap::new(),
            lost_answers: Vec::new(),
            competing_port: None,
        }
    }
}

pub(super) type Shared = Arc<Mutex<Cloud>>;

fn answer(status: u16, body: &Value) -> Response {
    Response { status, headers: Vec::new(), body: body.to_string().into_bytes() }
}

pub(super) fn refusal(status: u16, words: &str) -> Answer {
    let headers = vec![("x-openstack-request-id".to_owned(), "req-7".to_owned())];
    (status, headers, json!({"error": {"code": status, "message": words}}))
}

impl Cloud {
    pub(super) fn answer(&mut self, request: &Request) -> Result<Response, HttpError> {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let path = request.url.trim_start_matches("http://");
        let what = format!("{} {path}", request.method);
        self.calls.push((what.clone(), body.clone()));
        if let Some((_, (status, headers, body))) = self.overrides.iter().find(|(start, _)| what.starts_with(**start)) {
            return Ok(Response { headers: headers.clone(), ..answer(*status, body) });
        }
        if what.starts_with("POST keystone:5000/v3/auth/tokens") {
            return Ok(self.login());
        }
        let token = request.headers.iter().find(|(name, _)| name == "x-auth-token").map(|(_, token)| token.clone());
        let token: usize = token.and_then(|token| token.strip_prefix("token-")?.parse().ok()).expect("a token");
        if token <= self.revoked {
            return Ok(answer(401, &json!({"error": {"message": "revoked"}})));
        }
        let answered = self.serve(&what, &body);
        if self.lost_answers.iter().any(|start| what.starts_with(start)) {
            return Err(HttpError { kind: HttpErrorKind::MaybeSent, message: "connection reset".to_owned() });
        }
        Ok(answered)
    }

    fn login(&mut self) -> Response {
        self.logins += 1;
        let endpoint = |url: &str| json!([{"interface": "public", "region_id": self.region, "url": url}]);
        let begin =
            if self.token_expiry.is_some() { "2000-12-31T12:00:00.000000Z" } else { "2998-12-31T12:00:00.000000Z" };
        let end = self.token_expiry.unwrap_or("2999-01-01T00:00:00.000000Z");
        let project = self.project.map(|id| json!({"id": id, "name": "demo"}));
        let body = json!({"token": {"issued_at": begin, "expires_at": end, "project": project, "catalog": [
            {"type": "compute", "endpoints": endpoint("http://nova/v2.1")},
            {"type": "image", "endpoints": endpoint("http://glance")},
            {"type": "network", "endpoints": endpoint("http://neutron")},
        ]}});
        let headers = vec![("X-Subject-Token".to_owned(), format!("token-{}", self.logins))];
        Response { headers, ..answer(201, &body) }
    }

    fn serve(&mut self, what: &str, body: &Value) -> Response {
        let id = what.rsplit('/').next().unwrap_or_default().to_owned();
        if what.starts_with("GET glance/v2/images?name=tiny") {
            answer(200, &json!({"images": [{"id": "image-1", "name": "tiny"}]}))
        } else if what.starts_with("GET glance/v2/images?name=twice") {
            answer(200, &json!({"images": [{"id": "a", "name": "twice"}, {"id": "b", "name": "twice"}]}))
        } else if what.starts_with("GET glance/") {
            answer(200, &json!({"images": []}))
        } else if what == "GET nova/v2.1/flavors/4" {
            answer(200, &json!({"flavor": {"id": "4"}}))
        } else if what.starts_with("GET nova/v2.1/flavors/") {
            answer(404, &json!({"itemNotFound": {"message": "Flavor could not be found."}}))
        } else if what.starts_with("GET nova/v2.1/flavors?limit=1000&marker=") {
            answer(200, &json!({"flavors": []}))
        } else if what.starts_with("GET nova/v2.1/flavors") {
            answer(200, &json!({"flavors": [{"id": "f-2", "name": "m1.tiny"}]}))
        } else if what.starts_with("POST nova/v2.1/servers/") {
            let lines = body["os-getConsoleOutput"]["length"].as_u64().expect("a length");
            answer(200, &json!({"output": format!("booting\nout of memory\nafter {lines} lines\n\n")}))
        } else if what.starts_with("POST nova/v2.1/servers") {
            if self.duplicates_creations {
                self.make(&body["server"]);
            }
            self.make(&body["server"])
        } else if what.starts_with("GET nova/v2.1/servers/detail") {
            self.page(what)
        } else if what.starts_with("GET nova/v2.1/servers/") {
            match self.visible().find(|server| server["id"] == id.as_str()) {
                Some(server) => answer(200, &json!({"server": server})),
                None => answer(404, &json!({"itemNotFound": {"message": "gone"}})),
            }
        } else if what.starts_with("DELETE nova/v2.1/servers/") {
            let before = self.servers.len();
            let is_lazy = self.ignores_deletions && self.servers.iter().any(|server| server["id"] == id.as_str());
            let project = self.project;
            let is_it = |server: &Value| server["id"] == id.as_str() && server["project"] == json!(project);
            self.servers.retain(|server| is_lazy || !is_it(server));
            if self.servers.len() == before && !is_lazy {
                return answer(404, &json!({"itemNotFound": {"message": "Instance could not be found."}}));
            }
            answer(204, &Value::Null)
        } else {
            self.network(what, body, &id)
        }
    }

    pub(super) fn make(&mut self, wanted: &Value) -> Response {
        let id = format!("server-{}", self.servers.len());
        let addresses = json!({"net": [{"addr": "10.0.0.9", "version": 4, "OS-EXT-IPS:type": "fixed"}]});
        self.servers.push(json!({"id": id, "name": wanted["name"], "status": "ACTIVE", "metadata": wanted["metadata"],
            "project": self.project, "created": format!("2026-01-01T00:00:{:02}Z", self.servers.len()), "addresses": addresses, "image": "",
            "flavor": {"id": wanted["flavorRef"]}}));
        answer(202, &json!({"server": {"id": id}}))
    }

    fn visible(&self) -> impl Iterator<Item = &Value> {
        self.servers.iter().filter(|server| server["project"] == json!(self.project))
    }

    /// Pages of two.
    fn page(&self, what: &str) -> Response {
        let start = what
            .split("marker=")
            .nth(1)
            .map_or(0, |marker| 1 + self.visible().position(|server| server["id"] == marker).expect("a known marker"));
        let page: Vec<&Value> = self.visible().skip(start).take(2).collect();
        let links = if start + 2 < self.visible().count() {
            json!([{"rel": "next", "href": "http://inside/"}])
        } else {
            json!([])
        };
        answer(200, &json!({"servers": page, "servers_links": links}))
    }

    fn network(&mut self, what: &str, body: &Value, id: &str) -> Response {
        if let Some(query) = what.strip_prefix("GET neutron/v2.0/ports?device_id=") {
            return answer(200, &json!({"ports": [{"id": format!("port-of-{query}")}]}));
        }
        if what.starts_with("GET neutron/v2.0/networks") {
            return answer(200, &json!({"networks": [{"id": "ext-1", "name": "ext"}]}));
        }
        if what.starts_with("GET neutron/v2.0/floatingips/") {
            let ip = self.floating.iter().find(|ip| ip["id"] == id).expect("a floating IP");
            return answer(200, &json!({"floatingip": ip}));
        }
        if what.starts_with("GET neutron/v2.0/floatingips") {
            let (key, value) = what
                .split_once('?')
                .and_then(|(_, query)| query.split('&').next()?.split_once('='))
                .unwrap_or(("", ""));
            let matching: Vec<&Value> = self
                .floating
                .iter()
                .filter(|ip| key.is_empty() || ip[key] == value.replace("%3D", "=").as_str())
                .collect();
            // Pages of two.
            let start = what
                .split("marker=")
                .nth(1)
                .map_or(0, |marker| 1 + matching.iter().position(|ip| ip["id"] == marker).expect("a known marker"));
            let page: Vec<_> = matching.iter().skip(start).take(2).collect();
            let links = if start + 2 < matching.len() { json!([{"rel": "next", "href": "x"}]) } else { json!([]) };
            return answer(200, &json!({"floatingips": page, "floatingips_links": links}));
        }
        if what.starts_with("POST neutron/v2.0/floatingips") {
            let mut made = body["floatingip"].clone();
            made["id"] = json!(format!("fip-{}", self.floating.len()));
            made["floating_ip_address"] = json!("203.0.113.7");
            self.floating.push(made.clone());
            return answer(201, &json!({"floatingip": made}));
        }
        if what.starts_with("PUT neutron/v2.0/floatingips/") {
            let ip = self.floating.iter_mut().find(|ip| ip["id"] == id).expect("a floating IP");
            ip["port_id"] = body["floatingip"]["port_id"].clone();
            if let Some(thief) = self.competing_port.take() {
                ip["port_id"] = json!(thief);
            }
            return answer(200, &json!({"floatingip": ip}));
        }
        if what.starts_with("DELETE neutron/v2.0/floatingips/") {
            self.floating.retain(|ip| ip["id"] != id);
            return answer(204, &Value::Null);
        }
        panic!("{what} is not expected")
    }

    pub(super) fn count(&self, start: &str) -> usize {
        self.calls.iter().filter(|(what, _)| what.starts_with(start)).count()
    }
}
