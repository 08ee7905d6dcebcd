//! Forgets a connection: its account, its cursors and, on request, its rows.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::store::ident;

/// A table that holds rows of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedTable {
    pub schema: String,
    pub name: String,
}

/// The live run that reads a stream of the connection, if there is one. Locks its streams against new readers until the
/// transaction ends.
pub async fn reader(conn: &mut PgConnection, connection: &str) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query!("select stream from tidegate.stream where connection = $1 order by stream for update", connection)
        .fetch_all(&mut *conn)
        .await?;
    sqlx::query_scalar!(
        "
        select run.id
        from tidegate.run
        where run.connection = $1 and run.state = 'running' and run.lease_until > clock_timestamp()
        order by run.id
        limit 1
        ",
        connection,
    )
    .fetch_optional(conn)
    .await
}

/// Deletes a connection's account, cursors and rejected records. Returns whether there were any.
pub async fn connection(conn: &mut PgConnection, connection: &str) -> Result<bool, sqlx::Error> {
    sqlx::query!(
        "
        delete from tidegate.seen_row
        using tidegate.slice
        where seen_row.slice_id = slice.id and slice.connection = $1
        ",
        connection,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("delete from tidegate.slice where connection = $1", connection).execute(&mut *conn).await?;
    sqlx::query!("delete from tidegate.rejected_record where connection = $1", connection).execute(&mut *conn).await?;
    let streams =
        sqlx::query!("delete from tidegate.stream where connection = $1", connection).execute(&mut *conn).await?;
    let pinned =
        sqlx::query!("delete from tidegate.connection where name = $1", connection).execute(&mut *conn).await?;
    Ok(streams.rows_affected() + pinned.rows_affected() > 0)
}

/// Every warehouse table, including child tables: the tables that have the columns common to all of them.
pub async fn tables(conn: &mut PgConnection, schemas: &[String]) -> Result<Vec<LoadedTable>, sqlx::Error> {
    sqlx::query_as!(
        LoadedTable,
        r#"
        select pg_namespace.nspname::text as "schema!", pg_class.relname::text as "name!"
        from pg_catalog.pg_class
        inner join pg_catalog.pg_namespace on pg_namespace.oid = pg_class.relnamespace
        where
            pg_namespace.nspname = any($1::text[])
            and pg_class.relkind in ('r', 'p')
            and not pg_class.relispartition
            and (
                select count(*)
                from pg_catalog.pg_attribute
                where
                    attrelid = pg_class.oid
                    and not attisdropped
                    and attname in ('_connection', '_run_id', '_loaded_at')
            ) = 3
        order by 1, 2
        "#,
        schemas,
    )
    .fetch_all(conn)
    .await
}

/// Counts a connection's rows in a table.
pub async fn count_rows(conn: &mut PgConnection, table: &LoadedTable, connection: &str) -> Result<i64, sqlx::Error> {
    let target = ident::table(&table.schema, &table.name);
    let statement = format!("select count(*) from {target} where _connection = $1");
    sqlx::query_scalar(AssertSqlSafe(statement)).bind(connection).fetch_one(conn).await
}

/// Deletes a connection's rows from a table. Returns how many there were.
pub async fn delete_rows(conn: &mut PgConnection, table: &LoadedTable, connection: &str) -> Result<u64, sqlx::Error> {
    let target = ident::table(&table.schema, &table.name);
    let statement = format!("delete from {target} where _connection = $1");
    Ok(sqlx::query(AssertSqlSafe(statement)).bind(connection).execute(conn).await?.rows_affected())
}
