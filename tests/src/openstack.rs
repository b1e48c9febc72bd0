//! An existing OpenStack cloud, described by the usual `OS_*` variables of the environment.

use std::process::Command;

use serde_json::{Value, json};

use crate::Occopus;
use crate::wait::wait_for;

/// A project of an OpenStack cloud, used with the credentials of its user.
pub struct OpenStack {
    /// URL of Keystone.
    pub auth_url: String,
    user: String,
    user_id: String,
    password: String,
    /// Id of the project.
    pub project: String,
    token: String,
    compute: String,
    network: String,
    image: String,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// Runs `curl`, and returns status, head and body.
fn curl(arguments: &[&str]) -> (String, String) {
    let output = Command::new("curl").args(["-sS", "-i"]).args(arguments).output().expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    (head.to_owned(), body.to_owned())
}

impl OpenStack {
    /// Connects as `OS_AUTH_URL`, `OS_USERNAME`, `OS_PASSWORD` and `OS_PROJECT_ID` say, in the domain `Default`.
    ///
    /// # Panics
    /// Panics if the cloud does not answer.
    pub fn from_environment() -> Self {
        let (auth_url, user) = (variable("OS_AUTH_URL"), variable("OS_USERNAME"));
        let (password, project) = (variable("OS_PASSWORD"), variable("OS_PROJECT_ID"));
        let login = json!({"auth": {
            "identity": {"methods": ["password"],
                "password": {"user": {"name": user, "password": password, "domain": {"name": "Default"}}}},
            "scope": {"project": {"id": project}},
        }});
        let url = format!("{auth_url}/auth/tokens");
        let (head, body) = curl(&["-H", "content-type: application/json", "-d", &login.to_string(), &url]);
        let token = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("x-subject-token").then(|| value.trim().to_owned())
        });
        let body: Value = serde_json::from_str(&body).expect("Keystone answers with JSON");
        let service = |kind: &str| {
            let catalogue = body["token"]["catalog"].as_array().expect("a catalogue");
            let entry = catalogue.iter().find(|entry| entry["type"] == kind).expect("the service");
            let endpoints = entry["endpoints"].as_array().expect("endpoints");
            let public = endpoints.iter().find(|endpoint| endpoint["interface"] == "public").expect("a public one");
            public["url"].as_str().expect("a URL").trim_end_matches('/').to_owned()
        };
        let (compute, network, image) = (service("compute"), service("network"), service("image"));
        let user_id = body["token"]["user"]["id"].as_str().expect("the user").to_owned();
        Self { auth_url, user, user_id, password, project, token: token.expect("a token"), compute, network, image }
    }

    fn get(&self, url: &str) -> Value {
        let (_, body) = curl(&["-H", &format!("x-auth-token: {}", self.token), url]);
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{url}: {error}: {body}"))
    }

    /// Returns `HOST:PORT` of the services that its catalogue names, by variables for fixtures.
    pub fn services(&self) -> [(&'static str, String); 3] {
        let address = |url: &str| {
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            rest.split('/').next().unwrap_or_default().to_owned()
        };
        [
            ("OS_COMPUTE", address(&self.compute)),
            ("OS_NETWORK", address(&self.network)),
            ("OS_IMAGE", address(&self.image)),
        ]
    }

    /// Returns the ids of all servers of the project.
    pub fn servers(&self) -> Vec<String> {
        let listed = self.get(&format!("{}/servers", self.compute));
        let servers = listed["servers"].as_array().expect("servers").clone();
        servers.iter().map(|server| server["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// Waits until `count` servers are left: they disappear a while after they are deleted.
    ///
    /// # Panics
    /// Panics if that takes more than a minute.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<String> {
        let context = || format!("{:?}", self.servers());
        wait_for(&format!("there are {count} servers"), context, || {
            Some(self.servers()).filter(|all| all.len() == count)
        })
    }

    /// Returns the addresses of all floating IPs of the project.
    pub fn floating_ips(&self) -> Vec<String> {
        let listed = self.get(&format!("{}/v2.0/floatingips", self.network));
        let all = listed["floatingips"].as_array().expect("floating IPs").clone();
        all.iter().map(|ip| ip["floating_ip_address"].as_str().expect("an address").to_owned()).collect()
    }

    /// Deletes a server from outside.
    pub fn delete(&self, id: &str) {
        let token = format!("x-auth-token: {}", self.token);
        curl(&["-X", "DELETE", "-H", &token, &format!("{}/servers/{id}", self.compute)]);
    }

    /// Writes a file with the user's name and password, and returns its name.
    pub fn write_credentials(&self, occopus: &Occopus) -> &'static str {
        self.write(occopus, &format!("{{username: {}, password: {}}}", self.user, self.password))
    }

    /// Creates an application credential, and writes a file with it.
    ///
    /// # Panics
    /// Panics if it cannot be created.
    pub fn write_application_credential(&self, occopus: &Occopus) -> &'static str {
        let name = format!("occopus-test-{}", std::process::id());
        let body = json!({"application_credential": {"name": name}}).to_string();
        let token = format!("x-auth-token: {}", self.token);
        let url = format!("{}/users/{}/application_credentials", self.auth_url, self.user_id);
        let (_, body) = curl(&["-H", "content-type: application/json", "-H", &token, "-d", &body, &url]);
        let made: Value = serde_json::from_str(&body).expect("JSON");
        let of =
            |key: &str| made["application_credential"][key].as_str().expect("an application credential").to_owned();
        self.write(occopus, &format!("{{type: application_credential, id: {}, secret: '{}'}}", of("id"), of("secret")))
    }

    fn write(&self, occopus: &Occopus, auth_data: &str) -> &'static str {
        let rule = format!("resource:\n- type: nova\n  endpoint: {}\n  auth_data: {auth_data}\n", self.auth_url);
        occopus.write_private("auth_data.yaml", rule);
        "auth_data.yaml"
    }

    /// Returns the password, which must not appear in any output.
    pub fn password(&self) -> &str {
        &self.password
    }
}
