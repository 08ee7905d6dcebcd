//! The one verb of every vendor, [`Source::step`], and its outcomes.
//!
//! A vendor answers one question: given a stream, a window and the cursor inside it, send at most one logical call and
//! hand over a page of records with the next cursor, or "pending until T". The cursor is opaque to everyone else and
//! holds all that a restart needs, the handle of a running export included. Vendors know no SQL.

mod body;
mod error;
pub mod export;
pub mod jaicp;
pub mod khoros;
pub mod lexer;
pub mod lynn;
pub mod lynn_account;
pub mod lynn_outbound;
mod sealed;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use url::Url;

pub use error::StepError;

use crate::catalogue::Stream;
use crate::decode::Sink;
use crate::decode::csv::CsvSplitter;
use crate::decode::text::Charset;
use crate::http::{Redactor, Session};
use crate::quota::LimitSpec;
use crate::secret::Secret;

/// The vendor systems that the binary knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Vendor {
    LynnReporting,
    LynnOutbound,
    KhorosCare,
    LexerActivity,
    JaicpReporter,
}

impl Vendor {
    /// Every vendor, in the order of the documentation.
    pub const ALL: &[Self] =
        &[Self::LynnReporting, Self::LynnOutbound, Self::KhorosCare, Self::LexerActivity, Self::JaicpReporter];

    /// The vendor's name in configuration and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LynnReporting => "lynn_reporting",
            Self::LynnOutbound => "lynn_outbound",
            Self::KhorosCare => "khoros_care",
            Self::LexerActivity => "lexer_activity",
            Self::JaicpReporter => "jaicp_reporter",
        }
    }

    /// The vendor of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|vendor| vendor.name() == name)
    }
}

/// What a connection says beyond what every vendor's connection says.
#[derive(Debug, Clone)]
pub enum Settings {
    LynnReporting(lynn::Settings),
    LynnOutbound(Box<lynn_outbound::Settings>),
    KhorosCare(khoros::Settings),
    LexerActivity(lexer::Settings),
    JaicpReporter(jaicp::Settings),
}

impl Settings {
    pub const fn vendor(&self) -> Vendor {
        match self {
            Self::LynnReporting(_) => Vendor::LynnReporting,
            Self::LynnOutbound(_) => Vendor::LynnOutbound,
            Self::KhorosCare(_) => Vendor::KhorosCare,
            Self::LexerActivity(_) => Vendor::LexerActivity,
            Self::JaicpReporter(_) => Vendor::JaicpReporter,
        }
    }

    /// The vendor's documented limits for this account, before overrides.
    pub fn limits(&self) -> &'static [LimitSpec] {
        match self {
            Self::LynnReporting(settings) => settings.account.limits(),
            Self::LynnOutbound(settings) => settings.account.limits(),
            Self::KhorosCare(settings) => settings.limits(),
            Self::LexerActivity(settings) => settings.limits(),
            Self::JaicpReporter(settings) => settings.limits(),
        }
    }

    /// What tells this account's quota from another's at the same base URL.
    pub fn credential(&self) -> Vec<&str> {
        match self {
            Self::LynnReporting(settings) => settings.account.credential(),
            Self::LynnOutbound(settings) => settings.account.credential(),
            Self::KhorosCare(settings) => settings.credential(),
            Self::LexerActivity(settings) => settings.credential(),
            Self::JaicpReporter(settings) => settings.credential(),
        }
    }

    /// Base URLs beside the connection's that bear its credential too.
    pub fn own_bases(&self) -> Vec<&Url> {
        match self {
            Self::LexerActivity(settings) => settings.own_bases(),
            Self::LynnReporting(_) | Self::LynnOutbound(_) | Self::KhorosCare(_) | Self::JaicpReporter(_) => Vec::new(),
        }
    }

    /// The zone in whose local time a window is asked for; UTC where it is asked for in instants.
    pub const fn filter_zone(&self) -> Tz {
        match self {
            Self::LynnReporting(settings) => settings.filter_timezone,
            Self::LynnOutbound(_) | Self::KhorosCare(_) | Self::LexerActivity(_) | Self::JaicpReporter(_) => Tz::UTC,
        }
    }

    /// Whether the account serves a stream of its vendor: some are read only where the connection says so.
    pub fn offers(&self, stream: &Stream) -> bool {
        match self {
            Self::LynnOutbound(settings) => settings.offers(stream),
            Self::JaicpReporter(settings) => settings.offers(&stream.name),
            Self::LynnReporting(_) | Self::KhorosCare(_) | Self::LexerActivity(_) => true,
        }
    }

    /// What the configuration says of the account beside its host and its credentials: name and value.
    pub fn account(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::LynnReporting(settings) => vec![("tenant", settings.account.tenant.to_string())],
            Self::LynnOutbound(settings) => vec![("tenant", settings.account.tenant.to_string())],
            Self::KhorosCare(settings) => vec![("company_key", settings.company_key.expose().to_owned())],
            Self::LexerActivity(_) => Vec::new(),
            Self::JaicpReporter(settings) => settings.project.iter().map(|name| ("project", name.clone())).collect(),
        }
    }

    /// A stream as the account serves it.
    pub fn adapted(&self, stream: Stream) -> Stream {
        match self {
            Self::LexerActivity(settings) => settings.adapted(stream),
            Self::LynnReporting(_) | Self::LynnOutbound(_) | Self::KhorosCare(_) | Self::JaicpReporter(_) => stream,
        }
    }

    /// Everything that must never be printed.
    pub fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::LynnReporting(settings) => settings.account.secrets(),
            Self::LynnOutbound(settings) => settings.account.secrets(),
            Self::KhorosCare(settings) => settings.secrets(),
            Self::LexerActivity(settings) => settings.secrets(),
            Self::JaicpReporter(settings) => settings.secrets(),
        }
    }
}

/// How a connection says that its CSV files are written; what it does not say is told from each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CsvForm {
    /// What separates fields: an ASCII character.
    pub delimiter: Option<u8>,
    /// What surrounds fields: another one.
    pub quote: u8,
    /// What the text is in, whatever a Content-Type says. A byte order mark says more.
    pub charset: Option<Charset>,
}

impl Default for CsvForm {
    fn default() -> Self {
        Self { delimiter: None, quote: b'"', charset: None }
    }
}

impl CsvForm {
    /// What splits such a file; `delimiter` is the one of files of which the connection says none.
    fn splitter(&self, delimiter: Option<u8>) -> CsvSplitter {
        CsvSplitter::quoted(self.delimiter.or(delimiter), self.quote)
    }
}

/// A half-open window `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
}

/// What is to be read next.
#[derive(Debug, Clone, Copy)]
pub struct StepRequest<'a> {
    pub stream: &'a Stream,
    pub window: Window,
    /// Where the last page ended; none at the start of a reading.
    pub cursor: Option<&'a str>,
    pub expected: Expected,
}

/// What earlier readings of the stream weighed, in bytes, and where this one stands among them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected {
    pub page_bytes: Option<u64>,
    /// Of a whole slice, whatever part of it `window` is.
    pub slice_bytes: Option<u64>,
    /// Length of that slice.
    pub slice_secs: u64,
    /// Whether the run reads no later slice of the stream; never in a past range that is read again.
    pub newest: bool,
    /// Whether the slice has no row in the table that an earlier reading left.
    pub fresh: bool,
}

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A page of records was handed over. `next` is where the next page begins; none after the last one.
    Page { next: Option<String>, bytes: u64 },
    /// Nothing yet: come back at `until` with this cursor.
    Pending { until: DateTime<Utc>, cursor: String },
}

/// Takes the records of a page.
pub trait Records: Sink + Send {
    /// Begins the page, or begins it again after a fault: what was taken of it is dropped. `window` is the part of the
    /// slice that the page belongs to.
    fn begin(&mut self, window: Window);

    /// Passes on what has gathered; to be awaited after every piece of a body.
    fn flush(&mut self) -> impl Future<Output = Result<(), StepError>> + Send;
}

/// A configured account that can be read.
#[derive(Debug)]
pub enum Source {
    LynnReporting(lynn::Lynn),
    LynnOutbound(Box<lynn_outbound::LynnOutbound>),
    KhorosCare(khoros::Khoros),
    LexerActivity(lexer::Lexer),
    JaicpReporter(jaicp::Jaicp),
}

impl Source {
    pub fn new(base_url: &Url, settings: &Settings) -> Self {
        let redactor = Redactor::new(settings.secrets());
        let base_url = base_url.clone();
        match settings {
            Settings::LynnReporting(settings) => {
                Self::LynnReporting(lynn::Lynn::new(base_url, settings.clone(), redactor))
            }
            Settings::LynnOutbound(settings) => {
                Self::LynnOutbound(lynn_outbound::LynnOutbound::new(base_url, (**settings).clone(), redactor).into())
            }
            Settings::KhorosCare(settings) => {
                Self::KhorosCare(khoros::Khoros::new(base_url, settings.clone(), redactor))
            }
            Settings::LexerActivity(settings) => {
                Self::LexerActivity(lexer::Lexer::new(base_url, settings.clone(), redactor))
            }
            Settings::JaicpReporter(settings) => {
                Self::JaicpReporter(jaicp::Jaicp::new(base_url, settings.clone(), redactor))
            }
        }
    }

    pub const fn vendor(&self) -> Vendor {
        match self {
            Self::LynnReporting(_) => Vendor::LynnReporting,
            Self::LynnOutbound(_) => Vendor::LynnOutbound,
            Self::KhorosCare(_) => Vendor::KhorosCare,
            Self::LexerActivity(_) => Vendor::LexerActivity,
            Self::JaicpReporter(_) => Vendor::JaicpReporter,
        }
    }

    /// The verb; see the module's documentation.
    pub async fn step(
        &self,
        session: &Session<'_>,
        request: StepRequest<'_>,
        records: &mut impl Records,
    ) -> Result<Outcome, StepError> {
        match self {
            Self::LynnReporting(source) => source.step(session, request, records).await,
            Self::LynnOutbound(source) => source.step(session, request, records).await,
            Self::KhorosCare(source) => source.step(session, request, records).await,
            Self::LexerActivity(source) => source.step(session, request, records).await,
            Self::JaicpReporter(source) => source.step(session, request, records).await,
        }
    }

    /// What the vendor says is left of the quotas, by one call that counts as a login; `None` if it has no such call.
    pub async fn ask_quota(&self, session: &Session<'_>) -> Result<Option<serde_json::Value>, StepError> {
        match self {
            Self::LynnReporting(source) => source.ask_quota(session).await.map(Some),
            Self::LynnOutbound(source) => source.ask_quota(session).await.map(Some),
            Self::KhorosCare(_) | Self::LexerActivity(_) | Self::JaicpReporter(_) => Ok(None),
        }
    }

    /// Logs in and sends nothing else.
    pub async fn log_in(&self, session: &Session<'_>) -> Result<(), StepError> {
        match self {
            Self::LynnReporting(source) => source.log_in(session).await,
            Self::LynnOutbound(source) => source.log_in(session).await,
            Self::KhorosCare(source) => source.log_in(session).await,
            Self::LexerActivity(source) => source.log_in(session).await,
            Self::JaicpReporter(source) => source.log_in(session).await,
        }
    }
}
