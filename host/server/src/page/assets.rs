//! Static files of the page. Their names contain digests, so that browsers may cache them for ever.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use sha2::{Digest, Sha256};

/// A static file of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asset {
    Style,
    Script,
    Icon,
}

struct File {
    path: String,
    content_type: &'static str,
    text: &'static str,
}

const FOLDER: &str = "/ui/static/";

/// The files, in the order of [`Asset`].
static FILES: LazyLock<[File; 3]> = LazyLock::new(|| {
    [
        embedded("page", "css", "text/css; charset=utf-8", include_str!("../../assets/page.css")),
        embedded("page", "js", "text/javascript; charset=utf-8", include_str!("../../assets/page.js")),
        embedded("icon", "svg", "image/svg+xml", include_str!("../../assets/icon.svg")),
    ]
});

fn embedded(name: &str, extension: &str, content_type: &'static str, text: &'static str) -> File {
    let digest: String = Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    File { path: format!("{FOLDER}{name}-{digest}.{extension}"), content_type, text }
}

/// Returns the path of a file, with its digest.
pub(super) fn path(asset: Asset) -> &'static str {
    let [style, script, icon] = &*FILES;
    match asset {
        Asset::Style => &style.path,
        Asset::Script => &script.path,
        Asset::Icon => &icon.path,
    }
}

/// Returns the response with a file; none if no file has this name.
pub(super) fn response(name: &str) -> Option<Response> {
    let file = FILES.iter().find(|file| file.path.strip_prefix(FOLDER) == Some(name))?;
    let headers = [(CONTENT_TYPE, file.content_type), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Some((headers, file.text).into_response())
}
