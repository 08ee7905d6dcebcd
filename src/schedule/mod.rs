//! When jobs fire, and the periodic work inside the process (promise 8).
//!
//! Due times come from the cron expression, the zone and Postgres, never from memory: `due` is pure, `enqueue` turns
//! a due firing into a run exactly once however many replicas ask, [`bell`] only says "look now", and [`watch`] only
//! says "the configuration may have changed". `calendar` remembers nothing that Postgres could contradict. None of them knows a vendor.

pub mod bell;
mod calendar;
mod due;
#[cfg(test)]
mod due_tests;
mod enqueue;
mod expression;
pub mod watch;

pub use calendar::Calendar;
pub use due::Schedule;
pub use enqueue::{ByHand, EnqueueError, Enqueued, clock, enqueue_due, enqueue_manual};
pub use expression::ScheduleError;
