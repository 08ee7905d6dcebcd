//! The columns of the SLA file have types, and values that do not fit are kept.

use serde_json::json;
use simulator::{Change, Rows};
use sqlx::Connection as _;

use super::*;
use crate::support::TestDatabase;

const TYPED: [(&str, &str); 8] = [
    ("agent_reponse_date_utc", "timestamp with time zone"),
    ("agent_response_time_min", "double precision"),
    ("customer_publish_date_utc", "timestamp with time zone"),
    ("customer_wait_time_min", "double precision"),
    ("in_queue_min", "double precision"),
    ("last_action_date_utc", "timestamp with time zone"),
    ("within_agent_sla", "boolean"),
    ("within_customer_sla", "boolean"),
];

async fn types(pool: &sqlx::PgPool) -> Vec<(String, String)> {
    sqlx::query_as(
        "select column_name::text, data_type::text from information_schema.columns
        where table_schema = 'lexer' and table_name = 'mention_sla_export' and column_name not like '\\_%'
            and column_name <> 'window_end' and data_type <> 'text' order by 1",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

fn wanted() -> Vec<(String, String)> {
    TYPED.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_minutes_flags_and_times_have_types_and_what_does_not_fit_is_kept() {
    let world = plain("[mention_sla_export]", 2).await;
    let data = lexer(&world).data();
    let set = |field: &str, text: &str| Change::Set { field: field.to_owned(), json: json!(text).to_string() };
    let rows = || Rows::since(SLA, ago(2));
    data.change(rows().every(4), set("Within Customer SLA", "Yes")).unwrap();
    data.change(rows().every(5), set("Within Agent SLA", "perhaps")).unwrap();
    data.change(rows().every(6), set("In Queue (min)", "n/a")).unwrap();
    data.change(rows().every(7), set("Last Action Date (UTC)", "01/03/2025 09:15")).unwrap();
    data.change(rows().every(9), set("Customer Publish Date (UTC)", "2025-03-01T09:15")).unwrap();
    world.sync_ok().await;
    assert_eq!(types(&world.database.pool()).await, wanted());
    let count = async |condition: &str| -> i64 {
        world.scalar(&format!("select count(*) from lexer.mention_sla_export where {condition}")).await
    };
    let all = count("true").await;
    assert!(all >= 80, "{all}");
    assert!(count("within_customer_sla").await >= all / 4 - 1);
    let perhaps = count("_extra ->> 'Within Agent SLA' = 'perhaps' and within_agent_sla is null").await;
    let queue = count("_extra ->> 'In Queue (min)' = 'n/a' and in_queue_min is null").await;
    let action =
        count("_extra ->> 'Last Action Date (UTC)' = '01/03/2025 09:15' and last_action_date_utc is null").await;
    assert!(perhaps >= 15 && queue >= 12 && action >= 10, "{perhaps} {queue} {action}");
    assert_eq!(count("within_agent_sla is null").await, perhaps);
    assert_eq!(count("in_queue_min is null").await, queue);
    assert!(count("customer_publish_date_utc = '2025-03-01 09:15:00+00'").await >= 8);
    assert_eq!(count("customer_publish_date_utc is null").await, 0);
    let average: f64 = world.scalar("select avg(customer_wait_time_min) from lexer.mention_sla_export").await;
    assert!(average > 1.0, "without a cast: {average}");
}

/// The schema before the migration that introduced these types, in one session.
async fn before() -> (TestDatabase, sqlx::PgConnection) {
    let database = TestDatabase::create_empty().await;
    let mut connection = sqlx::PgConnection::connect(database.url()).await.unwrap();
    for (version, sql) in migrations() {
        if version < 20_261_129_000_201 {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        }
    }
    (database, connection)
}

fn migrations() -> Vec<(i64, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut found: Vec<(i64, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name.split('_').next().unwrap().parse().unwrap(), std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    found.sort();
    found
}

async fn migrate(connection: &mut sqlx::PgConnection) {
    let (_, sql) = migrations().into_iter().find(|(version, _)| *version == 20_261_129_000_201).unwrap();
    let mut transaction = connection.begin().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
}

async fn run_sql(connection: &mut sqlx::PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}

const ROW: &str = "insert into lexer.mention_sla_export (
        _connection, _window_start, _row_key, _run_id, _loaded_at, _extra,
        in_queue_min, within_agent_sla, customer_publish_date_utc, last_action_date_utc
    )
    select 'acme', now(), gen_random_uuid(), 1, now(), extra::jsonb, queue, flag, published, action
    from (values
        (null, '3.5', 'true', '2025-03-01 09:15:00', '2025-03-01T09:15:00+02:00'),
        ('{\"a\": 1}', 'n/a', 'maybe', 'yesterday', ''),
        (null, '1e999', 'No', '2025-02-30 09:15:00', null)
    ) as old (extra, queue, flag, published, action)";

/// Minutes, a flag, two times, and `_extra`.
type Converted = (Option<f64>, Option<bool>, Option<DateTime<Utc>>, Option<DateTime<Utc>>, Option<Value>);

#[tokio::test]
async fn p5_the_migration_converts_what_is_understood_and_keeps_the_rest() {
    let (_database, mut connection) = before().await;
    run_sql(&mut connection, ROW).await;
    run_sql(
        &mut connection,
        "alter table khoros.conversation add column closed_time text;
        insert into tidegate.table_column (table_schema, table_name, column_name, field, kind)
        values ('khoros', 'conversation', 'closed_time', 'Closed Time', 'text');
        insert into khoros.conversation (_connection, conversation_id, _run_id, _loaded_at, closed_time)
        values ('a', '1', 1, now(), '2025-03-01T09:15:00Z'), ('a', '2', 1, now(), ''), ('a', '3', 1, now(), 'Mar 1, 2025'),
            ('a', '4', 1, now(), '2025-03-01 09:15:00')",
    )
    .await;
    migrate(&mut connection).await;
    let rows: Vec<Converted> = sqlx::query_as(
        "select in_queue_min, within_agent_sla, customer_publish_date_utc, last_action_date_utc, _extra
            from lexer.mention_sla_export order by within_agent_sla nulls first",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let at = |text: &str| Some(text.parse::<DateTime<Utc>>().unwrap());
    let odd = json!({ "a": 1, "In Queue (min)": "n/a", "Within Agent SLA": "maybe", "Customer Publish Date (UTC)": "yesterday" });
    let long = json!({ "In Queue (min)": "1e999", "Customer Publish Date (UTC)": "2025-02-30 09:15:00" });
    assert_eq!(
        rows,
        [
            (None, None, None, None, Some(odd)),
            (None, Some(false), None, None, Some(long)),
            (Some(3.5), Some(true), at("2025-03-01T09:15:00Z"), at("2025-03-01T07:15:00Z"), None),
        ]
    );
    let closed: Vec<(Option<DateTime<Utc>>, Option<Value>)> =
        sqlx::query_as("select closed_time, _extra from khoros.conversation order by conversation_id")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(
        closed,
        [
            (at("2025-03-01T09:15:00Z"), None),
            (None, None),
            (None, Some(json!({ "Closed Time": "Mar 1, 2025" }))),
            (None, Some(json!({ "Closed Time": "2025-03-01 09:15:00" }))),
        ]
    );
    let left: i64 = sqlx::query_scalar("select count(*) from tidegate.table_column where column_name = 'closed_time'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(left, 0, "it is documented now");
}

#[tokio::test]
async fn a_view_on_a_column_neither_breaks_nor_stops_the_migration() {
    let (database, mut connection) = before().await;
    run_sql(&mut connection, ROW).await;
    run_sql(
        &mut connection,
        "create view public.waits as select nullif(in_queue_min, '') as waited from lexer.mention_sla_export;
        alter table lexer.mention_sla_export drop column within_agent_sla;
        alter table lexer.mention_sla_export alter column customer_wait_time_min type double precision using null",
    )
    .await;
    migrate(&mut connection).await;
    let waited: Vec<String> =
        sqlx::query_scalar("select waited from public.waits order by 1").fetch_all(&mut connection).await.unwrap();
    assert_eq!(waited, ["1e999", "3.5", "n/a"], "the column that the view reads is as it was");
    let kept: i64 = sqlx::query_scalar("select count(*) from lexer.mention_sla_export where _extra ? 'In Queue (min)'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(kept, 0, "nothing was moved away from a column that stays");
    let expected: Vec<(String, String)> =
        wanted().into_iter().filter(|(name, _)| name != "in_queue_min" && name != "within_agent_sla").collect();
    assert_eq!(types(&database.pool()).await, expected);
}
