//! The command line, as a shell sees it: the real binary, its exit codes, what it prints and what it never prints.

mod check;
mod health;
mod help;
mod history;
mod reset;
mod shell;
mod suggest;
