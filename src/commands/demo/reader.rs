//! A login for BI tools: it reads what `tidegate_reader` may read, and nothing else.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sqlx::PgPool;

use super::super::CommandError;
use super::insist;
use crate::postgres::TcpPlace;
use crate::secret::Secret;
use crate::store::demo;

const LOGIN: &str = "demo_reader";
/// In the demo's folder, in the form of libpq's password files.
const FILE: &str = "reader.pgpass";

/// The login, before the server knows it.
pub(super) struct Reader {
    file: PathBuf,
    place: TcpPlace,
}

impl Reader {
    pub(super) fn new(folder: &Path, place: TcpPlace) -> Self {
        Self { file: folder.join(FILE), place }
    }

    /// Creates the login with a new password, writes that to its file, and returns a connection string that names both.
    pub(super) async fn admit(&self, pool: &PgPool) -> anyhow::Result<String> {
        let password = Secret::new(hex::encode(rand::random::<[u8; 24]>()));
        self.write(&password).map_err(|error| {
            let message = format!("cannot write {}: {error}", self.file.display());
            CommandError::failed(message, "start the demo in a folder that you can write to")
        })?;
        insist(pool, async || demo::admit(pool, LOGIN, &password).await).await?;
        let TcpPlace { host, port, database } = &self.place;
        let file = self.file.display();
        Ok(format!(
            "host={host} port={port} dbname={database} user={LOGIN} passfile={file}  (role tidegate_reader; the \
             password is the last field of that file)"
        ))
    }

    fn write(&self, password: &Secret) -> std::io::Result<()> {
        // A file of an earlier start may have other rights.
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file)?;
        writeln!(file, "{}:*:*:{LOGIN}:{}", self.place.host, password.expose())
    }
}
