//! Restarts the program with another environment, which a process cannot change safely for itself.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// How the allocator of glibc is set up, where the environment does not say otherwise. Some large work, such as reading
/// the configuration, would otherwise decide how much memory the process keeps.
const ALLOCATOR: [(&str, &str); 3] = [
    // The number of arenas, instead of eight for each core. An arena keeps what was freed for the threads that use it,
    // so with several, each keeps the peak of some large work.
    ("MALLOC_ARENA_MAX", "1"),
    // Bytes from which an allocation is returned to the system as soon as it is freed, and bytes that are kept free at
    // the end of the arena. Otherwise both grow with the largest allocation, up to 32 and 64 MiB.
    ("MALLOC_MMAP_THRESHOLD_", "1048576"),
    ("MALLOC_TRIM_THRESHOLD_", "1048576"),
];

/// Restarts the program with these settings, if this is glibc. With a number of arenas in the environment, nothing is
/// changed. The memory is not worth a failure to start.
pub fn with_lean_allocator() {
    let [(arenas, _), ..] = ALLOCATOR;
    if cfg!(target_env = "gnu") && std::env::var_os(arenas).is_none() {
        let missing = ALLOCATOR.into_iter().filter(|(name, _)| std::env::var_os(name).is_none());
        let _failed = restart(|command| command.envs(missing));
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
