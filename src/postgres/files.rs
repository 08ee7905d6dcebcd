//! Reads and writes the small files of the data folder.
//!
//! The folder may belong to another user while Tidegate runs as root. A symbolic link in it could then redirect a write
//! to any file of the system. So no function here follows links, and only regular files are opened.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Error;

/// The files are a few lines long. A longer file is not one of them.
const BYTES_MAX: u64 = 64 * 1024;
/// `NONBLOCK` keeps a named pipe from blocking the open; it has no effect on a regular file.
const FLAGS: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK);

/// Opens `path` with `options`. Fails if it is a symbolic link or not a regular file, and, if `writes` is set, if the
/// file has a second name (a hard link), since it may then belong to another folder.
pub(super) fn open(path: &Path, options: &mut OpenOptions, writes: bool) -> Result<File, Error> {
    let flags = i32::try_from(FLAGS.bits()).unwrap_or_default();
    let file = match options.custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if is_special(&error) => return Err(Error::NotRegular { path: path.to_owned() }),
        Err(source) => return Err(Error::Io { doing: "open", path: path.to_owned(), source }),
    };
    let metadata = file.metadata().map_err(Error::io("open", path))?;
    if !metadata.is_file() || (writes && metadata.nlink() > 1) {
        return Err(Error::NotRegular { path: path.to_owned() });
    }
    Ok(file)
}

/// The errors of `open` for a link, for a pipe without a reader or a socket, and for a folder.
fn is_special(error: &io::Error) -> bool {
    let special = [Errno::LOOP, Errno::NXIO, Errno::ISDIR];
    error.raw_os_error().is_some_and(|code| special.iter().any(|errno| errno.raw_os_error() == code))
}

/// The text of a file. Returns `None` if there is no such file.
pub(super) fn read(path: &Path) -> Result<Option<String>, Error> {
    let file = match open(path, OpenOptions::new().read(true), false) {
        Ok(file) => file,
        Err(Error::Io { source, .. })
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Replaces a file in one step, readable only by its owner. First removes any file with the extension `new`, so that a
/// link there is not followed.
pub(super) fn replace(path: &Path, content: &str) -> Result<(), Error> {
    let beside = path.with_extension("new");
    let write = || -> io::Result<()> {
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(path.parent().unwrap_or(path))?.sync_all()
    };
    write().map_err(Error::io("write", path))
}

/// Whether `path` is a real folder (not a link) that belongs to `owner` and that nobody else may enter.
pub(super) fn is_private_folder(path: &Path, owner: u32) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == owner && metadata.mode() & 0o777 == 0o700)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_link_is_neither_read_nor_written_and_the_error_names_it() {
        let root = tempfile::tempdir().unwrap();
        let (secret, link) = (root.path().join("secret"), root.path().join("pgpass"));
        fs::write(&secret, "mine").unwrap();
        symlink(&secret, &link).unwrap();
        let refusal = read(&link).unwrap_err();
        assert!(matches!(refusal, Error::NotRegular { .. }), "{refusal}");
        assert!(refusal.to_string().contains(link.to_str().unwrap()), "{refusal}");
        let append = open(&link, OpenOptions::new().create(true).append(true), true);
        assert!(matches!(append, Err(Error::NotRegular { .. })));

        symlink(&secret, root.path().join("pgpass.new")).unwrap();
        replace(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&secret).unwrap(), "mine");
        assert_eq!(read(&link).unwrap().as_deref(), Some("new"));
    }

    #[test]
    fn only_a_regular_file_with_one_name_is_written() {
        let root = tempfile::tempdir().unwrap();
        let (file, other) = (root.path().join("server.log"), root.path().join("other"));
        assert_eq!(read(&file).unwrap(), None);
        fs::write(&other, "").unwrap();
        fs::hard_link(&other, &file).unwrap();
        assert!(matches!(open(&file, OpenOptions::new().append(true), true), Err(Error::NotRegular { .. })));
        assert!(matches!(read(root.path()), Err(Error::NotRegular { .. })));
    }

    #[test]
    fn a_private_folder_is_real_and_closed_and_of_the_expected_owner() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("folder");
        fs::create_dir(&folder).unwrap();
        let owner = fs::metadata(&folder).unwrap().uid();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(is_private_folder(&folder, owner));
        assert!(!is_private_folder(&folder, owner + 1));
        symlink(&folder, root.path().join("link")).unwrap();
        assert!(!is_private_folder(&root.path().join("link"), owner));
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)).unwrap();
        assert!(!is_private_folder(&folder, owner));
    }
}
