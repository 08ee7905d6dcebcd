//! Calls to vendors that a person waits for: sent once, before all calls of scheduled runs, and with a time limit.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::timeout;

use crate::app::{self, Alive};
use crate::clock;
use crate::connector::Connection;
use crate::connector::{Source, StepError};
use crate::http::{Gate, HttpError, Retry, Session};
use crate::quota::{Ledger, LedgerError, LedgerKey};
use crate::store::trouble::chain;
use crate::worker::hint::{self, Subject};
use crate::worker::policy::TaskError;

/// Longest wait for quota. If the quota needs longer, the command reports that instead.
const QUOTA_WAIT_MAX: Duration = Duration::from_mins(1);
/// Longest wait for the response, even if `request_timeout` is longer.
const RESPONSE_MAX: Duration = Duration::from_mins(1);
/// Longest wait for the database.
pub(super) const DATABASE_WITHIN: Duration = Duration::from_secs(10);
const PRIORITY: i32 = i32::MAX;

/// Why a call failed, and what to do about it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: String,
    pub(super) hint: String,
}

/// Opens the connection and does `work` with it.
pub(super) async fn call<T>(
    pool: &PgPool,
    connection: &Connection,
    work: impl AsyncFnOnce(&dyn Source, &Session<'_>) -> Result<T, StepError>,
) -> Result<T, Failure> {
    let within = QUOTA_WAIT_MAX + RESPONSE_MAX.min(connection.request_timeout) + DATABASE_WITHIN;
    // Each call states its quotas under a separate name, as a process does.
    let owner = app::owner();
    let calling = async {
        let gate = open(pool, &owner, connection).await?;
        let source = connection.settings.source(&connection.base_url);
        work(&*source, &gate.session(PRIORITY, clock::now())).await
    };
    let alive = Alive::new(pool.clone(), owner.clone());
    let error = match alive.during(&connection.name, timeout(within, Box::pin(calling))).await {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => TaskError::from(error),
        Err(_) => {
            return Err(Failure {
                error: format!("no response within {} s", within.as_secs()),
                hint: "check that `base_url` is correct and that this machine can reach the host".to_owned(),
            });
        }
    };
    let hint = hint::hint(&error, Subject::login(connection.vendor()));
    let hint = hint::named(hint, "JOB", "S", &connection.name);
    Err(Failure { error: chain(&error), hint })
}

async fn open(pool: &PgPool, owner: &str, connection: &Connection) -> Result<Gate, StepError> {
    let key = LedgerKey::derive(pool, &connection.base_url, &connection.settings.credential())
        .await
        .map_err(|source| LedgerError::Database { connection: connection.name.clone(), source })
        .map_err(HttpError::from)?;
    let ledger = Ledger::open(pool.clone(), owner, &key, &connection.name, connection.limits.clone())
        .await
        .map_err(HttpError::from)?;
    // A single attempt: the operator wants to see the error, and each attempt costs quota.
    let retry = Retry { attempts_max: 1, ..connection.retry.clone() };
    Ok(Gate::new(ledger, connection.hosts(), connection.request_timeout.min(RESPONSE_MAX), retry)?)
}
