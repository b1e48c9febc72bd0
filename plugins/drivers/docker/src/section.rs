//! Section that the user writes.

use occopus_sdk::Fault;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::image_reference::Image;

/// Values of `origin`, for people.
pub(crate) const ORIGIN_HELP: &str = "write `dockerhub`, `local` or the URL (http, https) of a tarball";

/// A container on a Docker engine.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Address of the engine: `unix:///var/run/docker.sock`, `tcp://HOST:2375`, `http://` or `https://`.
    pub endpoint: String,
    /// Origin of the image if the engine does not have it: `dockerhub` (any registry, by the image's name), `local`
    /// (none: it must be there), or the URL of a root file system's tarball. By default it is pulled.
    #[serde(default)]
    pub origin: Option<String>,
    /// Name of the image, such as `nginx` or `registry.example.org:5000/team/app`. It may end in `:TAG` or `@DIGEST`.
    #[schemars(length(min = 1))]
    pub image: String,
    /// Tag of the image, or a digest (`sha256:...`); `latest` by default.
    #[serde(default)]
    pub tag: Option<String>,
    /// Beginning of the containers' names. The instance's id follows, since a node may have several containers.
    #[serde(default)]
    pub name: Option<String>,
}

/// Origin of the image if the engine does not have it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Origin<'a> {
    Registry,
    Local,
    Url(&'a str),
}

impl Section {
    /// Returns the origin; none if this driver does not know it.
    pub(crate) fn origin(&self) -> Option<Origin<'_>> {
        match self.origin.as_deref().map(str::trim).unwrap_or_default() {
            "" | "dockerhub" | "registry" => Some(Origin::Registry),
            "local" => Some(Origin::Local),
            // The engine adds `http://` to a host without a scheme, and fetches by HTTP only.
            url if url.contains("://") && !url.starts_with("http://") && !url.starts_with("https://") => None,
            url if url.contains(['/', '.']) => Some(Origin::Url(url)),
            _ => None,
        }
    }

    /// Returns the image that `image` and `tag` name together.
    ///
    /// # Errors
    /// Returns the key that is wrong, and the reason.
    pub(crate) fn image(&self) -> Result<Image, (&'static str, String)> {
        Image::read(&self.image, self.tag.as_deref())
    }

    /// Returns the image, or a fault.
    pub(crate) fn image_or_fault(&self) -> Result<Image, Fault> {
        self.image().map_err(|(pointer, why)| {
            Fault::give_up("docker.bad-image", format!("the image can't be used: {why}")).at(pointer, why)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn section(origin: Option<&str>) -> Section {
        serde_json::from_value(json!({"endpoint": "unix:///s", "origin": origin, "image": "a/b"})).unwrap()
    }

    #[test]
    fn origins() {
        for (text, origin) in [
            (None, Some(Origin::Registry)),
            (Some(""), Some(Origin::Registry)),
            (Some("dockerhub"), Some(Origin::Registry)),
            (Some("local"), Some(Origin::Local)),
            (Some("https://host/a.tar"), Some(Origin::Url("https://host/a.tar"))),
            (Some("host/a.tar"), Some(Origin::Url("host/a.tar"))),
            (Some("dokcerhub"), None),
            (Some("ftp://host/a.tar"), None),
            (Some("file:///a.tar"), None),
        ] {
            assert_eq!(section(text).origin(), origin, "{text:?}");
        }
    }
}
