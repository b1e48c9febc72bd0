//! The routes of the REST API: one file for each kind of resource, and `common` for what they share.

mod actions;
mod common;
mod definitions;
mod description;
mod document;
mod events;
mod info;
mod infrastructures;
mod operations;
mod plugins;
mod service;
mod status;
mod submit;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::Service;

pub(crate) use common::{accepted_as, collect_body};
pub(crate) use description::{Precondition, current as current_description, etag as description_tag};
pub(crate) use info::KEYS as INFO_KEYS;

/// Returns all routes, with their part of the OpenAPI document.
pub(crate) fn routes() -> OpenApiRouter<Service> {
    OpenApiRouter::new()
        .routes(routes!(infrastructures::list, infrastructures::create))
        .routes(routes!(status::nodes, infrastructures::put, infrastructures::delete))
        .routes(routes!(infrastructures::plan))
        .routes(routes!(infrastructures::validate))
        .routes(routes!(status::status))
        .routes(routes!(status::cost))
        .routes(routes!(status::graph))
        .routes(routes!(description::get))
        .routes(routes!(actions::attach))
        .routes(routes!(actions::detach))
        .routes(routes!(actions::scale_up))
        .routes(routes!(actions::scale_up_by))
        .routes(routes!(actions::scale_down))
        .routes(routes!(actions::scale_down_this))
        .routes(routes!(actions::scale_to))
        .routes(routes!(actions::suspend))
        .routes(routes!(actions::resume))
        .routes(routes!(actions::maintain))
        .routes(routes!(actions::notify))
        .routes(routes!(events::events))
        .routes(routes!(operations::list))
        .routes(routes!(operations::get))
        .routes(routes!(definitions::list, definitions::import))
        .routes(routes!(definitions::get, definitions::put, definitions::delete))
        .routes(routes!(plugins::list))
        .routes(routes!(info::get))
        .routes(routes!(service::whoami))
        .routes(routes!(service::audit))
        .routes(routes!(service::metrics))
        .routes(routes!(service::healthz))
        .routes(routes!(service::readyz))
}
