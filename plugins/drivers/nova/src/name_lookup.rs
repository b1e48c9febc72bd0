//! Ids of what the user may write by name: images and flavors.

use std::time::Duration;

use occopus_sdk::http::encoded;
use occopus_sdk::{Fault, Reaction};
use serde::Deserialize;

use crate::catalogue::Service;
use crate::cloud::{Cloud, ServiceRequest};

/// Time for which the id of a name is cached, so that a hundred nodes do not look it up a hundred times.
const NAME_CACHE_LIFETIME: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Entry {
    id: String,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Images {
    images: Vec<Entry>,
}

#[derive(Deserialize)]
struct Flavors {
    flavors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Flavor {
    flavor: Entry,
}

impl Cloud<'_> {
    pub(crate) fn image(&self) -> Result<String, Fault> {
        let name_or_id = self.section.image_id.trim();
        if is_uuid(name_or_id) {
            // Nova says so when there is no such image.
            return Ok(name_or_id.to_owned());
        }
        self.cached_id("image", name_or_id, || {
            let query = [("name", name_or_id)];
            let call = ServiceRequest { query: &query, ..ServiceRequest::new(Service::Image, "GET", "/images") };
            let found = self.read::<Images>(&call)?.images;
            require_unique(found, name_or_id, ("image", "images", "/image_id"))
        })
    }

    pub(crate) fn flavor(&self) -> Result<String, Fault> {
        let name_or_id = self.section.flavor_name.trim();
        self.cached_id("flavor", name_or_id, || {
            match self.read::<Flavor>(&ServiceRequest::new(
                Service::Compute,
                "GET",
                &format!("/flavors/{}", encoded(name_or_id)),
            )) {
                Ok(found) => return Ok(found.flavor.id),
                Err(fault) if fault.reaction == Reaction::NotFound => {}
                Err(fault) => return Err(fault),
            }
            let mut marker = String::new();
            let mut all: Vec<Entry> = Vec::new();
            loop {
                let query = [("limit", "1000"), ("marker", marker.as_str())];
                let query = if marker.is_empty() { &query[..1] } else { &query[..] };
                let page = self
                    .read::<Flavors>(&ServiceRequest {
                        query,
                        ..ServiceRequest::new(Service::Compute, "GET", "/flavors")
                    })?
                    .flavors;
                match page.last() {
                    Some(last) if last.id != marker => marker.clone_from(&last.id),
                    _ => break,
                }
                all.extend(page);
            }
            require_unique(all, name_or_id, ("flavor", "flavors", "/flavor_name"))
        })
    }

    fn cached_id(
        &self,
        kind: &str,
        name: &str,
        look_up: impl FnOnce() -> Result<String, Fault>,
    ) -> Result<String, Fault> {
        let section = self.section;
        let region = section.region().unwrap_or_default();
        let key = format!("{kind}\n{}\n{}\n{region}\n{name}", section.endpoint, section.project_id.trim());
        let cache = self.scope.cache();
        if let Some(id) = cache.get(&key).and_then(|id| String::from_utf8(id).ok()) {
            return Ok(id);
        }
        let id = look_up()?;
        cache.put(&key, id.as_bytes(), NAME_CACHE_LIFETIME);
        Ok(id)
    }
}

fn require_unique(
    found: Vec<Entry>,
    name_or_id: &str,
    (kind, kinds, pointer): (&str, &str, &str),
) -> Result<String, Fault> {
    let mut matching = found.into_iter().filter(|entry| entry.name.as_deref() == Some(name_or_id));
    match (matching.next(), matching.next()) {
        (Some(one), None) => Ok(one.id),
        (Some(_), Some(_)) => {
            Err(Fault::give_up(format!("nova.ambiguous-{kind}"), format!("several {kinds} are called `{name_or_id}`"))
                .at(pointer, "write the id of the one that you mean"))
        }
        (None, _) => Err(Fault::give_up(format!("nova.no-such-{kind}"), format!("there is no {kind} `{name_or_id}`"))
            .at(pointer, format!("no {kind} that this project may use has this id or name"))),
    }
}

fn is_uuid(text: &str) -> bool {
    let hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == 5 && parts.iter().zip([8, 4, 4, 4, 12]).all(|(part, length)| hex(part, length))
}
