//! The metrics of this process. Names and labels are constants; label values come from closed sets (docs/metrics.md).
//!
//! Counters count what this process did and are kept in memory. Those that alerts use exist from the start with the
//! value 0: a counter that begins with 1 has not increased, and no alert would see its first event. Gauges describe
//! what all replicas share, so each scrape reads them from Postgres.

mod detail;
mod gauges;
mod labels;
mod names;
mod runs;

pub use detail::Detail;
pub use gauges::Gauges;
pub use names::{ConnectionNames, Names};

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::Utc;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use self::labels::{
    CallLabels, ConnectionLabels, KindLabels, LimitLabels, NotificationLabels, RowLabels, StreamLabels, call_labels,
    calls_of, connection_labels, limit_labels, notification_labels, notifications_to, row_labels, stream_labels,
};
use self::runs::Runs;

use crate::http::CallOutcome;
use crate::quota::CallKind;
use crate::store::run;

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
pub const MART_STORED_AGE_SECONDS: &str = "tidegate_mart_stored_age_seconds";
pub const STREAMS: &str = "tidegate_streams";
pub const STREAM_PROBLEM: &str = "tidegate_stream_problem";
pub const STREAM_PROBLEMS_HIDDEN: &str = "tidegate_stream_problems_hidden";
pub const CONFIG_REFUSED: &str = "tidegate_config_refused";
pub const RUN_START_DELAY_SECONDS: &str = "tidegate_run_start_delay_seconds";
pub const RUN_SECONDS: &str = "tidegate_run_seconds";
pub const JOB_FAILING_STREAMS: &str = "tidegate_job_failing_streams";
pub const RUNS_UNFINISHED: &str = "tidegate_runs_unfinished";
pub const PROBLEMS: &str = "tidegate_problems";
pub const NOTIFICATIONS: &str = "tidegate_notifications";
pub const NOTIFICATION_OLDEST_SECONDS: &str = "tidegate_notification_oldest_seconds";
pub const DATABASE_UP: &str = "tidegate_database_up";
pub const LOOP_AGE_SECONDS: &str = "tidegate_loop_age_seconds";
pub const CLOCK_SKEW_SECONDS: &str = "tidegate_clock_skew_seconds";
pub const START_TIME_SECONDS: &str = "tidegate_start_time_seconds";
pub const AUTH_FAILURES: &str = "tidegate_auth_failures";
pub const UP: &str = "tidegate_up";
pub const BUILD: &str = "tidegate_build";

/// Upper bounds in seconds: from a local response to a vendor that takes a minute.
const CALL_BUCKETS: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0];
/// Upper bounds in seconds: from a page of few rows to a slow merge.
const CHECKPOINT_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Upper bounds in seconds: from a worker that is free to hours without one.
const START_DELAY_BUCKETS: [f64; 9] = [1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 21_600.0];
/// Upper bounds in seconds: from a list of few rows to a first load of days.
const RUN_BUCKETS: [f64; 11] = [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0];

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunOutcome {
    Succeeded,
    Held,
    Failed,
    Cancelled,
}

impl RunOutcome {
    pub const ALL: [Self; 4] = [Self::Succeeded, Self::Held, Self::Failed, Self::Cancelled];

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
    pub const ALL: [Self; 5] = [Self::Inserted, Self::Updated, Self::Deleted, Self::Unchanged, Self::Outside];

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

/// How an attempt to send a notification ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotificationOutcome {
    Accepted,
    RateLimited,
    Refused,
    ServerError,
    Timeout,
    Unreachable,
}

impl NotificationOutcome {
    pub const ALL: [Self; 6] =
        [Self::Accepted, Self::RateLimited, Self::Refused, Self::ServerError, Self::Timeout, Self::Unreachable];

    const fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::RateLimited => "rate_limited",
            Self::Refused => "refused",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
        }
    }
}

type Seconds = Counter<f64, AtomicU64>;
type Ratio = Gauge<f64, AtomicU64>;

/// The counters of this process.
#[derive(Debug)]
pub struct Metrics {
    detail: Detail,
    registry: Registry,
    runs: Runs,
    run_start_delay_seconds: Histogram,
    run_seconds: Family<KindLabels, Histogram, fn() -> Histogram>,
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
    /// Whose metrics exist, apart from jobs: what is configured, and what was counted since it was removed.
    names: Mutex<Names>,
    auth_failures: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Detail::default())
    }
}

impl Metrics {
    /// With values of every stream and job, or only of every connection.
    pub fn new(detail: Detail) -> Self {
        let mut metrics = Self {
            detail,
            registry: Registry::default(),
            runs: Runs::default(),
            run_start_delay_seconds: Histogram::new(START_DELAY_BUCKETS),
            run_seconds: Family::new_with_constructor(|| Histogram::new(RUN_BUCKETS)),
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
            names: Mutex::default(),
            auth_failures: Counter::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register(BUILD, "The version of this process", build);
        let up: Gauge = Gauge::default();
        up.set(1);
        registry.register(UP, "1 while the process responds", up);
        let started: Gauge = Gauge::default();
        // Of this machine's clock: it is compared with that of the monitoring, not with stored times.
        started.set(Utc::now().timestamp());
        registry.register(START_TIME_SECONDS, "When this process started, in seconds since 1970", started);
        registry.register(RUNS, "Runs that ended in this process", self.runs.clone());
        let delay = self.run_start_delay_seconds.clone();
        registry.register(RUN_START_DELAY_SECONDS, "Time from when a run was due to its first worker", delay);
        for kind in run::KINDS {
            drop(self.run_seconds.get_or_create(&KindLabels { kind: kind.to_owned() }));
        }
        registry.register(
            RUN_SECONDS,
            "Time from a run's first worker to its end, waits included",
            self.run_seconds.clone(),
        );
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
        let failures = self.auth_failures.clone();
        registry.register(AUTH_FAILURES, "Requests to the status port with wrong credentials", failures);
    }

    /// Creates the metrics of what is configured with the value 0, and removes those of what no longer is.
    pub fn configure(&self, configured: Names) {
        let mut configured = self.detail.names(configured);
        let mut names = self.names();
        // Those counters know their jobs themselves.
        self.runs.configure(&std::mem::take(&mut configured.jobs));
        for target in names.targets.difference(&configured.targets) {
            for labels in notifications_to(target) {
                self.notifications.remove(&labels);
            }
        }
        for target in &configured.targets {
            for labels in notifications_to(target) {
                self.notifications.get_or_create(&labels).inc_by(0);
            }
        }
        let none = ConnectionNames::default();
        for (connection, before) in &names.connections {
            self.remove(connection, before, configured.connections.get(connection));
        }
        for (connection, now) in &configured.connections {
            if !names.connections.contains_key(connection) {
                self.create(connection);
            }
            let before = names.connections.get(connection).unwrap_or(&none);
            for limit in now.limits.difference(&before.limits) {
                self.quota_wait_seconds.get_or_create(&limit_labels(connection, limit)).inc_by(0.0);
            }
            for stream in now.streams.difference(&before.streams) {
                self.rejected_records.get_or_create(&stream_labels(connection, stream)).inc_by(0);
            }
        }
        *names = configured;
    }

    /// Creates the metrics of a connection.
    fn create(&self, connection: &str) {
        for labels in calls_of(connection) {
            self.vendor_calls.get_or_create(&labels).inc_by(0);
        }
        self.vendor_bytes.get_or_create(&connection_labels(connection)).inc_by(0);
        drop(self.vendor_call_seconds.get_or_create(&connection_labels(self.detail.part(connection))));
    }

    /// Removes the metrics of a connection, or of its limits and streams that it has no longer.
    fn remove(&self, connection: &str, before: &ConnectionNames, now: Option<&ConnectionNames>) {
        if now.is_none() {
            for labels in calls_of(connection) {
                self.vendor_calls.remove(&labels);
            }
            let labels = connection_labels(connection);
            self.vendor_bytes.remove(&labels);
            // That of all connections has the label of none.
            self.vendor_call_seconds.remove(&labels);
        }
        for limit in before.limits.iter().filter(|limit| now.is_none_or(|now| !now.limits.contains(*limit))) {
            self.quota_wait_seconds.remove(&limit_labels(connection, limit));
        }
        for stream in before.streams.iter().filter(|stream| now.is_none_or(|now| !now.streams.contains(*stream))) {
            let labels = stream_labels(connection, stream);
            self.pages.remove(&labels);
            self.rejected_records.remove(&labels);
            self.extra_values.remove(&labels);
            for change in RowChange::ALL {
                self.rows.remove(&row_labels(connection, stream, change));
            }
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a run that ended.
    pub fn run_ended(&self, job: &str, outcome: RunOutcome) {
        self.runs.count(self.detail.part(job), outcome);
    }

    /// Records that a run has its first worker, `delay` after it was due.
    pub fn run_started(&self, delay: Duration) {
        self.run_start_delay_seconds.observe(delay.as_secs_f64());
    }

    /// Records that a run of this kind ended `seconds` after its first worker started it.
    pub fn run_took(&self, kind: &str, seconds: f64) {
        self.run_seconds.get_or_create(&KindLabels { kind: kind.to_owned() }).observe(seconds);
    }

    /// Counts `rows` records of a committed page with this outcome.
    pub fn rows(&self, connection: &str, stream: &str, change: RowChange, rows: u64) {
        let stream = self.detail.part(stream);
        self.names().note_stream(connection, stream);
        self.rows.get_or_create(&row_labels(connection, stream, change)).inc_by(rows);
    }

    /// Records a page that was committed within `took`, with its rejected records and values kept in `_extra`.
    pub fn page_committed(&self, connection: &str, stream: &str, took: Duration, rejected: u64, extra: u64) {
        let stream = self.detail.part(stream);
        self.names().note_stream(connection, stream);
        let labels = stream_labels(connection, stream);
        self.rejected_records.get_or_create(&labels).inc_by(rejected);
        if self.detail == Detail::Streams {
            self.pages.get_or_create(&labels).inc();
            self.extra_values.get_or_create(&labels).inc_by(extra);
        }
        self.checkpoint_seconds.observe(took.as_secs_f64());
    }

    /// Counts further pages that were committed together with one.
    pub fn pages_joined(&self, connection: &str, stream: &str, pages: u64) {
        if self.detail == Detail::Streams {
            self.names().note_stream(connection, stream);
            self.pages.get_or_create(&stream_labels(connection, stream)).inc_by(pages);
        }
    }

    /// Records a request to a vendor that ended after `took`, with `bytes` in both directions.
    pub fn vendor_call(&self, connection: &str, kind: CallKind, outcome: CallOutcome, took: Duration, bytes: u64) {
        self.names().note_connection(connection, |_| {});
        self.vendor_calls.get_or_create(&call_labels(connection, kind, outcome)).inc();
        self.vendor_bytes.get_or_create(&connection_labels(connection)).inc_by(bytes);
        let labels = connection_labels(self.detail.part(connection));
        self.vendor_call_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// Counts an attempt to send a notification to a target.
    pub fn notified(&self, target: &str, outcome: NotificationOutcome) {
        self.names().note_target(target);
        self.notifications.get_or_create(&notification_labels(target, outcome)).inc();
    }

    /// Records the time that a run waited for a limit.
    pub fn quota_wait(&self, connection: &str, limit: &str, waited: Duration) {
        self.names().note_limit(connection, limit);
        self.quota_wait_seconds.get_or_create(&limit_labels(connection, limit)).inc_by(waited.as_secs_f64());
    }

    /// Counts a request with wrong credentials.
    pub fn login_failed(&self) {
        self.auth_failures.inc();
    }

    /// All metrics in the Prometheus text format.
    pub fn encode(&self, gauges: &Gauges) -> String {
        let mut text = String::new();
        let written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &gauges.registry(self.detail)))
            .and_then(|()| encode_eof(&mut text));
        if written.is_err() {
            // Writing to a string cannot fail; if encoding a metric ever does, the scraper should see it.
            let _infallible = writeln!(text, "# a metric could not be written");
        }
        text
    }
}

#[cfg(test)]
mod tests;
