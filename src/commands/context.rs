//! The context that every command gets, with its access to the database.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::failure::CommandError;
use crate::app::Database;
use crate::config::Config;
use crate::postgres::Embedded;
use crate::schedule::watch::FilesDigest;
use crate::secret::Secret;
use crate::settings::Faults;
use crate::store::migrate;

/// Queries on the control tables take well under a second.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// The context of a command.
#[derive(Debug, Clone)]
pub struct Context {
    /// The checked configuration. For commands that read no files (`simulate`, `demo`): the defaults with the overrides
    /// of the environment.
    pub config: Arc<Config>,
    /// What is wrong with the configuration on disk, for a command that shows the stored state despite it.
    pub refused: Option<Arc<Faults>>,
    /// The path from `--config` or `TIDEGATE_CONFIG`, for commands that read the files again.
    pub config_path: PathBuf,
    /// The files of the configuration before they were read, for the daemon, which reads them again when they change.
    pub files: Option<FilesDigest>,
    /// Cancelled by the first Ctrl-C or SIGTERM.
    pub cancel: CancellationToken,
}

impl Context {
    /// Everything that must never be printed.
    pub fn secrets(&self) -> Vec<Secret> {
        let mut secrets: Vec<Secret> =
            self.config.connections.values().flat_map(|connection| connection.settings.secrets()).collect();
        secrets.extend(self.config.database.target.secrets());
        secrets.extend(self.config.notify.iter().flat_map(|target| target.secrets().cloned()));
        if let Some(auth) = &self.config.server.auth {
            secrets.push(auth.password.clone());
            secrets.extend(auth.token.clone());
        }
        secrets
    }

    /// Does `work` with the database, and ends promptly when cancelled. Stops an embedded server that was started for
    /// this in any case.
    pub async fn with_database<T>(&self, work: impl AsyncFnOnce(&Database) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let database = self.open_database().await?;
        let outcome = tokio::select! {
            outcome = work(&database) => outcome,
            () = self.cancel.cancelled() => Err(CommandError::Interrupted.into()),
        };
        database.close().await;
        outcome
    }

    /// Opens the database. Ends promptly when cancelled.
    pub async fn open_database(&self) -> anyhow::Result<Database> {
        let opening = Database::open(&self.config, &self.cancel);
        if self.config.database.target.is_embedded() {
            // Not dropped when cancelled: it notices the cancellation itself, and leaves no half-started server.
            return Ok(opening.await?);
        }
        tokio::select! {
            opened = opening => Ok(opened?),
            () = self.cancel.cancelled() => Err(CommandError::Interrupted.into()),
        }
    }

    /// Does `work` with a database that has the schema of this version. Does not create the schema.
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

    /// Returns an error if there is no embedded cluster: a command that only reads does not create an empty one.
    pub fn require_cluster(&self) -> Result<(), CommandError> {
        if !self.config.database.target.is_embedded() || Embedded::was_made(&self.config.embedded.data_dir) {
            return Ok(());
        }
        let message = format!("there is no embedded Postgres in {} yet", self.config.embedded.data_dir.display());
        Err(CommandError::failed(message, "run `tidegate migrate` to create it, or configure a server in `database`"))
    }
}

/// The error for a database of a newer version.
pub(crate) fn newer(version: i64) -> CommandError {
    let hint = "use that version or later, or restore the backup that was made before the upgrade";
    let message = format!("the database was made by a newer Tidegate: migration {version} is unknown to this version");
    CommandError::failed(message, hint)
}

/// Refuses a database with missing migrations, or with migrations that this version does not know.
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
