//! What a connection of this vendor says.

use crate::quota::{Calls, LimitSpec, Unit};
use crate::secret::Secret;
use crate::vendor::export::Polling;

pub const DEFAULT_BASE_URL: &str = "https://analytics-api.app.lithium.com/api/public";

/// A checked account.
#[derive(Debug, Clone)]
pub struct Settings {
    pub polling: Polling,
    pub company_key: Secret,
    pub username: String,
    pub password: Secret,
}

impl Settings {
    /// What tells this account's quota from another's.
    pub(in crate::vendor) fn credential(&self) -> Vec<&str> {
        vec![self.company_key.expose(), &self.username, self.password.expose()]
    }

    pub(in crate::vendor) fn secrets(&self) -> Vec<Secret> {
        vec![self.company_key.clone(), self.password.clone()]
    }

    /// The documented limits.
    pub const fn limits(&self) -> &'static [LimitSpec] {
        LIMITS
    }
}

const LIMITS: &[LimitSpec] = &[limit("requests", 20, 60)];

const fn limit(name: &'static str, amount: u64, per_secs: u64) -> LimitSpec {
    LimitSpec { name, calls: Calls::Data, unit: Unit::Calls, amount, per_secs }
}
