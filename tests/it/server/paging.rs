//! Lists are cut after 50 rows, and their links lead through all rows: none is lost, none comes twice.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sqlx::PgPool;

use super::api;
use crate::support::TestDatabase;
use crate::support::port::{self, CONFIG, Port};
use crate::support::story;
use crate::support::story::PAGES;

/// Rows of each list: two full pages and a part.
const ROWS: usize = 120;
/// A page is not larger, whatever it lists; the overview has half of it.
const PAGE_BYTES_MAX: usize = 120 * 1_024;
const OVERVIEW_BYTES_MAX: usize = 60 * 1_024;

/// Lists: the path, the name of the rows and of the fields that identify one.
const LISTS: [(&str, &str, &[&str]); 7] = [
    ("/streams", "streams", &["connection", "stream"]),
    ("/jobs", "jobs", &["job"]),
    ("/runs", "runs", &["run_id"]),
    ("/quotas", "credentials", &["connections"]),
    ("/connections", "connections", &["connection"]),
    ("/events", "events", &["id"]),
    ("/schema", "changes", &["id"]),
];

/// As many connections and jobs, with long names.
fn many() -> String {
    let (mut connections, mut jobs) = (String::new(), String::new());
    for number in 0..ROWS - 1 {
        let _ = writeln!(
            connections,
            "  customer-with-a-long-name-{number:03}: {{ vendor: lynn_reporting, tenant: 1{number}, access_token: \"t{number}-7c01d94ab3e2f5\", \
             access_token_secret: \"0b6f2f4e-52a1-4c0e-9d61-3a7a4be0c111\" }}"
        );
        let _ = writeln!(
            jobs,
            "  every-report-of-customer-{number:03}: {{ connection: customer-with-a-long-name-{number:03}, streams: [survey_result], \
             schedule: \"{} * * * *\", start: 2026-01-01 }}",
            number % 60,
        );
    }
    CONFIG.replace("jobs:\n", &format!("{connections}jobs:\n{jobs}"))
}

/// A stream, a run, a credential, an event and more for each of them, all in trouble.
const FILL: &str = "
    insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice, jobs, day_zone, wanted_from,
        expected_by, last_success_at, expected_after, last_error)
    select 'customer-with-a-long-name-' || to_char(n, 'FM000'), 'survey_result', 'lynn', 'survey_result', current_date - 90,
        'America/Santiago', '1d', array['every-report-of-customer-' || to_char(n, 'FM000')], 'America/Santiago', now() - interval '90 days',
        now() - interval '1 hour', now() - interval '1 day', now(), repeat('the vendor refused the credentials; ', 20)
    from generate_series(0, 118) as n;
    -- Every other day, so that bars have as many parts as they can have.
    insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_run, finished_at)
    select connection, stream, day, day + interval '1 day', day + interval '1 day', 1, now()
    from tidegate.stream
    cross join generate_series((current_date - 90)::timestamp at time zone 'America/Santiago', now() - interval '1 day', '2 days') as day
    where connection <> 'acme-lynn';
    insert into tidegate.run (job, connection, kind, state, created_at, due_at, error, hint)
    select jobs[1], connection, 'manual', (array['waiting', 'failed', 'queued'])[1 + length(connection) % 3], now(), now() + interval '1 hour',
        last_error, 'renew the token'
    from tidegate.stream where connection <> 'acme-lynn';
    insert into tidegate.run (job, connection, kind, state, created_at, started_at, lease_until)
    select jobs[1], connection, 'schedule', 'running', now(), now(), now() + interval '1 hour'
    from tidegate.stream where connection <> 'acme-lynn';
    insert into tidegate.problem (kind, scope, connection, stream, opened_at, summary, hint)
    select 'late', connection || '/' || stream, connection, stream, now(), coalesce(last_error, 'late'), last_error from tidegate.stream;
    insert into tidegate.event (kind, connection, stream, summary)
    select 'late', connection, stream, coalesce(last_error, 'late') from tidegate.stream where connection <> 'acme-lynn';
    insert into tidegate.schema_change (table_schema, table_name, column_name, change)
    select 'lynn', 'survey_result', 'column_' || n, 'add_column' from generate_series(1, 119) as n;
    insert into tidegate.rejected_record (run_id, connection, stream, window_start, reason, record)
    select 1, connection, stream, now(), last_error, '{}' from tidegate.stream where last_error is not null;
    insert into tidegate.push_batch (job, connection, campaign_id, template_id, rows, state, error)
    select jobs[1], connection, 'c', 't', 10, 'unknown', last_error from tidegate.stream;
    insert into tidegate.quota_ledger (key, connections)
    select 'key of ' || connection, array[connection] from tidegate.stream where connection <> 'acme-lynn';
    insert into tidegate.quota_limit (ledger_id, name, unit, amount, per, reach, width)
    select id, name, 'calls', 100, '1 day', '1 day', '0'
    from tidegate.quota_ledger cross join unnest(array['requests', 'create_token', 'period_bandwidth']) as name where id > 1;
    insert into tidegate.quota_use (limit_id, ends_at, used)
    select id, now(), id % 90 from tidegate.quota_limit where id > 1;
    insert into tidegate.quota_hour (connection, hour, calls, bytes, waited_seconds, refused)
    select connection, date_trunc('hour', now()) - n * interval '1 hour', 10 * n, 1000 * n, n, 0
    from tidegate.stream cross join generate_series(1, 168) as n where connection <> 'acme-lynn';
    analyze;
";

async fn fill(pool: &PgPool) {
    story::calm(pool).await;
    sqlx::raw_sql(FILL).execute(pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_lead_through_all_rows_and_no_page_is_large() {
    let database = TestDatabase::create().await;
    fill(&database.pool()).await;
    let port = Port::of(database.pool(), port::config(&many())).await;
    for (page, rows, key) in LISTS {
        let (mut seen, mut after, mut pages) = (BTreeSet::new(), String::new(), 0);
        loop {
            let document = port.fetch(&format!("{}{after}", api(page)), "").await.json();
            let html = port.fetch(&format!("{page}{after}"), "").await;
            assert!(html.body.len() <= PAGE_BYTES_MAX, "{page}{after} has {} bytes", html.body.len());
            let listed = document[rows].as_array().unwrap();
            assert!(listed.len() <= 50 && !listed.is_empty(), "{page}{after}: {document}");
            for row in listed {
                let name = key.iter().map(|field| row[field].to_string()).collect::<Vec<_>>();
                assert!(seen.insert(name.clone()), "{page}{after}: {name:?} comes twice");
            }
            pages += 1;
            let next = match &document["next"] {
                serde_json::Value::Null => break,
                serde_json::Value::String(text) => text.clone(),
                number => number.to_string(),
            };
            after = format!("?after={}", next.replace('/', "%2F"));
            assert!(html.body.contains(&format!("href=\"{page}{after}\"")), "{page}: no link {after}");
        }
        let expected = if page == "/runs" {
            2 * ROWS - 1
        } else if page == "/streams" {
            ROWS + 2
        } else {
            ROWS
        };
        assert_eq!(seen.len(), expected, "{page}");
        assert_eq!(pages, expected.div_ceil(if page == "/quotas" { 25 } else { 50 }), "{page}");
    }
    for page in PAGES {
        let bytes = port.fetch(page, "").await.body.len();
        eprintln!("{page} {bytes} bytes");
        assert!(bytes <= if page == "/" { OVERVIEW_BYTES_MAX } else { PAGE_BYTES_MAX }, "{page} has {bytes} bytes");
        let document = port.fetch(&api(page), "").await.body.len();
        eprintln!("{} {document} bytes", api(page));
    }
    // A filter is kept from page to page.
    let html = port.fetch("/streams?q=customer&state=late", "").await.body;
    assert!(html.contains("href=\"/streams?q=customer&amp;state=late&amp;after="), "{html}");
    port.close().await;
}
