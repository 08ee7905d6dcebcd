//! What the demo shows, the contents of the tables, and to whom.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgPool};

use crate::secret::Secret;
use crate::store::ident;

/// One table of the warehouse.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub table: String,
    /// `None` if the table cannot be read, because somebody has dropped or changed it.
    pub rows: Option<i64>,
    pub read_until: Option<DateTime<Utc>>,
    pub last_run_state: Option<String>,
}

/// Every table that a stream fills. Counts all rows, so only for a demo.
pub async fn loaded(pool: &PgPool) -> Result<Vec<Loaded>, sqlx::Error> {
    let streams = sqlx::query!(
        r#"
        select
            stream.table_schema,
            stream.table_name,
            max(slice.read_until) as read_until,
            (
                select task.state
                from tidegate.task
                inner join tidegate.run on run.id = task.run_id
                where run.connection = stream.connection and task.stream = stream.stream and task.finished_at is not null
                order by run.id desc
                limit 1
            ) as last_run_state
        from tidegate.stream
        left join tidegate.slice on slice.connection = stream.connection and slice.stream = stream.stream
        where not stream.unread
        group by stream.connection, stream.stream
        order by stream.table_schema, stream.table_name
        "#,
    )
    .fetch_all(pool)
    .await?;
    let mut loaded = Vec::new();
    for stream in streams {
        let count = format!("select count(*) from {}", ident::table(&stream.table_schema, &stream.table_name));
        loaded.push(Loaded {
            rows: match sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(pool).await {
                Ok(rows) => Some(rows),
                Err(sqlx::Error::Database(_)) => None,
                Err(error) => return Err(error),
            },
            table: format!("{}.{}", stream.table_schema, stream.table_name),
            read_until: stream.read_until,
            last_run_state: stream.last_run_state,
        });
    }
    Ok(loaded)
}

/// The run that ended last.
pub async fn last_ended(pool: &PgPool) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from tidegate.run where finished_at is not null order by finished_at desc, id desc limit 1"
    )
    .fetch_optional(pool)
    .await
}

/// Creates a login that may read every report, or gives the existing one this password.
pub async fn admit(pool: &PgPool, login: &str, password: &Secret) -> Result<(), sqlx::Error> {
    let (role, name, password) = (ident::quote(login), ident::literal(login), ident::literal(password.expose()));
    let statements = format!(
        "do $$ begin
            if not exists (select from pg_catalog.pg_roles where rolname = {name}) then
                create role {role} login;
            end if;
        end $$;
        alter role {role} password {password};
        grant tidegate_reader to {role};"
    );
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(pool).await.map(|_| ())
}
