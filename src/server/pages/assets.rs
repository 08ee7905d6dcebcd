//! The style sheet, the script and the icons. Their names carry a hash of their content, so that browsers may keep
//! them.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

/// A file of the pages.
pub(super) struct Asset {
    stem: &'static str,
    extension: &'static str,
    kind: &'static str,
    content: &'static str,
    name: LazyLock<String>,
}

pub(super) static STYLE: Asset = Asset {
    stem: "style",
    extension: "css",
    kind: "text/css; charset=utf-8",
    content: include_str!("style.css"),
    name: LazyLock::new(|| STYLE.named()),
};
pub(super) static SCRIPT: Asset = Asset {
    stem: "script",
    extension: "js",
    kind: "text/javascript; charset=utf-8",
    content: include_str!("script.js"),
    name: LazyLock::new(|| SCRIPT.named()),
};
pub(super) static ICON: Asset = Asset {
    stem: "icon",
    extension: "svg",
    kind: "image/svg+xml",
    content: include_str!("icon.svg"),
    name: LazyLock::new(|| ICON.named()),
};
pub(super) static ICON_PROBLEMS: Asset = Asset {
    stem: "problems",
    extension: "svg",
    kind: "image/svg+xml",
    content: include_str!("problems.svg"),
    name: LazyLock::new(|| ICON_PROBLEMS.named()),
};

static ALL: [&Asset; 4] = [&STYLE, &SCRIPT, &ICON, &ICON_PROBLEMS];

impl Asset {
    /// The file name under `/assets/`.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn named(&self) -> String {
        let hash = hex::encode(&Sha256::digest(self.content)[..6]);
        format!("{}-{hash}.{}", self.stem, self.extension)
    }
}

/// Hashes of all assets: a page of another version has other ones.
pub(super) fn version() -> String {
    ALL.map(Asset::name).join(" ")
}

/// `GET /assets/{name}`. `None` if there is no such file.
pub(super) fn serve(Path(name): Path<String>) -> Option<Response> {
    let asset = ALL.into_iter().find(|asset| asset.name() == name)?;
    let headers = [
        (CONTENT_TYPE, asset.kind),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Some((headers, asset.content).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_stay_small() {
        assert!(STYLE.content.len() <= 8 * 1024, "{} bytes", STYLE.content.len());
        assert!(SCRIPT.content.len() <= 6 * 1024, "{} bytes", SCRIPT.content.len());
    }
}
