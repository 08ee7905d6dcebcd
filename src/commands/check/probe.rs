//! Logs in to the database and to every connection.
//!
//! A login is a call like any other: it is reserved in the ledger before it is sent (promise 2), and the ledger is in the
//! database. So nothing is sent while the database is away or lacks its schema.

use std::collections::BTreeMap;
use std::fmt;

use futures_util::future::join_all;
use serde::Serialize;
use sqlx::PgPool;
use tokio::time::timeout;

use super::super::by_hand::{self, DATABASE_WITHIN, Failure};
use super::super::context::require_schema;
use super::super::{CommandError, Context};
use crate::app::database_place;
use crate::config::{Config, Connection};
use crate::worker::policy::{self, TaskError};
use crate::worker::{accounts, hint};

/// What came of one check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum Finding {
    Ok {
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    Failed {
        error: String,
        hint: String,
    },
    #[default]
    NotChecked,
}

/// The findings, connections by name.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub(super) database: Finding,
    pub(super) connections: BTreeMap<String, Finding>,
}

impl Finding {
    pub(super) const fn is_bad(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }

    fn of(error: &anyhow::Error) -> Self {
        let hint = match error.downcast_ref() {
            Some(CommandError::Failed { hint, .. }) => hint.clone(),
            _ => "see `database` and `embedded` in the configuration, and the server's log".to_owned(),
        };
        Self::Failed { error: format!("{error:#}"), hint }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok { detail: Some(detail) } => write!(formatter, "ok, {detail}"),
            Self::Ok { detail: None } => formatter.write_str("ok"),
            Self::Failed { .. } => formatter.write_str("failed"),
            Self::NotChecked => formatter.write_str("not checked"),
        }
    }
}

/// Where the database is, without user and password.
pub(super) fn place(config: &Config) -> String {
    let embedded = || format!("embedded in {}", config.embedded.data_dir.display());
    database_place(&config.database.target).unwrap_or_else(embedded)
}

/// Checks everything that can be reached. An error means that the command was interrupted.
pub(super) async fn all(context: &Context) -> anyhow::Result<Probes> {
    if let Err(error) = context.require_cluster() {
        return Ok(Probes { database: Finding::of(&error.into()), connections: BTreeMap::new() });
    }
    let probing = context.with_database(async |database| {
        let answer = timeout(DATABASE_WITHIN, ask(&database.pool));
        let detail = answer.await.unwrap_or_else(|_| Err(silent_database().into()))?;
        let logins = context
            .config
            .connections
            .values()
            .map(|connection| async { (connection.name.clone(), log_in(&database.pool, connection).await) });
        let connections = Box::pin(join_all(logins)).await.into_iter().collect();
        Ok(Probes { database: Finding::Ok { detail: Some(detail) }, connections })
    });
    match Box::pin(probing).await {
        Err(error) if matches!(error.downcast_ref(), Some(CommandError::Interrupted)) => Err(error),
        Err(error) => Ok(Probes { database: Finding::of(&error), connections: BTreeMap::new() }),
        Ok(probes) => Ok(probes),
    }
}

fn silent_database() -> CommandError {
    CommandError::failed("it does not answer", "look at its log and load, then try again")
}

async fn ask(pool: &PgPool) -> anyhow::Result<String> {
    let mut conn = pool.acquire().await?;
    require_schema(&mut conn).await?;
    let version = sqlx::query_scalar!(r#"select current_setting('server_version') as "version!""#);
    Ok(format!("PostgreSQL {}", version.fetch_one(&mut *conn).await?))
}

async fn log_in(pool: &PgPool, connection: &Connection) -> Finding {
    if let Err(error) = accounts::compare(pool, connection).await {
        let error = TaskError::from(error);
        return Finding::Failed {
            error: error.to_string(),
            hint: hint::named(policy::hint(&error), "JOB", "S", &connection.name),
        };
    }
    match by_hand::call(pool, connection, async |source, session| source.log_in(session).await).await {
        Ok(()) => Finding::Ok { detail: None },
        Err(Failure { error, hint }) => Finding::Failed { error, hint },
    }
}
