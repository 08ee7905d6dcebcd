//! Takes a changed configuration into force without a restart, or refuses it and keeps the one before.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::Xxh3;

use crate::config::Config;
use crate::schedule::watch::{Change, ConfigWatch};
use crate::server::Health;
use crate::worker::Shared;

/// Where the configuration came from.
#[derive(Debug, Clone)]
pub struct Reload {
    pub path: PathBuf,
    pub env: BTreeMap<String, String>,
}

impl Reload {
    /// Follows changes until `shutdown`.
    pub async fn follow(
        self,
        config: watch::Sender<Arc<Config>>,
        shared: Arc<Shared>,
        health: Arc<Health>,
        shutdown: CancellationToken,
    ) {
        let mut changes = match ConfigWatch::start(&self.path) {
            Ok(changes) => changes,
            Err(error) => {
                tracing::error!(%error, "configuration changes are not followed; restart after a change");
                return;
            }
        };
        // What was changed between the start's loading and the first look is in no notification.
        self.take(None, &config, &shared, &health).await;
        loop {
            let change = tokio::select! {
                () = shutdown.cancelled() => return,
                change = changes.changed() => change,
            };
            self.take(Some(change), &config, &shared, &health).await;
        }
    }

    /// Loads the configuration and takes it into force; without a `change`, only if it is another one.
    async fn take(
        &self,
        change: Option<Change>,
        config: &watch::Sender<Arc<Config>>,
        shared: &Shared,
        health: &Health,
    ) {
        let (path, env) = (self.path.clone(), self.env.clone());
        let loaded = tokio::task::spawn_blocking(move || Config::load(&path, &env)).await;
        match loaded {
            Ok(Ok(loaded)) => {
                let before = Arc::clone(&config.borrow());
                let same_accounts =
                    before.connections.values().map(account).eq(loaded.connections.values().map(account));
                if change.is_none() && same_accounts && fingerprint(&before) == fingerprint(&loaded) {
                    return;
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
                config.send_replace(Arc::new(loaded));
                health.config_loaded();
            }
            Ok(Err(faults)) => {
                health.reload_refused();
                tracing::error!("the changed configuration is refused, the one before stays in force:\n{faults}");
            }
            Err(error) => tracing::error!(%error, "the configuration could not be read"),
        }
    }
}

/// Of everything that a configuration shows of itself. Hashed while it is written: a thousand jobs make megabytes of text.
fn fingerprint(config: &Config) -> u128 {
    struct Hasher(Xxh3);
    impl fmt::Write for Hasher {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.update(text.as_bytes());
            Ok(())
        }
    }
    let mut hasher = Hasher(Xxh3::new());
    // Hashing does not fail.
    let _infallible = write!(hasher, "{config:?}");
    hasher.0.digest128()
}

/// What makes an account another one: its settings, and the secrets that they do not show.
fn account(connection: &crate::connector::Connection) -> (String, Vec<String>) {
    let secrets = connection.settings.secrets().iter().map(|secret| secret.expose().to_owned()).collect();
    (format!("{connection:?}"), secrets)
}

/// Jobs and connections are followed; what was built at start is not.
fn warn_of_restart(before: &Config, after: &Config) {
    let fixed = |config: &Config| {
        (
            format!("{:?}", config.database.target),
            config.database.target.secrets().iter().map(|secret| secret.expose().to_owned()).collect::<Vec<_>>(),
            format!("{:?} {:?} {:?}", config.database.max_connections, config.embedded, config.server),
            format!("{:?} {:?}", config.worker.concurrency, config.log),
        )
    };
    if fixed(before) != fixed(after) {
        tracing::warn!("`database`, `embedded`, `server`, `log` and `worker.concurrency` take effect after a restart");
    }
}
