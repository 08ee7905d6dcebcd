//! The vendors' own totals beside our rows.

use std::collections::BTreeMap;

use chrono::Utc;
use sqlx::{AssertSqlSafe, PgConnection};
use tidegate::app::compare_totals;
use tidegate::config::Config;
use tidegate::report::StatusReport;
use tidegate::store::reconciliation::{self, Reconciliation};

use super::Mart;
use super::company::Warehouse;
use crate::support::daemon::tidegate;

/// The metrics, and a fault in the tables that must show as a difference of one.
const FAULTS: &[(&str, f64, &str)] = &[
    ("messages", -1.0, "delete from jaicp.messages where question_id = (select max(question_id) from jaicp.messages)"),
    ("sessions", -1.0, "delete from jaicp.sessions where session_id = (select max(session_id) from jaicp.sessions)"),
    (
        "mentions",
        -1.0,
        "delete from lexer.mention_sla_export where _row_key = (select min(_row_key::text)::uuid from lexer.mention_sla_export)",
    ),
    (
        "closed cases",
        -1.0,
        "delete from lexer.case_details where case_id = (select max(case_id) from lexer.case_details where closed_utc is not null)",
    ),
    (
        "nps answers",
        -1.0,
        "delete from lexer.nps_submissions where _row_key = (select min(_row_key::text)::uuid from lexer.nps_submissions)",
    ),
    (
        "nps promoters",
        1.0,
        "update lexer.nps_submissions set score = '10'
        where _row_key = (select min(_row_key::text)::uuid from lexer.nps_submissions where score = '7')",
    ),
    (
        "nps passives",
        -1.0,
        "update lexer.nps_submissions set score = '10'
        where _row_key = (select min(_row_key::text)::uuid from lexer.nps_submissions where score = '7')",
    ),
    (
        "nps detractors",
        1.0,
        "update lexer.nps_submissions set score = '6'
        where _row_key = (select min(_row_key::text)::uuid from lexer.nps_submissions where score = '7')",
    ),
];

/// Totals that a vendor leaves out, and the metric that then has our rows and no total.
const OMISSIONS: &[(&str, &str)] = &[
    (
        "messages",
        "delete from jaicp.stats_series where metric = 'messages' and bucket = (select min(bucket) from jaicp.stats_series)",
    ),
    ("sessions", "delete from jaicp.stats_series where metric = 'sessions'"),
    ("mentions", "delete from lexer.summary where _window_start = (select min(_window_start) from lexer.summary)"),
    (
        "nps answers",
        "delete from lexer.nps_summary where _window_start = (select min(_window_start) from lexer.nps_summary)",
    ),
    (
        "closed cases",
        "delete from lexer.case_summary where _window_start = (select min(_window_start) + interval '1 day' from lexer.case_summary)",
    ),
];

/// By metric: comparable buckets with rows, buckets that differ, and the sum of the differences.
async fn differences(session: &mut PgConnection) -> BTreeMap<String, (i64, i64, f64)> {
    let sql = "select metric, count(*) filter (where comparable and our_count > 0),
            count(*) filter (where difference <> 0), coalesce(sum(difference), 0)
        from mart.reconciliation group by metric";
    let rows: Vec<(String, i64, i64, f64)> = sqlx::query_as(sql).fetch_all(session).await.unwrap();
    rows.into_iter().map(|(metric, compared, different, sum)| (metric, (compared, different, sum))).collect()
}

/// How often the view reads each table.
async fn readings(session: &mut PgConnection) -> BTreeMap<String, u64> {
    fn add(node: &serde_json::Value, found: &mut BTreeMap<String, u64>) {
        if let Some(table) = node["Relation Name"].as_str() {
            *found.entry(table.to_owned()).or_default() += node["Actual Loops"].as_u64().unwrap();
        }
        node["Plans"].as_array().into_iter().flatten().for_each(|node| add(node, found));
    }
    let sql = "explain (analyze, format json) select * from mart.reconciliation where difference <> 0";
    let plan: serde_json::Value = sqlx::query_scalar(sql).fetch_one(session).await.unwrap();
    let mut found = BTreeMap::new();
    add(&plan[0]["Plan"], &mut found);
    found
}

async fn execute(session: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(session).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_the_vendors_totals_agree_with_the_rows_and_a_lost_row_shows() {
    let warehouse = Warehouse::new().await;
    let session = &mut warehouse.world.database.connect().await;
    let found = differences(session).await;
    let whole_days = (warehouse.to - warehouse.from).num_days();
    for (metric, ..) in FAULTS {
        let (compared, different, _) = found[*metric];
        // A quiet day may have no promoter. Cases are closed on every day, also those that began before the first.
        let quiet_days = i64::from(*metric != "closed cases");
        assert!(compared >= whole_days - quiet_days, "{metric}: {found:?}");
        assert_eq!(different, 0, "{metric}: {found:?}");
    }
    assert_eq!(found.len(), FAULTS.len(), "{found:?}");
    let keys: i64 = sqlx::query_scalar(
        "select count(*) - count(distinct (source, connection, metric, bucket_start)) from mart.reconciliation",
    )
    .fetch_one(&mut *session)
    .await
    .unwrap();
    assert_eq!(keys, 0);
    let readings = readings(session).await;
    for table in ["nps_submissions", "case_details"] {
        assert_eq!(readings[table], 1, "the texts of {table} are converted once: {readings:?}");
    }

    for (metric, difference, fault) in FAULTS {
        execute(session, &format!("begin; {fault}")).await;
        let found = differences(session).await[*metric];
        assert_eq!((found.1, found.2), (1, *difference), "{metric}: {found:?}");
        execute(session, "rollback").await;
    }
    for (metric, omission) in OMISSIONS {
        execute(session, &format!("begin; {omission}")).await;
        let (_, different, sum) = differences(session).await[*metric];
        assert!(different > 0 && sum > 0.0, "{metric}: {different} {sum}");
        execute(session, "rollback").await;
    }

    let sql = "begin; update lexer.mention_sla_export set customer_publish_date_utc = null
        where _row_key = (select min(_row_key::text)::uuid from lexer.mention_sla_export)";
    execute(session, sql).await;
    assert_eq!(differences(session).await["mentions"].0, 0, "without their times rows are not comparable");
    execute(session, "rollback").await;

    shown_after_runs(&warehouse, session).await;
}

async fn report(session: &mut PgConnection, config: &Config) -> Reconciliation {
    StatusReport::gather(session, config, &[], false, Utc::now()).await.unwrap().reconciliation
}

/// What the status page, the status command and the metrics show.
async fn shown_after_runs(warehouse: &Warehouse, session: &mut PgConnection) {
    let config = warehouse.world.config();
    let pool = warehouse.world.database.pool();
    assert!(reconciliation::compare(&pool, session).await.unwrap(), "something was read");
    assert!(!reconciliation::compare(&pool, session).await.unwrap(), "nothing was read since");
    let found = report(session, &config).await;
    let compared: BTreeMap<&str, bool> =
        found.connections.iter().map(|compared| (&*compared.connection, compared.compared > 0)).collect();
    assert_eq!(compared, [("demo-jaicp", true), ("demo-lexer", true)].into());
    assert_eq!((found.differences, found.newest), (0, Vec::new()));

    let (_, _, fault) = FAULTS[0];
    execute(session, &format!("{fault}; update tidegate.stream set last_finish_at = clock_timestamp()")).await;
    execute(session, "update tidegate.reconciliation set check_after = now() + interval '1 hour'").await;
    compare_totals(&pool).await.unwrap();
    assert_eq!(report(session, &config).await.differences, 0, "the next comparison is not yet due");
    execute(session, "update tidegate.reconciliation set check_after = now()").await;
    compare_totals(&pool).await.unwrap();
    let found = report(session, &config).await;
    let shown: Vec<_> =
        found.newest.iter().map(|found| (&*found.connection, &*found.metric, found.difference)).collect();
    assert_eq!((found.differences, shown), (1, vec![("demo-jaicp", "messages", -1.0)]));
    let folder = warehouse.world.folder.path();
    let output = tidegate(folder, &[], &["--config", ".", "status"]).output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("Totals of vendors that differ from our rows: 1"), "{said}");
    assert!(said.lines().any(|line| line.contains("demo-jaicp  messages") && line.ends_with("-1")), "{said}");
}

#[tokio::test]
async fn without_the_view_nothing_is_compared() {
    let mart = Mart::without_views().await;
    let session = &mut mart.database.connect().await;
    execute(
        session,
        "insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
        values ('acme', 'summary', 'lexer', 'summary', current_date - 9, 'UTC', '1d')",
    )
    .await;
    assert!(!reconciliation::compare(&mart.pool, session).await.unwrap());
    mart.refresh().await;
    assert!(reconciliation::compare(&mart.pool, session).await.unwrap());
    assert!(!reconciliation::compare(&mart.pool, session).await.unwrap());
}
