//! `/ui/plugins`: the plugins of the service.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use occopus_api::PluginItem;

use super::shell::{Shell, Viewer, html};
use super::{PageError, PageSource};

#[derive(Template)]
#[template(path = "plugins.html")]
struct Page {
    shell: Shell,
    plugins: Vec<PluginItem>,
}

/// Renders the page.
pub(super) async fn page<S: PageSource>(viewer: Viewer, State(source): State<S>) -> Result<Response, PageError> {
    let mut plugins = source.plugins().await?;
    plugins.sort_by(|one, other| (&one.kind, &one.keyword).cmp(&(&other.kind, &other.keyword)));
    Ok(html(&Page { shell: Shell::new("Plugins", "plugins", &viewer), plugins }))
}
