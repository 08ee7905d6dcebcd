//! The status port over real HTTP and with a real Postgres, for well-behaved and hostile clients.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tidegate::http::CallOutcome;
use tidegate::metrics::{RowChange, RunOutcome};
use tidegate::quota::{CallKind, LedgerKey};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::TestDatabase;
use crate::support::port::{self, Port};

async fn fill(pool: &PgPool) {
    sqlx::raw_sql(
        "insert into tidegate.run (job, connection, kind, state, finished_at, error, hint)
         values ('lynn-hourly', 'acme-lynn', 'schedule', 'failed', now(), 'token refused', 'renew it');
         insert into tidegate.run (job, connection, kind) values ('lynn-hourly', 'acme-lynn', 'manual');
         insert into tidegate.task (run_id, stream, state, finished_at, error, hint)
         select id, 'survey_result', 'failed', now(), 'token <refused>', 'renew it' from tidegate.run where state = 'failed';
         insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice, last_success_at)
         values ('acme-lynn', 'survey_result', 'lynn', 'survey_result', '2026-01-01', 'UTC', '1d', now()),
                ('acme-lynn', 'menu_detail', 'lynn', 'menu_detail', '2026-01-01', 'UTC', '1d', now() - interval '5 minutes'),
                ('acme-lynn', 'show_error', 'lynn', 'show_error', '2026-01-01', 'UTC', '1d', null);
         insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_at)
         values ('acme-lynn', 'survey_result', now() - interval '3 days', now() - interval '2 days', now() - interval '2 days', now()),
                ('acme-lynn', 'survey_result', now() - interval '2 days', now(), now() - interval '1 hour', now()),
                ('acme-lynn', 'survey_result', now(), now() + interval '1 day', null, null),
                ('acme-lynn', 'menu_detail', 'epoch', '9999-12-31', now(), now())",
    )
    .execute(pool)
    .await
    .unwrap();
}

/// A quarter of the calls of `acme-lynn` is used.
async fn use_quota(pool: &PgPool) {
    let config = port::config(port::CONFIG);
    let connection = &config.connections["acme-lynn"];
    let key = LedgerKey::derive(pool, &connection.base_url, &connection.settings.credential()).await.unwrap();
    sqlx::query(
        "with ledger as (
            insert into tidegate.quota_ledger (key, connections) values ($1, '{acme-lynn}') returning id
        ),
        l as (
            insert into tidegate.quota_limit (ledger_id, name, unit, amount, per, reach, width)
            select id, 'requests', 'calls', 4, '1 hour', '1 hour', '0' from ledger
            returning id
        )
        insert into tidegate.quota_use (limit_id, ends_at, used) select id, now(), 1 from l",
    )
    .bind(key.as_str())
    .execute(pool)
    .await
    .unwrap();
}

#[tokio::test]
async fn readiness_follows_start_database_and_end() {
    let database = TestDatabase::create().await;
    let port = Port::open(database.pool()).await;
    assert_eq!(port.get("/healthz").await.0, 200);
    let (status, text) = port.get("/readyz").await;
    assert!(status == 503 && text.contains("not ready: the configuration is not loaded yet\n"), "{text}");
    port.started();
    assert_eq!(port.get("/readyz").await.0, 200);
    port.health.stopping();
    let (status, text) = port.get("/readyz").await;
    assert!(status == 503 && text.contains("not ready: shutting down\n"), "{text}");
    assert_eq!(port.get("/healthz").await.0, 200);
    port.close().await;
}

#[tokio::test]
async fn without_a_database_the_process_is_alive_but_not_ready() {
    let nowhere = PgPoolOptions::new().connect_lazy("postgres://u:s3cret@127.0.0.1:1/x").unwrap();
    let port = Port::open(nowhere).await;
    port.started();
    assert_eq!(port.get("/healthz").await.0, 200);
    for (path, expected) in [("/readyz", 503), ("/", 503), ("/status.json", 503), ("/metrics", 200)] {
        let (status, text) = port.get(path).await;
        assert_eq!(status, expected, "{path}: {text}");
        assert!(!text.contains("s3cret"), "{path}: {text}");
    }
    assert!(port.get("/metrics").await.1.contains("tidegate_database_up 0"));
    port.close().await;
}

#[tokio::test]
async fn status_json_shows_runs_failures_and_freshness() {
    let database = TestDatabase::create().await;
    fill(&database.pool()).await;
    let port = Port::open(database.pool()).await;
    let (status, response) = port.get("/status.json").await;
    assert_eq!(status, 200);
    assert!(!response.contains("s3cret"), "{response}");
    let body: serde_json::Value = serde_json::from_str(response.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body["jobs"][0]["last_run"]["state"], "queued", "the newest run");
    assert!(body["jobs"][0]["next_firing"].is_string());
    assert_eq!(body["failures"][0]["stream"], "survey_result");
    let freshness: Vec<_> = body["streams"].as_array().unwrap().iter().map(|s| &s["freshness_seconds"]).collect();
    let near = |value: &serde_json::Value, seconds: f64| (value.as_f64().unwrap() - seconds).abs() < 60.0;
    assert!(near(freshness[0], 300.0), "a list is as old as its last success: {body}");
    assert!(freshness[1].is_null() && near(freshness[2], 3_600.0), "{body}");
    port.close().await;
}

#[tokio::test]
async fn metrics_count_this_process_and_measure_the_shared_state() {
    let database = TestDatabase::create().await;
    fill(&database.pool()).await;
    use_quota(&database.pool()).await;
    let port = Port::open(database.pool()).await;
    let (metrics, took) = (&port.metrics, Duration::from_millis(30));
    metrics.run_ended("lynn-hourly", RunOutcome::Failed);
    metrics.rows("acme-lynn", "survey_result", RowChange::Inserted, 12);
    metrics.page_committed("acme-lynn", "survey_result", took, 1, 2);
    metrics.vendor_call("acme-lynn", CallKind::Data, CallOutcome::Ok, took, 2_048);
    metrics.quota_wait("acme-lynn", "requests", Duration::from_millis(1_500));
    let (_, text) = port.get("/metrics").await;
    for line in [
        "tidegate_build_info{version=\"0.1.0\"} 1",
        "tidegate_up 1",
        "tidegate_database_up 1",
        "tidegate_runs_total{tidegate_job=\"lynn-hourly\",outcome=\"failed\"} 1",
        "tidegate_rows_total{connection=\"acme-lynn\",stream=\"survey_result\",change=\"inserted\"} 12",
        "tidegate_pages_total{connection=\"acme-lynn\",stream=\"survey_result\"} 1",
        "tidegate_rejected_records_total{connection=\"acme-lynn\",stream=\"survey_result\"} 1",
        "tidegate_extra_values_total{connection=\"acme-lynn\",stream=\"survey_result\"} 2",
        "tidegate_vendor_calls_total{connection=\"acme-lynn\",kind=\"data\",outcome=\"ok\"} 1",
        "tidegate_vendor_bytes_total{connection=\"acme-lynn\"} 2048",
        "tidegate_vendor_call_seconds_count{connection=\"acme-lynn\"} 1",
        "tidegate_checkpoint_seconds_count 1",
        "tidegate_quota_wait_seconds_total{connection=\"acme-lynn\",limit=\"requests\"} 1.5",
        "tidegate_quota_used_ratio{connection=\"acme-lynn\",limit=\"requests\"} 0.25",
        "tidegate_quota_blocked{connection=\"acme-lynn\",limit=\"requests\"} 0",
        "tidegate_quota_used_ratio{connection=\"acme-lynn\",limit=\"period_bandwidth\"} 0.0",
        "tidegate_runs_unfinished{state=\"queued\"} 1",
        "tidegate_runs_unfinished{state=\"waiting\"} 0",
    ] {
        assert!(text.lines().any(|printed| printed == line), "{line} in {text}");
    }
    assert!(text.contains("tidegate_stream_freshness_seconds{connection=\"acme-lynn\",stream=\"menu_detail\"} 300"));
    let complete = "tidegate_stream_complete_until_seconds{connection=\"acme-lynn\",stream=\"menu_detail\"} ";
    let until = text.lines().find_map(|line| line.strip_prefix(complete)).unwrap();
    assert!((chrono::Utc::now().timestamp() - until.parse::<i64>().unwrap()).abs() < 600, "{until}");
    assert!(!text.contains(&complete.replace("menu_detail", "show_error")), "nothing of it was read");
    assert!(text.ends_with("# EOF\n"));
    let documented = include_str!("../../docs/metrics.md");
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        let known = ["", "_total", "_info"].iter().any(|end| documented.contains(&format!("`{name}{end}`")));
        assert!(known, "{name} is not in docs/metrics.md");
    }
    port.close().await;
}

/// The states of streams come from the same view as everywhere else.
#[tokio::test]
async fn problems_are_measured_while_they_last_and_retired_streams_only_counted() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    fill(&pool).await;
    let port = Port::open(pool.clone()).await;
    let with = |text: &str, line: &str| text.lines().any(|printed| printed == line);
    let failed = "tidegate_stream_problem{connection=\"acme-lynn\",stream=\"survey_result\",kind=\"failed\"} 1";
    let (_, before) = port.get("/metrics").await;
    assert!(!before.contains(failed) && with(&before, "tidegate_streams{state=\"failed\"} 0"), "{before}");
    assert!(
        with(&before, "tidegate_config_refused 0") && with(&before, "tidegate_stream_problems_hidden 0"),
        "{before}"
    );

    sqlx::raw_sql(
        "update tidegate.stream set jobs = '{lynn-hourly}', needs_operator = true where stream = 'survey_result';
         update tidegate.stream set jobs = '{}' where stream = 'menu_detail'",
    )
    .execute(&pool)
    .await
    .unwrap();
    port.health.reload_refused("tidegate.yaml:3: wrong");
    // Scrapes within a moment share what was read.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (_, after) = port.get("/metrics").await;
    for line in [
        failed,
        "tidegate_streams{state=\"failed\"} 1",
        "tidegate_streams{state=\"retired\"} 1",
        "tidegate_config_refused 1",
    ] {
        assert!(with(&after, line), "{line} in {after}");
    }
    assert!(!after.contains("menu_detail"), "{after}");
    assert!(after.contains("stream=\"survey_result\""), "{after}");
    port.close().await;
}

/// The labels and the values of `tidegate_stream_problem`, sorted.
fn stream_problems(text: &str) -> Vec<String> {
    let mut found: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("tidegate_stream_problem")).map(str::to_owned).collect();
    found.retain(|line| line.starts_with('{'));
    found.sort();
    found
}

/// So alerts on them neither end nor begin with a pause.
#[tokio::test]
async fn a_pause_of_everything_hides_no_stream_that_still_needs_someone() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    fill(&pool).await;
    sqlx::raw_sql(
        "update tidegate.stream set jobs = '{lynn-hourly}', active_jobs = '{lynn-hourly}';
         update tidegate.stream set failures = 3 where stream = 'survey_result';
         update tidegate.stream set held_slices = 1 where stream = 'menu_detail';
         insert into tidegate.problem (kind, scope, connection, stream, summary, opened_at)
         values ('failed', 'acme-lynn/survey_result', 'acme-lynn', 'survey_result', 'refused', now()),
                ('held', 'acme-lynn', 'acme-lynn', null, 'doubtful', now())",
    )
    .execute(&pool)
    .await
    .unwrap();
    let pause =
        "insert into tidegate.pause (job, until, reason, actor) values ('', now() + interval '1 hour', 'x', 'y')";
    let mended = "update tidegate.stream set failures = 0, held_slices = 0";
    let problem =
        |stream: &str, kind: &str| format!("{{connection=\"acme-lynn\",stream=\"{stream}\",kind=\"{kind}\"}} 1");
    let both = vec![problem("menu_detail", "held"), problem("survey_result", "failed")];
    let steps =
        [("select 1", 0, &both), (pause, 3, &both), ("delete from tidegate.pause", 0, &both), (pause, 3, &both)];
    for (step, paused, expected) in steps.into_iter().chain([(mended, 3, &Vec::new())]) {
        sqlx::raw_sql(step).execute(&pool).await.unwrap();
        // Another port, because scrapes within a moment share what was read.
        let port = Port::open(pool.clone()).await;
        let (_, text) = port.get("/metrics").await;
        assert_eq!(&stream_problems(&text), expected, "after {step}: {text}");
        assert!(text.contains(&format!("tidegate_streams{{state=\"paused\"}} {paused}\n")), "after {step}: {text}");
        port.close().await;
    }
}

/// The same streams as in notifications: to wait is not an error.
#[tokio::test]
async fn a_stream_that_is_late_and_waits_is_no_problem_unless_one_opened_before() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    fill(&pool).await;
    sqlx::raw_sql(
        "update tidegate.stream
         set jobs = '{lynn-hourly}', expected_by = now() - interval '1 minute', expected_after = last_success_at
         where stream in ('survey_result', 'menu_detail');
         insert into tidegate.task (run_id, stream, state, waiting_for, waiting_until)
         select id, 'survey_result', 'waiting', 'quota requests', now() + interval '1 hour'
         from tidegate.run where state = 'queued'",
    )
    .execute(&pool)
    .await
    .unwrap();
    let open = "insert into tidegate.problem (kind, scope, connection, stream, summary, opened_at)
        values ('late', 'acme-lynn/survey_result', 'acme-lynn', 'survey_result', 'late', now())";
    let late = |stream: &str| format!("{{connection=\"acme-lynn\",stream=\"{stream}\",kind=\"late\"}} 1");
    let (one, both) = (vec![late("menu_detail")], vec![late("menu_detail"), late("survey_result")]);
    let ended = "update tidegate.problem set closed_at = now()";
    let goes_on = "update tidegate.task set state = 'running' where state = 'waiting'";
    for (step, expected) in [("select 1", &one), (open, &both), (ended, &one), (goes_on, &both)] {
        sqlx::raw_sql(step).execute(&pool).await.unwrap();
        // Another port, because scrapes within a moment share what was read.
        let port = Port::open(pool.clone()).await;
        let (_, text) = port.get("/metrics").await;
        assert_eq!(&stream_problems(&text), expected, "after {step}: {text}");
        assert!(text.contains("tidegate_streams{state=\"late\"} 2\n"), "after {step}: {text}");
        port.close().await;
    }
}

/// A connection, a stream and a job that are not in the configuration.
const REMOVED: &str = "
insert into tidegate.run (job, connection, kind, state, finished_at) values
('lynn-removed', 'gone-lynn', 'schedule', 'failed', now()),
('lynn-hourly', 'gone-lynn', 'schedule', 'failed', now());
insert into tidegate.task (run_id, stream, state, finished_at, error)
select id, 'removed_stream', 'failed', now(), 'removed error' from tidegate.run where connection = 'gone-lynn';
insert into tidegate.run (job, connection, kind, state) values ('lynn-removed', 'gone-lynn', 'manual', 'waiting');
insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice, last_success_at) values
('gone-lynn', 'survey_result', 'lynn', 'survey_result', '2026-01-01', 'UTC', '1d', now() - interval '90 days'),
('acme-lynn', 'removed_stream', 'lynn', 'removed_stream', '2026-01-01', 'UTC', '1d', now() - interval '90 days');
insert into tidegate.slice (connection, stream, window_start, window_end, finished_at, held_since, held_reason,
    held_rows_there, held_rows_reported)
select connection, stream, '2026-01-01', '2026-01-02', now(), now(), 'removed reason', 100, 1
from tidegate.stream where connection = 'gone-lynn' or stream = 'removed_stream';
update tidegate.stream set jobs = '{}' where connection = 'gone-lynn' or stream = 'removed_stream';
";

#[tokio::test]
async fn removed_settings_are_neither_shown_nor_measured() {
    let database = TestDatabase::create().await;
    fill(&database.pool()).await;
    sqlx::raw_sql(REMOVED).execute(&database.pool()).await.unwrap();
    let port = Port::open(database.pool()).await;
    for path in ["/streams", "/status.json", "/metrics"] {
        let (status, text) = port.get(path).await;
        assert_eq!(status, 200, "{path}");
        assert!(text.contains("survey_result"), "{path}: {text}");
        assert!(!text.contains("gone-lynn") && !text.contains("removed"), "{path}: {text}");
    }
    let (_, text) = port.get("/metrics").await;
    for line in [
        "tidegate_runs_unfinished{state=\"queued\"} 1",
        "tidegate_runs_unfinished{state=\"waiting\"} 0",
        "tidegate_held_slices{connection=\"acme-lynn\",stream=\"survey_result\"} 0",
    ] {
        assert!(text.lines().any(|printed| printed == line), "{line} in {text}");
    }
    port.close().await;
}

#[tokio::test]
async fn only_get_is_served_and_large_requests_are_not_read() {
    let database = TestDatabase::create().await;
    let port = Port::open(database.pool()).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        let response =
            port.ask(&format!("{method} /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")).await;
        assert!(response.starts_with("HTTP/1.1 405"), "{method}: {response}");
    }
    assert_eq!(port.get("/etc/passwd").await.0, 404);
    let long = format!("GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    assert!(port.ask(&long).await.starts_with("HTTP/1.1 431"));
    let many = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200));
    assert!(port.ask(&many).await.starts_with("HTTP/1.1 431"));
    let _noise = port.ask("\u{16}\u{3}\u{1} hello\r\n\r\n").await;
    assert_eq!(port.get("/healthz").await.0, 200);
    port.close().await;
}

#[tokio::test]
async fn clients_that_use_every_connection_are_dropped_and_the_port_stops_in_time() {
    let database = TestDatabase::create().await;
    let port = Port::open(database.pool()).await;
    let mut silent = Vec::new();
    for _ in 0..140 {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        silent.push(stream);
    }
    let responded = tokio::time::timeout(Duration::from_secs(20), port.get("/healthz")).await;
    assert_eq!(responded.expect("connections are freed").0, 200);
    let stopped = tokio::time::timeout(Duration::from_secs(5), port.close()).await;
    assert!(stopped.is_ok(), "silent clients do not delay the end");
}

#[tokio::test]
async fn p12_clients_that_only_connect_do_not_block_probes() {
    let database = TestDatabase::create().await;
    let port = Port::open(database.pool()).await;
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(TcpStream::connect(port.address).await.unwrap());
    }
    for path in ["/healthz", "/metrics"] {
        let (status, _) = tokio::time::timeout(Duration::from_secs(3), port.get(path)).await.expect("a response soon");
        assert_eq!(status, 200, "{path}");
    }
    port.close().await;
}
