//! `tidegate run`: the daemon.

use super::{Context, Exit, RunArgs};
use crate::app::{Daemon, Database, Reload};
use crate::config;

pub(crate) async fn run(context: Context, _args: RunArgs) -> anyhow::Result<Exit> {
    if context.config.jobs.is_empty() {
        tracing::warn!(path = %context.config_path.display(), "no job is configured; add one under `jobs`; the daemon then reads it");
    }
    let database = match Database::own(&context.config, &context.cancel).await {
        Err(error) if error.is_interruption() => return Ok(Exit::Done),
        database => database?,
    };
    if let Some(psql) = database.psql_line() {
        tracing::info!(%psql, "the embedded Postgres is running");
    }
    // Not kept here: after a reload, nothing needs it any more.
    let Context { config, config_path, files, cancel, .. } = context;
    let reload = Reload { path: config_path, env: config::process_env(), loaded: files };
    let started = tokio::select! {
        started = Box::pin(Daemon::start(config, Some(reload), &database)) => started,
        // Migrations may take minutes. Each is a transaction, so that nothing is half done.
        () = cancel.cancelled() => {
            database.close().await;
            return Ok(Exit::Done);
        }
    };
    let outcome = match started {
        Err(error) => Err(error),
        Ok(mut daemon) => {
            let outcome = tokio::select! {
                () = cancel.cancelled() => Ok(()),
                error = daemon.ended() => Err(error),
            };
            daemon.stop().await;
            outcome
        }
    };
    database.close().await;
    outcome?;
    Ok(Exit::Done)
}
