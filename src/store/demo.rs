//! What the demo shows, the contents of the tables, and to whom.

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgPool};

use crate::secret::Secret;
use crate::store::session::Deadline as _;
use crate::store::{ident, session};

/// One table of the warehouse.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub table: String,
    /// `None` if the table cannot be read, because somebody has dropped or changed it.
    pub rows: Option<i64>,
    pub read_until: Option<DateTime<Utc>>,
    pub last_run_state: Option<String>,
}

/// Every table that a stream fills, and the run that ended last.
pub async fn progress(pool: &PgPool) -> Result<(Vec<Loaded>, Option<i64>), sqlx::Error> {
    Ok((loaded(pool).await?, last_ended(pool).await?))
}

/// Every table that a stream fills. Counts all rows, so only for a demo.
async fn loaded(pool: &PgPool) -> Result<Vec<Loaded>, sqlx::Error> {
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
    .in_time()
    .await?;
    let mut loaded = Vec::new();
    for stream in streams {
        let count = format!("select count(*) from {}", ident::table(&stream.table_schema, &stream.table_name));
        loaded.push(Loaded {
            rows: match sqlx::query_scalar::<_, i64>(AssertSqlSafe(count)).fetch_one(pool).in_time().await {
                Ok(rows) => Some(rows),
                Err(error) if error.as_database_error().is_some() && !session::is_lost(&error) => None,
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
async fn last_ended(pool: &PgPool) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from tidegate.run where finished_at is not null order by finished_at desc, id desc limit 1"
    )
    .fetch_optional(pool)
    .in_time()
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
    let mut connection = pool.acquire().await?;
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *connection).in_time().await.map(|_| ())
}
