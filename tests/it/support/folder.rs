//! Folders in which tests run servers of their own.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::{programs, reaper};

/// A temporary folder. Should the test be killed, the servers in it are stopped all the same.
#[derive(Debug)]
pub struct ServerFolder {
    folder: TempDir,
    _in_use: File,
}

impl ServerFolder {
    /// With a mode like 0o755: the server's user must be able to pass through, or, 0o700, must not.
    pub fn new(mode: u32) -> Self {
        programs::prepare();
        let folder = tempfile::Builder::new().permissions(Permissions::from_mode(mode)).tempdir().unwrap();
        let in_use = reaper::use_room(folder.path()).unwrap();
        let path = folder.path().display();
        let stop = format!(
            "for file in $(find -L '{path}' -name postmaster.pid); do kill -QUIT $(head -n 1 \"$file\"); done; sleep 1; \
             rm -rf '{path}'"
        );
        reaper::start(folder.path(), &stop).unwrap();
        Self { folder, _in_use: in_use }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}
