//! The quota ledger: what a credential has used of each vendor limit, kept in Postgres and shared by processes.
//!
//! Promise 2: a vendor that enforces its documented limits, as a fixed or as a sliding window, never refuses a call
//! because of Tidegate, across restarts and replicas; and at least 95 % of the permitted rate is used while there is
//! work. Knows no HTTP; the sender consumes a [`Reservation`].

mod answer;
mod clock;
mod forecast;
mod key;
mod ledger;
mod limit;
mod reservation;
mod statement;
mod unblock;
mod window;

pub use answer::{Answer, header_wait, parse_wait};
pub use forecast::{Snapshot, Usage};
pub use key::LedgerKey;
pub use ledger::{Grant, Ledger, LedgerError, Request, pause};
pub use limit::{CallKind, Calls, Limit, LimitSpec, Unit};
pub use reservation::{Reservation, Settlement};
pub use statement::{Dispute, Stated, renew};
pub use unblock::{Lifted, unblock, waiting_for};
pub use window::Window;
