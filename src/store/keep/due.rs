//! What the next pass would drop, counted but not dropped.
//!
//! Counting is bounded in time, because it is done for a person who waits. What could not be counted is `None`.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::super::ident::{quote, table as qualified};
use super::super::partitions::Partition;
use super::super::session::Deadline as _;
use super::{Expired, entities};

/// How long the server may count the old rows of a table.
const COUNT_MAX: &str = "set local statement_timeout = '500ms'; set local lock_timeout = '500ms'";
/// SQLSTATEs of a statement that took too long, or waited too long for a lock.
const TOO_LONG: [&str; 2] = ["57014", "55P03"];

/// What would be dropped of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Due {
    /// With its schema.
    pub table: String,
    /// From when its rows are kept.
    pub kept_from: DateTime<Utc>,
    /// Names of the partitions that would be dropped, oldest first; empty if rows are deleted one by one.
    pub partitions: Vec<String>,
    /// Rows, as their slices last counted them. `null` if counting took too long.
    pub rows: Option<i64>,
    /// The time of the oldest of them.
    pub oldest: Option<DateTime<Utc>>,
}

/// A number of old rows.
struct Counted {
    rows: i64,
    oldest: Option<DateTime<Utc>>,
}

/// Counts old rows, until the time is up.
#[derive(Debug)]
pub struct Counting {
    ends: Instant,
}

impl Counting {
    /// No count begins later than `within` from now.
    pub fn within(within: Duration) -> Self {
        Self { ends: Instant::now() + within }
    }

    /// What would be dropped of a divided table. `None` if nothing would.
    pub async fn partitions(
        &self,
        conn: &mut PgConnection,
        expired: Expired<'_>,
        old: &[Partition],
    ) -> Result<Option<Due>, sqlx::Error> {
        if old.is_empty() {
            return Ok(None);
        }
        let bounds: Vec<_> = old.iter().map(|part| (part.from, part.to.unwrap_or(expired.kept_from))).collect();
        let counted = self.counted(conn, async |conn| of_slices(conn, expired, &bounds).await).await?;
        let names = old.iter().map(|part| part.name.clone()).collect();
        Ok(Some(due(expired, names, counted)))
    }

    /// What would be dropped of a table of windows that is not divided.
    pub async fn windows(&self, conn: &mut PgConnection, expired: Expired<'_>) -> Result<Option<Due>, sqlx::Error> {
        let bounds = [(None, expired.kept_from)];
        let counted = self.counted(conn, async |conn| of_slices(conn, expired, &bounds).await).await?;
        Ok(unless_none(expired, counted))
    }

    /// What would be dropped of a table of entities, whose time is in `column`.
    pub async fn entities(
        &self,
        conn: &mut PgConnection,
        expired: Expired<'_>,
        column: &str,
    ) -> Result<Option<Due>, sqlx::Error> {
        let counted = self.counted(conn, async |conn| of_entities(conn, expired, column).await).await?;
        Ok(unless_none(expired, counted))
    }

    /// Counts within a transaction. `None` if it took too long.
    async fn counted(
        &self,
        conn: &mut PgConnection,
        count: impl AsyncFnOnce(&mut PgConnection) -> Result<Counted, sqlx::Error>,
    ) -> Result<Option<Counted>, sqlx::Error> {
        if Instant::now() > self.ends {
            return Ok(None);
        }
        let mut transaction = conn.begin().in_time().await?;
        sqlx::raw_sql(COUNT_MAX).execute(&mut *transaction).in_time().await?;
        let counted = count(&mut transaction).await;
        transaction.rollback().in_time().await?;
        match counted {
            Ok(counted) => Ok(Some(counted)),
            Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| TOO_LONG.contains(&&*code)) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn due(expired: Expired<'_>, partitions: Vec<String>, counted: Option<Counted>) -> Due {
    let (rows, oldest) = counted.map_or((None, None), |counted| (Some(counted.rows), counted.oldest));
    let table = format!("{}.{}", expired.schema, expired.table);
    Due { table, kept_from: expired.kept_from, partitions, rows, oldest }
}

fn unless_none(expired: Expired<'_>, counted: Option<Counted>) -> Option<Due> {
    let is_none = counted.as_ref().is_some_and(|counted| counted.rows == 0 && counted.oldest.is_none());
    (!is_none).then(|| due(expired, Vec::new(), counted))
}

/// The rows of slices that begin within `bounds` and that nothing needs.
async fn of_slices(
    conn: &mut PgConnection,
    expired: Expired<'_>,
    bounds: &[(Option<DateTime<Utc>>, DateTime<Utc>)],
) -> Result<Counted, sqlx::Error> {
    let (begins, ends): (Vec<Option<DateTime<Utc>>>, Vec<DateTime<Utc>>) = bounds.iter().copied().unzip();
    let found = sqlx::query!(
        r#"
        select coalesce(sum(slice.rows_total), 0)::bigint as "rows!", min(slice.window_start) as oldest
        from unnest($3::timestamptz[], $4::timestamptz[]) as part (begins, ends)
        inner join tidegate.stream
            on stream.table_schema = $1 and stream.table_name = $2
        inner join tidegate.slice
            on
                slice.connection = stream.connection
                and slice.stream = stream.stream
                and slice.window_start >= coalesce(part.begins, '-infinity')
                and slice.window_start < part.ends
        where
            slice.window_start > 'epoch'
            and slice.window_end <= $5
            and slice.held_since is null
            and (
                slice.reading_run is null
                or not exists (
                    select
                    from tidegate.run
                    where run.id in (slice.reading_run, stream.holder_run) and run.finished_at is null
                )
            )
        "#,
        expired.schema,
        expired.table,
        &begins as &[Option<DateTime<Utc>>],
        &ends,
        expired.kept_from,
    )
    .fetch_one(conn)
    .in_time()
    .await?;
    Ok(Counted { rows: found.rows, oldest: found.oldest })
}

async fn of_entities(conn: &mut PgConnection, expired: Expired<'_>, column: &str) -> Result<Counted, sqlx::Error> {
    let holding = entities::holding(conn, expired).await?;
    let (table, time) = (qualified(expired.schema, expired.table), quote(column));
    let statement =
        format!("select count(*), min({time}) from {table} where {time} < $1 and _connection <> all($2::text[])");
    let (rows, oldest): (i64, Option<DateTime<Utc>>) = sqlx::query_as(AssertSqlSafe(statement))
        .persistent(false)
        .bind(expired.kept_from)
        .bind(holding)
        .fetch_one(conn)
        .in_time()
        .await?;
    Ok(Counted { rows, oldest })
}
