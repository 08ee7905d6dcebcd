//! Applies a changed configuration without a restart, or refuses it and keeps the previous one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::names::names;
use crate::config::Config;
use crate::connector::Connection;
use crate::schedule::watch::{Change, ConfigWatch, FilesDigest};
use crate::server::Health;
use crate::store::event::{self, Reloaded};
use crate::store::trouble::chain;
use crate::worker::WorkerContext;

/// How long until a refused configuration is loaded again. The cause may lie outside its files, such as a secret file
/// that does not exist yet, or may pass, such as a lack of file descriptors.
const AGAIN: Duration = Duration::from_secs(10);
/// How long to wait for the database when a reload is recorded as an event.
const EVENT_MAX: Duration = Duration::from_secs(3);

/// A configuration that was refused.
#[derive(Debug)]
struct Refused {
    faults: String,
    /// Whether the event about it is stored. Until then it is tried again.
    is_recorded: bool,
}

/// Where the configuration is loaded from.
#[derive(Debug, Clone)]
pub struct Reload {
    pub path: PathBuf,
    pub env: BTreeMap<String, String>,
    /// The files before they were loaded for the start, if that is known.
    pub loaded: Option<FilesDigest>,
}

impl Reload {
    /// Follows changes until `shutdown`.
    pub async fn follow(
        self,
        config: watch::Sender<Arc<Config>>,
        shared: Arc<WorkerContext>,
        health: Arc<Health>,
        shutdown: CancellationToken,
    ) {
        let mut changes = match ConfigWatch::start(&self.path) {
            Ok(changes) => changes,
            Err(error) => {
                tracing::error!(%error, "configuration files cannot be watched; restart after a change");
                return;
            }
        };
        // No notification covers a change between the initial load and the start of the watch.
        let is_loaded = self.loaded.as_ref().is_some_and(|loaded| loaded == changes.seen());
        let mut refused = if is_loaded { None } else { self.take(None, None, &config, &shared, &health).await };
        loop {
            let change = tokio::select! {
                () = shutdown.cancelled() => return,
                change = changes.changed() => Some(change),
                () = sleep(AGAIN), if refused.is_some() => None,
            };
            refused = self.take(change, refused, &config, &shared, &health).await;
        }
    }

    /// Loads the configuration and applies it; without a `change`, only if it differs from the current one. Returns its
    /// faults if it is refused. The faults are logged and recorded, unless nothing changed and they are identical to
    /// those of the last refusal (`refused`).
    async fn take(
        &self,
        change: Option<Change>,
        refused: Option<Refused>,
        config: &watch::Sender<Arc<Config>>,
        shared: &WorkerContext,
        health: &Health,
    ) -> Option<Refused> {
        let (path, env, known) = (self.path.clone(), self.env.clone(), Arc::clone(&config.borrow()));
        let loaded = tokio::task::spawn_blocking(move || known.load_again(&path, &env)).await;
        match loaded {
            Ok(Ok(loaded)) => {
                let before = Arc::clone(&config.borrow());
                let same_accounts = before
                    .connections
                    .values()
                    .map(Connection::identity)
                    .eq(loaded.connections.values().map(Connection::identity));
                let secrets = |config: &Config| -> Vec<String> {
                    let secrets = config.notify.iter().flat_map(crate::config::Target::secrets);
                    secrets.map(|secret| secret.expose().to_owned()).collect()
                };
                let same_targets = secrets(&before) == secrets(&loaded);
                health.config_loaded();
                let same_login = login(&before) == login(&loaded);
                if change.is_none() && same_accounts && same_targets && same_login && before.digest() == loaded.digest()
                {
                    return None;
                }
                warn_of_restart(&before, &loaded);
                if !same_accounts {
                    shared.accounts.forget().await;
                }
                tracing::info!(
                    change = change.map(tracing::field::debug),
                    jobs = loaded.jobs.len(),
                    "configuration reloaded"
                );
                shared.metrics.configure(names(&loaded));
                let summary = format!(
                    "configuration reloaded: {} jobs, {} connections",
                    loaded.jobs.len(),
                    loaded.connections.len()
                );
                config.send_replace(Arc::new(loaded));
                record(shared, Reloaded::Applied, &summary).await;
                None
            }
            Ok(Err(faults)) => {
                let (count, faults) = (faults.len(), faults.to_string());
                let first = faults.lines().next().unwrap_or_default();
                let of = if count == 1 { "1 fault" } else { &format!("{count} faults") };
                let summary = format!("the changed configuration has {of} and is refused: {first}");
                health.reload_refused(&summary);
                let before = refused.filter(|before| change.is_none() && before.faults == faults);
                if before.is_none() {
                    tracing::error!("the changed configuration is refused, the previous one stays in force:\n{faults}");
                }
                let is_recorded = before.is_some_and(|before| before.is_recorded)
                    || record(shared, Reloaded::Refused, &summary).await;
                Some(Refused { faults, is_recorded })
            }
            Err(error) => {
                tracing::error!(%error, "the configuration could not be read");
                refused
            }
        }
    }
}

/// Records an event. A reload does not depend on it. Returns whether it is stored.
async fn record(shared: &WorkerContext, reloaded: Reloaded, summary: &str) -> bool {
    let recording = event::reload(&shared.pool, reloaded, &shared.owner, summary);
    match tokio::time::timeout(EVENT_MAX, recording).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => tracing::warn!(error = chain(&error), "a reload could not be recorded as an event"),
        Err(_) => tracing::warn!("a reload could not be recorded as an event in time"),
    }
    false
}

/// The secrets of the status port.
fn login(config: &Config) -> Vec<&str> {
    let mut secrets = Vec::new();
    if let Some(auth) = &config.server.auth {
        secrets.push(auth.password.expose());
        if let Some(token) = &auth.token {
            secrets.push(token.expose());
        }
    }
    secrets
}

/// Jobs and connections are reloaded; what was built at start is not.
fn warn_of_restart(before: &Config, after: &Config) {
    let fixed = |config: &Config| {
        (
            format!("{:?}", config.database.target),
            config.database.target.secrets().iter().map(|secret| secret.expose().to_owned()).collect::<Vec<_>>(),
            format!("{:?} {:?}", config.database.max_connections, config.database.distribution),
            format!("{:?} {:?}", config.embedded, config.server.listen),
            format!("{:?} {:?} {:?}", config.server.metrics_per, config.worker.concurrency, config.log),
        )
    };
    if fixed(before) != fixed(after) {
        tracing::warn!(
            "`database`, `embedded`, `server.listen`, `server.metrics_per`, `log` and `worker.concurrency` take effect \
             after a restart"
        );
    }
}
