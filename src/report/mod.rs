//! What an operator is shown: a document per page, read with few statements in one transaction.
//!
//! The pages, the JSON API and `tidegate status` show the same documents, so they cannot disagree. A document has no
//! credential and no row of the warehouse. Lists are limited: they are paged by the key of the last row shown.

mod api;
mod connections;
mod day;
mod events;
mod findings;
mod headline;
mod jobs;
mod overview;
mod parameters;
mod problems;
mod query;
mod quotas;
mod runs;
pub mod state;
mod status;
mod stream;
mod streams;
mod summary;
mod surroundings;
mod system;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::PgConnection;

use crate::config::Config;
pub use api::{API, api_path};
pub use connections::{ConnectionPage, Connections};
pub use day::{Day, DaySpan};
pub use events::{Event, Events};
pub use findings::{Pushes, Rejects, SchemaChanges};
pub use headline::{Standing, headline};
pub use jobs::{JobPage, Jobs};
pub use overview::{Firing, Overview, count_states};
pub use parameters::{Parameter, ParameterKind, check, check_names};
pub use problems::{Open as OpenProblems, Problem, Problems, open as open_problems};
pub use query::{Query, QueryError};
pub use quotas::{Credential, Hour, LimitState, Quotas, limits_used};
pub use runs::{RunPage, Runs};
pub use status::{JobState, StatusReport, configured};
pub use stream::StreamPage;
pub use streams::Streams;
pub use summary::ConnectionSummary;
pub use surroundings::{Daemon, LastDaemon, Surroundings};
pub use system::System;

/// Rows of a list on one page.
pub const ROWS_MAX: usize = 50;

/// What documents are read from. `conn` is in a transaction that only reads and has a deadline.
pub struct Reading<'a> {
    pub conn: &'a mut PgConnection,
    /// The configuration in force.
    pub config: &'a Arc<Config>,
    /// What surrounds the document.
    pub surroundings: &'a Surroundings,
    /// Whether the configuration on disk is wrong; the previous one is then in force.
    pub config_refused: bool,
    /// Whether a daemon reads it. Then one runs, even if its record is late.
    pub in_daemon: bool,
    /// By the database's clock.
    pub now: DateTime<Utc>,
}

/// Why a document could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A parameter of the request is wrong.
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// The content of a page.
pub trait Document: Serialize + JsonSchema + Send + Sync + Sized + 'static {
    /// Path of the page, with names in braces. The API has the document under the same path.
    const PATH: &'static str;
    /// What the document shows, in a sentence.
    const MEANING: &'static str;
    /// What may be written after the question mark. Anything else is refused before the document is read.
    const PARAMETERS: &'static [Parameter] = &[];
    /// Reads what `query` names. `None` if it does not exist.
    fn read(reading: &mut Reading<'_>, query: &Query) -> impl Future<Output = Result<Option<Self>, ReadError>> + Send;
}
