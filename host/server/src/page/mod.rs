//! The page for browsers. Templates render it on the server, from a [`PageSource`]; a small script refreshes it, and
//! sends actions to the REST API. Without the script it is read-only.

mod api;
mod assets;
mod definitions;
mod describe;
mod display;
mod error;
mod infrastructure;
mod list;
mod plugins;
mod shell;
mod sign_in;
mod source;
#[cfg(test)]
mod tests;

pub(crate) use api::page as api_page;
pub(crate) use error::PageError;
use error::parse_id;
pub(crate) use source::{DescriptionView, FailedBuildView, InfrastructureRow, InfrastructureView, PageSource, Starter};

use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::{get, post};

/// Returns the routes of the page. They must be behind [`crate::access::guard`].
pub(crate) fn routes<S: PageSource>() -> Router<S> {
    Router::new()
        .route("/", get(list::page::<S>))
        .route("/ui", get(list::home))
        .route("/ui/", get(list::home))
        .route("/ui/parts", get(list::parts::<S>))
        .route("/ui/infrastructures/{id}", get(infrastructure::page::<S>))
        .route("/ui/infrastructures/{id}/parts", get(infrastructure::parts::<S>))
        .route("/ui/infrastructures/{id}/change", get(describe::change::<S>))
        .route("/ui/new", get(describe::new::<S>))
        .route("/ui/definitions", get(definitions::page::<S>))
        .route("/ui/plugins", get(plugins::page::<S>))
        .route("/ui/login", get(sign_in::page).post(sign_in::sign_in::<S>))
        .route("/ui/logout", post(sign_in::sign_out::<S>))
        .route("/ui/static/{name}", get(asset))
        .route("/ui/{*rest}", get(error::not_found))
}

/// Serves `/ui/static/NAME-DIGEST.EXTENSION`.
async fn asset(Path(name): Path<String>) -> Result<Response, PageError> {
    match assets::response(&name) {
        Some(response) => Ok(response),
        None => Err(error::not_found().await),
    }
}
