//! Locks of Tidegate: rows of `tidegate.lock`. Advisory locks would not do, because any login may take them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use super::run::interval;
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

/// A lock that is held until a time, for work that takes longer than a transaction should. It may be prolonged; if its
/// holder ends without giving it back, another process takes it after that time.
#[derive(Debug)]
pub struct Lease {
    name: &'static str,
    until: DateTime<Utc>,
}

impl Lease {
    /// Takes the lock `name` for `length`. `None` if another process has it.
    pub async fn take(
        connection: &mut PgConnection,
        name: &'static str,
        length: Duration,
    ) -> Result<Option<Self>, sqlx::Error> {
        sqlx::query!("insert into tidegate.lock (name) values ($1) on conflict do nothing", name)
            .execute(&mut *connection)
            .in_time()
            .await?;
        let until = sqlx::query_scalar!(
            r#"
            update tidegate.lock
            set held_until = clock_timestamp() + $2
            where
                name = $1
                and (
                    held_until is null
                    or held_until <= clock_timestamp()
                    -- A later time was stored while the clock was ahead.
                    or held_until > clock_timestamp() + $2
                )
            returning held_until as "until!"
            "#,
            name,
            interval(length),
        )
        .fetch_optional(connection)
        .in_time()
        .await?;
        Ok(until.map(|until| Self { name, until }))
    }

    /// Holds the lock for `length` from now on. Returns false if another process has taken it meanwhile.
    pub async fn prolong(&mut self, executor: impl PgExecutor<'_>, length: Duration) -> Result<bool, sqlx::Error> {
        let until = sqlx::query_scalar!(
            r#"
            update tidegate.lock
            set held_until = clock_timestamp() + $3
            where name = $1 and held_until = $2
            returning held_until as "until!"
            "#,
            self.name,
            self.until,
            interval(length),
        )
        .fetch_optional(executor)
        .in_time()
        .await?;
        if let Some(until) = until {
            self.until = until;
        }
        Ok(until.is_some())
    }

    /// Gives the lock back, unless another process has taken it meanwhile.
    pub async fn give_back(self, executor: impl PgExecutor<'_>) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "update tidegate.lock set held_until = null where name = $1 and held_until = $2",
            self.name,
            self.until,
        )
        .execute(executor)
        .in_time()
        .await?;
        Ok(())
    }
}
