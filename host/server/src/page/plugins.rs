//! `/ui/plugins`: the plugins of the service.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use occopus::runtime::PluginInfo;

use super::shell::{Shell, Viewer, html};
use super::{PageError, PageSource};

#[derive(Template)]
#[template(path = "plugins.html")]
struct Page {
    shell: Shell,
    plugins: Vec<Plugin>,
}

struct Plugin {
    kind: String,
    name: String,
    summary: String,
    keyword: String,
    version: String,
    origin: String,
}

impl From<PluginInfo> for Plugin {
    fn from(info: PluginInfo) -> Self {
        let description = info.description;
        Self {
            kind: info.kind.name().replace('-', " "),
            name: description.name,
            summary: description.summary,
            keyword: description.keyword,
            version: description.version,
            origin: info.origin,
        }
    }
}

/// Renders the page.
pub(super) async fn page<S: PageSource>(viewer: Viewer, State(source): State<S>) -> Result<Response, PageError> {
    let mut plugins: Vec<_> = source.plugins().await?.into_iter().map(Plugin::from).collect();
    plugins.sort_by(|one, other| (&one.kind, &one.keyword).cmp(&(&other.kind, &other.keyword)));
    Ok(html(&Page { shell: Shell::new("Plugins", "plugins", &viewer), plugins }))
}
