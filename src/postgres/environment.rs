//! Keeps `PGOPTIONS` away from the sessions of the embedded Postgres.
//!
//! Every other `PG*` variable that the driver reads is replaced by a value of ours. `PGOPTIONS` cannot be: the driver adds to it,
//! and no function of it removes it. A process may not change its own environment safely either. So the binary starts itself
//! again without the variable, and a caller of the library that has it set is refused.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::Error;

const PGOPTIONS: &str = "PGOPTIONS";

/// Replaces this process by the same program, with the same arguments and without `PGOPTIONS`. Returns at once if it is not set;
/// otherwise it returns only if that fails. For the start of a program, before it has done anything.
pub fn leave_out_pgoptions() -> io::Result<()> {
    if std::env::var_os(PGOPTIONS).is_none() {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    Err(command.args(arguments).env_remove(PGOPTIONS).exec())
}

pub(super) fn check() -> Result<(), Error> {
    // As the driver does, which leaves out what is not text.
    if std::env::var(PGOPTIONS).is_ok() { Err(Error::Environment) } else { Ok(()) }
}
