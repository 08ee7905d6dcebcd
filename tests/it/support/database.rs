//! A database for each test, cloned from a template that is migrated once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, PgPool};
use tidegate::secret::Secret;
use tidegate::store::distribution::Distribution;
use tokio::sync::OnceCell;
use url::Url;

use super::server;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Prefix of the test databases' names; the second of their creation follows.
const PREFIX: &str = "tidegate_test_";
/// Older databases were left by killed tests.
const LEFTOVER_AFTER: Duration = Duration::from_hours(1);
/// A test must not use up the connections of the others.
const CONNECTIONS_MAX: u32 = 5;
/// Dropping a database takes a tenth of this, unless something blocks it.
const DROP_WAIT: Duration = Duration::from_secs(2);
/// Any number, but the same for all tests of a server.
const TEMPLATE_LOCK: i64 = 0x7469_6465_6761_7465;

/// A database for one test only, dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: Url,
    pool: PgPool,
}

impl TestDatabase {
    /// With all migrations.
    pub async fn create() -> Self {
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        Self::clone_of(TEMPLATE.get_or_init(template).await).await
    }

    /// Without migrations.
    pub async fn create_empty() -> Self {
        Self::clone_of("template0").await
    }

    /// Without migrations, in an encoding that Tidegate does not support.
    pub async fn create_encoded(encoding: &str) -> Self {
        Self::make(&format!("template template0 encoding '{encoding}' lc_collate 'C' lc_ctype 'C'")).await
    }

    /// A copy of this database in its current state, like a dump. Ends the sessions of this one; its pool opens new
    /// ones.
    pub async fn copy(&self) -> Self {
        let mut admin = Self::superuser().await;
        let sql = format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}'", self.name);
        execute(&mut admin, sql).await;
        admin.close().await.unwrap();
        Self::clone_of(&self.name).await
    }

    async fn clone_of(template: &str) -> Self {
        Self::make(&format!("template {template} encoding 'UTF8'")).await
    }

    async fn make(how: &str) -> Self {
        let name = format!("{PREFIX}{}_{:016x}", epoch_secs(), rand::random::<u64>());
        let mut admin = Self::superuser().await;
        execute(&mut admin, format!("create database {name} {how}")).await;
        admin.close().await.unwrap();
        let mut url = server::shared().url.clone();
        url.set_path(&name);
        let pool = pool_of(&url, CONNECTIONS_MAX);
        Self { name, url, pool }
    }

    /// A connection to the server's maintenance database as superuser.
    pub async fn superuser() -> PgConnection {
        PgConnection::connect(server::shared().url.as_str()).await.expect("the server of the tests responds")
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL with the password, as in `database.url`.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The same as a configuration value.
    pub fn secret(&self) -> Secret {
        Secret::from(self.url.as_str())
    }

    /// A pool of a few connections.
    pub fn pool(&self) -> PgPool {
        self.pool.clone()
    }

    /// Another pool with this many connections, in place of another process.
    pub fn another_pool(&self, connections_max: u32) -> PgPool {
        pool_of(&self.url, connections_max)
    }

    /// A separate session, for locks and temporary tables.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(self.url.as_str()).await.unwrap()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let sql = format!("drop database if exists {} with (force)", self.name);
        let (done, wait) = std::sync::mpsc::channel::<()>();
        // A separate thread, since the test's runtime cannot be awaited here. Failures are cleaned up later.
        std::thread::spawn(move || {
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
                runtime.block_on(async {
                    if let Ok(mut admin) = PgConnection::connect(server::shared().url.as_str()).await {
                        drop(admin.execute(AssertSqlSafe(sql)).await);
                        drop(admin.close().await);
                    }
                });
            }
            drop(done);
        });
        // Limited in time: the server waits for every login in progress, and one of those may be a task of this same
        // runtime, which is blocked here.
        wait.recv_timeout(DROP_WAIT).unwrap_or_default();
    }
}

fn pool_of(url: &Url, connections_max: u32) -> PgPool {
    let options: PgConnectOptions = url.as_str().parse().unwrap();
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(Duration::from_secs(30))
        .connect_lazy_with(options.disable_statement_logging())
}

/// The name of the migrated template, created if this set of migrations has none yet.
async fn template() -> String {
    let mut admin = TestDatabase::superuser().await;
    sqlx::query("select pg_advisory_lock($1)").bind(TEMPLATE_LOCK).execute(&mut admin).await.unwrap();
    sweep(&mut admin).await;
    let name = format!("tidegate_template_{}", migrations_hash());
    let there: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(&name)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    if !there {
        // Under another name until it is complete, so that a killed test leaves no half-migrated template.
        let building = format!("{name}_building");
        execute(&mut admin, format!("drop database if exists {building} with (force)")).await;
        execute(&mut admin, format!("create database {building} template template0 encoding 'UTF8'")).await;
        let mut url = server::shared().url.clone();
        url.set_path(&building);
        let pool = pool_of(&url, CONNECTIONS_MAX);
        tidegate::store::migrate::migrate(&pool, Distribution::None)
            .await
            .expect("the migrations apply to an empty database");
        pool.close().await;
        execute(&mut admin, format!("alter database {building} rename to {name}")).await;
        execute(&mut admin, format!("alter database {name} allow_connections false")).await;
    }
    // The session holds the lock and ends with it.
    admin.close().await.unwrap();
    name
}

/// Removes the databases of killed tests.
async fn sweep(admin: &mut PgConnection) {
    let names: Vec<String> = sqlx::query_scalar("select datname from pg_database where starts_with(datname, $1)")
        .bind(PREFIX)
        .fetch_all(&mut *admin)
        .await
        .unwrap();
    let oldest = epoch_secs() - LEFTOVER_AFTER.as_secs();
    for name in names {
        let made: Option<u64> = name[PREFIX.len()..].split('_').next().and_then(|secs| secs.parse().ok());
        if made.is_some_and(|made| made < oldest) {
            execute(admin, format!("drop database if exists {name} with (force)")).await;
        }
    }
}

/// A hash of every migration's number and content.
fn migrations_hash() -> String {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    hasher.update(b"tidegate._sqlx_migrations");
    for migration in MIGRATIONS.iter() {
        hasher.update(&migration.version.to_le_bytes());
        hasher.update(&migration.checksum);
    }
    format!("{:016x}", hasher.digest())
}

async fn execute(connection: &mut PgConnection, sql: String) {
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
}

fn epoch_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
