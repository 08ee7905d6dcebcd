//! The embedded Postgres, with real servers that are really killed.

mod folders;
mod impostors;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process, test_kill_process};
use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool};
use tidegate::postgres::{Embedded, Error, ServerUser, cluster};
use tidegate::secret::Secret;
use tidegate::store::distribution::Distribution;
use tidegate::store::migrate;
use tokio_util::sync::CancellationToken;

use crate::support::daemon::{Daemon, tidegate};
use crate::support::{ServerFolder, child, eventually, programs};

/// Far longer than any step here takes, even on a busy machine.
const LONG: Duration = Duration::from_mins(1);

/// A folder that every user can traverse, since the server does not run as root.
fn open_folder() -> ServerFolder {
    ServerFolder::new(0o755)
}

async fn start(data_dir: &Path) -> Result<Embedded, Error> {
    Embedded::start(data_dir, &CancellationToken::new()).await
}

async fn connect(server: &Embedded) -> PgConnection {
    PgConnection::connect(server.url().expose()).await.unwrap()
}

/// The password in a URL of the server.
fn password_of(url: &str) -> String {
    url::Url::parse(url).unwrap().password().unwrap().to_owned()
}

async fn show(connection: &mut PgConnection, setting: &str) -> String {
    sqlx::query_scalar("select current_setting($1)").bind(setting).fetch_one(connection).await.unwrap()
}

async fn keep(server: &Embedded, number: i64) {
    let mut connection = connect(server).await;
    connection.execute("create table if not exists kept (n bigint)").await.unwrap();
    sqlx::query("insert into kept values ($1)").bind(number).execute(&mut connection).await.unwrap();
}

async fn kept(server: &Embedded) -> Vec<i64> {
    sqlx::query_scalar("select n from kept order by n").fetch_all(&mut connect(server).await).await.unwrap()
}

fn postmaster_pid(cluster: &Path) -> Pid {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).unwrap();
    Pid::from_raw(text.lines().next().unwrap().parse().unwrap()).unwrap()
}

#[tokio::test]
async fn a_server_is_durable_private_and_not_root() {
    let folder = open_folder();
    let data_dir = folder.path().join("data/postgres");
    let server = start(&data_dir).await.unwrap();
    // Postgres shows some settings only to a superuser.
    let mut connection = PgConnection::connect(server.superuser_url().expose()).await.unwrap();
    let socket_folder = format!("\"{}\"", server.cluster_dir().display());
    for (setting, value) in [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("jit", "off"),
        ("TimeZone", "UTC"),
        ("server_encoding", "UTF8"),
        ("lc_collate", "C"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", &*socket_folder),
        ("unix_socket_permissions", "0700"),
        ("shared_buffers", "128MB"),
        ("max_wal_size", "1GB"),
    ] {
        let found = match setting {
            "lc_collate" => sqlx::query_scalar("select datcollate from pg_database where datname = 'tidegate'")
                .fetch_one(&mut connection)
                .await
                .unwrap(),
            _ => show(&mut connection, setting).await,
        };
        assert_eq!(found, value, "{setting}");
    }
    assert_ne!(fs::metadata(server.cluster_dir()).unwrap().uid(), 0);
    assert_eq!(fs::metadata(data_dir.join("pgpass")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(server.cluster_dir()).unwrap().mode() & 0o077, 0, "nobody else reads the rows");
    let rules = fs::read_to_string(server.cluster_dir().join("pg_hba.conf")).unwrap();
    let rules: Vec<&str> = rules.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(!rules.is_empty() && rules.iter().all(|rule| rule.ends_with("scram-sha-256")), "{rules:?}");
    assert!(server.connect_options().password("0").connect().await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn committed_rows_survive_a_stop_and_the_port_stays_the_same() {
    let folder = open_folder();
    let server = start(folder.path()).await.unwrap();
    keep(&server, 1).await;
    let url = server.url();
    let pid = postmaster_pid(server.cluster_dir());
    server.stop().await;
    assert!(test_kill_process(pid).is_err(), "a stopped server is gone");

    let again = start(folder.path()).await.unwrap();
    assert_eq!(again.url().expose(), url.expose());
    assert_eq!(kept(&again).await, [1]);
    again.stop().await;
}

#[tokio::test]
async fn the_psql_line_works_when_pasted_and_shows_no_password() {
    let folder = open_folder();
    let server = start(&folder.path().join("it's my data")).await.unwrap();
    let line = server.psql_line();
    assert!(!line.contains(&password_of(server.url().expose())));
    let output = Command::new("sh").args(["-c", &format!("{line} -Atc 'select current_database()'")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "tidegate", "{output:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_second_tidegate_is_refused_but_may_use_the_server() {
    let folder = open_folder();
    assert!(matches!(Embedded::attach(folder.path()).await, Err(Error::NotRunning { .. })));
    let first = start(folder.path()).await.unwrap();
    keep(&first, 1).await;

    let refusal = start(folder.path()).await.unwrap_err().to_string();
    assert!(refusal.contains(&format!("(process {})", std::process::id())), "{refusal}");

    let beside = Embedded::open(folder.path(), &CancellationToken::new()).await.unwrap();
    assert!(!beside.is_owner());
    assert_eq!(kept(&beside).await, [1]);
    beside.stop().await;
    assert_eq!(kept(&first).await, [1], "only its owner stops a server");
    first.stop().await;

    let alone = Embedded::open(folder.path(), &CancellationToken::new()).await.unwrap();
    assert!(alone.is_owner());
    assert_eq!(kept(&alone).await, [1]);
    alone.stop().await;
    assert!(matches!(Embedded::attach(folder.path()).await, Err(Error::NotRunning { .. })));
}

#[tokio::test]
async fn a_command_says_soon_that_a_server_of_another_tidegate_does_not_respond() {
    let folder = open_folder();
    let server = start(folder.path()).await.unwrap();
    keep(&server, 1).await;
    let pid = postmaster_pid(server.cluster_dir());
    kill_process(pid, Signal::STOP).unwrap();
    let began = std::time::Instant::now();
    let refused = Embedded::open(folder.path(), &CancellationToken::new()).await;
    let took = began.elapsed();
    kill_process(pid, Signal::CONT).unwrap();
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("does not respond, although another Tidegate"), "{message}");
    assert!(message.contains(&format!("(process {})", std::process::id())), "{message}");
    assert!(!message.contains("stop that one"), "{message}");
    assert!(took < Duration::from_secs(40), "{took:?}");

    let beside = Embedded::open(folder.path(), &CancellationToken::new()).await.unwrap();
    assert!(!beside.is_owner());
    assert_eq!(kept(&beside).await, [1]);
    server.stop().await;
}

#[tokio::test]
async fn a_killed_postmaster_is_replaced_and_the_pool_continues_with_every_committed_row() {
    let folder = open_folder();
    let server = Arc::new(start(folder.path()).await.unwrap());
    let cancel = CancellationToken::new();
    let supervision = tokio::spawn({
        let (server, cancel) = (Arc::clone(&server), cancel.clone());
        async move { server.supervise(&cancel).await }
    });
    let pool = PgPoolOptions::new().max_connections(2).connect(server.url().expose()).await.unwrap();
    keep(&server, 1).await;

    for round in 2..4_i64 {
        // A busy backend does not notice that its postmaster has exited, and blocks the next one.
        let mut busy = connect(&server).await;
        let busy = tokio::spawn(async move { busy.execute("select count(*) from generate_series(1, 1e12)").await });
        let pid = postmaster_pid(server.cluster_dir());
        let working =
            "select exists (select from pg_stat_activity where query like '%1e12)' and pid <> pg_backend_pid())";
        eventually(LONG, async || sqlx::query_scalar::<_, bool>(working).fetch_one(&pool).await.unwrap().then_some(()))
            .await;
        kill_process(pid, Signal::KILL).unwrap();
        eventually(LONG, async || {
            sqlx::query("insert into kept values ($1)").bind(round).execute(&pool).await.ok().map(drop)
        })
        .await;
        assert!(busy.await.unwrap().is_err());
        // An orphaned backend may have stored the row before the next postmaster started.
        let pid_file = server.cluster_dir().join("postmaster.pid");
        let told = async || fs::read_to_string(&pid_file).ok()?.lines().next()?.parse().ok().and_then(Pid::from_raw);
        eventually(LONG, async || told().await.filter(|now| *now != pid)).await;
    }
    assert_eq!(kept(&server).await, [1, 2, 3]);

    cancel.cancel();
    supervision.await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_server_left_by_a_killed_tidegate_is_adopted() {
    const NAME: &str = "embedded::a_server_left_by_a_killed_tidegate_is_adopted";
    if let Some(data_dir) = child::role() {
        let server = start(Path::new(&data_dir)).await.unwrap();
        keep(&server, 1).await;
        fs::write(Path::new(&data_dir).join("kept"), "").unwrap();
        return child::until_orphaned().await;
    }
    let folder = open_folder();
    let data_dir = folder.path().to_str().unwrap();
    let mut first = child::again(&std::env::current_exe().unwrap(), NAME, data_dir).spawn().unwrap();
    eventually(LONG, async || folder.path().join("kept").exists().then_some(())).await;
    first.kill().unwrap();
    first.wait().unwrap();

    let pid = postmaster_pid(&folder.path().join("cluster"));
    assert!(test_kill_process(pid).is_ok(), "the server outlives a killed Tidegate");
    let second = start(folder.path()).await.unwrap();
    assert_eq!(postmaster_pid(second.cluster_dir()), pid, "it is the same server");
    assert_eq!(kept(&second).await, [1]);
    second.stop().await;
    assert!(Embedded::attach(folder.path()).await.is_err());

    let third = start(folder.path()).await.unwrap();
    assert_eq!(kept(&third).await, [1]);
    third.stop().await;
}

#[tokio::test]
async fn a_wrong_pid_file_is_not_an_obstacle() {
    let folder = open_folder();
    let server = start(folder.path()).await.unwrap();
    keep(&server, 1).await;
    let cluster = server.cluster_dir().to_owned();
    server.stop().await;
    let mut stranger = Command::new("sleep");
    if geteuid().is_root() {
        // The process of the server's own user, for which the server would trust the file.
        let metadata = fs::metadata(&cluster).unwrap();
        stranger.uid(metadata.uid()).gid(metadata.gid());
    }
    let mut stranger = stranger.arg("300").spawn().unwrap();
    let reused = format!("{}\n{}\n1700000000\n5432\n\n127.0.0.1\n  1 1\nready   \n", stranger.id(), cluster.display());
    let port = fs::read_to_string(folder.path().join("port")).unwrap();
    let socket_lock = cluster.join(format!(".s.PGSQL.{}.lock", port.trim()));
    for lie in ["", "\0\0\0\0", "not a number\n", "999999999\n", &reused] {
        fs::write(cluster.join("postmaster.pid"), lie).unwrap();
        fs::write(&socket_lock, lie).unwrap();
        let server = start(folder.path()).await.unwrap_or_else(|error| panic!("{lie:?}: {error}"));
        assert_eq!(kept(&server).await, [1]);
        server.stop().await;
    }
    assert!(stranger.try_wait().unwrap().is_none(), "an unrelated process is left alone");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_cluster_that_a_crash_left_incomplete_is_created_again() {
    let folder = open_folder();
    let half = folder.path().join("cluster.building/cluster/base");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("1"), "half").unwrap();
    fs::write(folder.path().join("pgpass"), "").unwrap();
    let server = start(folder.path()).await.unwrap();
    keep(&server, 1).await;
    server.stop().await;
    assert!(!folder.path().join("cluster.building").exists());
}

#[tokio::test]
async fn a_lost_password_is_replaced_and_the_rows_stay() {
    let folder = open_folder();
    let server = start(folder.path()).await.unwrap();
    keep(&server, 1).await;
    let (old, old_superuser) = (server.url(), server.superuser_url());
    server.stop().await;
    fs::remove_file(folder.path().join("pgpass")).unwrap();

    let server = start(folder.path()).await.unwrap();
    assert_ne!(server.url().expose(), old.expose());
    assert_ne!(server.superuser_url().expose(), old_superuser.expose());
    assert_eq!(kept(&server).await, [1]);
    assert!(PgConnection::connect(server.superuser_url().expose()).await.is_ok());
    server.stop().await;
}

#[tokio::test]
async fn unusable_settings_are_refused_with_the_place_and_the_remedy() {
    let folder = open_folder();
    let cluster = folder.path().join("cluster");
    fs::create_dir(&cluster).unwrap();
    fs::write(cluster.join("notes.txt"), "mine").unwrap();
    let refusal = start(folder.path()).await.unwrap_err();
    assert!(matches!(refusal, Error::NotACluster { .. }), "{refusal}");
    assert_eq!(fs::read_to_string(cluster.join("notes.txt")).unwrap(), "mine");

    fs::write(cluster.join("PG_VERSION"), "9\n").unwrap();
    let refusal = start(folder.path()).await.unwrap_err().to_string();
    assert!(refusal.contains("made by PostgreSQL 9"), "{refusal}");
    assert!(refusal.contains("install postgresql-9"), "{refusal}");

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refusal = start(&file.join("postgres")).await.unwrap_err().to_string();
    assert!(refusal.contains(file.to_str().unwrap()), "{refusal}");
}

#[tokio::test]
async fn the_error_of_a_server_that_does_not_start_says_why() {
    let folder = open_folder();
    let server = start(folder.path()).await.unwrap();
    let control = server.cluster_dir().join("global/pg_control");
    server.stop().await;
    fs::remove_file(control).unwrap();
    let refusal = start(folder.path()).await.unwrap_err().to_string();
    assert!(refusal.contains("server.log"), "{refusal}");
    assert!(refusal.contains("could not find the database system"), "{refusal}");
}

#[tokio::test]
async fn a_cancelled_start_leaves_nothing_running() {
    let folder = open_folder();
    let cancel = CancellationToken::new();
    cancel.cancel();
    assert!(matches!(Embedded::start(folder.path(), &cancel).await, Err(Error::Cancelled)));
    let server = start(folder.path()).await.unwrap();
    server.stop().await;
    assert!(matches!(Embedded::start(folder.path(), &cancel).await, Err(Error::Cancelled)));
    assert!(!folder.path().join("cluster/postmaster.pid").exists());
}

#[tokio::test]
async fn an_ordinary_user_runs_the_server_under_the_same_account() {
    const NAME: &str = "embedded::an_ordinary_user_runs_the_server_under_the_same_account";
    if let Some(data_dir) = child::role() {
        let data_dir = PathBuf::from(data_dir);
        for number in 1..3 {
            let server = start(&data_dir).await.unwrap();
            keep(&server, number).await;
            assert_eq!(fs::metadata(server.cluster_dir()).unwrap().uid(), geteuid().as_raw());
            assert_eq!(kept(&server).await.len(), usize::try_from(number).unwrap());
            server.stop().await;
        }
        assert_eq!(fs::metadata(&data_dir).unwrap().mode() & 0o777, 0o700);
        return;
    }
    let folder = open_folder();
    let data_dir = folder.path().join("home/data/postgres");
    let exe = folder.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    let mut command = child::again(&exe, NAME, data_dir.to_str().unwrap());
    command.current_dir(folder.path());
    fs::create_dir(folder.path().join("home")).unwrap();
    if geteuid().is_root() {
        let (uid, gid) = (65_534, 65_534);
        std::os::unix::fs::chown(folder.path().join("home"), Some(uid), Some(gid)).unwrap();
        command.uid(uid).gid(gid);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}

async fn is_superuser(server: &Embedded) -> bool {
    let mut connection = connect(server).await;
    sqlx::query_scalar("select rolsuper from pg_roles where rolname = current_user")
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn tidegate_is_not_a_superuser_and_has_the_privileges_it_needs() {
    let folder = open_folder();
    let server = start(folder.path()).await.unwrap();
    assert!(!is_superuser(&server).await);
    let pool = PgPool::connect_with(server.connect_options()).await.unwrap();
    let user: String = sqlx::query_scalar("select current_user::text").fetch_one(&pool).await.unwrap();
    assert_eq!(user, "tidegate");
    assert!(migrate::migrate(&pool, Distribution::None).await.unwrap() > 0);
    for statement in ["create role bob login", "grant tidegate_reader to bob", "create schema another"] {
        pool.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    for statement in ["create role eve superuser", "alter system set fsync = off", "copy (select 1) to program 'true'"]
    {
        let code = pool
            .execute(statement)
            .await
            .unwrap_err()
            .into_database_error()
            .and_then(|error| error.code().map(std::borrow::Cow::into_owned));
        assert_eq!(code.as_deref(), Some("42501"), "{statement}");
    }
    pool.close().await;
    server.stop().await;
}

/// A configuration that contains only the data folder.
fn configure(folder: &Path, data_dir: &Path) -> PathBuf {
    let path = folder.join("tidegate.yaml");
    let text = format!("embedded: {{ data_dir: \"{}\" }}\nserver: {{ listen: 127.0.0.1:0 }}\n", data_dir.display());
    fs::write(&path, text).unwrap();
    path
}
