//! A small CloudSigma that keeps servers and drives, and can be set to misbehave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use occopus_sdk::http::{HttpError, HttpErrorKind, Request, Response};
use serde_json::{Value, json};

/// Status and body.
pub(super) type Answer = (u16, Value);

pub(super) const LIBRARY_DRIVE: &str = "c7105ec8-5d60-43a7-a11b-18dcfc1a4433";

#[derive(Debug)]
pub(super) struct Api {
    pub(super) account: &'static str,
    pub(super) servers: Vec<Value>,
    pub(super) drives: Vec<Value>,
    /// State of all jobs, and the status that new drives have.
    pub(super) job_state: &'static str,
    pub(super) drive_status: &'static str,
    /// Entries of a page, whatever limit is requested.
    pub(super) page: usize,
    pub(super) calls: Vec<(String, Value)>,
    /// Answers to calls that begin so, instead of the real ones; used up when the number is reached.
    pub(super) overrides: BTreeMap<&'static str, (usize, Answer)>,
    /// Calls that take effect and whose answers are lost.
    pub(super) lost_answers: Vec<&'static str>,
    made: usize,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            account: "a-1",
            servers: Vec::new(),
            drives: Vec::new(),
            job_state: "success",
            drive_status: "unmounted",
            page: usize::MAX,
            calls: Vec::new(),
            overrides: BTreeMap::new(),
            lost_answers: Vec::new(),
            made: 0,
        }
    }
}

pub(super) type Shared = Arc<Mutex<Api>>;

pub(super) fn error(kind: &str, message: &str) -> Value {
    json!([{"error_type": kind, "error_message": message, "error_point": null}])
}

fn answer((status, body): Answer) -> Response {
    let date = ("Date".to_owned(), "Mon, 30 Nov 2026 17:00:00 GMT".to_owned());
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    Response { status, headers: vec![date], body }
}

fn not_found() -> Answer {
    (404, error("notexist", "Object does not exist."))
}

impl Api {
    pub(super) fn answer(&mut self, request: &Request) -> Result<Response, HttpError> {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let path = request.url.trim_start_matches("https://zrh.test/api/2.0");
        let what = format!("{} {path}", request.method);
        self.calls.push((what.clone(), body.clone()));
        if let Some((_, (left, given))) =
            self.overrides.iter_mut().find(|(start, (left, _))| what.starts_with(**start) && *left > 0)
        {
            *left -= 1;
            return Ok(answer(given.clone()));
        }
        let answered = answer(self.serve(request.method.as_str(), path, &body));
        if self.lost_answers.iter().any(|start| what.starts_with(start)) {
            return Err(HttpError { kind: HttpErrorKind::MaybeSent, message: "connection reset".to_owned() });
        }
        Ok(answered)
    }

    pub(super) fn refuse(&mut self, start: &'static str, times: usize, answer: Answer) {
        self.overrides.insert(start, (times, answer));
    }

    pub(super) fn count(&self, start: &str) -> usize {
        self.calls.iter().filter(|(what, _)| what.starts_with(start)).count()
    }

    pub(super) fn body(&self, start: &str) -> Value {
        self.calls.iter().find(|(what, _)| what.starts_with(start)).expect("a call").1.clone()
    }

    fn next_id(&mut self, last: u8) -> String {
        self.made += 1;
        format!("{:08}-0000-4000-8000-00000000000{last}", self.made)
    }

    fn serve(&mut self, method: &str, path: &str, body: &Value) -> Answer {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match (method, parts.as_slice()) {
            ("GET", ["profile"]) => (200, json!({"uuid": self.account, "email": "user@example.com"})),
            ("GET", ["servers", "detail"]) => list(&self.servers, query, self.page),
            ("GET", ["drives", "detail"]) => list(&self.drives, query, self.page),
            ("POST", ["servers"]) => self.make_server(&body["objects"][0]),
            ("POST", ["libdrives", LIBRARY_DRIVE, "action"]) => self.clone_drive(body),
            ("POST", ["servers", id, "action"]) => self.act(id, query.trim_start_matches("do=")),
            ("GET", ["jobs", _]) => (200, json!({"state": self.job_state, "data": {"progress": 47}})),
            ("GET", ["servers", id]) => self.server(id).map_or_else(not_found, |server| (200, server.clone())),
            ("PUT", ["servers", id]) => self.put(id, body),
            ("DELETE", ["servers", id]) => self.delete_server(id),
            ("DELETE", ["drives", id]) => self.delete_drive(id),
            _ => not_found(),
        }
    }

    pub(super) fn server(&mut self, id: &str) -> Option<&mut Value> {
        self.servers.iter_mut().find(|server| server["uuid"] == id)
    }

    fn make_server(&mut self, document: &Value) -> Answer {
        let mut server = document.clone();
        server["uuid"] = json!(self.next_id(0));
        server["status"] = json!("stopped");
        server["runtime"] = Value::Null;
        if server["drives"].is_null() {
            server["drives"] = json!([]);
        }
        self.servers.push(server.clone());
        (201, json!({"objects": [server]}))
    }

    pub(super) fn clone_drive(&mut self, body: &Value) -> Answer {
        let drive = json!({"uuid": self.next_id(1), "name": body["name"], "status": self.drive_status,
            "jobs": [{"uuid": "job-1"}]});
        self.drives.push(drive.clone());
        (202, json!({"objects": [drive]}))
    }

    fn act(&mut self, id: &str, action: &str) -> Answer {
        let Some(server) = self.server(id) else { return not_found() };
        let (from, to) = if action == "start" { ("stopped", "running") } else { ("running", "stopped") };
        if server["status"] != from {
            let message =
                format!("Cannot {action} guest in state {}. Guest should be in state \"{from}\"", server["status"]);
            return (403, error("permission", &message));
        }
        server["status"] = json!(to);
        let nic = json!({"interface_type": "public", "ip_v4": {"uuid": "94.26.101.149"}, "ip_v6": null});
        server["runtime"] = if to == "running" { json!({"nics": [nic]}) } else { Value::Null };
        (202, json!({"action": action, "result": "success", "uuid": id}))
    }

    fn put(&mut self, id: &str, body: &Value) -> Answer {
        let Some(server) = self.server(id) else { return not_found() };
        for key in ["name", "meta", "drives"] {
            if key == "drives" && server["status"] != "stopped" {
                continue;
            }
            server[key] = body[key].clone();
        }
        for drive in server["drives"].as_array_mut().expect("drives") {
            if drive["drive"].is_string() {
                drive["drive"] = json!({"uuid": drive["drive"]});
            }
        }
        (200, server.clone())
    }

    fn delete_server(&mut self, id: &str) -> Answer {
        match self.server(id) {
            None => not_found(),
            Some(server) if server["status"] != "stopped" => {
                (403, error("permission", "Cannot delete guest in state \"running\""))
            }
            Some(_) => {
                self.servers.retain(|server| server["uuid"] != id);
                (204, Value::Null)
            }
        }
    }

    fn delete_drive(&mut self, id: &str) -> Answer {
        if self.servers.iter().any(|server| server["drives"].to_string().contains(id)) {
            return (403, error("permission", "The drive is mounted"));
        }
        self.drives.retain(|drive| drive["uuid"] != id);
        (204, Value::Null)
    }
}

fn list(all: &[Value], query: &str, page: usize) -> Answer {
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let offset: usize = value("offset").and_then(|offset| offset.parse().ok()).unwrap_or(0);
    let filter = value("name__contains").unwrap_or_default();
    let fitting: Vec<_> =
        all.iter().filter(|each| each["name"].as_str().is_none_or(|name| name.contains(filter))).collect();
    let objects: Vec<_> = fitting.iter().skip(offset).take(page).collect();
    (200, json!({"meta": {"limit": 0, "offset": offset, "total_count": fitting.len()}, "objects": objects}))
}
