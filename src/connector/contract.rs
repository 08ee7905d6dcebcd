//! The contract of a connector: what it says of itself, of an account, and the one verb, [`Source::step`].
//!
//! A connector answers one question: given a stream, a window and the cursor inside it, send at most one logical call and
//! hand over a page of records with the next cursor, or "pending until T". The cursor is opaque to everyone else and holds
//! all that a restart needs, the handle of a running export included. Connectors know no SQL.

use std::any::Any;
use std::fmt::Debug;
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

/// One vendor system that Tidegate reads: its line in [`super::ALL`] leads to everything else.
#[derive(Debug)]
pub struct Connector {
    pub vendor: Vendor,
    /// Where its interface is unless the configuration says otherwise.
    pub default_base_url: &'static str,
    /// Keys that a connection cannot do without.
    pub required_keys: &'static [&'static str],
    /// JSON Schema of the keys that a connection has beside the common ones.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Every stream, in the order of its fact sheet.
    pub streams: fn() -> Vec<Stream>,
    /// Reads and checks the connector's own keys.
    pub read: fn(&OwnKeys<'_>, &mut Report<'_>) -> VendorPart,
    /// Whether `tidegate push` can send to it.
    pub takes_records: bool,
    /// What an operator can do about an error that only this vendor's settings can change; the flag says whether a stream
    /// was read that has windows.
    pub hint: fn(&StepError, bool) -> Option<&'static str>,
}

/// The keys of a connection that are its vendor's.
#[derive(Debug, Clone, Copy)]
pub struct OwnKeys<'a> {
    /// Without the common keys.
    pub node: &'a Node,
    /// Names of the common keys, for hints about misspelt ones.
    pub common: &'a [&'a str],
    /// Where the connection stands.
    pub path: &'a KeyPath,
}

/// What a vendor's own keys say.
#[derive(Debug)]
pub struct VendorPart {
    pub settings: Arc<dyn AccountSettings>,
    /// Streams that the configuration adds to the catalogue.
    pub extra_streams: Vec<Stream>,
}

/// The checked settings of an account at a vendor.
pub trait AccountSettings: Any + Debug + Send + Sync {
    /// The vendor's documented limits for this account, before overrides.
    fn limits(&self) -> &'static [LimitSpec];

    /// What tells this account's quota from another's at the same base URL.
    fn credential(&self) -> Vec<&str>;

    /// Everything that must never be printed.
    fn secrets(&self) -> Vec<Secret>;

    /// What reads the account.
    fn source(&self, base_url: &Url) -> Box<dyn Source>;

    /// Base URLs beside the connection's that bear its credential too.
    fn own_bases(&self) -> Vec<&Url> {
        Vec::new()
    }

    /// The zone in whose local time a window is asked for; UTC where it is asked for in instants.
    fn filter_zone(&self) -> Tz {
        Tz::UTC
    }

    /// Whether the account serves a stream of its vendor: some are read only where the connection says so.
    fn offers(&self, _stream: &Stream) -> bool {
        true
    }

    /// Why a stream that the account does not offer is not offered, and the remedy.
    fn why_not_enabled(&self) -> &'static str {
        "is not enabled for this connection; add it to the connection's `enabled_streams`"
    }

    /// A stream as the account serves it.
    fn adapted(&self, stream: Stream) -> Stream {
        stream
    }

    /// What the configuration says of the account beside its host and its credentials: name and value.
    fn account(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Reports a slice that the vendor would refuse or serve in another way.
    fn check_slice(&self, _use: &SliceUse<'_>, _report: &mut Report<'_>) {}

    /// How far behind finished slices of a stream are read again; `lookback` is what the job says.
    fn lookback(&self, _stream: &Stream, lookback: Duration) -> Duration {
        lookback
    }

    /// The distance from UTC by which the vendor counts days, where the connection says it with `utc_offset`.
    fn utc_offset(&self) -> Option<UtcOffset> {
        None
    }
}

impl dyn AccountSettings {
    /// The settings as the type that the vendor's connector has; `None` for another vendor's.
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
    /// The verb; see the module's documentation.
    async fn step(
        &self,
        session: &Session<'_>,
        request: StepRequest<'_>,
        records: &mut dyn Records,
    ) -> Result<Outcome, StepError>;

    /// Logs in and sends nothing else.
    async fn log_in(&self, session: &Session<'_>) -> Result<(), StepError>;

    /// What the vendor says is left of the quotas, by one call that counts as a login; `None` if it has no such call.
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
#[async_trait]
pub trait Records: Sink + Send {
    /// Begins the page, or begins it again after a fault: what was taken of it is dropped. `window` is the part of the
    /// slice that the page belongs to.
    fn begin(&mut self, window: Window);

    /// Passes on what has gathered; to be awaited after every piece of a body.
    async fn flush(&mut self) -> Result<(), StepError>;
}
