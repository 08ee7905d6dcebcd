//! Folders in which tests run their own servers.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::{programs, reaper};

/// A temporary folder. The servers in it are stopped even if the test is killed.
#[derive(Debug)]
pub struct ServerFolder {
    folder: TempDir,
    _in_use: File,
}

impl ServerFolder {
    /// With a mode such as 0o755, which the server's user can traverse, or 0o700, which it cannot.
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
