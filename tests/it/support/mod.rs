//! What the tests share: databases, vendors, processes, and ways to wait.

pub mod bench;
pub mod child;
pub mod clock;
mod container;
pub mod daemon;
pub mod database;
mod folder;
pub mod json_schema;
pub mod lock;
pub mod pgbouncer;
pub mod port;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod random;
mod reaper;
pub mod secrets;
mod server;
pub mod story;
pub mod wait;
pub mod world;

pub use self::clock::{ago, at};
pub use self::database::TestDatabase;
pub use self::folder::ServerFolder;
pub use self::process::Process;
pub use self::wait::eventually;
pub use self::world::World;
