//! The pages and the JSON API, over real HTTP and with a real Postgres.

mod content;
mod cost;
mod gone;
mod hostile;
mod paging;
mod requests;

/// Every page, with names that the story of `support` has.
const PAGES: [&str; 15] = [
    "/",
    "/streams",
    "/streams/acme-lynn/survey_result",
    "/jobs",
    "/jobs/lynn-hourly",
    "/runs",
    "/runs/1",
    "/quotas",
    "/connections",
    "/connections/acme-lynn",
    "/events",
    "/rejects",
    "/schema",
    "/pushes",
    "/system",
];

/// Where the API has the document of a page.
fn api(page: &str) -> String {
    if page == "/" { "/api/v1/overview".to_owned() } else { format!("/api/v1{page}") }
}
