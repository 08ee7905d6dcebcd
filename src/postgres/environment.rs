//! Keeps `PGOPTIONS` away from the sessions of the embedded Postgres.
//!
//! Every other `PG*` variable that the driver reads is overridden. `PGOPTIONS` cannot be: the driver adds to it and
//! offers no way to remove it, and a process cannot change its own environment safely. So the binary restarts itself
//! without the variable, and a library caller that has it set is refused.

use std::io;

use super::Error;
use crate::restart;

const PGOPTIONS: &str = "PGOPTIONS";

/// Replaces this process by the same program, with the same arguments and without `PGOPTIONS`. Returns at once if the
/// variable is not set, otherwise only on failure. Call it at the start of a program, before anything else.
pub fn leave_out_pgoptions() -> io::Result<()> {
    if std::env::var_os(PGOPTIONS).is_none() {
        return Ok(());
    }
    Err(restart::without(PGOPTIONS))
}

pub(super) fn check() -> Result<(), Error> {
    // As the driver does, which ignores values that are not UTF-8.
    if std::env::var(PGOPTIONS).is_ok() { Err(Error::Environment) } else { Ok(()) }
}
