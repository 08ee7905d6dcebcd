//! Brings a database to this version's schema, one process at a time.

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Executor as _, PgConnection, PgPool};

use super::session::Deadline as _;

/// With its table named in full: a user may be called like a schema that the migrations make (the embedded server's is),
/// and would then look for an unqualified name there first, find nothing and migrate again.
static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.dangerous_set_table_name("public._sqlx_migrations");
    migrator
});

/// Oldest server that the SQL is written for.
const SERVER_VERSION_MIN: i32 = 140_000;
/// Another process may be migrating; waiting longer than this means it hangs.
const DEADLINE: Duration = Duration::from_mins(5);

/// Why a database could not be brought to this version.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the server is PostgreSQL {found}; Tidegate needs 14 or later")]
    OldServer { found: String },
    #[error("migrations did not end within {} s: another process may hold the migration lock", DEADLINE.as_secs())]
    Deadline,
    #[error("the database was made by a newer Tidegate (migration {0} is unknown here): use that version or later")]
    Newer(i64),
    #[error("migrations failed")]
    Migrate(#[source] MigrateError),
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
}

/// Applies what is missing; answers how many migrations that were.
pub async fn migrate(pool: &PgPool) -> Result<usize, Error> {
    let mut connection = pool.acquire().await?;
    let (number, version): (i32, String) =
        sqlx::query_as("select current_setting('server_version_num')::int, current_setting('server_version')")
            .fetch_one(&mut *connection)
            .in_time()
            .await?;
    if number < SERVER_VERSION_MIN {
        return Err(Error::OldServer { found: version });
    }
    // The list of what was applied is in `public`. With "$user" in the path, a user named `tidegate` would look for it in
    // the schema of that name once the first migration has made it, and begin anew.
    connection.execute("set search_path to public").in_time().await?;
    let before = applied(&mut connection).await?;
    match tokio::time::timeout(DEADLINE, MIGRATOR.run(&mut *connection)).await {
        Err(_) => return Err(Error::Deadline),
        Ok(Err(MigrateError::VersionMissing(version))) => return Err(Error::Newer(version)),
        Ok(outcome) => outcome.map_err(Error::Migrate)?,
    }
    Ok(applied(&mut connection).await? - before)
}

/// Migrations that the database still lacks.
pub async fn missing(connection: &mut PgConnection) -> Result<usize, sqlx::Error> {
    let applied = applied(connection).await?;
    Ok(MIGRATOR.iter().count().saturating_sub(applied))
}

async fn applied(connection: &mut PgConnection) -> Result<usize, sqlx::Error> {
    let known: bool = sqlx::query_scalar("select to_regclass('public._sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .in_time()
        .await?;
    if !known {
        return Ok(0);
    }
    let count: i64 = sqlx::query_scalar("select count(*) from public._sqlx_migrations where success")
        .fetch_one(&mut *connection)
        .in_time()
        .await?;
    Ok(usize::try_from(count).unwrap_or(0))
}
