//! When jobs fire, and the periodic work inside the process (promise 8).
//!
//! Due times come from the schedule ([`cron`](crate::cron)) and Postgres, never from memory: `enqueue` turns a due
//! firing into a run exactly once however many replicas try, [`timer`] only runs tasks periodically, and [`watch`] only
//! reports that the configuration may have changed. `calendar` caches nothing that Postgres could contradict. None of
//! them depends on a vendor.

mod calendar;
mod enqueue;
mod expected;
pub mod timer;
pub mod watch;

pub use calendar::Calendar;
pub use enqueue::{ByHand, Enqueued, Requested, clock, end_waits, enqueue_by_hand, enqueue_due, enqueue_manual};
pub use expected::{expected, longest_wait};
