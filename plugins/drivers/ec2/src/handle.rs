//! Handles: the machine, and what its absence can be proven by.

use occopus_sdk::Handle;

/// Version of the format of [`Reference`]. Version 1 was `i-0123@1700000000`, or the id alone.
pub(crate) const HANDLE_VERSION: u32 = 2;
/// Maximum length of one value. A handle may have 4 KiB.
const MAX_VALUE_BYTES: usize = 256;

/// Content of a handle: `i-0123@1700000000 account=123456789012 region=eu-west-1 instance=UUID`. All but the id may be
/// missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) id: String,
    /// Launch time in seconds since 1970, by the cloud's clock.
    pub(crate) launched: Option<i64>,
    /// Account that owns it.
    pub(crate) account: Option<String>,
    /// Region that requests were signed for.
    pub(crate) region: Option<String>,
    /// Instance id that it carries as a tag.
    pub(crate) instance: Option<String>,
}

impl Reference {
    /// Reads handles of all versions.
    pub(crate) fn of(handle: &Handle) -> Self {
        let mut parts = handle.data.split_ascii_whitespace();
        let first = parts.next().unwrap_or_default();
        let (id, launched) = first.split_once('@').unwrap_or((first, ""));
        let mut reference = Self { id: id.to_owned(), launched: launched.parse().ok(), ..Self::default() };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let field = match name {
                "account" => &mut reference.account,
                "region" => &mut reference.region,
                "instance" => &mut reference.instance,
                _ => continue,
            };
            *field = plain(value);
        }
        reference
    }

    pub(crate) fn handle(&self) -> Handle {
        let mut data = self.id.clone();
        if let Some(launched) = self.launched {
            data.push_str(&format!("@{launched}"));
        }
        for (name, value) in [("account", &self.account), ("region", &self.region), ("instance", &self.instance)] {
            if let Some(value) = value {
                data.push_str(&format!(" {name}={value}"));
            }
        }
        Handle::new(HANDLE_VERSION, data)
    }
}

/// Returns a value that can stand in a handle and in a filter: not long, and without spaces and wildcards.
pub(crate) fn plain(value: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'/');
    let value = value.trim();
    (!value.is_empty() && value.len() <= MAX_VALUE_BYTES && value.bytes().all(is_plain)).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_of_all_versions_are_read() {
        let old = |data: &str| Reference::of(&Handle::new(1, data));
        assert_eq!(old("i-1"), Reference { id: "i-1".to_owned(), ..Reference::default() });
        assert_eq!(old("i-1@17"), Reference { id: "i-1".to_owned(), launched: Some(17), ..Reference::default() });
        let full = Reference {
            id: "i-1".to_owned(),
            launched: Some(17),
            account: Some("123456789012".to_owned()),
            region: Some("eu-west-1".to_owned()),
            instance: Some("u-1".to_owned()),
        };
        let handle = full.handle();
        assert_eq!(handle, Handle::new(2, "i-1@17 account=123456789012 region=eu-west-1 instance=u-1"));
        assert_eq!(Reference::of(&handle), full);
        assert_eq!(Reference::of(&Handle::new(2, "i-1 instance=u-1 later=x")).instance.as_deref(), Some("u-1"));
        assert_eq!(Reference::of(&Handle::new(2, "")), Reference::default());
    }

    #[test]
    fn what_a_cloud_invents_does_not_make_handles_long_or_filters_wide() {
        assert_eq!(plain(&"a".repeat(257)), None);
        for value in ["", " ", "*", "a b", "a?", "\u{e4}"] {
            assert_eq!(plain(value), None, "{value:?}");
        }
    }
}
