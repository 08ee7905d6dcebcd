//! Whether this process is ready for work, from what its parts have reported.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// Set by the application as it starts and stops; read by `/readyz` and the status page.
#[derive(Debug, Default)]
pub struct Health {
    config_loaded: AtomicBool,
    migrated: AtomicBool,
    stopping: CancellationToken,
    /// Why the newest configuration was refused.
    refusal: Mutex<Option<Arc<str>>>,
}

impl Health {
    /// The configuration was loaded and checked.
    pub fn config_loaded(&self) {
        self.config_loaded.store(true, Ordering::Relaxed);
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The changed configuration is invalid, for the reason in `summary`; the previous one is still in force.
    pub fn reload_refused(&self, summary: &str) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(summary.into());
    }

    /// The database is migrated to this version.
    pub fn migrated(&self) {
        self.migrated.store(true, Ordering::Relaxed);
    }

    /// The process is shutting down and will not become ready again.
    pub fn stopping(&self) {
        self.stopping.cancel();
    }

    /// Cancelled when the process shuts down.
    pub(super) const fn stop(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Whether the newest configuration was refused.
    pub fn is_reload_refused(&self) -> bool {
        self.refusal().is_some()
    }

    /// Why the newest configuration was refused, with file and line.
    pub fn refusal(&self) -> Option<Arc<str>> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the process is not ready, regardless of the database.
    pub fn obstacle(&self) -> Option<&'static str> {
        if self.stopping.is_cancelled() {
            Some("shutting down")
        } else if !self.config_loaded.load(Ordering::Relaxed) {
            Some("the configuration is not loaded yet")
        } else if !self.migrated.load(Ordering::Relaxed) {
            Some("the database is not migrated to this version yet")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_between_its_start_and_its_end() {
        let health = Health::default();
        assert_eq!(health.obstacle(), Some("the configuration is not loaded yet"));
        health.config_loaded();
        assert_eq!(health.obstacle(), Some("the database is not migrated to this version yet"));
        health.migrated();
        assert_eq!(health.obstacle(), None);
        health.reload_refused("tidegate.yaml:3: wrong");
        assert_eq!(health.obstacle(), None, "the previous configuration is in force");
        assert_eq!(health.refusal().as_deref(), Some("tidegate.yaml:3: wrong"));
        health.stopping();
        assert_eq!(health.obstacle(), Some("shutting down"));
    }
}
