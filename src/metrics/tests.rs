use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::quota::{Unit, Usage};
use crate::store::problem::Persistent;
use crate::store::status::{FailingStreams, RETIRED, STREAM_STATES, StreamState};

/// Names of one job, of one connection with one limit and these streams, and of one target.
fn names(job: &str, connection: &str, streams: &[&str]) -> Names {
    let limits = BTreeSet::from(["requests".to_owned()]);
    let streams = streams.iter().map(|stream| (*stream).to_owned()).collect();
    let connections = BTreeMap::from([(connection.to_owned(), ConnectionNames { limits, streams })]);
    Names { jobs: BTreeSet::from([job.to_owned()]), connections, targets: BTreeSet::from(["oncall".to_owned()]) }
}

fn samples(metrics: &Metrics) -> BTreeMap<String, String> {
    let text = metrics.encode(&Gauges::default());
    let samples = text.lines().filter(|line| !line.starts_with('#') && !line.contains("le="));
    samples.filter_map(|line| line.rsplit_once(' ')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn what_is_configured_is_counted_from_zero() {
    let metrics = Metrics::default();
    metrics.configure(names("daily", "acme", &["users"]));
    let found = samples(&metrics);
    let labels = |metric: &str, labels: &str| found.get(&format!("{metric}{{{labels}}}")).cloned();
    for outcome in RunOutcome::ALL.map(RunOutcome::label) {
        let run = format!("tidegate_job=\"daily\",outcome=\"{outcome}\"");
        assert_eq!(labels("tidegate_runs_total", &run).as_deref(), Some("0"), "{found:?}");
    }
    for (kind, outcome) in ["login", "data"].into_iter().flat_map(|kind| CallOutcome::ALL.map(|of| (kind, of.label())))
    {
        let call = format!("connection=\"acme\",kind=\"{kind}\",outcome=\"{outcome}\"");
        assert_eq!(labels("tidegate_vendor_calls_total", &call).as_deref(), Some("0"), "{found:?}");
    }
    assert_eq!(labels("tidegate_vendor_bytes_total", "connection=\"acme\"").as_deref(), Some("0"));
    assert_eq!(labels("tidegate_vendor_call_seconds_count", "connection=\"acme\"").as_deref(), Some("0"));
    let waited = labels("tidegate_quota_wait_seconds_total", "connection=\"acme\",limit=\"requests\"");
    assert_eq!(waited.as_deref(), Some("0.0"));
    let rejected = labels("tidegate_rejected_records_total", "connection=\"acme\",stream=\"users\"");
    assert_eq!(rejected.as_deref(), Some("0"));
    for outcome in NotificationOutcome::ALL.map(NotificationOutcome::label) {
        let attempt = format!("target=\"oncall\",outcome=\"{outcome}\"");
        assert_eq!(labels("tidegate_notifications_total", &attempt).as_deref(), Some("0"), "{found:?}");
    }
}

#[test]
fn attempts_to_notify_are_kept_while_their_target_is_configured() {
    let metrics = Metrics::default();
    let with = |targets: &[&str]| Names {
        targets: targets.iter().map(|target| (*target).to_owned()).collect(),
        ..Names::default()
    };
    metrics.configure(with(&["oncall", "chat"]));
    let accepted = |target: &str| format!("tidegate_notifications_total{{target=\"{target}\",outcome=\"accepted\"}}");
    for target in ["oncall", "chat", "removed"] {
        metrics.notified(target, NotificationOutcome::Accepted);
    }
    metrics.configure(with(&["chat", "new"]));
    let found = samples(&metrics);
    assert_eq!((&*found[&accepted("chat")], &*found[&accepted("new")]), ("1", "0"));
    assert!(!found.keys().any(|sample| sample.contains("oncall") || sample.contains("removed")), "{found:?}");
}

#[test]
fn a_change_of_the_configuration_keeps_counts_and_removes_what_is_gone() {
    let metrics = Metrics::default();
    metrics.configure(names("daily", "acme", &["users", "calls"]));
    let took = Duration::from_secs(1);
    let count = || {
        for stream in ["users", "calls"] {
            metrics.rows("acme", stream, RowChange::Inserted, 3);
            metrics.page_committed("acme", stream, took, 1, 1);
            metrics.pages_joined("acme", stream, 1);
        }
        metrics.run_ended("daily", RunOutcome::Failed);
        metrics.vendor_call("acme", CallKind::Data, CallOutcome::Quota, took, 10);
        metrics.quota_wait("acme", "requests", took);
        metrics.quota_wait("acme", "another", took);
    };
    count();

    metrics.configure(names("daily", "acme", &["users"]));
    let found = samples(&metrics);
    assert!(!found.keys().any(|sample| sample.contains("calls\"") || sample.contains("another")), "{found:?}");
    for (sample, value) in [
        ("tidegate_runs_total{tidegate_job=\"daily\",outcome=\"failed\"}", "1"),
        ("tidegate_rows_total{connection=\"acme\",stream=\"users\",change=\"inserted\"}", "3"),
        ("tidegate_vendor_calls_total{connection=\"acme\",kind=\"data\",outcome=\"quota\"}", "1"),
        ("tidegate_quota_wait_seconds_total{connection=\"acme\",limit=\"requests\"}", "1.0"),
    ] {
        assert_eq!(found.get(sample).map(String::as_str), Some(value), "{sample} in {found:?}");
    }

    metrics.configure(names("hourly", "other", &["users"]));
    assert!(!samples(&metrics).keys().any(|sample| sample.contains("acme") || sample.contains("daily")));
    // Runs under way still count, until the next change.
    count();
    assert!(samples(&metrics).contains_key("tidegate_runs_total{tidegate_job=\"daily\",outcome=\"failed\"}"));
    metrics.configure(names("hourly", "other", &["users"]));
    let found = samples(&metrics);
    assert!(!found.keys().any(|sample| sample.contains("acme") || sample.contains("daily")), "{found:?}");
    assert!(found.contains_key("tidegate_rejected_records_total{connection=\"other\",stream=\"users\"}"));
}

fn stream(connection: &str, stream: &str, state: &str) -> StreamState {
    StreamState {
        connection: connection.to_owned(),
        stream: stream.to_owned(),
        table: "lynn.users".to_owned(),
        state: state.to_owned(),
        covers_from: None,
        complete_until: Some(Utc::now()),
        has_gap: false,
        late: false,
        waits: false,
        expected_by: None,
        read_until: None,
        last_success_at: None,
        freshness_seconds: Some(-1.0),
        held_slices: 0,
    }
}

fn gauges(streams: Vec<StreamState>, retired: i64) -> BTreeMap<String, String> {
    let gauges = Gauges { streams: Some(streams), retired: Some(retired), ..Gauges::default() };
    let text = Metrics::default().encode(&gauges);
    let samples = text.lines().filter(|line| line.starts_with("tidegate_stream"));
    samples.filter_map(|line| line.rsplit_once(' ')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn every_state_is_counted_and_only_problems_are_listed() {
    let streams = STREAM_STATES.map(|state| stream("acme", &format!("of {state}"), state)).to_vec();
    let found = gauges(streams, 7);
    let listed: Vec<_> = found.keys().filter(|sample| sample.starts_with("tidegate_stream_problem{")).collect();
    let problem =
        |kind: &str| format!("tidegate_stream_problem{{connection=\"acme\",stream=\"of {kind}\",kind=\"{kind}\"}}");
    assert_eq!(listed, [&problem("failed"), &problem("gap"), &problem("held"), &problem("late")]);
    for state in STREAM_STATES {
        let expected = if state == RETIRED { "7" } else { "1" };
        assert_eq!(found[&format!("tidegate_streams{{state=\"{state}\"}}")], expected, "{found:?}");
    }
    assert!(!found.keys().any(|sample| sample.contains("of retired")), "{found:?}");
    let age = "tidegate_stream_freshness_seconds{connection=\"acme\",stream=\"of late\"}";
    assert_eq!(found[age], "0.0", "an age is not negative");
    let none = gauges(Vec::new(), 0);
    for state in STREAM_STATES {
        assert_eq!(none[&format!("tidegate_streams{{state=\"{state}\"}}")], "0");
    }
}

/// A problem of `acme` that a pause does not end.
fn persistent(stream: &str, kind: &str) -> Persistent {
    Persistent { connection: "acme".to_owned(), stream: stream.to_owned(), kind: kind.to_owned() }
}

#[test]
fn a_pause_hides_no_problem_that_it_does_not_end_and_none_is_listed_twice() {
    let gauges = Gauges {
        streams: Some(vec![
            stream("acme", "broken", "paused"),
            stream("acme", "doubtful", "paused"),
            stream("acme", "well", "paused"),
            stream("acme", "gone", "retired"),
            // It is read again, and has not failed since.
            stream("acme", "late", "late"),
            stream("acme", "failed", "failed"),
        ]),
        retired: Some(1),
        persistent: vec![
            persistent("broken", "failed"),
            persistent("doubtful", "held"),
            persistent("gone", "failed"),
            persistent("late", "held"),
            persistent("failed", "failed"),
        ],
        ..Gauges::default()
    };
    let text = Metrics::default().encode(&gauges);
    let listed: BTreeSet<&str> = text.lines().filter(|line| line.starts_with("tidegate_stream_problem{")).collect();
    let problem = |stream: &str, kind: &str| {
        format!("tidegate_stream_problem{{connection=\"acme\",stream=\"{stream}\",kind=\"{kind}\"}} 1")
    };
    let expected = [("broken", "failed"), ("doubtful", "held"), ("failed", "failed"), ("late", "late")]
        .map(|(s, k)| problem(s, k));
    assert_eq!(listed, expected.iter().map(String::as_str).collect::<BTreeSet<_>>(), "{text}");
    assert!(text.contains("tidegate_streams{state=\"paused\"} 3"), "{text}");
}

#[test]
fn a_stream_that_is_late_and_waits_is_no_problem_unless_one_opened_before() {
    let waits = |name: &str, state: &str| StreamState { waits: true, ..stream("acme", name, state) };
    let gauges = Gauges {
        streams: Some(vec![
            stream("acme", "late", "late"),
            waits("waiting", "late"),
            waits("reported", "late"),
            waits("broken", "failed"),
            waits("holed", "gap"),
        ]),
        retired: Some(0),
        persistent: vec![persistent("reported", "late")],
        ..Gauges::default()
    };
    let text = Metrics::default().encode(&gauges);
    let listed: BTreeSet<&str> = text.lines().filter(|line| line.starts_with("tidegate_stream_problem{")).collect();
    let expected =
        [("broken", "failed"), ("holed", "gap"), ("late", "late"), ("reported", "late")].map(|(name, kind)| {
            format!("tidegate_stream_problem{{connection=\"acme\",stream=\"{name}\",kind=\"{kind}\"}} 1")
        });
    assert_eq!(listed, expected.iter().map(String::as_str).collect::<BTreeSet<_>>(), "{text}");
    assert!(text.contains("tidegate_streams{state=\"late\"} 3"), "its state is late: {text}");
}

#[test]
fn many_problems_are_cut_with_the_worst_first() {
    let mut streams: Vec<_> = (0..600).map(|number| stream("acme", &format!("s{number}"), "gap")).collect();
    streams.push(stream("zeta", "last", "failed"));
    let found = gauges(streams, 0);
    let listed = found.keys().filter(|sample| sample.starts_with("tidegate_stream_problem{")).count();
    assert_eq!((listed, found["tidegate_stream_problems_hidden"].as_str()), (500, "101"));
    assert!(found.contains_key("tidegate_stream_problem{connection=\"zeta\",stream=\"last\",kind=\"failed\"}"));
}

/// The names of a large installation, with the four limits of Lynn.
fn many(connections: usize, streams: usize) -> Names {
    let mut names = Names::default();
    for connection in 0..connections {
        let of_connection = ConnectionNames {
            limits: (0..4).map(|limit| format!("limit{limit}")).collect(),
            streams: (0..streams).map(|stream| format!("s{stream}")).collect(),
        };
        names.jobs.extend((0..streams).map(|stream| format!("job of c{connection}/s{stream}")));
        names.connections.insert(format!("c{connection}"), of_connection);
    }
    names
}

/// A scrape after everything has happened to each of these names.
fn scrape_of_all(detail: Detail, names: &Names) -> String {
    let metrics = Metrics::new(detail);
    metrics.configure(names.clone());
    let took = Duration::from_secs(1);
    for job in &names.jobs {
        metrics.run_ended(job, RunOutcome::Failed);
    }
    let (mut streams, mut quotas, mut failing) = (Vec::new(), Vec::new(), Vec::new());
    for (connection, of_connection) in &names.connections {
        for (kind, outcome) in
            [CallKind::Login, CallKind::Data].into_iter().flat_map(|kind| CallOutcome::ALL.map(|of| (kind, of)))
        {
            metrics.vendor_call(connection, kind, outcome, took, 1);
        }
        for limit in &of_connection.limits {
            metrics.quota_wait(connection, limit, took);
            let (limit, unit) = (limit.clone(), Unit::Calls);
            let usage = Usage { limit, amount: 4, unit, used: 1, per: took, blocked_until: None, next_free: None };
            quotas.push((connection.clone(), usage));
        }
        for name in &of_connection.streams {
            for change in RowChange::ALL {
                metrics.rows(connection, name, change, 2);
            }
            metrics.page_committed(connection, name, took, 1, 1);
            metrics.pages_joined(connection, name, 1);
            let number: i32 = name[1..].parse().unwrap();
            let mut of_stream = stream(connection, name, "late");
            of_stream.complete_until = chrono::DateTime::from_timestamp(1_000_000 + i64::from(number), 0);
            (of_stream.freshness_seconds, of_stream.held_slices) = (Some(60.0 + f64::from(number)), 1);
            streams.push(of_stream);
            let job = format!("job of {connection}/{name}");
            failing.push(FailingStreams { job, connection: connection.clone(), streams: 1 });
        }
    }
    metrics.encode(&Gauges {
        streams: Some(streams),
        retired: Some(0),
        quotas: Some(quotas),
        failing: Some(failing),
        // Vendors with totals have fewer limits.
        compared: Some(Vec::new()),
        unfinished: Some(Vec::new()),
        problems: Some(Vec::new()),
        ..Gauges::default()
    })
}

fn values(scrape: &str) -> usize {
    scrape.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn values_per_connection_stay_few_with_thousands_of_streams() {
    let names = many(500, 20);
    let per_connection = values(&scrape_of_all(Detail::Connections, &names));
    assert!(per_connection < 20_000, "{per_connection}");
    let per_stream = values(&scrape_of_all(Detail::Streams, &names));
    assert!((170_000..200_000).contains(&per_stream), "docs/metrics.md states the number: {per_stream}");
}

#[test]
fn values_of_a_connection_are_those_of_its_streams_together() {
    let scrape = scrape_of_all(Detail::Connections, &many(2, 3));
    for line in [
        "tidegate_runs_total{tidegate_job=\"\",outcome=\"failed\"} 6",
        "tidegate_runs_total{tidegate_job=\"\",outcome=\"held\"} 0",
        "tidegate_rows_total{connection=\"c1\",stream=\"\",change=\"inserted\"} 6",
        "tidegate_rejected_records_total{connection=\"c1\",stream=\"\"} 3",
        "tidegate_vendor_call_seconds_count{connection=\"\"} 32",
        "tidegate_vendor_bytes_total{connection=\"c1\"} 16",
        "tidegate_job_failing_streams{tidegate_job=\"\",connection=\"c1\"} 3",
        "tidegate_stream_freshness_seconds{connection=\"c1\",stream=\"\"} 62.0",
        "tidegate_stream_complete_until_seconds{connection=\"c1\",stream=\"\"} 1000000",
        "tidegate_stream_problem{connection=\"c1\",stream=\"s2\",kind=\"late\"} 1",
        "tidegate_streams{state=\"late\"} 6",
    ] {
        assert!(scrape.lines().any(|printed| printed == line), "{line} in {scrape}");
    }
    assert!(!scrape.contains("tidegate_job=\"job") && !scrape.contains("tidegate_pages_total{"), "{scrape}");
    assert!(!scrape.contains("tidegate_held_slices{"), "{scrape}");

    let metrics = Metrics::new(Detail::Connections);
    metrics.configure(many(2, 3));
    metrics.run_ended("job of c1/s0", RunOutcome::Failed);
    metrics.vendor_call("c1", CallKind::Data, CallOutcome::Ok, Duration::from_secs(1), 10);
    metrics.configure(many(1, 1));
    let found = samples(&metrics);
    assert!(!found.keys().any(|sample| sample.contains("c1")), "{found:?}");
    assert_eq!(found["tidegate_runs_total{tidegate_job=\"\",outcome=\"failed\"}"], "1", "a sum does not decrease");
    assert_eq!(found["tidegate_vendor_call_seconds_count{connection=\"\"}"], "1");
}
