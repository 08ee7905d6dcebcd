//! Finds the Postgres programs of this machine.
//!
//! The search order is: `TIDEGATE_PG_BIN`, and nothing else if it is set; the folder that `pg_config` names; the
//! folders that the usual packages install to, newest version first. [`super::fetch`] can obtain missing programs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

/// The oldest PostgreSQL that Tidegate supports.
pub const MAJOR_MIN: u32 = 14;
/// `--version` and `--bindir` return at once unless the program is broken.
const RESPONSE_WITHIN: Duration = Duration::from_secs(10);

/// A folder with the programs of one PostgreSQL version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgBin {
    pub dir: PathBuf,
    pub major: u32,
}

impl PgBin {
    /// The path of one program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no PostgreSQL {MAJOR_MIN} or later was found on this machine ({looked}), and none could be obtained: {fetch}; \
         install PostgreSQL (on Debian and Ubuntu: `apt-get install postgresql`), set TIDEGATE_PG_BIN to a folder with \
         `initdb` and `postgres`, or name a server in `database`"
    )]
    Missing { looked: String, fetch: String },
    #[error(
        "TIDEGATE_PG_BIN is {}, which contains no usable `initdb` and `postgres` of version {MAJOR_MIN} or later; set it to \
         the bin folder of a PostgreSQL installation, or unset it",
        dir.display()
    )]
    Unusable { dir: PathBuf },
}

/// Where to search.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The value of `TIDEGATE_PG_BIN`; if set, nothing else is searched.
    pub only: Option<PathBuf>,
    /// The other places, best first.
    pub folders: Vec<PathBuf>,
}

impl Places {
    /// The places for the environment and file system of this machine.
    pub async fn of_this_machine() -> Self {
        let only = std::env::var_os("TIDEGATE_PG_BIN").filter(|value| !value.is_empty()).map(PathBuf::from);
        if only.is_some() {
            return Self { only, folders: Vec::new() };
        }
        let mut folders = Vec::new();
        if let Some(line) = first_line(Path::new("pg_config"), "--bindir").await {
            folders.push(PathBuf::from(line));
        }
        folders.extend(newest_first("/usr/lib/postgresql", "", "bin"));
        folders.extend(newest_first("/usr", "pgsql-", "bin"));
        for homebrew in ["/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"] {
            folders.extend(newest_first(homebrew, "postgresql@", "bin"));
        }
        folders.extend(newest_first("/Applications/Postgres.app/Contents/Versions", "", "bin"));
        folders.extend(["/usr/local/pgsql/bin", "/usr/libexec/postgresql", "/usr/bin"].map(PathBuf::from));
        Self { only, folders }
    }
}

/// The best binaries in `places`: those of version `wanted` if present, otherwise the first usable ones. `None` if
/// there are none; they may be obtained.
pub async fn find(places: &Places, wanted: Option<u32>) -> Result<Option<PgBin>, Error> {
    if let Some(dir) = &places.only {
        return usable(dir).await.map(Some).ok_or_else(|| Error::Unusable { dir: dir.clone() });
    }
    let mut best = None;
    for dir in &places.folders {
        let Some(found) = usable(dir).await else { continue };
        if wanted.is_none_or(|wanted| wanted == found.major) {
            return Ok(Some(found));
        }
        best.get_or_insert(found);
    }
    Ok(best)
}

/// The binaries in `dir`, if it contains the required programs in a supported version.
pub(super) async fn usable(dir: &Path) -> Option<PgBin> {
    if !dir.join("initdb").is_file() || !dir.join("postgres").is_file() {
        return None;
    }
    let dir = dir.canonicalize().ok()?;
    let major = parse_major(&first_line(&dir.join("postgres"), "--version").await?)?;
    (major >= MAJOR_MIN).then_some(PgBin { dir, major })
}

async fn first_line(program: &Path, argument: &str) -> Option<String> {
    let child =
        Command::new(program).arg(argument).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(RESPONSE_WITHIN, child).await.ok()?.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}

/// Parses `postgres (PostgreSQL) 15.6 (Debian …)` and `… 16beta1`.
fn parse_major(version_line: &str) -> Option<u32> {
    let rest = version_line.split_once("(PostgreSQL) ")?.1;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    digits.parse().ok()
}

/// Whether the `PATH` has a file of this name.
pub(super) fn is_on_path(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

/// The folders `parent/{prefix}{number}/{child}`, the highest number first.
pub(super) fn newest_first(parent: impl AsRef<Path>, prefix: &str, child: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut numbered: Vec<(u32, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path().join(child)))
        })
        .collect();
    numbered.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    numbered.into_iter().map(|(_, path)| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_what_the_server_says() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 17beta1"), Some(17));
        assert_eq!(parse_major("postgres (PostgreSQL) 14"), Some(14));
        assert_eq!(parse_major("mysqld 8.0"), None);
    }

    #[test]
    fn folders_are_tried_from_the_newest_version_down() {
        let root = tempfile::tempdir().unwrap();
        for name in ["9", "15", "100", "common"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        let found = newest_first(root.path(), "", "bin");
        assert_eq!(found, ["100/bin", "15/bin", "9/bin"].map(|folder| root.path().join(folder)));
    }

    #[tokio::test]
    async fn a_named_folder_without_the_programs_is_refused_with_the_remedy() {
        let root = tempfile::tempdir().unwrap();
        let places = Places { only: Some(root.path().to_owned()), folders: Vec::new() };
        let refusal = find(&places, None).await.unwrap_err().to_string();
        assert!(refusal.contains("TIDEGATE_PG_BIN is"), "{refusal}");
        assert!(refusal.contains("bin folder of a PostgreSQL installation"), "{refusal}");
    }

    #[tokio::test]
    async fn a_machine_without_postgres_has_none() {
        assert_eq!(find(&Places::default(), None).await.unwrap(), None);
    }
}
