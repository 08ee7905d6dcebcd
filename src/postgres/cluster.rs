//! Makes a cluster, and knows whether one is there.
//!
//! A cluster appears under its name only when it is whole: `initdb` works beside it, and what a crash left half-made is
//! thrown away at the next start.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::timeout;

use super::binaries::PgBin;
use super::home::{USER, one_line};
use super::user::{as_server, give};
use super::{Error, ServerUser};
use crate::secret::Secret;

/// One to three seconds on a usual disk.
const INITDB_WITHIN: Duration = Duration::from_mins(3);
/// A single-user server starts in a second, after a crash it recovers first.
const SINGLE_USER_WITHIN: Duration = Duration::from_mins(5);

/// The major version of the cluster in `path`; none if there is no cluster.
pub fn version_of(path: &Path) -> Result<Option<u32>, Error> {
    if let Ok(text) = fs::read_to_string(path.join("PG_VERSION")) {
        return text.trim().parse().map(Some).map_err(|_| Error::NotACluster { path: path.to_owned() });
    }
    match fs::read_dir(path).map(|mut entries| entries.next()) {
        // Left by someone who made the folder for us.
        Ok(None) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Ok(Some(_)) => Err(Error::NotACluster { path: path.to_owned() }),
        Err(source) => Err(Error::Io { doing: "read", path: path.to_owned(), source }),
    }
}

/// Makes a cluster at `path` with `password` for its superuser. `extra` goes to `initdb`.
pub async fn make(
    path: &Path,
    bin: &PgBin,
    user: Option<&ServerUser>,
    password: &Secret,
    extra: &[&str],
) -> Result<(), Error> {
    // Text is ordered by code point, which is fast and never changes with the system's library; case and classes of
    // letters follow Unicode where the system has that locale.
    let unicode = ["--locale=C.UTF-8", "--lc-collate=C"];
    let plain = ["--locale=C"];
    let first = build(path, bin, user, password, &[&unicode, extra].concat()).await;
    match first {
        Err(Error::Initdb { output, .. }) if output.contains("invalid locale") => {
            build(path, bin, user, password, &[&plain, extra].concat()).await
        }
        other => other,
    }
}

async fn build(
    path: &Path,
    bin: &PgBin,
    user: Option<&ServerUser>,
    password: &Secret,
    flags: &[&str],
) -> Result<(), Error> {
    let building = path.with_extension("building");
    if building.exists() {
        fs::remove_dir_all(&building).map_err(Error::io("remove the half-made", &building))?;
    }
    DirBuilder::new().mode(0o700).create(&building).map_err(Error::io("make", &building))?;
    let password_file = building.join("password");
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&password_file)
        .and_then(|mut file| file.write_all(password.expose().as_bytes()))
        .map_err(Error::io("write", &password_file))?;
    give(&password_file, user)?;
    give(&building, user)?;

    let made = building.join("cluster");
    let mut command = Command::new(bin.program("initdb"));
    as_server(&mut command, user);
    command
        .current_dir(&building)
        .arg("--pgdata")
        .arg(&made)
        .arg("--pwfile")
        .arg(&password_file)
        .args(["--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-instructions"])
        .args(flags);
    run(command, INITDB_WITHIN, b"").await.map_err(|output| Error::Initdb { path: path.to_owned(), output })?;

    if path.is_dir() {
        // Known to be empty, or this would not have been reached.
        fs::remove_dir(path).map_err(Error::io("replace the empty", path))?;
    }
    fs::rename(&made, path).map_err(Error::io("put the new cluster in", path))?;
    let parent = path.parent().unwrap_or(path);
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(Error::io("write", parent))?;
    fs::remove_dir_all(&building).map_err(Error::io("remove", &building))
}

/// Gives the superuser of a stopped cluster a new password, for when the old one was lost.
pub async fn set_password(path: &Path, bin: &PgBin, user: Option<&ServerUser>, password: &Secret) -> Result<(), Error> {
    let mut command = Command::new(bin.program("postgres"));
    as_server(&mut command, user);
    command.current_dir(path).arg("--single").arg("-D").arg(path).arg("postgres");
    // One command per line; the password is hexadecimal and needs no quoting.
    let input = format!("alter role {USER} password '{}'\n", password.expose());
    run(command, SINGLE_USER_WITHIN, input.as_bytes())
        .await
        .map(drop)
        // What it said may repeat the command, and so the password.
        .map_err(|_| Error::PasswordLost { path: path.to_owned() })
}

/// Runs a program to its end. The error is what it said.
async fn run(mut command: Command, limit: Duration, input: &[u8]) -> Result<(), String> {
    use tokio::io::AsyncWriteExt as _;

    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    let mut child = command.kill_on_drop(true).spawn().map_err(|error| error.to_string())?;
    let finished = async {
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input).await?;
        }
        child.wait_with_output().await
    };
    let output = timeout(limit, finished)
        .await
        .map_err(|_| format!("it took longer than {} s", limit.as_secs()))?
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{} ({})", one_line(&String::from_utf8_lossy(&output.stderr)), output.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_something_else_is_not_touched() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("cluster");
        assert_eq!(version_of(&path).unwrap(), None);
        fs::create_dir(&path).unwrap();
        assert_eq!(version_of(&path).unwrap(), None, "an empty folder can be used");
        fs::write(path.join("photo.jpg"), "").unwrap();
        assert!(matches!(version_of(&path), Err(Error::NotACluster { .. })));
        fs::write(path.join("PG_VERSION"), "15\n").unwrap();
        assert_eq!(version_of(&path).unwrap(), Some(15));
    }
}
