//! The connections of this process, opened when they are first used and again when their configuration changes.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::PgPool;
use tokio::sync::{Mutex, OnceCell};

use crate::connector::Source;
use crate::connector::{Connection, Identity};
use crate::http::{Gate, HttpError};
use crate::quota::{Ledger, LedgerError, LedgerKey};
use crate::secret::Secret;
use crate::store::account::{self, AccountPart};
use crate::store::session;

/// One connection, ready for use.
#[derive(Debug)]
pub struct Account {
    pub gate: Gate,
    pub source: Box<dyn Source>,
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("{}", session::summary(.0))]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the connection belongs to another account: {0}")]
    Other(String),
}

/// Refuses a connection that was first read with another account, whose rows would be replaced. A connection that was
/// never read belongs to this account from now on.
pub async fn pin(pool: &PgPool, connection: &Connection) -> Result<(), AccountError> {
    match account::pin(pool, &configured(connection)).await? {
        Some(difference) => Err(AccountError::Other(difference)),
        None => Ok(()),
    }
}

/// Like [`pin`], but pins nothing.
pub async fn compare(pool: &PgPool, connection: &Connection) -> Result<(), AccountError> {
    match account::compare(pool, &configured(connection)).await? {
        Some(difference) => Err(AccountError::Other(difference)),
        None => Ok(()),
    }
}

fn configured(connection: &Connection) -> account::Account<'_> {
    let secrets = connection.settings.secrets();
    let is_secret = |value: &str| secrets.iter().any(|secret| secret.expose() == value);
    let host = connection.base_url.host_str().unwrap_or_default().to_lowercase();
    let parts = [("host", host)].into_iter().chain(connection.settings.account());
    let parts = parts
        .map(|(name, value)| AccountPart { name, is_public: !is_secret(&value), value: Secret::new(value) })
        .collect();
    account::Account { connection: &connection.name, vendor: connection.vendor().name(), parts }
}

/// Opens the ledger of a connection in the name of the process `owner`, which states the connection's limits.
async fn ledger(pool: &PgPool, owner: &str, connection: &Connection) -> Result<Ledger, AccountError> {
    let key = LedgerKey::derive(pool, &connection.base_url, &connection.settings.credential()).await?;
    Ok(Ledger::open(pool.clone(), owner, &key, &connection.name, connection.limits.clone()).await?)
}

/// States the limits of connections in the name of the process `owner`. Other processes, pages and metrics then know
/// them before the first run.
pub async fn state_limits(
    pool: &PgPool,
    owner: &str,
    connections: impl IntoIterator<Item = &Connection>,
) -> Result<(), AccountError> {
    for connection in connections {
        ledger(pool, owner, connection).await?;
    }
    Ok(())
}

impl Account {
    /// Opens a connection in the name of the process `owner`: its quota ledger, hosts and connector. Sends
    /// nothing.
    pub async fn open(pool: &PgPool, owner: &str, connection: &Connection) -> Result<Self, AccountError> {
        let ledger = ledger(pool, owner, connection).await?;
        let gate = Gate::new(ledger, connection.hosts(), connection.request_timeout, connection.retry.clone())?;
        let source = connection.settings.source(&connection.base_url);
        Ok(Self { gate, source })
    }
}

/// Every account in use. All runs share its token and its connections.
#[derive(Debug, Default)]
pub struct Accounts {
    /// Locked only to find or add an entry. Each account is opened once, without delaying the others.
    open: Mutex<HashMap<String, Opened>>,
}

/// The account of a connection as it was configured then.
#[derive(Debug)]
struct Opened {
    identity: Identity,
    account: Arc<OnceCell<Arc<Account>>>,
}

impl Accounts {
    /// The account of `connection`, opened in the name of the process `owner`. The caller must [`pin`] it before it
    /// reads.
    pub async fn get(&self, pool: &PgPool, owner: &str, connection: &Connection) -> Result<Arc<Account>, AccountError> {
        let account = self.entry(connection).await;
        let open = || async { Account::open(pool, owner, connection).await.map(Arc::new) };
        account.get_or_try_init(open).await.map(Arc::clone)
    }

    async fn entry(&self, connection: &Connection) -> Arc<OnceCell<Arc<Account>>> {
        let mut open = self.open.lock().await;
        // A run that began before a reload may have opened the connection as it was configured then.
        let identity = connection.identity();
        if let Some(known) = open.get(&connection.name).filter(|known| known.identity == identity) {
            return Arc::clone(&known.account);
        }
        let account = Arc::default();
        open.insert(connection.name.clone(), Opened { identity, account: Arc::clone(&account) });
        account
    }

    /// Forgets all accounts, because the configuration changed. Runs under way keep theirs.
    pub async fn forget(&self) {
        self.open.lock().await.clear();
    }
}
