//! Handles: the server, and what its absence can be proven by.

use occopus_sdk::Handle;
use occopus_sdk::http::encoded;

/// Version of the format of [`Reference`].
const HANDLE_VERSION: u32 = 1;
/// Maximum length of one value. A handle may have 4 KiB.
const MAX_VALUE_BYTES: usize = 512;

/// Content of a handle: `SERVER account=ID at=HOST instance=ID`, all but the server percent-encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Id of the server.
    pub(crate) server: String,
    /// Account in which it was made.
    pub(crate) account: Option<String>,
    /// Host of the API: each location has its own servers.
    pub(crate) location: Option<String>,
    /// Instance id that it carries in its metadata.
    pub(crate) instance: Option<String>,
}

impl Reference {
    pub(crate) fn new(server: &str, account: &str, location: &str, instance: Option<&str>) -> Self {
        Self {
            server: server.to_owned(),
            account: value(account),
            location: value(location),
            instance: instance.and_then(value),
        }
    }

    pub(crate) fn of(handle: &Handle) -> Self {
        let mut parts = handle.data.split_ascii_whitespace();
        let mut reference = Self { server: parts.next().unwrap_or_default().to_owned(), ..Self::default() };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let field = match name {
                "account" => &mut reference.account,
                "at" => &mut reference.location,
                "instance" => &mut reference.instance,
                _ => continue,
            };
            *field = Some(value.to_owned());
        }
        reference
    }

    pub(crate) fn handle(&self) -> Handle {
        let mut data = self.server.clone();
        for (name, value) in [("account", &self.account), ("at", &self.location), ("instance", &self.instance)] {
            if let Some(value) = value {
                data.push_str(&format!(" {name}={value}"));
            }
        }
        Handle::new(HANDLE_VERSION, data)
    }
}

/// Returns a text as it stands in handles.
pub(crate) fn value(text: &str) -> Option<String> {
    let text = encoded(text.trim());
    (!text.is_empty() && text.len() <= MAX_VALUE_BYTES).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_read_as_they_are_written() {
        let full = Reference::new("s-1", "a-1", "zrh.cloudsigma.com", Some("i 1"));
        let handle = full.handle();
        assert_eq!(handle, Handle::new(1, "s-1 account=a-1 at=zrh.cloudsigma.com instance=i%201"));
        assert_eq!(Reference::of(&handle), full);
        assert_eq!(Reference::of(&Handle::new(1, "")), Reference::default());
        assert_eq!(Reference::new("s-1", &"a".repeat(600), "", None).handle().data, "s-1");
    }
}
