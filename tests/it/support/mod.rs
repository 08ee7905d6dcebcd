//! What the tests share: a database for each, and a way to wait.

pub mod child;
mod container;
pub mod daemon;
pub mod database;
mod days;
mod folder;
pub mod process;
mod reaper;
mod server;
pub mod wait;
pub mod world;

pub use self::database::TestDatabase;
pub use self::days::ago;
pub use self::folder::ServerFolder;
pub use self::process::Process;
pub use self::wait::eventually;
pub use self::world::World;
