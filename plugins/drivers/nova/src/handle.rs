//! Handles: the server, and what its absence can be proven by.

use occopus_sdk::Handle;
use occopus_sdk::http::encoded;

/// Version of the format of [`Reference`]. Version 1 was the server's id alone.
pub(crate) const HANDLE_VERSION: u32 = 2;
/// Maximum length of one value. A handle may have 4 KiB.
const MAX_VALUE_BYTES: usize = 512;

/// Content of a handle: `ID project=ID region=NAME nova=URL instance=UUID name=NAME`, all but the name percent-encoded.
/// All but the id may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) id: String,
    /// Project and region in which it was made.
    pub(crate) tenancy: Tenancy,
    /// Instance id that it carries in its metadata.
    pub(crate) instance: Option<String>,
    /// Name of the server, which makes lists short.
    pub(crate) name: Option<String>,
}

/// The part of a cloud that a token opens, percent-encoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tenancy {
    pub(crate) project: Option<String>,
    pub(crate) region: Option<String>,
    /// URL of Nova. Counts if the region has no name.
    pub(crate) nova: Option<String>,
}

impl Tenancy {
    pub(crate) fn new(project: Option<&str>, region: Option<&str>, nova: &str) -> Self {
        Self { project: project.and_then(value), region: region.and_then(value), nova: value(nova) }
    }
}

impl Reference {
    pub(crate) fn new(id: &str, tenancy: Tenancy, instance: Option<&str>, name: &str) -> Self {
        let is_good =
            |name: &&str| !name.is_empty() && name.len() <= MAX_VALUE_BYTES && !name.contains(char::is_control);
        let name = Some(name.trim()).filter(is_good).map(str::to_owned);
        Self { id: id.to_owned(), tenancy, instance: instance.and_then(value), name }
    }

    /// Reads handles of all versions.
    pub(crate) fn of(handle: &Handle) -> Self {
        let (fields, name) = match handle.data.split_once(" name=") {
            Some((fields, name)) => (fields, Some(name)),
            None => (handle.data.as_str(), None),
        };
        let mut parts = fields.split_ascii_whitespace();
        let id = parts.next().unwrap_or_default().to_owned();
        let mut reference = Self { id, name: name.map(str::to_owned), ..Self::default() };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let field = match name {
                "project" => &mut reference.tenancy.project,
                "region" => &mut reference.tenancy.region,
                "nova" => &mut reference.tenancy.nova,
                "instance" => &mut reference.instance,
                _ => continue,
            };
            *field = Some(value.to_owned());
        }
        reference
    }

    pub(crate) fn handle(&self) -> Handle {
        let Tenancy { project, region, nova } = &self.tenancy;
        let mut data = self.id.clone();
        for (name, value) in [("project", project), ("region", region), ("nova", nova), ("instance", &self.instance)] {
            if let Some(value) = value {
                data.push_str(&format!(" {name}={value}"));
            }
        }
        if let Some(name) = &self.name {
            data.push_str(&format!(" name={name}"));
        }
        Handle::new(HANDLE_VERSION, data)
    }
}

fn value(text: &str) -> Option<String> {
    let text = encoded(text.trim()).replace("%3A", ":").replace("%2F", "/");
    (!text.is_empty() && text.len() <= MAX_VALUE_BYTES).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_of_all_versions_are_read() {
        let old = Reference::of(&Handle::new(1, "server-0"));
        assert_eq!(old, Reference { id: "server-0".to_owned(), ..Reference::default() });
        let tenancy = Tenancy::new(Some("p-1"), Some("Region One"), "http://nova:8774/v2.1");
        let full = Reference::new("server-0", tenancy, Some("u-1"), "web name=1");
        let handle = full.handle();
        let text = "server-0 project=p-1 region=Region%20One nova=http://nova:8774/v2.1 instance=u-1 name=web name=1";
        assert_eq!(handle, Handle::new(2, text));
        assert_eq!(Reference::of(&handle), full);
        assert_eq!(Reference::of(&Handle::new(2, "")), Reference::default());
    }

    #[test]
    fn what_a_cloud_invents_does_not_make_handles_long() {
        let long = "ä".repeat(2000);
        let reference = Reference::new("server-0", Tenancy::new(Some(&long), Some(&long), &long), Some(&long), &long);
        assert_eq!(reference.handle().data, "server-0");
    }
}
