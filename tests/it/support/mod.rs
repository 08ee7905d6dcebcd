//! Shared parts of the tests: a database for each, and a way to wait.

pub mod child;
pub mod clock;
mod container;
pub mod daemon;
pub mod database;
mod folder;
pub mod pgbouncer;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod random;
mod reaper;
mod server;
pub mod wait;
pub mod world;

pub use self::clock::ago;
pub use self::database::TestDatabase;
pub use self::folder::ServerFolder;
pub use self::process::Process;
pub use self::wait::eventually;
pub use self::world::World;
