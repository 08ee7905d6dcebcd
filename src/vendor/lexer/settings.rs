//! What a connection of this vendor says.

use crate::quota::{Calls, LimitSpec, Unit};
use crate::secret::Secret;
use crate::vendor::export::Polling;

pub const DEFAULT_BASE_URL: &str = "https://api.lexer.io";

/// A checked account.
#[derive(Debug, Clone)]
pub struct Settings {
    pub polling: Polling,
    pub api_token: Secret,
}

impl Settings {
    /// What tells this account's quota from another's.
    pub(in crate::vendor) fn credential(&self) -> Vec<&str> {
        vec![self.api_token.expose()]
    }

    pub(in crate::vendor) fn secrets(&self) -> Vec<Secret> {
        vec![self.api_token.clone()]
    }

    /// Base URLs beside the connection's that bear its credential too.
    #[expect(clippy::unused_self, reason = "its second host is no setting yet")]
    pub(in crate::vendor) const fn own_bases(&self) -> Vec<&url::Url> {
        Vec::new()
    }

    /// The documented limits.
    pub const fn limits(&self) -> &'static [LimitSpec] {
        LIMITS
    }
}

const LIMITS: &[LimitSpec] = &[limit("requests", 100, 300), limit("burst", 10, 1)];

const fn limit(name: &'static str, amount: u64, per_secs: u64) -> LimitSpec {
    LimitSpec { name, calls: Calls::Data, unit: Unit::Calls, amount, per_secs }
}
