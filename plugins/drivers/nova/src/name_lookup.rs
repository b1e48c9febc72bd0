//! Ids of what the user may write by name: images and flavors.

use std::time::Duration;

use occopus_sdk::http::encoded;
use occopus_sdk::{Fault, Reaction};
use serde::Deserialize;

use crate::catalogue::Service;
use crate::cloud::{Cloud, ServiceRequest};

/// How long a name stands for the same id, so that a hundred nodes need not ask a hundred times.
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
        let wanted = self.section.image_id.trim();
        if is_uuid(wanted) {
            // Nova says so when there is no such image.
            return Ok(wanted.to_owned());
        }
        self.cached_id("image", wanted, || {
            let query = [("name", wanted)];
            let ask = ServiceRequest { query: &query, ..ServiceRequest::new(Service::Image, "GET", "/images") };
            let found = self.read::<Images>(&ask)?.images;
            require_unique(found, wanted, ("image", "images", "/image_id"))
        })
    }

    pub(crate) fn flavor(&self) -> Result<String, Fault> {
        let wanted = self.section.flavor_name.trim();
        self.cached_id("flavor", wanted, || {
            match self.read::<Flavor>(&ServiceRequest::new(
                Service::Compute,
                "GET",
                &format!("/flavors/{}", encoded(wanted)),
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
            require_unique(all, wanted, ("flavor", "flavors", "/flavor_name"))
        })
    }

    fn cached_id(&self, kind: &str, name: &str, ask: impl FnOnce() -> Result<String, Fault>) -> Result<String, Fault> {
        let section = self.section;
        let region = section.region().unwrap_or_default();
        let key = format!("{kind}\n{}\n{}\n{region}\n{name}", section.endpoint, section.project_id.trim());
        let cache = self.scope.cache();
        if let Some(id) = cache.get(&key).and_then(|id| String::from_utf8(id).ok()) {
            return Ok(id);
        }
        let id = ask()?;
        cache.put(&key, id.as_bytes(), NAME_CACHE_LIFETIME);
        Ok(id)
    }
}

fn require_unique(
    found: Vec<Entry>,
    wanted: &str,
    (kind, kinds, pointer): (&str, &str, &str),
) -> Result<String, Fault> {
    let mut matching = found.into_iter().filter(|entry| entry.name.as_deref() == Some(wanted));
    match (matching.next(), matching.next()) {
        (Some(one), None) => Ok(one.id),
        (Some(_), Some(_)) => {
            Err(Fault::give_up(format!("nova.ambiguous-{kind}"), format!("several {kinds} are called `{wanted}`"))
                .at(pointer, "write the id of the one that you mean"))
        }
        (None, _) => Err(Fault::give_up(format!("nova.no-such-{kind}"), format!("there is no {kind} `{wanted}`"))
            .at(pointer, format!("no {kind} that this project may use has this id or name"))),
    }
}

fn is_uuid(text: &str) -> bool {
    let hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == 5 && parts.iter().zip([8, 4, 4, 4, 12]).all(|(part, length)| hex(part, length))
}
