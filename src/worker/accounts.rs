//! The connections of this process, opened when they are first used and again when their configuration changes.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::PgPool;
use tokio::sync::Mutex;

use crate::config::Connection;
use crate::http::{Gate, HttpError};
use crate::quota::{Ledger, LedgerError, LedgerKey};
use crate::vendor::Source;

/// One connection, ready to be read.
#[derive(Debug)]
pub struct Account {
    pub gate: Gate,
    pub source: Source,
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("the database did not answer")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Http(#[from] HttpError),
}

impl Account {
    /// Opens a connection: its quota ledger, its HTTP client, its vendor. Sends nothing.
    pub async fn open(pool: &PgPool, connection: &Connection) -> Result<Self, AccountError> {
        let key = LedgerKey::derive(pool, &connection.base_url, &connection.settings.credential()).await?;
        let ledger = Ledger::open(pool.clone(), &key, &connection.name, connection.limits.clone()).await?;
        let gate = Gate::new(ledger, connection.hosts(), connection.request_timeout, connection.retry.clone())?;
        let source = Source::new(&connection.base_url, &connection.settings);
        Ok(Self { gate, source })
    }
}

/// Every account in use. Token and connections of one are shared by all runs.
#[derive(Debug, Default)]
pub struct Accounts {
    open: Mutex<HashMap<String, Arc<Account>>>,
}

impl Accounts {
    /// The account of `connection`.
    pub async fn get(&self, pool: &PgPool, connection: &Connection) -> Result<Arc<Account>, AccountError> {
        let mut open = self.open.lock().await;
        if let Some(account) = open.get(&connection.name) {
            return Ok(Arc::clone(account));
        }
        let account = Arc::new(Account::open(pool, connection).await?);
        open.insert(connection.name.clone(), Arc::clone(&account));
        Ok(account)
    }

    /// Forgets all accounts: the configuration changed. Runs under way keep theirs.
    pub async fn forget(&self) {
        self.open.lock().await.clear();
    }
}
