//! Builds what a process needs and shuts it down in order.

mod alive;
mod daemon;
mod database;
mod foreground;
mod names;
mod notifying;
mod periodic;
mod pruning;
mod reload;
mod retention;
mod streams;
mod totals;
mod upkeep;
mod views;

pub use alive::Alive;
pub use daemon::{Daemon, DaemonError, owner};
pub use database::{Database, DatabaseError, place as database_place, warning as database_warning};
pub use foreground::Foreground;
pub use names::names;
pub use reload::Reload;
pub use retention::due as due_to_drop;
pub use streams::plan as plan_streams;
pub use totals::compare as compare_totals;
pub use upkeep::tables_without_index;
