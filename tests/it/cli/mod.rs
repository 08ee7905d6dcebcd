//! The command line as a shell sees it: the real binary, its exit codes, and its output.

mod check;
mod dbt;
mod health;
mod help;
mod history;
mod reset;
pub mod shell;
mod suggest;
