//! What a cron expression means: how it is read, and when it fires in its zone (promise 8).
//!
//! There is one reader and one [`Schedule`]: the configuration has it checked, and everyone else asks it. It knows no job and
//! no database.

mod expression;
mod firings;
#[cfg(test)]
mod firings_tests;

pub use expression::ScheduleError;
pub use firings::{CatchUp, Schedule};
