//! Settings, accounts and passwords: who runs the server, who logs in, and with which privileges.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::geteuid;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool};
use tidegate::postgres::{Embedded, ServerUser, cluster};
use tidegate::secret::Secret;
use tidegate::store::distribution::Distribution;
use tidegate::store::migrate;

use super::{configure, connect, keep, kept, open_folder, password_of, show, start};
use crate::support::daemon::tidegate;
use crate::support::{child, programs};

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
async fn an_ordinary_user_runs_the_server_under_the_same_account() {
    const NAME: &str = "embedded::account::an_ordinary_user_runs_the_server_under_the_same_account";
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

#[tokio::test]
async fn variables_of_postgres_programs_have_no_effect() {
    let folder = open_folder();
    let data_dir = folder.path().join("postgres");
    let config = configure(folder.path(), &data_dir);
    let env = [
        ("PGOPTIONS", "-c no_such_setting=1"),
        ("PGHOST", "192.0.2.1"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGPORT", "1"),
        ("PGUSER", "nobody"),
        ("PGPASSWORD", "none"),
        ("PGDATABASE", "nothing"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", "/nonexistent"),
        ("PGAPPNAME", "another"),
    ];
    for word in ["migrate", "status"] {
        let args = ["--config", config.to_str().unwrap(), word];
        let output = tidegate(folder.path(), &env, &args).output().await.unwrap();
        assert!(output.status.success(), "{word}: {output:?}");
    }
}

#[tokio::test]
async fn a_cluster_of_an_earlier_version_is_used_unchanged() {
    let folder = open_folder();
    let path = folder.path().join("cluster");
    let user = ServerUser::choose(&path).unwrap();
    let bin = programs::find_or_fetch(user.as_ref()).await.unwrap();
    let password = "0123abcd";
    cluster::make(&path, &bin, user.as_ref(), &Secret::new(password), &["--no-sync"]).await.unwrap();
    fs::write(folder.path().join("pgpass"), format!("127.0.0.1:*:*:tidegate:{password}\n")).unwrap();

    let server = start(folder.path()).await.unwrap();
    assert_eq!(password_of(server.url().expose()), password);
    assert!(is_superuser(&server).await);
    keep(&server, 1).await;
    let line = server.psql_line();
    let output = Command::new("sh").args(["-c", &format!("{line} -w -Atc 'select n from kept'")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1", "{output:?}");
    server.stop().await;

    fs::remove_file(folder.path().join("pgpass")).unwrap();
    let server = start(folder.path()).await.unwrap();
    assert_ne!(password_of(server.url().expose()), password);
    assert_eq!(kept(&server).await, [1]);
    assert_eq!(server.superuser_url().expose(), server.url().expose());
    server.stop().await;
}
