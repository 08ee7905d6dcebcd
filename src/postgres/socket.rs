//! Where the server's Unix socket is.
//!
//! It is in a private folder, so nobody else can create a socket of the same name there and receive the password. A TCP
//! port has no such protection: the first process that binds it receives every login.
//!
//! The folder is that of the cluster if possible. But the length of a socket's path is limited, and some characters
//! have a meaning in a connection string. If the cluster's path is unsuitable, a folder with a short random name below
//! the system's temporary folder is used instead, and the file `socket` in the data folder records it.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::data_dir::DataDir;
use super::user::give;
use super::{Error, files};

/// Maximum length of a socket's path, in bytes.
const PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// The longest name that Postgres gives to a socket.
const NAME_LONGEST: &str = "/.s.PGSQL.65535";
const NAME_START: &str = ".s.PGSQL.";
/// Prefix of a short folder's name.
const SHORT_START: &str = "tidegate-";

impl DataDir {
    /// The folder of the socket, if there is one and it is private now.
    pub(crate) fn socket_folder(&self) -> Result<Option<PathBuf>, Error> {
        let owner = self.server_uid();
        if fits(&self.cluster) && files::is_private_folder(&self.cluster, owner) {
            return Ok(Some(self.cluster.clone()));
        }
        Ok(self.recorded()?.filter(|folder| files::is_private_folder(folder, owner)))
    }

    /// The folder of the socket, created if missing. The cluster must exist.
    pub(crate) fn make_socket_folder(&self) -> Result<PathBuf, Error> {
        if let Some(folder) = self.socket_folder()? {
            return Ok(folder);
        }
        // The same name if possible, since pools of this process use it.
        if let Some(folder) = self.recorded()?
            && folder.parent().is_some_and(|parent| parents().iter().any(|known| known == parent))
            && self.make_private(&folder).is_ok()
        {
            return Ok(folder);
        }
        let name = format!("{SHORT_START}{:016x}", rand::random::<u64>());
        let usable = |parent: &PathBuf| {
            fits(&parent.join(&name)) && self.user.as_ref().is_none_or(|user| user.blocked_at(parent).is_none())
        };
        let parent = parents().into_iter().find(usable).unwrap_or_else(std::env::temp_dir);
        let folder = parent.join(name);
        self.make_private(&folder)?;
        files::replace(&self.socket_path(), &format!("{}\n", folder.display()))?;
        Ok(folder)
    }

    /// Removes what a killed server left in the socket's folder. Only for a cluster without processes: a new server
    /// would refuse to start if the process id in the old lock file belongs to another process by now.
    pub(crate) fn clear_sockets(&self) -> Result<(), Error> {
        let Some(folder) = self.socket_folder()? else { return Ok(()) };
        let entries = fs::read_dir(&folder).map_err(Error::io("read", &folder))?;
        for entry in entries.filter_map(Result::ok) {
            if entry.file_name().to_string_lossy().starts_with(NAME_START) {
                fs::remove_file(entry.path()).map_err(Error::io("remove the stale", entry.path()))?;
            }
        }
        Ok(())
    }

    fn socket_path(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// The short folder of an earlier start. Ignores a path that Tidegate would not have written.
    fn recorded(&self) -> Result<Option<PathBuf>, Error> {
        let text = files::read(&self.socket_path())?;
        let folder = text.map(|text| PathBuf::from(text.trim_end_matches('\n')));
        Ok(folder.filter(|folder| {
            let named = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(SHORT_START));
            named && folder.is_absolute() && fits(folder)
        }))
    }

    fn make_private(&self, folder: &Path) -> Result<(), Error> {
        // Fails if the name exists, even as a link.
        DirBuilder::new().mode(0o700).create(folder).map_err(Error::io("make", folder))?;
        give(folder, self.user.as_ref())
    }

    /// The user that the server runs as.
    fn server_uid(&self) -> u32 {
        let own = rustix::process::geteuid();
        if !own.is_root() {
            return own.as_raw();
        }
        // Root may use the server without having started it, and then did not choose its user.
        let chosen = self.user.as_ref().map(|user| user.uid);
        chosen.or_else(|| fs::metadata(&self.cluster).ok().map(|metadata| metadata.uid())).unwrap_or(0)
    }
}

/// Parents of short folders, best first.
fn parents() -> Vec<PathBuf> {
    vec![std::env::temp_dir(), PathBuf::from("/tmp")]
}

/// Whether a socket in `folder` can be named everywhere: for the system, which limits its length; for `psql`, which
/// splits a host at commas; and in a URL, which is text.
fn fits(folder: &Path) -> bool {
    folder.as_os_str().len() + NAME_LONGEST.len() <= PATH_BYTES_MAX
        && folder.to_str().is_some_and(|text| !text.contains(|c: char| c.is_control() || c == ','))
}

/// The value of `unix_socket_directories` for one folder. The setting is a list: a name in double quotes may contain
/// anything, with double quotes doubled.
pub(super) fn setting(folder: &Path) -> String {
    format!("unix_socket_directories=\"{}\"", folder.display().to_string().replace('"', "\"\""))
}

/// `folder` as the host of a URL: every byte with a special meaning is percent-encoded.
pub(super) fn url_host(folder: &Path) -> String {
    let mut host = String::new();
    for byte in folder.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            host.push(char::from(*byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(host, "%{byte:02X}");
        }
    }
    host
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn home(root: &Path, cluster: PathBuf) -> DataDir {
        fs::create_dir_all(&cluster).unwrap();
        fs::set_permissions(&cluster, fs::Permissions::from_mode(0o700)).unwrap();
        DataDir { dir: root.to_owned(), cluster, user: None }
    }

    #[test]
    fn a_socket_is_in_the_cluster_if_its_path_fits() {
        let root = tempfile::tempdir().unwrap();
        let home = home(root.path(), root.path().join("cluster"));
        assert_eq!(home.make_socket_folder().unwrap(), home.cluster);
        assert!(!home.socket_path().exists());
    }

    #[test]
    fn a_short_folder_is_created_once_recorded_and_checked_at_each_use() {
        let root = tempfile::tempdir().unwrap();
        let home = home(root.path(), root.path().join("long".repeat(30)).join("cluster"));
        assert_eq!(home.socket_folder().unwrap(), None);
        let folder = home.make_socket_folder().unwrap();
        assert!(fits(&folder), "{}", folder.display());
        assert_eq!(home.make_socket_folder().unwrap(), folder);
        assert_eq!(home.socket_folder().unwrap().as_ref(), Some(&folder));

        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(home.socket_folder().unwrap(), None, "others may enter it");
        fs::remove_dir(&folder).unwrap();
        assert_eq!(home.make_socket_folder().unwrap(), folder, "made again under its name");
        fs::remove_dir(&folder).unwrap();
        std::os::unix::fs::symlink(root.path(), &folder).unwrap();
        let other = home.make_socket_folder().unwrap();
        assert_ne!(other, folder, "a link at its name is not used");
        fs::remove_file(folder).unwrap();
        fs::remove_dir(other).unwrap();
    }

    #[test]
    fn odd_characters_are_quoted_for_the_setting_and_encoded_for_the_url() {
        let folder = Path::new("/a \"b\"/c%d");
        assert_eq!(setting(folder), "unix_socket_directories=\"/a \"\"b\"\"/c%d\"");
        assert_eq!(url_host(folder), "%2Fa%20%22b%22%2Fc%25d");
        assert!(fits(folder));
        for odd in ["/a,b", "/a\nb"] {
            assert!(!fits(Path::new(odd)), "{odd}");
        }
        assert!(!fits(Path::new(&format!("/{}", "x".repeat(92)))));
        assert!(fits(Path::new(&format!("/{}", "x".repeat(87)))));
    }
}
