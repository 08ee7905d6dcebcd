//! The pages and the JSON API, over real HTTP and with a real Postgres.

mod content;
mod cost;
mod crowd;
mod gone;
mod hostile;
mod meaning;
mod openapi;
mod paging;
mod requests;

/// Where the API has the document of a page.
fn api(page: &str) -> String {
    if page == "/" { "/api/v1/overview".to_owned() } else { format!("/api/v1{page}") }
}
