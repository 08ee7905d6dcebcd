//! A client that reads a warehouse table and leaves its transaction open.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

pub struct Reader(PgConnection);

impl Reader {
    /// Reads a row and keeps the transaction open, so that the table cannot be altered. `None` if the table does not
    /// exist yet.
    pub async fn of(url: &str, table: &str) -> anyhow::Result<Option<Self>> {
        let mut connection = PgConnection::connect(url).await?;
        let exists: bool =
            sqlx::query_scalar("select to_regclass($1) is not null").bind(table).fetch_one(&mut connection).await?;
        if !exists {
            connection.close().await?;
            return Ok(None);
        }
        connection.execute("begin").await?;
        connection.execute(AssertSqlSafe(format!("select from {table} limit 1"))).await?;
        Ok(Some(Self(connection)))
    }

    /// Ends the transaction.
    pub async fn leave(mut self) -> anyhow::Result<()> {
        self.0.execute("rollback").await?;
        Ok(self.0.close().await?)
    }
}
