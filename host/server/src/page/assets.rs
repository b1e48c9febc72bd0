//! The page's own files. Their names change with what is in them, so that browsers may keep them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use sha2::{Digest, Sha256};

use super::PageError;
use super::error::not_found;

/// One of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asset {
    Style,
    Script,
    Icon,
}

struct File {
    path: String,
    kind: &'static str,
    text: &'static str,
}

const FOLDER: &str = "/ui/static/";

/// In the order of [`Asset`].
static FILES: LazyLock<[File; 3]> = LazyLock::new(|| {
    [
        embedded("page", "css", "text/css; charset=utf-8", include_str!("../../assets/page.css")),
        embedded("page", "js", "text/javascript; charset=utf-8", include_str!("../../assets/page.js")),
        embedded("icon", "svg", "image/svg+xml", include_str!("../../assets/icon.svg")),
    ]
});

fn embedded(name: &str, extension: &str, kind: &'static str, text: &'static str) -> File {
    let digest: String = Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    File { path: format!("{FOLDER}{name}-{digest}.{extension}"), kind, text }
}

/// Where a file is.
pub(super) fn path(asset: Asset) -> &'static str {
    let [style, script, icon] = &*FILES;
    match asset {
        Asset::Style => &style.path,
        Asset::Script => &script.path,
        Asset::Icon => &icon.path,
    }
}

/// `/ui/static/NAME-DIGEST`
pub(super) async fn file(Path(name): Path<String>) -> Result<Response, PageError> {
    let known = FILES.iter().find(|file| file.path.strip_prefix(FOLDER) == Some(&*name));
    let Some(file) = known else { return Err(not_found().await) };
    let headers = [(CONTENT_TYPE, file.kind), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, file.text).into_response())
}
