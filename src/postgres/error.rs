//! What can go wrong with the embedded Postgres, and what to do about it.

use std::path::PathBuf;

use super::binaries;

/// A failure of the embedded Postgres. Messages name the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Binaries(#[from] binaries::Error),
    #[error(
        "the embedded Postgres in {} is in use by another Tidegate{}; stop that one, or give this one its own \
         `embedded.data_dir`",
        dir.display(),
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Busy { dir: PathBuf, pid: Option<u32> },
    #[error(
        "the embedded Postgres in {} does not respond, although another Tidegate{} runs it; {} and the load of the \
         machine may show why. Try again; if it stays so, restart that Tidegate",
        dir.display(),
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        log.display()
    )]
    Silent { dir: PathBuf, pid: Option<u32>, log: PathBuf },
    #[error("no embedded Postgres is running in {}; start it with `tidegate run`", dir.display())]
    NotRunning { dir: PathBuf },
    #[error(
        "the user `{user}`, which runs Postgres since it refuses to run as root, cannot enter {}, and so cannot reach \
         {}; open it with `chmod a+x`, set `embedded.data_dir` (or TIDEGATE_PG_BIN) to a place outside it, or run \
         Tidegate as an ordinary user",
        blocked_at.display(),
        path.display()
    )]
    Unreachable { user: String, path: PathBuf, blocked_at: PathBuf },
    #[error(
        "Postgres refuses to run as root, and neither `postgres` nor `nobody` is in /etc/passwd; add one of them, or run \
         Tidegate as an ordinary user"
    )]
    NoOrdinaryUser,
    #[error(
        "{} is not empty, but does not contain a Postgres cluster; move it away, or set `embedded.data_dir` to another folder",
        path.display()
    )]
    NotACluster { path: PathBuf },
    #[error(
        "the cluster in {} was made by PostgreSQL {cluster}, but the binaries in {} are PostgreSQL {binaries}; install \
         postgresql-{cluster} or set TIDEGATE_PG_BIN to its bin folder, or dump and reload the data into a new \
         `embedded.data_dir`",
        path.display(),
        bin_dir.display()
    )]
    OtherVersion { path: PathBuf, cluster: u32, binaries: u32, bin_dir: PathBuf },
    #[error("initdb could not create a cluster in {}: {output}", path.display())]
    Initdb { path: PathBuf, output: String },
    #[error("Postgres stopped while it started ({status}); the end of {}: {tail}", log.display())]
    Exited { status: String, log: PathBuf, tail: String },
    #[error("Postgres accepted no connection within {secs} s; the end of {}: {tail}", log.display())]
    NotReady { secs: u64, log: PathBuf, tail: String },
    #[error(
        "process {pid} is left over from an earlier Postgres in {} and cannot be stopped; end it by hand",
        path.display()
    )]
    Leftover { pid: i32, path: PathBuf },
    #[error(
        "the password in {} does not match the cluster; restore that file, or remove it to get a new password at the \
         next start",
        path.display()
    )]
    Password { path: PathBuf },
    #[error(
        "the password of the cluster in {} is lost, and `postgres --single` could not set a new one; restore the file \
         `pgpass` in `embedded.data_dir` from a backup",
        path.display()
    )]
    PasswordLost { path: PathBuf },
    #[error(
        "{} is a link, or is not a regular file with one name, and is not followed; find out who created it, then remove it",
        path.display()
    )]
    NotRegular { path: PathBuf },
    #[error(
        "{} is a link of another user, and is not followed; replace it with one of your own, or set \
         `embedded.data_dir` to another folder",
        path.display()
    )]
    ForeignLink { path: PathBuf },
    #[error(
        "another user has taken {}, the folder of the server's socket, while the server was down; restart Tidegate",
        path.display()
    )]
    SocketFolder { path: PathBuf },
    #[error("PGOPTIONS is set, and would change the sessions of the embedded Postgres; unset it")]
    Environment,
    #[error("the embedded Postgres could not be queried")]
    Sql(#[from] sqlx::Error),
    #[error("cannot {doing} {}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("the start of the embedded Postgres was cancelled")]
    Cancelled,
}

impl Error {
    /// For `map_err` on a file operation.
    pub(super) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }
}
