//! The metrics of this process. Names and labels are constants; label values come from closed sets (docs/metrics.md).
//!
//! Counters count what this process did and are kept in memory. Gauges describe what all replicas share, so each scrape
//! reads them from Postgres.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chrono::TimeDelta;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::http::CallOutcome;
use crate::pulse::Loop;
use crate::quota::{CallKind, QuotaUse};
use crate::store::reconciliation::Compared;
use crate::store::status::{StreamState, Unfinished};
use crate::store::topic::Topic;

// The encoder appends `_total` to counters and `_info` to the info metric.
pub const RUNS: &str = "tidegate_runs";
pub const ROWS: &str = "tidegate_rows";
pub const PAGES: &str = "tidegate_pages";
pub const VENDOR_CALLS: &str = "tidegate_vendor_calls";
pub const VENDOR_BYTES: &str = "tidegate_vendor_bytes";
pub const VENDOR_CALL_SECONDS: &str = "tidegate_vendor_call_seconds";
pub const REJECTED_RECORDS: &str = "tidegate_rejected_records";
pub const EXTRA_VALUES: &str = "tidegate_extra_values";
pub const CHECKPOINT_SECONDS: &str = "tidegate_checkpoint_seconds";
pub const QUOTA_WAIT_SECONDS: &str = "tidegate_quota_wait_seconds";
pub const QUOTA_USED_RATIO: &str = "tidegate_quota_used_ratio";
pub const QUOTA_BLOCKED: &str = "tidegate_quota_blocked";
pub const STREAM_FRESHNESS_SECONDS: &str = "tidegate_stream_freshness_seconds";
pub const STREAM_COMPLETE_UNTIL_SECONDS: &str = "tidegate_stream_complete_until_seconds";
pub const HELD_SLICES: &str = "tidegate_held_slices";
pub const RECONCILIATION_DIFFERENCES: &str = "tidegate_reconciliation_differences";
pub const RUNS_UNFINISHED: &str = "tidegate_runs_unfinished";
pub const PROBLEMS: &str = "tidegate_problems";
pub const NOTIFICATIONS: &str = "tidegate_notifications";
pub const NOTIFICATION_OLDEST_SECONDS: &str = "tidegate_notification_oldest_seconds";
pub const DATABASE_UP: &str = "tidegate_database_up";
pub const LOOP_AGE_SECONDS: &str = "tidegate_loop_age_seconds";
pub const CLOCK_SKEW_SECONDS: &str = "tidegate_clock_skew_seconds";
pub const UP: &str = "tidegate_up";
pub const BUILD: &str = "tidegate_build";

/// Upper bounds in seconds: from a local response to a vendor that takes a minute.
const CALL_BUCKETS: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0];
/// Upper bounds in seconds: from a page of few rows to a slow merge.
const CHECKPOINT_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunOutcome {
    Succeeded,
    Held,
    Failed,
    Cancelled,
}

impl RunOutcome {
    const fn label(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Held => "held",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The outcome of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowChange {
    Inserted,
    Updated,
    Deleted,
    Unchanged,
    Outside,
}

impl RowChange {
    const fn label(self) -> &'static str {
        match self {
            Self::Inserted => "inserted",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::Unchanged => "unchanged",
            Self::Outside => "outside",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    job: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    connection: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabels {
    connection: String,
    stream: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RowLabels {
    connection: String,
    stream: String,
    change: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    connection: String,
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    connection: String,
    limit: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TargetLabels {
    target: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NotificationLabels {
    target: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoopLabels {
    r#loop: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: String,
}

type Seconds = Counter<f64, AtomicU64>;
type Ratio = Gauge<f64, AtomicU64>;

/// The counters of this process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    runs: Family<RunLabels, Counter>,
    rows: Family<RowLabels, Counter>,
    pages: Family<StreamLabels, Counter>,
    vendor_calls: Family<CallLabels, Counter>,
    vendor_bytes: Family<ConnectionLabels, Counter>,
    vendor_call_seconds: Family<ConnectionLabels, Histogram, fn() -> Histogram>,
    rejected_records: Family<StreamLabels, Counter>,
    extra_values: Family<StreamLabels, Counter>,
    checkpoint_seconds: Histogram,
    quota_wait_seconds: Family<LimitLabels, Seconds>,
    notifications: Family<NotificationLabels, Counter>,
}

/// The values at one scrape. Those read from Postgres are `None` if it did not respond in time.
#[derive(Debug, Default)]
pub struct Gauges {
    pub streams: Option<Vec<StreamState>>,
    pub unfinished: Option<Vec<Unfinished>>,
    pub compared: Option<Vec<Compared>>,
    pub quotas: Option<Vec<QuotaUse>>,
    /// How many problems are open, by kind.
    pub problems: Option<Vec<(String, i64)>>,
    /// The age of the oldest notification that is due, by target.
    pub notifications: Option<Vec<(String, f64)>>,
    /// The time since each loop of this process last completed; `None` for one with nothing to do.
    pub ages: Vec<(Loop, Option<Duration>)>,
    /// How far this machine's clock is ahead of the database's.
    pub skew: Option<TimeDelta>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            runs: Family::default(),
            rows: Family::default(),
            pages: Family::default(),
            vendor_calls: Family::default(),
            vendor_bytes: Family::default(),
            vendor_call_seconds: Family::new_with_constructor(|| Histogram::new(CALL_BUCKETS)),
            rejected_records: Family::default(),
            extra_values: Family::default(),
            checkpoint_seconds: Histogram::new(CHECKPOINT_BUCKETS),
            quota_wait_seconds: Family::default(),
            notifications: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register(BUILD, "The version of this process", build);
        let up: Gauge = Gauge::default();
        up.set(1);
        registry.register(UP, "1 while the process responds", up);
        registry.register(RUNS, "Runs that ended in this process", self.runs.clone());
        registry.register(ROWS, "Records committed, by outcome", self.rows.clone());
        registry.register(PAGES, "Pages committed", self.pages.clone());
        registry.register(VENDOR_CALLS, "Requests sent to vendors, retries included", self.vendor_calls.clone());
        registry.register(VENDOR_BYTES, "Bytes exchanged with vendors, uncompressed", self.vendor_bytes.clone());
        let seconds = self.vendor_call_seconds.clone();
        registry.register(VENDOR_CALL_SECONDS, "Time from request to the end of the response", seconds);
        let rejected = self.rejected_records.clone();
        registry.register(REJECTED_RECORDS, "Records that could not become rows", rejected);
        registry.register(EXTRA_VALUES, "Values kept in _extra", self.extra_values.clone());
        let checkpoint = self.checkpoint_seconds.clone();
        registry.register(CHECKPOINT_SECONDS, "Time to make a page and its cursor durable", checkpoint);
        let waited = self.quota_wait_seconds.clone();
        registry.register(QUOTA_WAIT_SECONDS, "Time that runs waited for a limit", waited);
        let notifications = self.notifications.clone();
        registry.register(NOTIFICATIONS, "Attempts to send a notification", notifications);
    }

    /// Counts a run that ended.
    pub fn run_ended(&self, job: &str, outcome: RunOutcome) {
        self.runs.get_or_create(&RunLabels { job: job.to_owned(), outcome: outcome.label() }).inc();
    }

    /// Counts `rows` records of a committed page with this outcome.
    pub fn rows(&self, connection: &str, stream: &str, change: RowChange, rows: u64) {
        let labels = RowLabels { connection: connection.to_owned(), stream: stream.to_owned(), change: change.label() };
        self.rows.get_or_create(&labels).inc_by(rows);
    }

    /// Records a page that was committed within `took`, with its rejected records and values kept in `_extra`.
    pub fn page_committed(&self, connection: &str, stream: &str, took: Duration, rejected: u64, extra: u64) {
        let labels = StreamLabels { connection: connection.to_owned(), stream: stream.to_owned() };
        self.pages.get_or_create(&labels).inc();
        self.rejected_records.get_or_create(&labels).inc_by(rejected);
        self.extra_values.get_or_create(&labels).inc_by(extra);
        self.checkpoint_seconds.observe(took.as_secs_f64());
    }

    /// Counts further pages that were committed together with one.
    pub fn pages_joined(&self, connection: &str, stream: &str, pages: u64) {
        let labels = StreamLabels { connection: connection.to_owned(), stream: stream.to_owned() };
        self.pages.get_or_create(&labels).inc_by(pages);
    }

    /// Records a request to a vendor that ended after `took`, with `bytes` in both directions.
    pub fn vendor_call(&self, connection: &str, kind: CallKind, outcome: CallOutcome, took: Duration, bytes: u64) {
        let kind = match kind {
            CallKind::Login => "login",
            CallKind::Data => "data",
        };
        self.vendor_calls
            .get_or_create(&CallLabels { connection: connection.to_owned(), kind, outcome: outcome.label() })
            .inc();
        let labels = ConnectionLabels { connection: connection.to_owned() };
        self.vendor_bytes.get_or_create(&labels).inc_by(bytes);
        self.vendor_call_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts an attempt to send a notification to a target.
    pub fn notified(&self, target: &str, outcome: &'static str) {
        self.notifications.get_or_create(&NotificationLabels { target: target.to_owned(), outcome }).inc();
    }

    /// Records the time that a run waited for a limit.
    pub fn quota_wait(&self, connection: &str, limit: &str, waited: Duration) {
        let labels = LimitLabels { connection: connection.to_owned(), limit: limit.to_owned() };
        self.quota_wait_seconds.get_or_create(&labels).inc_by(waited.as_secs_f64());
    }

    /// All metrics in the Prometheus text format.
    pub fn encode(&self, gauges: &Gauges) -> String {
        let mut text = String::new();
        let written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &gauges.registry()))
            .and_then(|()| encode_eof(&mut text));
        if written.is_err() {
            // Writing to a string cannot fail; if encoding a metric ever does, the scraper should see it.
            let _infallible = writeln!(text, "# a metric could not be written");
        }
        text
    }
}

impl Gauges {
    fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        let database: Gauge = Gauge::default();
        database.set(i64::from(self.unfinished.is_some()));
        registry.register(DATABASE_UP, "1 if the database responded to this scrape in time", database);
        let ages: Family<LoopLabels, Ratio> = Family::default();
        for (of, age) in &self.ages {
            ages.get_or_create(&LoopLabels { r#loop: of.name() }).set(age.unwrap_or_default().as_secs_f64());
        }
        registry.register(LOOP_AGE_SECONDS, "Time since the loop last completed; 0 while it has nothing to do", ages);
        if let Some(skew) = self.skew {
            let gauge: Ratio = Gauge::default();
            gauge.set(skew.as_seconds_f64());
            registry.register(CLOCK_SKEW_SECONDS, "How far this machine's clock is ahead of the database's", gauge);
        }
        if let Some(streams) = &self.streams {
            let freshness: Family<StreamLabels, Ratio> = Family::default();
            let complete: Family<StreamLabels, Gauge> = Family::default();
            let held: Family<StreamLabels, Gauge> = Family::default();
            for state in streams {
                let labels = StreamLabels { connection: state.connection.clone(), stream: state.stream.clone() };
                held.get_or_create(&labels).set(state.held_slices);
                if let Some(until) = state.complete_until {
                    complete.get_or_create(&labels).set(until.timestamp());
                }
                if let Some(seconds) = state.freshness_seconds {
                    freshness.get_or_create(&labels).set(seconds);
                }
            }
            registry.register(STREAM_FRESHNESS_SECONDS, "Age of the newest data of the stream", freshness);
            let help = "End of the data without gaps, in seconds since 1970";
            registry.register(STREAM_COMPLETE_UNTIL_SECONDS, help, complete);
            registry.register(HELD_SLICES, "Slices whose last reading was too doubtful to delete rows", held);
        }
        self.register_problems(&mut registry);
        if let Some(compared) = &self.compared {
            let family: Family<ConnectionLabels, Gauge> = Family::default();
            for Compared { connection, differences, .. } in compared {
                family.get_or_create(&ConnectionLabels { connection: connection.clone() }).set(*differences);
            }
            registry.register(
                RECONCILIATION_DIFFERENCES,
                "Vendor's totals that differ from the number of rows",
                family,
            );
        }
        if let Some(unfinished) = &self.unfinished {
            let family: Family<StateLabels, Gauge> = Family::default();
            for Unfinished { state, runs } in unfinished {
                family.get_or_create(&StateLabels { state: state.clone() }).set(*runs);
            }
            registry.register(RUNS_UNFINISHED, "Runs that have not ended, of all replicas", family);
        }
        if let Some(quotas) = &self.quotas {
            let used: Family<LimitLabels, Ratio> = Family::default();
            let blocked: Family<LimitLabels, Gauge> = Family::default();
            for quota in quotas {
                let labels = LimitLabels { connection: quota.connection.clone(), limit: quota.limit.clone() };
                used.get_or_create(&labels).set(quota.ratio());
                blocked.get_or_create(&labels).set(i64::from(quota.blocked_until.is_some()));
            }
            registry.register(QUOTA_USED_RATIO, "Fraction of the limit that is used now; 1 is all of it", used);
            registry.register(QUOTA_BLOCKED, "1 while the vendor has asked to wait", blocked);
        }
        registry
    }

    /// Problems, and the notifications about them.
    fn register_problems(&self, registry: &mut Registry) {
        if let Some(problems) = &self.problems {
            let family: Family<KindLabels, Gauge> = Family::default();
            for topic in Topic::PROBLEMS {
                let open = problems.iter().find(|(kind, _)| kind == topic.name()).map_or(0, |(_, open)| *open);
                family.get_or_create(&KindLabels { kind: topic.name().to_owned() }).set(open);
            }
            registry.register(PROBLEMS, "Problems that are open", family);
        }
        if let Some(notifications) = &self.notifications {
            let family: Family<TargetLabels, Ratio> = Family::default();
            for (target, seconds) in notifications {
                family.get_or_create(&TargetLabels { target: target.clone() }).set(*seconds);
            }
            registry.register(
                NOTIFICATION_OLDEST_SECONDS,
                "Age of the oldest notification that is due; 0 if none is",
                family,
            );
        }
    }
}
