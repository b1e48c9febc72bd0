//! Handles: the machine, and what its absence can be proven by.

use occopus_sdk::Handle;
use occopus_sdk::http::encoded;

/// Version of the format of [`Reference`].
pub(crate) const HANDLE_VERSION: u32 = 1;

/// Content of a handle: `NAME subscription=ID group=NAME location=NAME infrastructure=ID`, percent-encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Name of the machine.
    pub(crate) name: String,
    pub(crate) subscription: String,
    pub(crate) group: String,
    pub(crate) location: String,
    /// Infrastructure whose network it is in. Empty if it is not known.
    pub(crate) infrastructure: String,
}

impl Reference {
    pub(crate) fn of(handle: &Handle) -> Self {
        let mut parts = handle.data.split_ascii_whitespace();
        let mut reference = Self { name: decoded(parts.next().unwrap_or_default()), ..Self::default() };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let field = match name {
                "subscription" => &mut reference.subscription,
                "group" => &mut reference.group,
                "location" => &mut reference.location,
                "infrastructure" => &mut reference.infrastructure,
                _ => continue,
            };
            *field = decoded(value);
        }
        reference
    }

    pub(crate) fn handle(&self) -> Handle {
        let mut data = encoded(&self.name);
        let Self { subscription, group, location, infrastructure, .. } = self;
        for (name, value) in [
            ("subscription", subscription),
            ("group", group),
            ("location", location),
            ("infrastructure", infrastructure),
        ] {
            if !value.is_empty() {
                data.push_str(&format!(" {name}={}", encoded(value)));
            }
        }
        Handle::new(HANDLE_VERSION, data)
    }
}

/// Decodes percent-encoding. What is not well formed stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}
