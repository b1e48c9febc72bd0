//! A real implementation of the EC2 API: moto (<https://docs.getmoto.org>), with signatures checked.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::wait::wait_for;
use crate::{Occopus, skip};

/// A server of one test.
pub struct Moto {
    server: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
    access_key: String,
    secret_key: String,
}

impl Moto {
    /// Starts `moto_server` (or what `MOTO_SERVER` names) with one user who may do everything. Returns `None`, and
    /// reports the cause, if it does not start.
    ///
    /// # Panics
    /// Panics if the server starts and does not answer.
    pub fn start(test: &str) -> Option<Self> {
        // The number of calls that create the user; from then on signatures are checked.
        let mut moto = Self::launch(test, &[("INITIAL_NO_AUTH_ACTION_COUNT", "3")])?;
        moto.make_user();
        Some(moto)
    }

    /// Starts a server that checks no signatures.
    ///
    /// # Panics
    /// Panics if the server starts and does not answer.
    pub fn start_open(test: &str) -> Option<Self> {
        Self::launch(test, &[])
    }

    /// Starts a server of another account, which accepts all keys.
    ///
    /// # Panics
    /// Panics if the server starts and does not answer.
    pub fn start_with_other_account(test: &str) -> Option<Self> {
        Self::launch(test, &[("MOTO_ACCOUNT_ID", "210987654321")])
    }

    fn launch(test: &str, variables: &[(&str, &str)]) -> Option<Self> {
        let program = std::env::var("MOTO_SERVER").unwrap_or_else(|_| "moto_server".to_owned());
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
        let started = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .envs(variables.iter().copied())
            .env("MOTO_ENABLE_AMI_VALIDATION", "true")
            .env("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "true")
            .env("MOTO_ENABLE_KEYPAIR_VALIDATION", "true")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(server) = started else {
            skip(test, &format!("no EC2 server: `{program}` does not start (pip install 'moto[server]')"));
            return None;
        };
        let mut moto =
            Self { server, address: format!("127.0.0.1:{port}"), access_key: String::new(), secret_key: String::new() };
        let is_up = wait_for(&format!("{program} answers"), String::new, || {
            let has_ended = moto.server.try_wait().is_ok_and(|ended| ended.is_some());
            (has_ended || moto.ask("GET", "/moto-api/", "").is_some()).then_some(!has_ended)
        });
        if !is_up {
            skip(test, &format!("no EC2 server: `{program}` ends at once (pip install 'moto[server]')"));
        }
        is_up.then_some(moto)
    }

    fn make_user(&mut self) {
        (self.access_key, self.secret_key) = self.user("none");
    }

    /// Writes an `auth_data.yaml` with keys of another account, and returns its name.
    ///
    /// # Panics
    /// Panics if the server refuses.
    pub fn write_credentials_of_another_account(&self, occopus: &Occopus) -> &'static str {
        self.ask("POST", "/moto-api/reset-auth", "4").expect("an answer");
        let role = "Action=AssumeRole&RoleArn=arn:aws:iam::444455556666:role/other&RoleSessionName=other";
        let session = self.ask("POST", "/", &format!("{role}&Version=2011-06-15")).expect("an answer");
        let (access_key, secret_key) = self.user(&value(&session, "AccessKeyId"));
        occopus.write("other_auth_data.yaml", rule(&access_key, &secret_key));
        "other_auth_data.yaml"
    }

    /// Makes a machine with the tags of another one, as a creation does that the network delivered twice.
    ///
    /// # Panics
    /// Panics if the server refuses.
    pub fn duplicate_machine(&self, id: &str) {
        self.ask("POST", "/moto-api/reset-auth", "2").expect("an answer");
        let form = format!("Action=DescribeInstances&InstanceId.1={id}&Version=2016-11-15");
        let described = self.ask("POST", "/", &form).expect("an answer");
        let tags = described.split("<tagSet>").find(|part| part.contains("occopus.instance")).expect("tags");
        let (tags, _) = tags.split_once("</tagSet>").expect("tags");
        let mut form = "Action=RunInstances&MinCount=1&MaxCount=1&ImageId=ami-03cf127a&InstanceType=t3.small\
                        &TagSpecification.1.ResourceType=instance&Version=2016-11-15"
            .to_owned();
        for (index, tag) in tags.split("</item>").filter(|tag| tag.contains("<key>")).enumerate() {
            let number = index + 1;
            let (key, text) = (value(tag, "key"), value(tag, "value"));
            form.push_str(&format!(
                "&TagSpecification.1.Tag.{number}.Key={key}&TagSpecification.1.Tag.{number}.Value={text}"
            ));
        }
        self.ask("POST", "/", &form).expect("an answer");
    }

    /// Creates a user who may do everything, in the account of this access key, and returns its keys.
    fn user(&self, access_key: &str) -> (String, String) {
        let everything = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C\
                          %22Action%22%3A%22%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D";
        let call = |form: &str| {
            self.ask_as(access_key, "POST", "/", &format!("{form}&Version=2010-05-08")).expect("an answer")
        };
        static USERS: AtomicUsize = AtomicUsize::new(0);
        let name = format!("tester-{}", USERS.fetch_add(1, Ordering::Relaxed));
        call(&format!("Action=CreateUser&UserName={name}"));
        call(&format!("Action=PutUserPolicy&UserName={name}&PolicyName=all&PolicyDocument={everything}"));
        let key = call(&format!("Action=CreateAccessKey&UserName={name}"));
        (value(&key, "AccessKeyId"), value(&key, "SecretAccessKey"))
    }

    /// Writes `auth_data.yaml`, and returns its name.
    pub fn write_credentials(&self, occopus: &Occopus) -> &'static str {
        occopus.write("auth_data.yaml", rule(&self.access_key, &self.secret_key));
        "auth_data.yaml"
    }

    /// Returns the access key and the secret access key.
    pub fn keys(&self) -> [&str; 2] {
        [&self.access_key, &self.secret_key]
    }

    /// Returns the secret access key.
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// Returns the ids of the machines that exist, read from moto's own API.
    ///
    /// # Panics
    /// Panics if the server does not answer.
    pub fn machines(&self) -> Vec<String> {
        let text = self.ask("GET", "/moto-api/data.json", "").expect("an answer");
        let data: Value = serde_json::from_str(&text).expect("JSON");
        let all = data["ec2"]["Instance"].as_array().cloned().unwrap_or_default();
        let lives = |machine: &&Value| !matches!(machine["state"].as_str(), Some("terminated" | "shutting-down"));
        all.iter().filter(lives).map(|machine| machine["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// Returns the machines that exist and have this tag, with all their tags. Needs a server that checks no signatures.
    ///
    /// # Panics
    /// Panics if the server does not answer.
    pub fn tagged(&self, tag: &str, value: &str) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut states = String::new();
        for (at, state) in ["pending", "running", "stopping", "stopped"].iter().enumerate() {
            states += &format!("&Filter.2.Value.{}={state}", at + 1);
        }
        let form = format!(
            "Action=DescribeInstances&Version=2016-11-15&MaxResults=1000&Filter.1.Name=tag:{tag}&Filter.1.Value.1={value}&\
             Filter.2.Name=instance-state-name{states}"
        );
        let text = self.ask("POST", "/", &form).expect("an answer");
        let after = |text: &str, tag: &str| -> Option<String> {
            Some(text.split_once(&format!("<{tag}>"))?.1.split('<').next()?.to_owned())
        };
        let machine = |text: &str| {
            let id = after(text, "instanceId").expect("an id");
            // Only tags have keys with values here.
            let tags = text.split("<item>").filter_map(|item| Some((after(item, "key")?, after(item, "value")?)));
            (id, tags.collect())
        };
        // Each was created by a request of its own.
        text.split("<instancesSet>").skip(1).map(machine).collect()
    }

    /// Terminates a machine from outside.
    ///
    /// # Panics
    /// Panics if the server refuses.
    pub fn terminate(&self, id: &str) {
        if !self.secret_key.is_empty() {
            // The next call needs no signature.
            self.ask("POST", "/moto-api/reset-auth", "1").expect("an answer");
        }
        let form = format!("Action=TerminateInstances&InstanceId.1={id}&Version=2016-11-15");
        self.ask("POST", "/", &form).expect("an answer");
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Option<String> {
        self.ask_as("none", method, path, body)
    }

    fn ask_as(&self, access_key: &str, method: &str, path: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        let (service, region) = match body {
            body if body.contains("Instance") => ("ec2", "eu-west-1"),
            body if body.contains("AssumeRole") => ("sts", "us-east-1"),
            _ => ("iam", "us-east-1"),
        };
        let kind = if path == "/" { "application/x-www-form-urlencoded" } else { "text/plain" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {service}.amazonaws.com\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: {kind}\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential={access_key}/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=none\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.split(' ').nth(1)?.starts_with('2').then(|| body.to_owned())
    }
}

/// Returns the text of an element.
fn value(document: &str, tag: &str) -> String {
    let (_, rest) = document.split_once(&format!("<{tag}>")).expect("an element");
    rest.split('<').next().unwrap_or_default().to_owned()
}

fn rule(access_key: &str, secret_key: &str) -> String {
    format!("resource:\n- type: ec2\n  auth_data:\n    accesskey: {access_key}\n    secretkey: {secret_key}\n")
}

impl Drop for Moto {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
