//! The quota ledger: how much of each vendor limit a credential has used. It is kept in Postgres and shared by
//! processes.
//!
//! Promise 2: a vendor that enforces its documented limits, as a fixed or as a sliding window, never refuses a call
//! because of Tidegate, across restarts and replicas; and at least 95 % of the permitted rate is used while there is
//! work (for periods of a second and longer). Knows no HTTP; the sender consumes a [`Reservation`].

mod forecast;
mod hours;
mod key;
mod ledger;
mod limit;
mod refusal;
mod reservation;
mod snapshot;
mod statement;
mod unblock;
mod window;

use chrono::{DateTime, Utc};
use serde::Serialize;

pub use forecast::{Snapshot, Usage};
pub use hours::{Hours, Traffic};
pub use key::LedgerKey;
pub use ledger::{Grant, Ledger, LedgerError, Request};
pub use limit::{CallKind, Calls, Limit, LimitSpec, Unit};
pub use refusal::{Refusal, header_wait, parse_wait};
pub use reservation::{Reservation, Settlement};
pub use statement::{Dispute, Stated, renew};
pub use unblock::{Lifted, unblock, waiting_for};
pub use window::Window;

/// How much of one limit of a connection is used now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuotaUse {
    pub connection: String,
    pub limit: String,
    /// Calls or bytes within the limit's period.
    pub used: u64,
    pub allowed: u64,
    pub blocked_until: Option<DateTime<Utc>>,
}

impl QuotaUse {
    /// The used part of what is allowed; 1 for a limit that allows nothing.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people and graphs")]
    pub fn ratio(&self) -> f64 {
        if self.allowed == 0 { 1.0 } else { self.used as f64 / self.allowed as f64 }
    }
}
