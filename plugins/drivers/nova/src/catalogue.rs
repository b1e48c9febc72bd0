//! Catalogue of the services of a cloud
//! (<https://docs.openstack.org/api-ref/identity/v3/#password-authentication-with-scoped-authorization>).

use std::collections::BTreeSet;

use occopus_sdk::Fault;
use serde::Deserialize;

use crate::section::Section;

/// A service of the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Compute,
    Image,
    Network,
}

impl Service {
    /// Returns the name of the service in the catalogue.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Image => "image",
            Self::Network => "network",
        }
    }

    /// Returns the URL of the version that is used. A catalogue may name the service or a version of it.
    pub(crate) fn versioned(self, url: &str) -> String {
        let url = url.trim_end_matches('/');
        let has_version = url.split('/').skip(3).any(|part| {
            part.strip_prefix('v').is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()))
        });
        let version = match self {
            Self::Compute => "/v2.1",
            Self::Image => "/v2",
            Self::Network => "/v2.0",
        };
        format!("{url}{}", if has_version { "" } else { version })
    }
}

/// Entry of the catalogue in a token.
#[derive(Debug, Deserialize)]
pub(crate) struct Entry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    interface: String,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    region_id: Option<String>,
    url: String,
}

impl Endpoint {
    fn region(&self) -> Option<&str> {
        self.region_id.as_deref().or(self.region.as_deref())
    }
}

/// Returns the public URL of a service, in the region that the section names, and the name of that region.
pub(crate) fn find_endpoint(
    catalogue: &[Entry],
    service: Service,
    section: &Section,
) -> Result<(String, Option<String>), Fault> {
    let kind = service.kind();
    let endpoints = catalogue.iter().filter(|entry| entry.kind == kind).flat_map(|entry| &entry.endpoints);
    let public: Vec<&Endpoint> =
        endpoints.filter(|endpoint| matches!(endpoint.interface.as_str(), "public" | "publicURL")).collect();
    let requested = section.region();
    if let Some(endpoint) = public.iter().find(|endpoint| requested.is_none() || endpoint.region() == requested) {
        return Ok((service.versioned(&endpoint.url), endpoint.region().map(str::to_owned)));
    }
    let regions: BTreeSet<&str> = public.iter().filter_map(|endpoint| endpoint.region()).collect();
    let cloud = &section.endpoint;
    match requested {
        Some(region) if !regions.is_empty() => {
            let known = regions.into_iter().collect::<Vec<_>>().join(", ");
            Err(Fault::give_up(
                "nova.no-such-region",
                format!("the cloud at {cloud} has no region `{region}` with {kind}"),
            )
            .at("/region_name", format!("it has: {known}")))
        }
        _ => Err(Fault::give_up(
            "nova.no-service",
            format!("the catalogue of the cloud at {cloud} has no public {kind}"),
        )
        .at("/project_id", "may this project use it?")),
    }
}

#[cfg(test)]
mod tests {
    use super::Service;

    #[test]
    fn versions_are_added_where_they_are_missing() {
        for (service, url, full) in [
            (Service::Compute, "http://h:8774/v2.1", "http://h:8774/v2.1"),
            (Service::Compute, "http://h:8774/v2/abc/", "http://h:8774/v2/abc"),
            (Service::Compute, "http://h/compute", "http://h/compute/v2.1"),
            (Service::Compute, "http://v2.example.com", "http://v2.example.com/v2.1"),
            (Service::Image, "http://h:9292/", "http://h:9292/v2"),
            (Service::Network, "http://h/network/v2.0/", "http://h/network/v2.0"),
            (Service::Network, "http://h:9696", "http://h:9696/v2.0"),
            (Service::Network, "http://h/volumes", "http://h/volumes/v2.0"),
        ] {
            assert_eq!(service.versioned(url), full);
        }
    }
}
