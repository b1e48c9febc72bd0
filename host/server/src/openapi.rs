//! The OpenAPI document, and the page on which it can be read: <https://spec.openapis.org/oas/v3.1.0>

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{OpenApi, SecurityRequirement};
use utoipa::{Modify, OpenApi as _};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Occopus",
        description = "Deploys virtual infrastructures and keeps them alive. A *document* is an infrastructure \
description in YAML (or JSON); it may carry its node definitions under their keys, `node_def:TYPE`. Whatever takes time \
is answered with 202 and the path of an operation, under which to look what became of it. Errors are problem details by \
RFC 9457.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "infrastructures", description = "What is deployed"),
        (name = "actions", description = "What is done to it"),
        (name = "operations", description = "What was asked for, and what became of it"),
        (name = "definitions", description = "Node definitions that the service keeps"),
        (name = "service", description = "The service itself"),
    ),
    modifiers(&Tokens),
)]
struct Document;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", scheme);
        document.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    }
}

/// What is said of all routes together.
pub(crate) fn document() -> OpenApi {
    Document::openapi()
}
