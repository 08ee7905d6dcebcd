//! Postgres programs from Debian or Ubuntu packages, without root and without a change to the system.
//!
//! apt works with the system's sources, keys and preferences, but with its own lists and cache. It accepts only lists
//! that are signed by a key of their source, and checks each package against the hash in them. So the packages are as
//! trustworthy as those that an administrator would install. They are unpacked, not installed: none of their scripts
//! runs.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;
use tracing::info;

use super::apt::Apt;
use super::{make_folder, scripts};
use crate::postgres::PROGRAMS;
use crate::postgres::binaries;
use crate::postgres::data_dir::one_line;

/// Prefix of a version's folder in the cache, before its number.
pub(super) const PREFIX: &str = "debian-";

/// Reading the lists takes a second or two, unpacking a package a few seconds.
pub(super) const LOCAL_WITHIN: Duration = Duration::from_mins(2);

pub(super) const TOOLS: [&str; 3] = ["apt-get", "apt-cache", "dpkg-deb"];
/// Environment variables passed to these programs: where to find programs, and the network proxy. Others may contain
/// the vendors' credentials.
const VARIABLES: [&str; 9] =
    ["PATH", "HOME", "TMPDIR", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

/// Debian's and Ubuntu's Postgres reads time zones only from here.
const TIME_ZONE: &str = "/usr/share/zoneinfo/UTC";

/// Why there are no programs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// This system has no such packages.
    NotOffered(String),
    /// It should have them, but an error occurred.
    Broken(String),
}

impl Failure {
    pub(super) fn broken(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let message = format!("cannot {doing} {}", path.display());
        move |error| Self::Broken(format!("{message}: {error}"))
    }
}

/// Unpacks the programs of version `wanted`, or of the newest one, into `cache`. The caller holds the lock of `cache`.
pub(super) async fn obtain(cache: &Path, wanted: Option<u32>) -> Result<(), Failure> {
    if !TOOLS.into_iter().all(binaries::is_on_path) {
        return Err(Failure::NotOffered("this system has no apt-get".to_owned()));
    }
    if !Path::new(TIME_ZONE).exists() {
        let reason = "the package tzdata is not installed, without which the distribution's Postgres does not start";
        return Err(Failure::NotOffered(reason.to_owned()));
    }
    let building = cache.join("building");
    remove(&building)?;
    let built = build(&building, wanted).await;
    let placed = match built {
        Ok(major) => place(&building.join("tree"), &cache.join(format!("{PREFIX}{major}"))).await,
        Err(failure) => Err(failure),
    };
    // The remaining files are lists and packages, or leftovers of a failure.
    placed.and(remove(&building))
}

/// Creates the folder `tree` in `building`. Returns the major version.
async fn build(building: &Path, wanted: Option<u32>) -> Result<u32, Failure> {
    let (apt, tree) = (Apt::new(building, &[])?, building.join("tree"));
    info!(target: PROGRAMS, "no Postgres on this machine: reading the distribution's package lists");
    let updated = apt.update().await;
    let offered = apt.offered().await?;
    let chosen = offered.iter().copied().find(|major| wanted.is_none_or(|wanted| wanted == *major));
    let Some(major) = chosen else {
        // Without the lists, the available versions are unknown.
        updated?;
        let name = wanted.map_or_else(|| "postgresql".to_owned(), |major| format!("postgresql-{major}"));
        return Err(Failure::NotOffered(format!("the distribution has no package {name} that can be used")));
    };
    info!(target: PROGRAMS, version = major, "downloading the distribution's packages of Postgres");
    // An installed version is known without the lists, but then there is nothing to download.
    let packages = apt.download(major).await.map_err(|failure| updated.err().unwrap_or(failure))?;
    info!(target: PROGRAMS, version = major, packages = packages.len(), "unpacking them");
    let root = tree.join(scripts::ROOT);
    for folder in [&tree, &root] {
        make_folder(folder).map_err(Failure::broken("make", folder))?;
    }
    for package in packages {
        let arguments = [OsStr::new("-x"), package.as_os_str(), root.as_os_str()];
        run("dpkg-deb", arguments, building, LOCAL_WITHIN).await?;
    }
    scripts::add(&tree, major)?;
    for name in ["postgres", "initdb", "psql"] {
        run(tree.join("bin").join(name), [OsStr::new("--version")], building, LOCAL_WITHIN).await?;
    }
    Ok(major)
}

/// Moves the tree to its final place in one step, after writing it to disk.
async fn place(tree: &Path, folder: &Path) -> Result<(), Failure> {
    remove(folder)?;
    let (from, to) = (tree.to_owned(), folder.to_owned());
    let moved = tokio::task::spawn_blocking(move || {
        // Otherwise a power loss might leave empty files under the final name.
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(File::open(&from)?)?;
        fs::rename(&from, &to)?;
        File::open(to.parent().unwrap_or(&to))?.sync_all()
    });
    let moved = moved.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    moved.map_err(Failure::broken("put the programs into", folder))?;
    info!(target: PROGRAMS, folder = %folder.display(), "Postgres is ready");
    Ok(())
}

pub(super) fn remove(folder: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::broken("remove", folder)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Runs a program to its end and returns its output. Kills it at the deadline, or if the caller stops waiting.
pub(super) async fn run(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    folder: &Path,
    within: Duration,
) -> Result<String, Failure> {
    let arguments: Vec<OsString> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
    let mut command = Command::new(program.as_ref());
    command
        .args(&arguments)
        .current_dir(folder)
        .env_clear()
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive");
    command.envs(VARIABLES.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    // Ctrl-C in the terminal is for this process, which then kills the program.
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    let name = describe(program.as_ref(), &arguments);
    let output = timeout(within, command.output())
        .await
        .map_err(|_| Failure::Broken(format!("`{name}` took longer than {} s", within.as_secs())))?
        .map_err(|error| Failure::Broken(format!("`{name}` could not be run: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = one_line(&String::from_utf8_lossy(&output.stderr));
    Err(Failure::Broken(format!("`{name}` failed ({}): {said}", output.status)))
}

/// The program and its subcommand, without options and paths: `apt-get update`.
fn describe(program: &OsStr, arguments: &[OsString]) -> String {
    let program = Path::new(program).file_name().unwrap_or(program).to_string_lossy();
    let words = ["update", "pkgnames", "policy", "install", "download", "-x", "--version"];
    let verb = arguments.iter().filter_map(|argument| argument.to_str()).find(|argument| words.contains(argument));
    verb.map_or_else(|| program.to_string(), |verb| format!("{program} {verb}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_fails_or_hangs_is_named_with_its_output() {
        let here = Path::new("/");
        let failure =
            run("sh", ["-c", "echo first >&2; echo second >&2; exit 3"], here, LOCAL_WITHIN).await.unwrap_err();
        assert_eq!(failure, Failure::Broken("`sh` failed (exit status: 3): first | second".to_owned()));
        let failure = run("sleep", ["60"], here, Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(failure, Failure::Broken("`sleep` took longer than 0 s".to_owned()));
        let failure = run("/nonexistent/apt-get", ["update"], here, LOCAL_WITHIN).await.unwrap_err();
        assert!(
            matches!(&failure, Failure::Broken(said) if said.contains("`apt-get update` could not be run")),
            "{failure:?}"
        );
    }
}
