//! The quota ledger: how much of each vendor limit a credential has used. It is kept in Postgres and shared by
//! processes.
//!
//! Promise 2: a vendor that enforces its documented limits, as a fixed or as a sliding window, never refuses a call
//! because of Tidegate, across restarts and replicas; and at least 95 % of the permitted rate is used while there is
//! work (for periods of a second and longer). Knows no HTTP; the sender consumes a [`Reservation`].

mod changed;
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
mod usage;
mod waited;
mod window;

pub use changed::{limit_waited_for, waiting_for, wake};
pub use forecast::Snapshot;
pub use hours::{Hours, Traffic};
pub use key::{LedgerKey, LedgerKeys};
pub use ledger::{Grant, Ledger, LedgerError, Request, waiter_of_task};
pub use limit::{CallKind, Calls, Limit, LimitSpec, Unit};
pub use refusal::{Refusal, header_wait, parse_wait};
pub use reservation::{Reservation, Settlement};
pub use statement::{Dispute, Stated, renew};
pub use unblock::{Lifted, blocked, unblock};
pub use usage::{LedgerUse, Usage, Uses};
pub use waited::{Waited, end_wait};
pub use window::Window;
