//! The views of the schema `mart`, on a real Postgres.

mod command;
pub mod company;
mod functions;
mod grafana;
mod keys;
mod locks;
mod meaning;
mod odd;
mod persons;
mod questions;
mod reconciliation;
mod roles;
mod settings;
mod stored;
mod superset;
mod times;
mod truth;
mod variants;
mod views;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tidegate::mart::fields::{Kind, SOURCES};
use tidegate::mart::relations::RELATIONS;
use tidegate::mart::{Settings, Views};

use crate::support::TestDatabase;

/// The tables that the views read besides those of [`SOURCES`].
const DOCUMENTED: &[&str] = &[
    "jaicp.sessions",
    "jaicp.messages",
    "jaicp.clients",
    "jaicp.stats_series",
    "lexer.users",
    "lexer.forms",
    "lexer.mention_sla_export",
    "lexer.user_summary",
    "lexer.user_volume",
    "lexer.nps_summary",
    "lexer.summary",
    "lynn.navigation_marks",
];

/// The key of each view.
const KEYS: &[(&str, &str)] = &[
    ("channels", "source, channel_raw"),
    ("calendar", "day"),
    ("conversations", "conversation_key"),
    ("messages", "message_key"),
    ("messages_text", "message_key"),
    ("agents", "agent_key"),
    ("customers", "customer_key"),
    ("agent_days", "agent_key, day"),
    ("bot_turns", "turn_key"),
    ("backlog_days", "day, source, connection, unit, state, coalesce(agent_key, '')"),
    ("service_levels", "day, source, connection, unit, channel, coalesce(agent_key, '')"),
    ("survey_responses", "response_key"),
    ("nps_days", "connection, day, form_id, nps_category"),
    ("campaigns", "campaign_key"),
    ("campaign_pushes", "push_id"),
    ("reconciliation", "source, connection, metric, bucket_start"),
];

/// Views that a migration makes: `data_status`, `day_status`, `schema_changes` and `stored_relations`.
const VIEWS_OF_MIGRATIONS: i64 = 4;

/// A database with views.
struct Mart {
    database: TestDatabase,
    pool: PgPool,
    views: Views,
    settings: Settings,
}

impl Mart {
    /// With views over empty tables.
    async fn new() -> Self {
        let mart = Self::without_views().await;
        mart.refresh().await;
        mart
    }

    async fn without_views() -> Self {
        let database = TestDatabase::create().await;
        let pool = database.pool();
        Self { database, pool, views: Views::default(), settings: Settings::default() }
    }

    async fn refresh(&self) {
        self.views.refresh(&self.pool, &self.settings).await;
    }

    async fn run(&self, sql: impl Into<String>) {
        sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(&self.pool).await.unwrap();
    }

    async fn count(&self, sql: impl Into<String>) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.into())).fetch_one(&self.pool).await.unwrap()
    }

    async fn text(&self, sql: impl Into<String>) -> Option<String> {
        sqlx::query_scalar(AssertSqlSafe(sql.into())).fetch_one(&self.pool).await.unwrap()
    }

    /// Gives every undocumented field its first candidate as a column. `kind` chooses its type.
    async fn add_columns(&self, kind: impl Fn(usize, Kind) -> &'static str) {
        let mut sql = String::new();
        let mut number = 0;
        for source in SOURCES {
            let mut names: Vec<&str> = Vec::new();
            for field in source.fields {
                number += 1;
                let free = field.candidates.iter().find(|name| !names.contains(name) && !source.keep.contains(name));
                let Some(name) = free else { continue };
                names.push(name);
                let (schema, table, kind) = (source.schema, source.table, kind(number, field.kind));
                writeln!(sql, "alter table {schema}.\"{table}\" add column if not exists \"{name}\" {kind};").unwrap();
            }
        }
        self.run(sql).await;
    }

    /// Fills every table that a view reads.
    async fn fill(&self, rows: u32, is_odd: bool) {
        self.run(format!("drop function if exists public.fill; {}", include_str!("fill.sql"))).await;
        for table in tables() {
            self.run(format!("truncate {table} cascade; select public.fill('{table}', {rows}, {is_odd})")).await;
        }
    }

    /// Reads every column of every row of every view.
    async fn read_all(&self) -> BTreeMap<&'static str, i64> {
        let mut counts = BTreeMap::new();
        for relation in RELATIONS {
            let name = relation.name;
            let sql = format!("select count(t::text) from mart.{name} t");
            let count = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await;
            counts.insert(name, count.unwrap_or_else(|error| panic!("mart.{name}: {error}")));
        }
        counts
    }

    /// Names and types of the columns of every view of the schema, with a hash of their comments.
    async fn columns(&self) -> Vec<String> {
        sqlx::query_scalar(
            "select format('%s.%s %s %s', class.relname, attribute.attname, attribute.atttypid::regtype,
                md5(col_description(class.oid, attribute.attnum)))
            from pg_class class
            inner join pg_attribute attribute on attribute.attrelid = class.oid and attribute.attnum > 0
            where class.relnamespace = 'mart'::regnamespace
            order by class.relname, attribute.attnum",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap()
    }

    /// Another session, as the superuser acting as `role`.
    async fn session_as(&self, role: &str) -> PgConnection {
        let mut session = self.database.connect().await;
        sqlx::raw_sql(AssertSqlSafe(format!("set role {role}"))).execute(&mut session).await.unwrap();
        session
    }
}

/// The keys of agents and customers that a view names and that their list does not have.
async fn unlisted(pool: &PgPool) -> Vec<String> {
    let mut unlisted = Vec::new();
    for (key, list) in [("agent_key", "agents"), ("customer_key", "customers")] {
        let views: Vec<String> = sqlx::query_scalar(
            "select class.relname::text
            from pg_class class
            inner join pg_attribute attribute on attribute.attrelid = class.oid
            where class.relnamespace = 'mart'::regnamespace and attribute.attname = $1 and class.relname <> $2",
        )
        .bind(key)
        .bind(list)
        .fetch_all(pool)
        .await
        .unwrap();
        assert!(views.len() >= 3, "{views:?}");
        for view in views {
            let sql = format!(
                "select distinct '{view}: ' || {key} from mart.{view}
                where {key} is not null and {key} not in (select {key} from mart.{list}) limit 3"
            );
            let found: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap();
            unlisted.extend(found);
        }
    }
    unlisted
}

/// The tables that views read, quoted.
fn tables() -> Vec<String> {
    let found = SOURCES.iter().map(|source| format!("{}.\"{}\"", source.schema, source.table));
    found.chain(DOCUMENTED.iter().map(|name| (*name).to_owned())).collect()
}

/// Views over tables that have a column for every field, without rows.
async fn filled() -> Mart {
    let mart = Mart::new().await;
    mart.add_columns(natural).await;
    mart.refresh().await;
    mart
}

/// The natural type of a field's column.
fn natural(_: usize, kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Direction => "text",
        Kind::Time => "timestamptz",
        Kind::Number | Kind::Seconds => "bigint",
    }
}
