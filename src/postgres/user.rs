//! The user that the server runs as: the current one, or an unprivileged one if Tidegate runs as root.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;

/// Users to try, best first, if Tidegate runs as root.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// An unprivileged user to switch to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUser {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

impl ServerUser {
    /// `None`: this process is not root, and the server runs as the same user. As root, an existing cluster keeps its
    /// owner, whatever its name.
    pub fn choose(cluster: &Path) -> Result<Option<Self>, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        if let Ok(metadata) = fs::metadata(cluster)
            && metadata.uid() != 0
        {
            return Ok(Some(Self {
                name: format!("with id {}", metadata.uid()),
                uid: metadata.uid(),
                gid: metadata.gid(),
            }));
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        CANDIDATES.iter().find_map(|name| in_passwd(&passwd, name)).map(Some).ok_or(Error::NoOrdinaryUser)
    }

    /// The innermost folder on the way to `path` that the user may not enter. Checks mode bits only, not access control
    /// lists.
    pub fn blocked_at(&self, path: &Path) -> Option<PathBuf> {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        path.ancestors()
            .filter_map(|folder| fs::metadata(folder).ok().map(|metadata| (folder, metadata)))
            .find(|(_, metadata)| !self.may_enter(metadata.uid(), metadata.gid(), metadata.mode()))
            .map(|(folder, _)| folder.to_owned())
    }

    const fn may_enter(&self, owner: u32, group: u32, mode: u32) -> bool {
        let bit = if self.uid == owner {
            0o100
        } else if self.gid == group {
            0o010
        } else {
            0o001
        };
        mode & bit != 0
    }
}

/// Makes the server's user the owner of `path`; for a link, of the link itself.
pub fn give(path: &Path, user: Option<&ServerUser>) -> Result<(), Error> {
    let Some(user) = user else { return Ok(()) };
    lchown(path, Some(user.uid), Some(user.gid)).map_err(Error::io("give to the server's user", path))
}

/// Runs `command` as the server's user, in its own process group, without environment variables that could change
/// Postgres's behaviour. Ctrl-C in the terminal goes to the foreground group and so not to the server.
pub fn as_server(command: &mut Command, user: Option<&ServerUser>) {
    command.env_clear().env("LC_ALL", "C").process_group(0);
    for kept in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
}

fn in_passwd(passwd: &str, name: &str) -> Option<ServerUser> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (uid != 0).then(|| ServerUser { name: name.to_owned(), uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32, gid: u32) -> ServerUser {
        ServerUser { name: "u".to_owned(), uid, gid }
    }

    #[test]
    fn users_are_read_from_passwd_and_root_is_never_used() {
        let passwd =
            "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\nodd:x:0:0::/:\n";
        let found = in_passwd(passwd, "postgres").unwrap();
        assert_eq!((found.uid, found.gid), (101, 104));
        assert_eq!(in_passwd(passwd, "odd"), None);
        assert_eq!(in_passwd(passwd, "nobody"), None);
    }

    #[test]
    fn the_first_class_that_fits_decides_who_may_enter() {
        assert!(user(7, 7).may_enter(0, 0, 0o701));
        assert!(!user(7, 7).may_enter(0, 0, 0o700));
        assert!(!user(7, 7).may_enter(7, 0, 0o011), "only the owner's bits apply to an owner");
        assert!(!user(7, 7).may_enter(0, 7, 0o701), "only the group's bits apply to a member");
    }

    #[test]
    fn a_closed_folder_on_the_way_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let closed = root.path().canonicalize().unwrap().join("closed");
        fs::create_dir_all(closed.join("inside")).unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(closed.join("inside"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(user(4_000_000, 4_000_000).blocked_at(&closed.join("inside")), Some(closed));
    }
}
