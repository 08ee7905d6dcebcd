//! The templates of the pages. Each has the document and what surrounds it.

use askama::Template;

use super::{Chrome, Page};
use crate::report::{
    ConnectionPage, Connections, Events, JobPage, Jobs, Overview, Problems, Pushes, Quotas, Rejects, RunPage, Runs,
    SchemaChanges, StreamPage, Streams, System,
};

/// Makes the template of a document's page.
macro_rules! page {
    ($document:ty, $view:ident, $path:literal) => {
        #[derive(Template)]
        #[template(path = $path)]
        struct $view<'a> {
            chrome: &'a Chrome,
            page: &'a $document,
        }

        impl Page for $document {
            fn html(&self, chrome: &Chrome) -> askama::Result<String> {
                $view { chrome, page: self }.render()
            }
        }
    };
}

page!(Overview, OverviewView, "overview.html");
page!(Streams, StreamsView, "streams.html");
page!(StreamPage, StreamView, "stream.html");
page!(Jobs, JobsView, "jobs.html");
page!(JobPage, JobView, "job.html");
page!(Runs, RunsView, "runs.html");
page!(RunPage, RunView, "run.html");
page!(Quotas, QuotasView, "quotas.html");
page!(Connections, ConnectionsView, "connections.html");
page!(ConnectionPage, ConnectionView, "connection.html");
page!(Events, EventsView, "events.html");
page!(Problems, ProblemsView, "problems.html");
page!(Rejects, RejectsView, "rejects.html");
page!(SchemaChanges, SchemaView, "schema.html");
page!(Pushes, PushesView, "pushes.html");
page!(System, SystemView, "system.html");

impl OverviewView<'_> {
    /// Whether something needs a person, in a sentence.
    fn sentence(&self) -> String {
        match (self.chrome.problems, self.page.streams_total()) {
            (0, 0) => "No stream was read yet".to_owned(),
            (0, _) => "Nothing needs you".to_owned(),
            (1, _) => "1 thing needs you".to_owned(),
            (number, _) => format!("{number} things need you"),
        }
    }
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    chrome: &'a Chrome,
    heading: &'a str,
    text: &'a str,
}

/// A page with a message instead of a document.
pub(super) fn message(chrome: &Chrome, heading: &str, text: &str) -> askama::Result<String> {
    Message { chrome, heading, text }.render()
}
