//! A real PgBouncer with its default settings in front of the test server.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use url::Url;

use super::{TestDatabase, eventually};

const PLACES: &[&str] = &["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"];

/// A pooler, killed when it is dropped.
pub struct PgBouncer {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl PgBouncer {
    /// `None`, with a printed line, if the program is missing. `settings` are lines of the section `[pgbouncer]`.
    pub async fn start(database: &TestDatabase, settings: &str) -> Option<Self> {
        let Some(program) = PLACES.iter().map(PathBuf::from).find(|path| path.exists()) else {
            println!("skipped: pgbouncer is not installed");
            return None;
        };
        let server: Url = database.url().parse().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let users = folder.path().join("users.txt");
        fs::write(&users, format!("\"{}\" \"{}\"\n", server.username(), server.password().unwrap_or_default()))
            .unwrap();
        let mut text = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = md5\nauth_file = {}\n{settings}\n",
            server.host_str().unwrap(),
            server.port().unwrap_or(5432),
            users.display(),
        );
        // It refuses to run as root.
        if rustix::process::geteuid().is_root() {
            let _ = writeln!(text, "user = nobody");
        }
        let config = folder.path().join("pgbouncer.ini");
        fs::write(&config, text).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(program)
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut pooler = Self { child, folder, port };
        eventually(Duration::from_secs(10), async || {
            assert!(pooler.child.try_wait().unwrap().is_none(), "no pgbouncer: {}", pooler.log());
            std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
        })
        .await;
        Some(pooler)
    }

    /// The URL of `database` through the pooler.
    pub fn url(&self, database: &TestDatabase) -> String {
        let mut url: Url = database.url().parse().unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.set_query(Some("sslmode=disable"));
        url.into()
    }

    /// Its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
