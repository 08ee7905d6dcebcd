//! The contract of a connector: what it declares about itself and about an account, and its one operation,
//! [`Source::step`].
//!
//! A step takes a stream, a window and the cursor inside it. It sends at most one logical call and returns a page of
//! records with the next cursor, or "pending until T". The cursor is opaque to the caller and holds everything that a
//! restart needs, including the handle of a running export. Connectors contain no SQL.

use std::any::Any;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use schemars::{Schema, SchemaGenerator};
use url::Url;

use super::StepError;
use super::utc_offset::UtcOffset;
use crate::catalogue::{SliceLength, Stream, Vendor};
use crate::decode::Sink;
use crate::http::Session;
use crate::quota::LimitSpec;
use crate::secret::Secret;
use crate::settings::{KeyPath, Node, Report};

/// One vendor system that Tidegate reads; listed in [`super::ALL`].
pub struct Connector {
    pub vendor: Vendor,
    /// The base URL if the configuration has none.
    pub default_base_url: &'static str,
    /// Keys that every connection must have.
    pub required_keys: &'static [&'static str],
    /// JSON Schema of the vendor's own keys.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Every stream, in the order of the documentation.
    pub streams: fn() -> Vec<Stream>,
    /// Reads and checks the vendor's own keys.
    pub read: fn(&OwnKeys<'_>, &mut Report<'_>) -> VendorPart,
    /// Whether `tidegate push` can send records to the vendor.
    pub takes_records: bool,
    /// What an operator can do about an error, if it depends on this vendor's settings. The flag says whether the
    /// stream is read by windows.
    pub hint: fn(&StepError, bool) -> Option<&'static str>,
}

impl Debug for Connector {
    /// Without the functions, whose addresses differ between processes.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Connector").field(&self.vendor.name()).finish()
    }
}

/// The keys of a connection that only its vendor has.
#[derive(Debug, Clone, Copy)]
pub struct OwnKeys<'a> {
    /// Without the common keys.
    pub node: &'a Node,
    /// Names of the common keys, for hints about misspelled keys.
    pub common: &'a [&'a str],
    /// The path of the connection in the configuration.
    pub path: &'a KeyPath,
}

/// The result of reading a vendor's own keys.
#[derive(Debug)]
pub struct VendorPart {
    pub settings: Arc<dyn AccountSettings>,
    /// Streams that the configuration adds to the vendor's streams.
    pub extra_streams: Vec<Stream>,
}

/// The checked settings of an account at a vendor.
pub trait AccountSettings: Any + Debug + Send + Sync {
    /// The vendor's documented limits for this account, before overrides.
    fn limits(&self) -> &'static [LimitSpec];

    /// What distinguishes this account's quota from that of another account at the same base URL.
    fn credential(&self) -> Vec<&str>;

    /// Everything that must never be printed.
    fn secrets(&self) -> Vec<Secret>;

    /// The source that reads the account.
    fn source(&self, base_url: &Url) -> Box<dyn Source>;

    /// Further base URLs to which the credential is sent.
    fn own_bases(&self) -> Vec<&Url> {
        Vec::new()
    }

    /// The time zone in which requests state a window; UTC if they state instants.
    fn filter_zone(&self) -> Tz {
        Tz::UTC
    }

    /// Whether the account serves a stream of its vendor. Some streams are read only if the connection enables them.
    fn offers(&self, _stream: &Stream) -> bool {
        true
    }

    /// Why the account does not offer a stream, and what to do.
    fn why_not_enabled(&self) -> &'static str {
        "is not enabled for this connection; add it to the connection's `enabled_streams`"
    }

    /// Adapts a stream to the account's settings.
    fn adapted(&self, stream: Stream) -> Stream {
        stream
    }

    /// What identifies the account besides its host and credentials: name and value.
    fn account(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Reports a slice that the vendor would refuse, or would serve in another form.
    fn check_slice(&self, _use: &SliceUse<'_>, _report: &mut Report<'_>) {}

    /// How far back finished slices of a stream are read again. `lookback` is the job's setting.
    fn lookback(&self, _stream: &Stream, lookback: Duration) -> Duration {
        lookback
    }

    /// The UTC offset by which the vendor counts days, if the connection states it with `utc_offset`.
    fn utc_offset(&self) -> Option<UtcOffset> {
        None
    }
}

impl dyn AccountSettings {
    /// The settings as the type `T` of one connector. Returns `None` if they belong to another connector.
    pub fn downcast<T: AccountSettings>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

/// A slice of a job's stream, for [`AccountSettings::check_slice`].
#[derive(Debug, Clone, Copy)]
pub struct SliceUse<'a> {
    pub connection: &'a str,
    pub job: &'a str,
    pub stream: &'a Stream,
    pub length: SliceLength,
}

/// An account that can be read.
#[async_trait]
pub trait Source: Debug + Send + Sync {
    /// Reads the next page; see the module's documentation.
    async fn step(
        &self,
        session: &Session<'_>,
        request: StepRequest<'_>,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError>;

    /// Checks the credentials. Sends nothing else.
    async fn log_in(&self, session: &Session<'_>) -> Result<(), StepError>;

    /// Asks the vendor what is left of the quotas, with one call that counts as a login. Returns `None` if the vendor
    /// has no such call.
    async fn ask_quota(&self, _session: &Session<'_>) -> Result<Option<serde_json::Value>, StepError> {
        Ok(None)
    }
}

/// A half-open window `[start, end)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
}

/// The page to read next.
#[derive(Debug, Clone, Copy)]
pub struct StepRequest<'a> {
    pub stream: &'a Stream,
    pub window: Window,
    /// Where the last page ended. `None` when a reading starts.
    pub cursor: Option<&'a str>,
    pub expected: Expected,
}

/// The size of earlier readings of the stream, in bytes, and how this reading relates to them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected {
    pub page_bytes: Option<u64>,
    /// Size of a whole slice, even if `window` is a part of it.
    pub slice_bytes: Option<u64>,
    /// Length of the slice.
    pub slice_secs: u64,
    /// Whether the run reads no later slice of the stream. `false` for a past range that is read again.
    pub newest: bool,
    /// Whether the table has no row of the slice from an earlier reading.
    pub fresh: bool,
}

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A page of records was passed to `records`. `next` is where the next page begins; `None` after the last page.
    Page { next: Option<String>, bytes: u64 },
    /// Nothing yet: continue at `until` with this cursor.
    Pending { until: DateTime<Utc>, cursor: String },
}

/// Receives the records of a page.
#[async_trait]
pub trait Records: Sink + Send {
    /// Begins the page, or begins it again after an error: the records received so far are dropped. `window` is the
    /// part of the slice to which the page belongs.
    fn begin(&mut self, window: Window);

    /// Passes on what has accumulated. To be awaited after every piece of a body.
    async fn flush(&mut self) -> Result<(), StepError>;
}
