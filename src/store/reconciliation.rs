//! The vendors' own totals beside our rows: the last comparison, which is stored, because it reads the warehouse.

use std::time::Duration;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::error::DatabaseError;
use sqlx::{Connection as _, PgConnection, PgPool};

use super::session::{self, Deadline as _};

/// Time limit of a comparison. A million rows take about a second.
const COMPARE_MAX: Duration = Duration::from_mins(1);
/// After a comparison, the next one waits this many times as long as it took, which limits the load of the server.
const PAUSE_FACTOR: f64 = 20.0;
/// SQLSTATE of a relation that does not exist: the views are not made yet.
const NO_VIEW: &str = "42P01";
/// SQLSTATE of a statement that took longer than it may.
const TOO_LONG: &str = "57014";

/// A total that differs from the number of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    pub connection: String,
    pub metric: String,
    pub bucket_start: DateTime<Utc>,
    pub bucket_end: Option<DateTime<Utc>>,
    pub vendor_total: f64,
    pub our_count: f64,
    /// `our_count` minus `vendor_total`.
    pub difference: f64,
}

/// The last comparison of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Compared {
    pub connection: String,
    pub checked_at: DateTime<Utc>,
    /// Totals that could be compared.
    pub compared: i64,
    pub differences: i64,
}

/// What the last comparison of the given connections found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Reconciliation {
    pub connections: Vec<Compared>,
    /// All differences.
    pub differences: i64,
    /// The newest of them.
    pub newest: Vec<Difference>,
}

/// The last comparison of each connection that has been compared.
pub async fn compared(conn: &mut PgConnection, connections: &[String]) -> Result<Vec<Compared>, sqlx::Error> {
    sqlx::query_as!(
        Compared,
        r#"
        select connection, checked_at, compared, differences
        from tidegate.reconciliation
        where connection = any($1)
        order by reconciliation.connection
        "#,
        connections,
    )
    .fetch_all(conn)
    .in_time()
    .await
}

/// The same with the newest differences, at most `limit`.
pub async fn last(conn: &mut PgConnection, connections: &[String], limit: i64) -> Result<Reconciliation, sqlx::Error> {
    let compared = compared(&mut *conn, connections).await?;
    let newest = sqlx::query_as!(
        Difference,
        r#"
        select connection, metric, bucket_start, bucket_end, vendor_total, our_count,
            our_count - vendor_total as "difference!"
        from tidegate.reconciliation_difference
        where connection = any($1)
        order by reconciliation_difference.bucket_start desc, reconciliation_difference.connection,
            reconciliation_difference.metric
        limit $2
        "#,
        connections,
        limit,
    )
    .fetch_all(conn)
    .in_time()
    .await?;
    let differences = compared.iter().map(|compared| compared.differences).sum();
    Ok(Reconciliation { connections: compared, differences, newest })
}

/// Compares again and stores the result, if something was read since the last time. Returns whether it did: not if a
/// load has to change a table meanwhile.
pub async fn compare(pool: &PgPool, conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let mut transaction = conn.begin().await?;
    let is_due = sqlx::query_scalar!(
        r#"
        with last as (
            select max(checked_at) as checked_at, max(check_after) as check_after
            from tidegate.reconciliation
        )
        select
            not current_setting('transaction_read_only')::boolean
            and exists (
                select from tidegate.lock where name = 'reconciliation' for update skip locked
            )
            and exists (
                select
                from tidegate.stream
                cross join last
                where
                    (
                        (table_schema = 'jaicp' and stream in ('stats_series', 'messages', 'sessions'))
                        or (
                            table_schema = 'lexer'
                            and stream in (
                                'summary', 'case_summary', 'nps_summary',
                                'mention_sla_export', 'case_details', 'nps_submissions'
                            )
                        )
                    )
                    and (
                        last.checked_at is null
                        or (last_finish_at > last.checked_at and clock_timestamp() > last.check_after)
                    )
            ) as "is_due!"
        "#,
    )
    .fetch_one(&mut *transaction)
    .in_time()
    .await?;
    if !is_due {
        return Ok(false);
    }
    let backend = session::backend(&mut transaction).await?;
    let stored = session::yielding(pool, backend, store(&mut transaction)).within(2 * COMPARE_MAX).await;
    match stored {
        Ok(Some(())) => transaction.commit().await.map(|()| true),
        Ok(None) => transaction.rollback().in_time().await.map(|()| false),
        Err(error) => {
            transaction.rollback().in_time().await?;
            match error.as_database_error().and_then(DatabaseError::code).as_deref() {
                Some(NO_VIEW) => Ok(false),
                Some(TOO_LONG) => {
                    postpone(conn).in_time().await?;
                    Err(error)
                }
                _ => Err(error),
            }
        }
    }
}

async fn store(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("select set_config('statement_timeout', $1, true)", COMPARE_MAX.as_millis().to_string())
        .fetch_one(&mut *conn)
        .await?;
    sqlx::query!("delete from tidegate.reconciliation_difference").execute(&mut *conn).await?;
    sqlx::query!("delete from tidegate.reconciliation").execute(&mut *conn).await?;
    // Not a checked query: the program makes the view, not the migrations.
    sqlx::query(
        "with found as materialized (
            select connection, metric, bucket_start, bucket_end, vendor_total, our_count, difference
            from mart.reconciliation
            where comparable and difference is not null
        ),
        noted as (
            insert into tidegate.reconciliation_difference
            (connection, metric, bucket_start, bucket_end, vendor_total, our_count)
            select connection, metric, bucket_start, bucket_end, vendor_total, our_count
            from (
                select *, row_number() over (partition by connection order by bucket_start desc, metric) as place
                from found
                where difference <> 0
            ) as newest
            where place <= 100
        )
        insert into tidegate.reconciliation (connection, checked_at, check_after, compared, differences)
        select
            connected.connection,
            now(),
            clock_timestamp(),
            count(found.connection),
            count(*) filter (where found.difference <> 0)
        from (
            select distinct connection
            from tidegate.stream
            where table_schema in ('jaicp', 'lexer')
        ) as connected
        left join found on found.connection = connected.connection
        group by connected.connection",
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "update tidegate.reconciliation set check_after = clock_timestamp() + $1 * (clock_timestamp() - now())",
        PAUSE_FACTOR,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Leaves the server alone after a comparison that took too long.
async fn postpone(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into tidegate.reconciliation (connection, checked_at, check_after, compared, differences)
        select distinct connection, 'epoch'::timestamptz, clock_timestamp() + $1 * make_interval(secs => $2), 0, 0
        from tidegate.stream
        where table_schema in ('jaicp', 'lexer')
        on conflict (connection) do update set check_after = excluded.check_after
        "#,
        PAUSE_FACTOR,
        COMPARE_MAX.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    Ok(())
}
