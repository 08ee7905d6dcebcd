//! Requests: URLs below a base URL.

use url::Url;

use crate::http::HttpError;

/// A URL below `base_url`. `path` and `query` are encoded already.
pub(super) fn below(base_url: &Url, path: &str, query: Option<&str>) -> Result<Url, HttpError> {
    let mut url = base_url.clone();
    let path = format!("{}/{}", base_url.path().trim_end_matches('/'), path.trim_start_matches('/'));
    url.set_path(&path);
    url.set_query(query);
    // `.` and `..` are removed from a URL, and may lead outside the base.
    if url.path().split('/').count() == path.split('/').count() && !path.ends_with("/.") {
        Ok(url)
    } else {
        Err(HttpError::Request("the path contains `.` or `..`".to_owned()))
    }
}
