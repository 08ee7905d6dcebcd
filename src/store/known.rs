//! Whether a name is known: the control tables keep names that the configuration does not have any more.

use sqlx::PgExecutor;

use super::session::Deadline as _;

/// Whether anything was ever stored about a connection.
pub async fn connection(executor: impl PgExecutor<'_>, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select
            exists (select from tidegate.stream where connection = $1)
            or exists (select from tidegate.run where connection = $1)
            or exists (select from tidegate.event where connection = $1)
            or exists (select from tidegate.rejected_record where connection = $1) as "known!"
        "#,
        name,
    )
    .fetch_one(executor)
    .in_time()
    .await
}

/// Whether a job ever ran or sent something.
pub async fn job(executor: impl PgExecutor<'_>, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select
            exists (select from tidegate.run where job = $1)
            or exists (select from tidegate.push_batch where job = $1) as "known!"
        "#,
        name,
    )
    .fetch_one(executor)
    .in_time()
    .await
}

/// Whether a stream, of one connection or of any, was ever planned or read.
pub async fn stream(executor: impl PgExecutor<'_>, connection: Option<&str>, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from tidegate.stream where stream = $2 and ($1::text is null or connection = $1)
        ) as "known!"
        "#,
        connection,
        name,
    )
    .fetch_one(executor)
    .in_time()
    .await
}

/// Whether a table, named with its schema, belongs to a stream or was ever changed.
pub async fn table(executor: impl PgExecutor<'_>, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select
            exists (select from tidegate.stream where table_schema || '.' || table_name = $1)
            or exists (
                select
                from tidegate.schema_change
                where table_schema = split_part($1, '.', 1) and table_schema || '.' || table_name = $1
            ) as "known!"
        "#,
        name,
    )
    .fetch_one(executor)
    .in_time()
    .await
}

/// Whether there is a run of this number, or an event of one that was deleted.
pub async fn run(executor: impl PgExecutor<'_>, id: i64) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select
            exists (select from tidegate.run where id = $1)
            or exists (select from tidegate.event where run_id = $1) as "known!"
        "#,
        id,
    )
    .fetch_one(executor)
    .in_time()
    .await
}
