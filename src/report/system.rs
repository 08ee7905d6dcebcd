//! Whether Tidegate itself is well: its processes, the database, and the targets of notifications.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::types::Json;

use super::{Document, Query, ReadError, Reading};
use crate::pulse::Loop;
use crate::store::session::Deadline as _;
use crate::store::stored_rows::{self, StoredRows};
use crate::store::{migrations, notification_target};

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct System {
    pub at: DateTime<Utc>,
    pub version: &'static str,
    /// Running processes, the newest last.
    pub processes: Vec<Process>,
    pub postgres_version: String,
    pub database: String,
    pub database_bytes: i64,
    /// The largest tables of the control schema.
    pub tables: Vec<TableSize>,
    /// The newest migration of the database.
    pub migration: Option<i64>,
    /// The newest migration of this process.
    pub own_migration: Option<i64>,
    /// How old the stored rows of the mart are. Empty if none are stored.
    pub stored: Vec<StoredRows>,
    /// Every target of `notify`, with the last delivery.
    pub targets: Vec<Target>,
}

/// A process that was seen within the last minute.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Process {
    /// Host, process id and start.
    pub owner: String,
    /// `None` for commands, and for versions that did not record it.
    pub version: Option<String>,
    pub started_at: Option<DateTime<Utc>>,
    pub seen_at: DateTime<Utc>,
    pub jobs: i64,
    /// To see whether processes differ.
    pub config_hash: Option<String>,
    pub config_refused: bool,
    /// By loop: seconds from its last success until `seen_at`; of `alive`, since the process was seen before.
    pub loops: BTreeMap<String, f64>,
    /// The loops that have not succeeded for too long.
    pub failing: Vec<String>,
}

/// A table of the control schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TableSize {
    pub table: String,
    pub bytes: i64,
    /// As Postgres estimates them.
    pub rows: i64,
}

/// A target of notifications, as the configuration has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Target {
    pub name: String,
    /// The host of its URL.
    pub host: String,
    /// `never sent`, `waiting`, `failing` or `delivered`.
    pub state: &'static str,
    /// Messages that wait, and since when the oldest one does.
    pub due: i64,
    pub oldest_due_at: Option<DateTime<Utc>>,
    /// Messages of the last 30 days that it accepted.
    pub sent: i64,
    pub last_sent_at: Option<DateTime<Utc>>,
    /// Messages of the last 30 days that were given up.
    pub given_up: i64,
    /// When it last did not accept a message, and why.
    pub last_failed_at: Option<DateTime<Utc>>,
    pub last_failure: Option<String>,
    /// Of the last attempt.
    pub last_outcome: Option<String>,
}

impl Document for System {
    const PATH: &'static str = "/system";
    const MEANING: &'static str = "Whether Tidegate itself is well: processes, database, notifications.";

    async fn read(reading: &mut Reading<'_>, _query: &Query) -> Result<Option<Self>, ReadError> {
        let processes = processes(reading).await?;
        let targets = targets(reading).await?;
        let tables = tables(reading).await?;
        // The list of migrations is one of the tables, so there is a row.
        let database = tables.first().ok_or(sqlx::Error::RowNotFound)?;
        Ok(Some(Self {
            at: reading.now,
            version: env!("CARGO_PKG_VERSION"),
            processes,
            postgres_version: database.version.clone(),
            database: database.database.clone(),
            database_bytes: database.database_bytes,
            migration: database.migration,
            tables: tables.into_iter().map(TableSize::from).collect(),
            own_migration: migrations::newest(),
            stored: stored_rows::list(reading.conn).await?,
            targets,
        }))
    }
}

async fn processes(reading: &mut Reading<'_>) -> Result<Vec<Process>, sqlx::Error> {
    sqlx::query!(
        r#"
        select
            owner, version, started_at, seen_at, cardinality(jobs)::bigint as "jobs!", config_hash, config_refused,
            loops as "loops: Json<BTreeMap<String, f64>>"
        from tidegate.instance
        where seen_at > clock_timestamp() - interval '1 minute'
        order by started_at, owner
        limit 100
        "#,
    )
    .map(|row| Process {
        owner: row.owner,
        version: row.version,
        started_at: row.started_at,
        seen_at: row.seen_at,
        jobs: row.jobs,
        config_hash: row.config_hash,
        config_refused: row.config_refused,
        failing: row.loops.as_ref().map(|Json(loops)| failing(loops)).unwrap_or_default(),
        loops: row.loops.map(|Json(loops)| loops).unwrap_or_default(),
    })
    .fetch_all(&mut *reading.conn)
    .in_time()
    .await
}

/// The loops that have not succeeded for too long. Those of another version are not known.
fn failing(loops: &BTreeMap<String, f64>) -> Vec<String> {
    let is_failing = |name: &str, age: f64| Loop::named(name).is_some_and(|of| age > of.failing_after().as_secs_f64());
    loops.iter().filter(|(name, age)| is_failing(name, **age)).map(|(name, _)| name.clone()).collect()
}

/// One of the largest tables of the control schema, with what holds for the database.
#[derive(sqlx::FromRow)]
struct LargeTable {
    version: String,
    database: String,
    database_bytes: i64,
    /// The newest migration.
    migration: Option<i64>,
    name: String,
    bytes: i64,
    rows: i64,
}

impl From<LargeTable> for TableSize {
    fn from(table: LargeTable) -> Self {
        Self { table: table.name, bytes: table.bytes, rows: table.rows }
    }
}

async fn tables(reading: &mut Reading<'_>) -> Result<Vec<LargeTable>, sqlx::Error> {
    // Not a checked query: sqlx makes the list of migrations, so it is not there when statements are checked.
    sqlx::query_as(
        "
        select database.version, database.database, database.database_bytes, database.migration,
            largest.name, largest.bytes, largest.rows
        from (
            select
                current_setting('server_version') as version,
                current_database()::text as database,
                pg_database_size(current_database()) as database_bytes,
                max(version) as migration
            from tidegate._sqlx_migrations
        ) as database
        cross join (
            select
                class.relname::text as name,
                pg_total_relation_size(class.oid) as bytes,
                greatest(class.reltuples, 0)::bigint as rows
            from pg_catalog.pg_class as class
            inner join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
            where namespace.nspname = 'tidegate' and class.relkind in ('r', 'p')
            order by pg_total_relation_size(class.oid) desc, class.relname
            limit 10
        ) as largest
        order by largest.bytes desc, largest.name
        ",
    )
    .fetch_all(&mut *reading.conn)
    .in_time()
    .await
}

async fn targets(reading: &mut Reading<'_>) -> Result<Vec<Target>, sqlx::Error> {
    let configured = &reading.config.notify;
    let names: Vec<String> = configured.iter().map(|target| target.name.clone()).collect();
    let known = notification_target::deliveries(&mut *reading.conn, &names).in_time().await?;
    let listed = configured.iter().filter_map(|target| {
        let known = known.iter().find(|known| known.target == target.name)?;
        Some(Target {
            name: target.name.clone(),
            host: target.host.clone(),
            state: known.state(),
            due: known.due,
            oldest_due_at: known.oldest_due_at,
            sent: known.sent,
            last_sent_at: known.last_sent_at,
            given_up: known.given_up,
            last_failed_at: known.last_failed_at,
            last_failure: known.last_failure.clone(),
            last_outcome: known.last_outcome.clone(),
        })
    });
    Ok(listed.collect())
}
