//! What a connection of this vendor says.

use crate::quota::LimitSpec;
use crate::secret::Secret;

pub const DEFAULT_BASE_URL: &str = "https://premium-production.lynn.cx";

/// A checked account.
#[derive(Debug, Clone)]
pub struct Settings {
    pub account: crate::vendor::lynn::Settings,
}

impl Settings {
    /// What tells this account's quota from another's.
    pub(in crate::vendor) fn credential(&self) -> Vec<&str> {
        self.account.credential()
    }

    pub(in crate::vendor) fn secrets(&self) -> Vec<Secret> {
        self.account.secrets()
    }

    /// The documented limits of the platform.
    pub fn limits(&self) -> &'static [LimitSpec] {
        self.account.limits()
    }
}
