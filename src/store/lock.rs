//! Locks of Tidegate: rows of `tidegate.lock`. Advisory locks would not do, because any login may take them.

use sqlx::PgConnection;

use super::session::Deadline as _;

/// Takes the lock `name` until the transaction of `conn` ends. The next statement sees everything that its previous
/// holder committed.
pub async fn hold(conn: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("insert into tidegate.lock (name) values ($1) on conflict do nothing", name)
        .execute(&mut *conn)
        .in_time()
        .await?;
    sqlx::query!("select name from tidegate.lock where name = $1 for update", name).fetch_one(conn).in_time().await?;
    Ok(())
}
