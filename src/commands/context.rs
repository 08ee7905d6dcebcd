//! What every command is given, and its way to the database.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::failure::CommandError;
use crate::app::Database;
use crate::config::Config;
use crate::postgres::Embedded;
use crate::secret::Secret;
use crate::store::migrate;

/// Questions to the control tables are answered in well under a second.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// What a command knows when it starts.
#[derive(Debug, Clone)]
pub struct Context {
    /// Checked. For commands that read no files (`simulate`, `demo`): the defaults, and what the environment overrides.
    pub config: Arc<Config>,
    /// What `--config` or `TIDEGATE_CONFIG` named, for those who read it again.
    pub config_path: PathBuf,
    /// Cancelled by the first Ctrl-C or SIGTERM.
    pub cancel: CancellationToken,
}

impl Context {
    /// Everything that must never be printed.
    pub fn secrets(&self) -> Vec<Secret> {
        let mut secrets: Vec<Secret> =
            self.config.connections.values().flat_map(|connection| connection.settings.secrets()).collect();
        secrets.extend(self.config.database.target.secrets());
        secrets
    }

    /// Works with the database, and ends promptly when cancelled. An embedded server that was started for this is
    /// stopped in any case.
    pub async fn with_database<T>(&self, work: impl AsyncFnOnce(&Database) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let database = self.open_database().await?;
        let outcome = tokio::select! {
            outcome = work(&database) => outcome,
            () = self.cancel.cancelled() => Err(CommandError::Interrupted.into()),
        };
        database.close().await;
        outcome
    }

    /// The database; ends promptly when cancelled.
    pub async fn open_database(&self) -> anyhow::Result<Database> {
        let opening = Database::open(&self.config, &self.cancel);
        if self.config.database.target.is_embedded() {
            // Not dropped when cancelled: it ends by itself then, and leaves no half-started server.
            return Ok(opening.await?);
        }
        tokio::select! {
            opened = opening => Ok(opened?),
            () = self.cancel.cancelled() => Err(CommandError::Interrupted.into()),
        }
    }

    /// Works with a database that has this version's schema; it is not made here.
    pub async fn with_schema<T>(
        &self,
        work: impl AsyncFnOnce(&Database, &mut PgConnection) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.require_cluster()?;
        self.with_database(async |database| {
            let reading = async {
                let mut conn = database.pool.acquire().await?;
                require_schema(&mut conn).await?;
                work(database, &mut conn).await
            };
            tokio::time::timeout(READ_WITHIN, reading).await.unwrap_or_else(|_| {
                let message = format!("the database did not respond within {} s", READ_WITHIN.as_secs());
                Err(CommandError::failed(message, "check its log and its load, then try again").into())
            })
        })
        .await
    }

    /// Where nothing was ever made, there is nothing to read: an embedded cluster is not made just to find it empty.
    pub fn require_cluster(&self) -> Result<(), CommandError> {
        if !self.config.database.target.is_embedded() || Embedded::was_made(&self.config.embedded.data_dir) {
            return Ok(());
        }
        let message = format!("there is no embedded Postgres in {} yet", self.config.embedded.data_dir.display());
        Err(CommandError::failed(message, "run `tidegate migrate` to create it, or configure a server in `database`"))
    }
}

/// What a command says about a database of a newer version.
pub(crate) fn newer(version: i64) -> CommandError {
    let hint = "use that version or later, or restore the backup that was made before the upgrade";
    let message = format!("the database was made by a newer Tidegate: migration {version} is unknown to this version");
    CommandError::failed(message, hint)
}

/// Refuses a database that lacks migrations, or has some that this version does not know.
pub(crate) async fn require_schema(conn: &mut PgConnection) -> anyhow::Result<()> {
    let applied = migrate::applied(conn).await?;
    if let Some(version) = applied.newer() {
        return Err(newer(version).into());
    }
    let message = match applied.missing() {
        0 => return Ok(()),
        1 => "the database lacks a migration".to_owned(),
        missing => format!("the database lacks {missing} migrations"),
    };
    Err(CommandError::failed(message, "run `tidegate migrate`").into())
}
