//! Creates a cluster, and detects whether one exists.
//!
//! A cluster gets its name only when it is complete, with its roles and database: `initdb` works in a folder next to
//! it, and what a crash left incomplete is deleted at the next start.
//!
//! The superuser `postgres` is for administrators. Tidegate works as the role `tidegate`, which owns its database and
//! may create roles (a migration creates the role for readers). In clusters of earlier versions `tidegate` is the
//! superuser and stays so, since Postgres does not let the first superuser of a cluster lose its rights.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, fchown};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::timeout;

use super::binaries::PgBin;
use super::data_dir::{DATABASE, Passwords, SUPERUSER, USER, one_line};
use super::user::{as_server, give};
use super::{Error, ServerUser, files};
use crate::secret::Secret;

/// Takes one to three seconds on a usual disk.
const INITDB_WITHIN: Duration = Duration::from_mins(3);
/// A single-user server starts in a second; after a crash it recovers first.
const SINGLE_USER_WITHIN: Duration = Duration::from_mins(5);

/// The major version of the cluster in `path`; `None` if there is no cluster.
pub fn version_of(path: &Path) -> Result<Option<u32>, Error> {
    if let Ok(Some(text)) = files::read(&path.join("PG_VERSION")) {
        return text.trim().parse().map(Some).map_err(|_| Error::NotACluster { path: path.to_owned() });
    }
    match fs::read_dir(path).map(|mut entries| entries.next()) {
        // An empty folder that someone created for Tidegate.
        Ok(None) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Ok(Some(_)) => Err(Error::NotACluster { path: path.to_owned() }),
        Err(source) => Err(Error::Io { doing: "read", path: path.to_owned(), source }),
    }
}

/// Creates a cluster at `path` with one role, the superuser `tidegate`, and no database of its own, as earlier versions
/// did. For servers that a test or a benchmark administers itself. `extra` is passed to `initdb`.
pub async fn make(
    path: &Path,
    bin: &PgBin,
    user: Option<&ServerUser>,
    password: &Secret,
    extra: &[&str],
) -> Result<(), Error> {
    make_whole(path, bin, user, &Passwords { tidegate: password.clone(), superuser: None }, extra).await
}

/// Creates a cluster at `path` with the roles that have `passwords`, and the database. `extra` is passed to `initdb`.
pub(super) async fn make_whole(
    path: &Path,
    bin: &PgBin,
    user: Option<&ServerUser>,
    passwords: &Passwords,
    extra: &[&str],
) -> Result<(), Error> {
    // Text is ordered by code point, which is fast and never changes with the system's library; case and classes of
    // letters follow Unicode where the system has that locale.
    let unicode = ["--locale=C.UTF-8", "--lc-collate=C"];
    let plain = ["--locale=C"];
    let first = build(path, bin, user, passwords, &[&unicode, extra].concat()).await;
    match first {
        Err(Error::Initdb { output, .. }) if output.contains("invalid locale") => {
            build(path, bin, user, passwords, &[&plain, extra].concat()).await
        }
        other => other,
    }
}

async fn build(
    path: &Path,
    bin: &PgBin,
    user: Option<&ServerUser>,
    passwords: &Passwords,
    flags: &[&str],
) -> Result<(), Error> {
    let building = path.with_extension("building");
    if fs::symlink_metadata(&building).is_ok() {
        // If the name is a link, the link is removed and not its target.
        fs::remove_dir_all(&building).map_err(Error::io("remove the incomplete", &building))?;
    }
    DirBuilder::new().mode(0o700).create(&building).map_err(Error::io("make", &building))?;
    let password_file = building.join("password");
    let (superuser, password) = passwords.superuser();
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&password_file)
        .and_then(|mut file| {
            file.write_all(password.expose().as_bytes())?;
            user.map_or(Ok(()), |user| fchown(&file, Some(user.uid), Some(user.gid)))
        })
        .map_err(Error::io("write", &password_file))?;
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
        .args(["--username", superuser, "--auth", "scram-sha-256", "--encoding", "UTF8", "--no-instructions"])
        .args(flags);
    let failed = |output| Error::Initdb { path: path.to_owned(), output };
    run(command, INITDB_WITHIN, "").await.map_err(failed)?;
    if passwords.superuser.is_some() {
        let statements = roles_and_database(passwords);
        let made = run(single_user(&made, bin, user), SINGLE_USER_WITHIN, &statements).await;
        // The output may repeat the statement.
        made.map_err(|output| failed(output.replace(passwords.tidegate.expose(), "***")))?;
    }

    if path.is_dir() {
        // Known to be empty at this point.
        fs::remove_dir(path).map_err(Error::io("replace the empty", path))?;
    }
    fs::rename(&made, path).map_err(Error::io("put the new cluster in", path))?;
    let parent = path.parent().unwrap_or(path);
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(Error::io("write", parent))?;
    fs::remove_dir_all(&building).map_err(Error::io("remove", &building))
}

/// The statements that create the role and the database of a new cluster, one per line. Passwords are hexadecimal and
/// need no quoting. CREATEROLE: the migrations create `tidegate_reader`, and the operator creates roles for readers in
/// a session of this role.
fn roles_and_database(passwords: &Passwords) -> String {
    format!(
        "create role {USER} login nosuperuser createrole password '{}'\ncreate database {DATABASE} owner {USER}\n",
        passwords.tidegate.expose()
    )
}

/// Gives the roles of a stopped cluster new passwords after the old ones were lost. `keep` receives them before they
/// take effect.
pub(super) async fn set_passwords(
    path: &Path,
    bin: &PgBin,
    user: Option<&ServerUser>,
    keep: impl FnOnce(&Passwords) -> Result<(), Error>,
) -> Result<Passwords, Error> {
    // The output may repeat the statement, and so a password.
    let lost = |_| Error::PasswordLost { path: path.to_owned() };
    // The first superuser of every cluster has this id. The output is a line such as
    // `1: rolname = "postgres" (typeid …)`.
    let question = "select rolname from pg_authid where oid = 10\n";
    let output = run(single_user(path, bin, user), SINGLE_USER_WITHIN, question).await.map_err(lost)?;
    let passwords = Passwords::random(output.contains(&format!("rolname = \"{SUPERUSER}\"")));
    keep(&passwords)?;
    let alter = |user: &str, password: &Secret| format!("alter role {user} password '{}'\n", password.expose());
    let superuser = passwords.superuser.as_ref().map(|password| alter(SUPERUSER, password));
    let statements = alter(USER, &passwords.tidegate) + &superuser.unwrap_or_default();
    run(single_user(path, bin, user), SINGLE_USER_WITHIN, &statements).await.map_err(lost)?;
    Ok(passwords)
}

/// A server without listeners that executes the statements on its standard input, one per line, as the superuser. It
/// exits with an error at the first statement that fails.
fn single_user(path: &Path, bin: &PgBin, user: Option<&ServerUser>) -> Command {
    let mut command = Command::new(bin.program("postgres"));
    as_server(&mut command, user);
    command
        .current_dir(path)
        .args(["--single", "-c", "exit_on_error=true", "-c", "password_encryption=scram-sha-256", "-D"])
        .arg(path)
        .arg("postgres");
    command
}

/// Runs a program to its end and returns its output. The error is the program's error output.
async fn run(mut command: Command, limit: Duration, input: &str) -> Result<String, String> {
    use tokio::io::AsyncWriteExt as _;

    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    let mut child = command.kill_on_drop(true).spawn().map_err(|error| error.to_string())?;
    let finished = async {
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = timeout(limit, finished)
        .await
        .map_err(|_| format!("it took longer than {} s", limit.as_secs()))?
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{} ({})", one_line(&String::from_utf8_lossy(&output.stderr)), output.status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_other_content_is_not_changed() {
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
