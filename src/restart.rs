//! Restarts the program with another environment, which a process cannot change safely for itself.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// How many arenas the allocator of glibc makes, instead of eight for each core.
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// Has all threads allocate from one arena, if this is glibc and the environment does not say otherwise. An arena keeps
/// what was freed for the threads that use it. With several, each keeps the peak of some large work, such as reading
/// the configuration. The memory is not worth a failure to start.
pub fn with_one_arena() {
    if cfg!(target_env = "gnu") && std::env::var_os(ARENAS).is_none() {
        let _failed = restart(|command| command.env(ARENAS, "1"));
    }
}

/// Replaces this process by the same program, with the same arguments and without the variable. Returns only on
/// failure.
pub fn without(variable: impl AsRef<OsStr>) -> io::Error {
    restart(|command| command.env_remove(variable))
}

fn restart(change: impl FnOnce(&mut Command) -> &mut Command) -> io::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    let mut arguments = std::env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    change(command.args(arguments)).exec()
}
