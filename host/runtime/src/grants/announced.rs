//! Hosts that an endpoint names in its own answers, as OpenStack's identity service does with its catalogue.
//!
//! The host reads them from the answers itself, so that a plugin can't make them up. They outlive the call in which they
//! were learnt: the token that came with a catalogue is kept for later calls, and the catalogue with it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use url::Url;

use super::address::NetworkZone;
use super::target::{NetworkTarget, host_pattern, join_host_port, normalize_host};

/// Number of hosts of one endpoint.
const MAX_HOSTS_PER_ENDPOINT: usize = 256;
/// Number of endpoints whose hosts are kept; those of further endpoints last for one call.
const MAX_ENDPOINTS: usize = 1024;

/// Hosts that were announced to all calls of the process, by the identity of a plugin and by endpoint.
#[derive(Debug, Default)]
pub(super) struct AnnouncementRegistry {
    known: Mutex<HashMap<(String, String), Arc<AnnouncedHosts>>>,
}

/// Hosts that one endpoint announced to one plugin.
#[derive(Debug)]
pub(crate) struct AnnouncedHosts {
    endpoint: (String, u16),
    targets: Mutex<BTreeSet<(String, u16)>>,
}

impl AnnouncementRegistry {
    pub(super) fn for_endpoint(&self, plugin: &str, name: &str, port: u16) -> Arc<AnnouncedHosts> {
        let name = normalize_host(name);
        let mut known = lock(&self.known);
        let key = (plugin.to_owned(), join_host_port(&name, port));
        let fresh = || Arc::new(AnnouncedHosts { endpoint: (name, port), targets: Mutex::default() });
        if known.len() >= MAX_ENDPOINTS && !known.contains_key(&key) {
            return fresh();
        }
        Arc::clone(known.entry(key).or_insert_with(fresh))
    }
}

impl AnnouncedHosts {
    /// Returns whether this is the endpoint whose answers are read.
    pub(super) fn is_endpoint(&self, host: &str, port: u16) -> bool {
        self.endpoint == (normalize_host(host), port)
    }

    pub(super) fn any(&self, test: impl Fn(&NetworkTarget) -> bool) -> bool {
        lock(&self.targets).iter().any(|(name, port)| test(&NetworkTarget::new(host_pattern(name), Some(*port))))
    }

    /// Adds the hosts of all URLs in an answer of the endpoint.
    pub(crate) fn learn(&self, answer: &[u8]) {
        let Ok(answer) = serde_json::from_slice::<Value>(answer) else { return };
        let mut found = BTreeSet::new();
        collect_url_hosts(&answer, &mut found);
        // A cloud elsewhere can't announce this machine.
        let is_local = self.is_this_machine();
        let mut targets = lock(&self.targets);
        for (host, port) in found.into_iter().filter(|(host, _)| is_local || !is_this_machine(host)) {
            if targets.len() < MAX_HOSTS_PER_ENDPOINT {
                targets.insert((host, port));
            }
        }
    }

    fn is_this_machine(&self) -> bool {
        is_this_machine(&self.endpoint.0)
    }
}

fn collect_url_hosts(value: &Value, found: &mut BTreeSet<(String, u16)>) {
    match value {
        Value::String(text) if text.starts_with("http://") || text.starts_with("https://") => {
            let Ok(url) = Url::parse(text) else { return };
            if let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) {
                found.insert((normalize_host(host), port));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_url_hosts(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| collect_url_hosts(field, found)),
        _ => {}
    }
}

fn is_this_machine(host: &str) -> bool {
    NetworkZone::of(host) == NetworkZone::ThisMachine
}

/// Locks a mutex, also after a panic: the values behind it are consistent at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn reaches(announced: &AnnouncedHosts, host: &str, port: u16) -> bool {
        match host.parse::<IpAddr>() {
            Ok(address) => announced.any(|target| target.covers_address(address, Some(port))),
            Err(_) => announced.any(|target| target.covers_name(host, port)),
        }
    }

    #[test]
    fn urls_anywhere_in_an_answer_count() {
        let announced = AnnouncementRegistry::default().for_endpoint("nova", "Cloud.example.com", 5000);
        assert!(announced.is_endpoint("cloud.example.com", 5000) && !announced.is_endpoint("cloud.example.com", 80));
        announced.learn(
            br#"{"token": {"catalog": [{"endpoints": [{"url": "https://Compute.example.com/v2.1"},
            {"url": "http://10.0.0.9:9696"}, {"url": "not a url"}, {"name": "see https://else.example.com"}]}]}}"#,
        );
        assert!(reaches(&announced, "compute.example.com", 443) && reaches(&announced, "10.0.0.9", 9696));
        assert!(!reaches(&announced, "compute.example.com", 80) && !reaches(&announced, "else.example.com", 443));
        announced.learn(b"no JSON: http://other.example.com");
        assert!(!reaches(&announced, "other.example.com", 80));
    }

    #[test]
    fn this_machine_is_named_by_itself_only() {
        let answer = br#"["http://127.0.0.1:8774", "http://localhost:22", "http://[::1]:1", "http://127.1:80"]"#;
        let elsewhere = AnnouncementRegistry::default().for_endpoint("nova", "cloud.example.com", 5000);
        elsewhere.learn(answer);
        assert!(!reaches(&elsewhere, "127.0.0.1", 8774) && !reaches(&elsewhere, "localhost", 22));
        assert!(!reaches(&elsewhere, "::1", 1) && !reaches(&elsewhere, "127.0.0.1", 80));
        let here = AnnouncementRegistry::default().for_endpoint("nova", "127.0.0.1", 5000);
        here.learn(answer);
        assert!(reaches(&here, "127.0.0.1", 8774) && reaches(&here, "localhost", 22));
    }

    #[test]
    fn what_was_learnt_stays_with_plugin_and_endpoint() {
        let all = AnnouncementRegistry::default();
        all.for_endpoint("nova", "a.example.com", 5000).learn(br#"["http://b.example.com"]"#);
        assert!(reaches(&all.for_endpoint("nova", "a.example.com", 5000), "b.example.com", 80));
        assert!(!reaches(&all.for_endpoint("other", "a.example.com", 5000), "b.example.com", 80));
        assert!(!reaches(&all.for_endpoint("nova", "a.example.com", 5001), "b.example.com", 80));
    }

    #[test]
    fn a_server_that_names_many_fills_no_memory() {
        let announced = AnnouncementRegistry::default().for_endpoint("nova", "a.example.com", 1);
        let many: Vec<String> = (0..2000).map(|n| format!("http://h{n}.example.com")).collect();
        announced.learn(serde_json::to_string(&many).unwrap().as_bytes());
        assert_eq!(lock(&announced.targets).len(), MAX_HOSTS_PER_ENDPOINT);
    }
}
