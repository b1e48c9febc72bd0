//! Free addresses in a network of the user.

use std::net::Ipv4Addr;

use serde_json::Value;

/// Addresses of a subnet that is made there (a /24, as Azure advises).
pub(crate) const BLOCK: u32 = 256;
const PREFIX_LENGTH: u32 = 24;

/// First address and number of addresses.
type Range = (u64, u64);

/// Returns the first block within a network's address space that no subnet has, such as `10.0.3.0/24`. `properties` are those
/// of the network.
pub(crate) fn free_block(properties: &Value) -> Option<String> {
    let texts = |value: &Value| match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).filter_map(range).collect::<Vec<Range>>(),
        Value::String(text) => range(text).into_iter().collect(),
        _ => Vec::new(),
    };
    let spaces = texts(&properties["addressSpace"]["addressPrefixes"]);
    let subnets = properties["subnets"].as_array().into_iter().flatten().map(|subnet| &subnet["properties"]);
    let taken: Vec<Range> = subnets
        .flat_map(|subnet| texts(&subnet["addressPrefix"]).into_iter().chain(texts(&subnet["addressPrefixes"])))
        .collect();
    spaces.into_iter().find_map(|space| free_in(space, &taken))
}

fn free_in((first, count): Range, taken: &[Range]) -> Option<String> {
    let block = u64::from(BLOCK);
    let end = first + count;
    let mut start = first.next_multiple_of(block);
    while start + block <= end {
        match taken.iter().find(|(other, count)| *other < start + block && start < other + count) {
            None => return Some(format!("{}/{PREFIX_LENGTH}", Ipv4Addr::from(u32::try_from(start).ok()?))),
            Some((other, count)) => start = (other + count).next_multiple_of(block),
        }
    }
    None
}

/// Reads `10.0.0.0/16`; none for IPv6.
fn range(text: &str) -> Option<Range> {
    let (address, length) = text.trim().split_once('/')?;
    let address: Ipv4Addr = address.parse().ok()?;
    let length: u32 = length.parse().ok().filter(|length| *length <= 32)?;
    let count = 1_u64 << (32 - length);
    let first = u64::from(u32::from(address));
    Some((first - first % count, count))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn free(spaces: &[&str], subnets: Value) -> Option<String> {
        free_block(&json!({"addressSpace": {"addressPrefixes": spaces}, "subnets": subnets}))
    }

    #[test]
    fn a_free_block_is_found() {
        let subnet = |prefix: &str| json!({"name": "s", "properties": {"addressPrefix": prefix}});
        assert_eq!(free(&["10.0.0.0/16"], json!([])).unwrap(), "10.0.0.0/24");
        assert_eq!(free(&["10.0.0.0/16"], json!(null)).unwrap(), "10.0.0.0/24");
        assert_eq!(free(&["10.0.0.0/16"], json!([subnet("10.0.0.0/24")])).unwrap(), "10.0.1.0/24");
        assert_eq!(
            free(&["10.0.0.0/16"], json!([subnet("10.0.0.0/17"), subnet("10.0.128.0/26")])).unwrap(),
            "10.0.129.0/24"
        );
        let several = json!([{"properties": {"addressPrefixes": ["10.0.0.0/24", "fd00::/64"]}}]);
        assert_eq!(free(&["fd00::/48", "10.0.0.0/23"], several).unwrap(), "10.0.1.0/24");
        assert_eq!(free(&["10.0.0.0/24", "10.9.0.0/24"], json!([subnet("10.0.0.0/25")])).unwrap(), "10.9.0.0/24");
        assert_eq!(free(&["255.255.255.0/24"], json!([])).unwrap(), "255.255.255.0/24");
        assert_eq!(free(&["0.0.0.0/0"], json!([subnet("0.0.0.0/1")])).unwrap(), "128.0.0.0/24");
        for full in [
            free(&["10.0.0.0/24"], json!([subnet("10.0.0.0/24")])),
            free(&["10.0.0.0/28"], json!([])),
            free(&[], json!([])),
        ] {
            assert_eq!(full, None);
        }
        assert_eq!(free(&["10.0.0.0/33", "x", "10.0.0.0"], json!("x")), None);
    }
}
