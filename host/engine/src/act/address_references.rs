//! References of an instance to addresses of its peers. When such an address is gone, the instance may have to be replaced.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::ports::{InstanceFacts, Rendered};
use crate::state::AddressReference;

/// All instances that have a machine, in the order of the description, oldest first within a node.
#[derive(Default)]
pub(crate) struct PeerIndex {
    pub(crate) instances: Arc<Vec<Arc<InstanceFacts>>>,
    /// Nodes by address, computed on first use.
    by_address: OnceLock<HashMap<String, String>>,
}

impl PeerIndex {
    pub(crate) fn new(instances: Vec<Arc<InstanceFacts>>) -> Self {
        Self { instances: Arc::new(instances), by_address: OnceLock::new() }
    }

    fn node_at(&self, address: &str) -> Option<&String> {
        let by_address = self.by_address.get_or_init(|| {
            let all =
                self.instances.iter().rev().flat_map(|peer| {
                    peer.addresses.iter().map(|address| (address.value.clone(), peer.node_name.clone()))
                });
            all.collect()
        });
        by_address.get(address)
    }

    /// Returns the addresses of peers that occur in the rendered texts, each once, sorted. Encoded texts, such as
    /// base64, are not searched.
    pub(super) fn references_in(&self, rendered: &Rendered) -> Vec<AddressReference> {
        let mut found = Vec::new();
        if self.instances.is_empty() {
            return found;
        }
        if let Some(data) = &rendered.user_data {
            self.collect_from_text(&String::from_utf8_lossy(data), &mut found);
        }
        self.collect_from_value(&rendered.attributes, &mut found);
        rendered.resource.iter().for_each(|section| self.collect_from_value(section, &mut found));
        found.sort();
        found.dedup();
        found
    }

    fn collect_from_value(&self, value: &Value, found: &mut Vec<AddressReference>) {
        match value {
            Value::String(text) => self.collect_from_text(text, found),
            Value::Array(items) => items.iter().for_each(|item| self.collect_from_value(item, found)),
            Value::Object(fields) => fields.values().for_each(|field| self.collect_from_value(field, found)),
            _ => {}
        }
    }

    fn collect_from_text(&self, text: &str, found: &mut Vec<AddressReference>) {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_')));
        // Every address has one of these characters.
        for word in words.filter(|word| word.contains(['.', ':'])) {
            let word = word.trim_end_matches(['.', ':']);
            let without_port = word.rsplit_once(':').map(|(host, _)| host);
            let known = [Some(word), without_port].into_iter().flatten();
            let known = known.filter_map(|address| Some((address, self.node_at(address)?)));
            found.extend(
                known.map(|(address, node)| AddressReference { node: node.clone(), address: address.to_owned() }),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ports::Address;

    #[test]
    fn addresses_are_found_in_texts_with_and_without_ports() {
        let peer = |node: &str, address: &str| {
            Arc::new(InstanceFacts {
                instance_id: String::new(),
                node_name: node.into(),
                addresses: vec![Address { value: address.into(), internal: false }],
                data: Value::Null,
            })
        };
        let peers = PeerIndex::new(vec![peer("db", "10.0.0.1"), peer("web", "fd00::7"), peer("lb", "lb.example.org")]);
        let rendered = Rendered {
            user_data: Some(b"#cloud-config\nurl: http://10.0.0.1:5432/x\nsee 10.0.0.11.\n".to_vec()),
            attributes: json!({"env": ["UPSTREAM=[fd00::7]:80"]}),
            resource: Some(json!({"name": "to lb.example.org."})),
            warnings: Vec::new(),
        };
        let found: Vec<_> = peers.references_in(&rendered).into_iter().map(|reference| reference.node).collect();
        assert_eq!(found, ["db", "lb", "web"]);
    }
}
