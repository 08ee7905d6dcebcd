//! Whether Tidegate itself is well: its processes, the database, and where messages go.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::types::Json;

use super::{Document, Query, ReadError, Reading};
use crate::store::migrations;
use crate::store::session::Deadline as _;
use crate::store::stored_rows::{self, StoredRows};

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
    /// Where messages go, with the last delivery.
    pub targets: Vec<Target>,
}

/// A process that was seen within the last minute.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Process {
    /// Host, process id and start.
    pub owner: String,
    /// `None` for commands and for versions that did not say.
    pub version: Option<String>,
    pub started_at: Option<DateTime<Utc>>,
    pub seen_at: DateTime<Utc>,
    pub jobs: i64,
    /// To see whether processes differ.
    pub config_hash: Option<String>,
    pub config_refused: bool,
    /// By loop: seconds since it last completed.
    pub loops: BTreeMap<String, f64>,
}

/// A table of the control schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct TableSize {
    pub table: String,
    pub bytes: i64,
    /// As Postgres estimates them.
    pub rows: i64,
}

/// A target of notifications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Target {
    pub name: String,
    pub due: i64,
    pub oldest_due_at: Option<DateTime<Utc>>,
    pub sent: i64,
    pub last_sent_at: Option<DateTime<Utc>>,
    pub given_up: i64,
    /// Of the last attempt.
    pub last_outcome: Option<String>,
}

impl Document for System {
    const PATH: &'static str = "/system";

    async fn read(reading: &mut Reading<'_>, _query: &Query) -> Result<Option<Self>, ReadError> {
        let processes = processes(reading).await?;
        let tables = tables(reading).await?;
        let targets = targets(reading).await?;
        let database = sqlx::query!(
            r#"
            select
                current_setting('server_version') as "version!",
                current_database()::text as "name!",
                pg_database_size(current_database()) as "bytes!"
            "#,
        )
        .fetch_one(&mut *reading.conn)
        .in_time()
        .await?;
        // sqlx makes this table, so it is not there when statements are checked.
        let migration = sqlx::query_scalar("select max(version) from tidegate._sqlx_migrations")
            .fetch_one(&mut *reading.conn)
            .in_time()
            .await?;
        Ok(Some(Self {
            at: reading.now,
            version: env!("CARGO_PKG_VERSION"),
            processes,
            postgres_version: database.version,
            database: database.name,
            database_bytes: database.bytes,
            tables,
            migration,
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
        loops: row.loops.map(|Json(loops)| loops).unwrap_or_default(),
    })
    .fetch_all(&mut *reading.conn)
    .in_time()
    .await
}

async fn tables(reading: &mut Reading<'_>) -> Result<Vec<TableSize>, sqlx::Error> {
    sqlx::query_as!(
        TableSize,
        r#"
        select
            class.relname::text as "table!",
            pg_total_relation_size(class.oid) as "bytes!",
            greatest(class.reltuples, 0)::bigint as "rows!"
        from pg_catalog.pg_class as class
        inner join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
        where namespace.nspname = 'tidegate' and class.relkind in ('r', 'p')
        order by pg_total_relation_size(class.oid) desc, class.relname
        limit 10
        "#,
    )
    .fetch_all(&mut *reading.conn)
    .in_time()
    .await
}

async fn targets(reading: &mut Reading<'_>) -> Result<Vec<Target>, sqlx::Error> {
    sqlx::query_as!(
        Target,
        r#"
        select
            target as "name!",
            count(*) filter (where state = 'due') as "due!",
            min(created_at) filter (where state = 'due') as oldest_due_at,
            count(*) filter (where state = 'sent') as "sent!",
            max(sent_at) as last_sent_at,
            count(*) filter (where state = 'given_up') as "given_up!",
            (array_agg(outcome order by created_at desc) filter (where outcome is not null))[1] as last_outcome
        from tidegate.notification
        group by target
        order by target
        limit 100
        "#,
    )
    .fetch_all(&mut *reading.conn)
    .in_time()
    .await
}
