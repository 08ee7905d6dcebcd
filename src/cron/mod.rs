//! Parses cron expressions and computes when they fire in their zone (promise 8).
//!
//! This is the only parser of cron expressions. The checked configuration holds a parsed [`Schedule`], which all other
//! modules use. This module depends on no job and no database.

mod expression;
mod firings;
#[cfg(test)]
mod firings_tests;
mod words;

pub use expression::ScheduleError;
pub use firings::{CatchUp, NextFirings, Schedule, Schedules};
