//! Values that are read or computed at each scrape.

use std::collections::HashMap;
use std::time::Duration;

use chrono::TimeDelta;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::detail::Detail;
use super::labels::{
    ConnectionLabels, JobLabels, KindLabels, LimitLabels, LoopLabels, ProblemLabels, RelationLabels, StateLabels,
    StreamLabels, TargetLabels, connection_labels, limit_labels, stream_labels,
};
use super::{
    CLOCK_SKEW_SECONDS, CONFIG_REFUSED, DATABASE_UP, HELD_SLICES, JOB_FAILING_STREAMS, LOOP_AGE_SECONDS,
    MART_STORED_AGE_SECONDS, NOTIFICATION_OLDEST_SECONDS, PROBLEMS as OPEN_PROBLEMS, QUOTA_BLOCKED, QUOTA_USED_RATIO,
    RECONCILIATION_DIFFERENCES, RUNS_UNFINISHED, Ratio, STREAM_COMPLETE_UNTIL_SECONDS, STREAM_FRESHNESS_SECONDS,
    STREAM_PROBLEM, STREAM_PROBLEMS_HIDDEN, STREAMS,
};
use crate::pulse::Loop;
use crate::quota::Usage;
use crate::store::problem::Persistent;
use crate::store::reconciliation::Compared;
use crate::store::status::{FailingStreams, PAUSED, RETIRED, STREAM_STATES, StreamState, Unfinished, WAITING};
use crate::store::stored_rows::StoredRows;
use crate::store::topic::Topic;

/// The states that require attention, the worst first.
const PROBLEMS: [&str; 4] = ["failed", "held", "late", "gap"];
/// Streams that are listed with their problem. An outage of one vendor may affect thousands.
const PROBLEMS_MAX: usize = 500;

/// The values at one scrape. Those read from Postgres are `None` if it did not respond in time.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Whether the database can only be read, so that nothing is loaded.
    pub only_reads: bool,
    /// The configured streams.
    pub streams: Option<Vec<StreamState>>,
    /// The number of streams that no job reads any more.
    pub retired: Option<i64>,
    /// The problems of streams that a pause or a wait does not end.
    pub persistent: Vec<Persistent>,
    pub unfinished: Option<Vec<Unfinished>>,
    /// How many streams of each job failed when they were last read.
    pub failing: Option<Vec<FailingStreams>>,
    pub compared: Option<Vec<Compared>>,
    pub stored: Option<Vec<StoredRows>>,
    /// What each connection uses of its limits.
    pub quotas: Option<Vec<(String, Usage)>>,
    /// How many problems are open, by kind.
    pub problems: Option<Vec<(String, i64)>>,
    /// The age of the oldest notification that is due, by target.
    pub notifications: Option<Vec<(String, f64)>>,
    /// Whether the configuration on disk is wrong, so that the previous one is in force.
    pub config_refused: bool,
    /// The time since each loop of this process last succeeded; `None` for one with nothing to do.
    pub ages: Vec<(Loop, Option<Duration>)>,
    /// How far this machine's clock is ahead of the database's.
    pub skew: Option<TimeDelta>,
}

impl Gauges {
    pub(super) fn registry(&self, detail: Detail) -> Registry {
        let mut registry = Registry::default();
        let database: Gauge = Gauge::default();
        database.set(i64::from(self.unfinished.is_some() && !self.only_reads));
        registry.register(
            DATABASE_UP,
            "1 if the database responded to this scrape in time and can be written to",
            database,
        );
        let ages: Family<LoopLabels, Ratio> = Family::default();
        for (of, age) in &self.ages {
            ages.get_or_create(&LoopLabels { r#loop: of.name() }).set(age.unwrap_or_default().as_secs_f64());
        }
        registry.register(LOOP_AGE_SECONDS, "Time since the loop last succeeded; 0 while it has nothing to do", ages);
        if let Some(skew) = self.skew {
            let gauge: Ratio = Gauge::default();
            gauge.set(skew.as_seconds_f64());
            registry.register(CLOCK_SKEW_SECONDS, "How far this machine's clock is ahead of the database's", gauge);
        }
        let refused: Gauge = Gauge::default();
        refused.set(i64::from(self.config_refused));
        registry.register(CONFIG_REFUSED, "1 while the configuration on disk is wrong and not in force", refused);
        if let (Some(streams), Some(retired)) = (&self.streams, self.retired) {
            register_streams(&mut registry, streams, retired, &self.persistent, detail);
        }
        self.register_problems(&mut registry);
        if let Some(compared) = &self.compared {
            let family: Family<ConnectionLabels, Gauge> = Family::default();
            for Compared { connection, differences, .. } in compared {
                family.get_or_create(&connection_labels(connection)).set(*differences);
            }
            registry.register(
                RECONCILIATION_DIFFERENCES,
                "Vendor's totals that differ from the number of rows",
                family,
            );
        }
        if let Some(stored) = self.stored.as_ref().filter(|stored| !stored.is_empty()) {
            let family: Family<RelationLabels, Gauge> = Family::default();
            for StoredRows { relation, age_seconds, .. } in stored {
                family.get_or_create(&RelationLabels { relation: relation.clone() }).set(*age_seconds);
            }
            registry.register(MART_STORED_AGE_SECONDS, "Age of the stored rows of the mart's relation", family);
        }
        if let Some(failing) = &self.failing {
            let family: Family<JobLabels, Gauge> = Family::default();
            for FailingStreams { job, connection, streams } in failing {
                let labels = JobLabels { tidegate_job: detail.part(job).to_owned(), connection: connection.clone() };
                family.get_or_create(&labels).inc_by(*streams);
            }
            registry.register(JOB_FAILING_STREAMS, "Streams of the job whose last reading failed", family);
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
            for (connection, usage) in quotas {
                let labels = limit_labels(connection, &usage.limit);
                used.get_or_create(&labels).set(usage.ratio());
                blocked.get_or_create(&labels).set(i64::from(usage.blocked_until.is_some()));
            }
            registry.register(QUOTA_USED_RATIO, "Fraction of the limit that is used now; 1 is all of it", used);
            registry.register(QUOTA_BLOCKED, "1 while the vendor has asked to wait", blocked);
        }
        registry
    }
}

impl Gauges {
    fn register_problems(&self, registry: &mut Registry) {
        if let Some(problems) = &self.problems {
            let family: Family<KindLabels, Gauge> = Family::default();
            for topic in Topic::PROBLEMS {
                let open = problems.iter().find(|(kind, _)| kind == topic.name()).map_or(0, |(_, open)| *open);
                family.get_or_create(&KindLabels { kind: topic.name().to_owned() }).set(open);
            }
            registry.register(OPEN_PROBLEMS, "Problems that are open", family);
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

/// Registers what is measured of streams; for a connection, that of its stream that is furthest behind. Retired ones
/// are only counted, because no data of them are expected.
fn register_streams(
    registry: &mut Registry,
    streams: &[StreamState],
    retired: i64,
    persistent: &[Persistent],
    detail: Detail,
) {
    let streams: Vec<&StreamState> = streams.iter().filter(|stream| stream.state != RETIRED).collect();
    let states: Family<StateLabels, Gauge> = Family::default();
    for state in STREAM_STATES {
        states.get_or_create(&StateLabels { state: state.to_owned() }).set(if state == RETIRED { retired } else { 0 });
    }
    let freshness: Family<StreamLabels, Ratio> = Family::default();
    let complete: Family<StreamLabels, Gauge> = Family::default();
    let held: Family<StreamLabels, Gauge> = Family::default();
    for stream in &streams {
        states.get_or_create(&StateLabels { state: stream.state.clone() }).inc();
        let labels = stream_labels(&stream.connection, detail.part(&stream.stream));
        if detail == Detail::Streams {
            held.get_or_create(&labels).set(stream.held_slices);
        }
        if let Some(until) = stream.complete_until.map(|until| until.timestamp()) {
            let before = complete.get(&labels).map(|gauge| gauge.get());
            complete.get_or_create(&labels).set(before.map_or(until, |before| before.min(until)));
        }
        if let Some(seconds) = stream.freshness_seconds {
            let gauge = freshness.get_or_create(&labels);
            gauge.set(seconds.max(gauge.get()));
        }
    }
    let (problems, hidden) = problems(&streams, persistent);
    registry.register(STREAMS, "Streams by state", states);
    registry.register(STREAM_PROBLEM, "1 while the stream has this problem", problems);
    registry.register(STREAM_PROBLEMS_HIDDEN, "Streams with a problem beyond those that are listed", hidden);
    registry.register(STREAM_FRESHNESS_SECONDS, "Age of the newest data of the stream that are not held", freshness);
    let help = "End of the data without gaps, in seconds since 1970";
    registry.register(STREAM_COMPLETE_UNTIL_SECONDS, help, complete);
    registry.register(HELD_SLICES, "Slices whose last reading was too doubtful to delete rows", held);
}

/// The streams with a problem, the worst first, and how many there are beyond [`PROBLEMS_MAX`]. That a stream is paused
/// hides no problem that a pause does not end. A stream that is late and waits has no problem, except one that opened
/// before.
fn problems(streams: &[&StreamState], persistent: &[Persistent]) -> (Family<ProblemLabels, Gauge>, Gauge) {
    let family: Family<ProblemLabels, Gauge> = Family::default();
    let persistent: HashMap<(&str, &str), &str> =
        persistent.iter().map(|of| ((of.connection.as_str(), of.stream.as_str()), of.kind.as_str())).collect();
    let streams: Vec<(&str, &StreamState)> = streams
        .iter()
        .map(|&stream| {
            let waits = stream.is_late_and_waits();
            let kept = persistent.get(&(stream.connection.as_str(), stream.stream.as_str())).copied();
            let kept = kept.filter(|_| waits || stream.state == PAUSED);
            (kept.unwrap_or(if waits { WAITING } else { stream.state.as_str() }), stream)
        })
        .collect();
    let of_kind = |kind: &'static str| {
        streams.iter().filter(move |(found, _)| *found == kind).map(move |(_, stream)| (kind, *stream))
    };
    let mut all = PROBLEMS.into_iter().flat_map(of_kind);
    for (kind, stream) in all.by_ref().take(PROBLEMS_MAX) {
        let (connection, stream) = (stream.connection.clone(), stream.stream.clone());
        family.get_or_create(&ProblemLabels { connection, stream, kind }).set(1);
    }
    let hidden: Gauge = Gauge::default();
    hidden.set(i64::try_from(all.count()).unwrap_or(i64::MAX));
    (family, hidden)
}
