//! Where the JSON API has the documents of the pages.

/// The path in front of all documents.
pub const API: &str = "/api/v1";

/// Where the API has the document of a page.
pub fn api_path(page: &str) -> String {
    if page == "/" { format!("{API}/overview") } else { format!("{API}{page}") }
}
