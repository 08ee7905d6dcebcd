//! The templates of the pages. Each has the document and what surrounds it.

use askama::Template;
use chrono::{DateTime, Utc};

use super::{Chrome, Page};
use crate::actions::{Action, Field, FieldKind, Proposal};
use crate::report::{
    ConnectionPage, Connections, Credential, Events, JobPage, Jobs, Overview, Problems, Pushes, Query, Quotas, Rejects,
    RunPage, Runs, SchemaChanges, StreamPage, Streams, System,
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

impl QuotasView<'_> {
    /// Which one it is, if several credentials of this page belong to the same connections: their headings differ.
    fn number(&self, credential: &Credential) -> Option<usize> {
        let is_same = |other: &&Credential| other.connections == credential.connections;
        let same: Vec<&Credential> = self.page.credentials.iter().filter(is_same).collect();
        let place = same.iter().position(|other| std::ptr::eq(*other, credential))?;
        (same.len() > 1).then_some(place + 1)
    }
}

/// What all streams of a plan cost together.
struct Cost {
    slices: usize,
    again: usize,
    calls: u64,
    bytes: u64,
    measured: bool,
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
}

#[derive(Template)]
#[template(path = "action.html")]
struct ActionView<'a> {
    chrome: &'a Chrome,
    action: &'a Action,
    proposal: &'a Proposal,
    query: &'a Query,
}

#[expect(clippy::unused_self, reason = "templates call methods only")]
impl ActionView<'_> {
    /// Whether something is asked for on which the proposal depends.
    fn asks_first(&self) -> bool {
        self.action.fields.iter().any(|field| field.first)
    }

    /// The zone of the job, stream or connection that the path names.
    fn zone(&self) -> Option<&'static str> {
        let named = |name| Some(self.query.name(name)).filter(|name| !name.is_empty());
        self.chrome.zone_of(named("job"), named("connection"), named("stream"))
    }

    fn value(&self, name: &str) -> &str {
        self.query.text(name).unwrap_or_default()
    }

    fn is_option(&self, field: &Field) -> bool {
        field.kind == FieldKind::Option
    }

    fn is_choice(&self, field: &Field) -> bool {
        matches!(field.kind, FieldKind::Number(..))
    }

    fn choices(&self, field: &Field) -> &'static [(&'static str, &'static str)] {
        if let FieldKind::Number(_, _, choices) = field.kind { choices } else { &[] }
    }

    fn input_type(&self, field: &Field) -> &'static str {
        match field.kind {
            FieldKind::Date => "date",
            FieldKind::Moment => "datetime-local",
            _ => "text",
        }
    }

    /// What it would read; `None` if it reads nothing.
    fn cost(&self) -> Option<Cost> {
        let plans = &self.proposal.plan;
        (!plans.is_empty()).then(|| Cost {
            slices: plans.iter().map(|plan| plan.slices).sum(),
            again: plans.iter().map(|plan| plan.again).sum(),
            calls: plans.iter().fold(0, |sum, plan| plan.calls.saturating_add(sum)),
            bytes: plans.iter().fold(0, |sum, plan| plan.bytes.saturating_add(sum)),
            measured: plans.iter().all(|plan| plan.measured),
            from: plans.iter().filter_map(|plan| plan.from).min(),
            until: plans.iter().filter_map(|plan| plan.until).max(),
        })
    }

    /// When the quotas allow the last call.
    fn ends_at(&self) -> Option<DateTime<Utc>> {
        self.proposal.plan.iter().filter(|plan| plan.slices > 0).map(|plan| plan.ends_at).max()
    }
}

/// The page that explains an action and asks for confirmation.
pub(super) fn action(chrome: &Chrome, action: &Action, proposal: &Proposal, query: &Query) -> askama::Result<String> {
    ActionView { chrome, action, proposal, query }.render()
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    chrome: &'a Chrome,
    heading: &'a str,
    text: &'a str,
    /// The ways on from here: their names and paths.
    links: &'a [(&'a str, String)],
    /// The fields of a form that sends the request again. Without any there is no form.
    again: &'a [(&'a str, &'a str)],
    /// Whether the page stays as it is: the script does not ask for it again.
    still: bool,
}

/// A page with a message instead of a document, which states what the request has led to.
pub(super) fn message(chrome: &Chrome, heading: &str, text: &str, links: &[(&str, String)]) -> askama::Result<String> {
    refusal(chrome, (heading, text), links, &[])
}

/// A message that a request was not done, with a form that sends it again with these fields.
pub(super) fn refusal(
    chrome: &Chrome,
    (heading, text): (&str, &str),
    links: &[(&str, String)],
    again: &[(&str, &str)],
) -> askama::Result<String> {
    Message { chrome, heading, text, links, again, still: true }.render()
}

/// A page that states that its document could not be read. The script asks for the document again.
pub(super) fn unread(chrome: &Chrome, heading: &str, text: &str) -> askama::Result<String> {
    Message { chrome, heading, text, links: &[], again: &[], still: false }.render()
}
