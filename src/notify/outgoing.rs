//! What the outbox of a process and its status port know of each other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

use crate::config::Config;

/// The targets that are gone, and the signal that a message was written.
#[derive(Debug, Default)]
pub struct Outgoing {
    gone: Mutex<Gone>,
    written: Arc<Notify>,
}

/// Targets that responded with 410. Nothing is sent to them until the configuration is loaded again.
#[derive(Debug, Default)]
struct Gone {
    /// The configuration that they belong to.
    config: Weak<Config>,
    targets: BTreeSet<String>,
}

impl Gone {
    fn is_of(&self, config: &Arc<Config>) -> bool {
        std::ptr::eq(self.config.as_ptr(), Arc::as_ptr(config))
    }
}

impl Outgoing {
    /// The targets that have responded with 410 since this configuration was loaded.
    pub fn gone(&self, config: &Arc<Config>) -> BTreeSet<String> {
        let gone = self.lock();
        if gone.is_of(config) { gone.targets.clone() } else { BTreeSet::new() }
    }

    pub(super) fn is_gone(&self, config: &Arc<Config>, target: &str) -> bool {
        let gone = self.lock();
        gone.is_of(config) && gone.targets.contains(target)
    }

    /// Returns whether that is new.
    pub(super) fn set_gone(&self, config: &Arc<Config>, target: &str) -> bool {
        let mut gone = self.lock();
        if !gone.is_of(config) {
            *gone = Gone { config: Arc::downgrade(config), targets: BTreeSet::new() };
        }
        gone.targets.insert(target.to_owned())
    }

    /// Lets the outbox of this process send what was just written. Those of other processes wait for their period.
    pub fn wake(&self) {
        self.written.notify_one();
    }

    /// The signal that [`wake`](Self::wake) gives.
    pub fn signal(&self) -> Arc<Notify> {
        Arc::clone(&self.written)
    }

    fn lock(&self) -> MutexGuard<'_, Gone> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_target_is_gone_until_the_configuration_is_loaded_again() {
        let config = || Arc::new(Config::without_files(&BTreeMap::new()).unwrap());
        let (first, second) = (config(), config());
        let outgoing = Outgoing::default();
        assert!(!outgoing.is_gone(&first, "oncall") && outgoing.gone(&first).is_empty());
        assert!(outgoing.set_gone(&first, "oncall"));
        assert!(!outgoing.set_gone(&first, "oncall"), "that is known");
        assert!(outgoing.is_gone(&first, "oncall") && !outgoing.is_gone(&first, "other"));
        assert_eq!(outgoing.gone(&first), BTreeSet::from(["oncall".to_owned()]));
        assert!(!outgoing.is_gone(&second, "oncall") && outgoing.gone(&second).is_empty());
        assert!(outgoing.set_gone(&second, "other"));
        assert!(!outgoing.is_gone(&second, "oncall"));
    }
}
