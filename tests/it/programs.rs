//! Postgres from the distribution's packages: the real apt, an ordinary user, and a server that runs from the unpacked
//! files.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use sqlx::{Connection as _, Executor as _, PgConnection};
use tidegate::postgres::binaries::Error;
use tidegate::postgres::{Embedded, fetch};
use tokio_util::sync::CancellationToken;

use crate::support::{ServerFolder, child};

const NAME: &str = "programs::an_ordinary_user_gets_postgres_from_the_distributions_packages";
/// An ordinary user, used if the tests run as root.
const NOBODY: u32 = 65_534;
/// The messages of apt without network.
const OFFLINE: [&str; 4] =
    ["Failed to fetch", "could not fetch any package list", "Could not resolve", "took longer than"];

fn has_apt() -> bool {
    Command::new("apt-get").arg("--version").output().is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn an_ordinary_user_gets_postgres_from_the_distributions_packages() {
    match child::role().as_deref().and_then(|role| role.split_once(':')) {
        Some(("obtain", folder)) => return obtain(Path::new(folder)).await,
        Some((_, folder)) => return start(Path::new(folder)).await,
        None => {}
    }
    if !has_apt() {
        println!("skipped: this system has no apt-get");
        return;
    }
    let folder = ServerFolder::new(0o755);
    let exe = folder.path().join("it");
    fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    let cache = folder.path().join("cache");
    // The state after an earlier attempt was killed while it unpacked.
    fs::create_dir_all(cache.join("building/tree/bin")).unwrap();
    fs::write(cache.join("building/tree/bin/postgres"), "half").unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    if rustix::process::geteuid().is_root() {
        for path in
            [&cache, &cache.join("building"), &cache.join("building/tree"), &cache.join("building/tree/bin"), &data]
        {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    let run = |part: &str, programs: Option<PathBuf>| {
        let mut command = child::again(&exe, NAME, &format!("{part}:{}", folder.path().display()));
        command.current_dir(folder.path()).env_remove("TIDEGATE_PG_BIN");
        command.envs(programs.map(|programs| ("TIDEGATE_PG_BIN", programs)));
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{said}{output:?}");
        said
    };

    let said = run("obtain", None);
    if said.contains("skipped:") {
        println!("{said}");
        return;
    }
    let found: Vec<PathBuf> = fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(found.len(), 2, "the lock and the programs, and nothing incomplete: {found:?}");
    let programs = found.into_iter().find(|path| path.is_dir()).unwrap();
    // They can be moved to another folder.
    let moved = folder.path().join("moved elsewhere");
    fs::rename(programs, &moved).unwrap();
    run("start", Some(moved.join("bin")));
}

async fn obtain(folder: &Path) {
    let cache = folder.join("cache");
    let bin = match fetch::fetch(&cache, None).await {
        Ok(bin) => bin,
        Err(Error::Missing { fetch, .. }) if OFFLINE.iter().any(|words| fetch.contains(words)) => {
            println!("skipped: apt-get has no network: {fetch}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert!(bin.dir.starts_with(cache.canonicalize().unwrap()), "{bin:?}");
    let second = fetch::fetch(&cache, Some(bin.major)).await.unwrap();
    assert_eq!(second, bin);
}

async fn start(folder: &Path) {
    let server = Embedded::start(&folder.join("data/postgres"), &CancellationToken::new()).await.unwrap();
    let mut connection = PgConnection::connect(server.superuser_url().expose()).await.unwrap();
    // Uses files of the distribution next to the programs, and libraries of other packages.
    for statement in [
        "create extension pgcrypto",
        "create function f() returns int language plpgsql as 'begin return 1; end'",
        "select xml '<a/>'",
        "create collation c (provider = icu, locale = 'de')",
        "set timezone = 'Europe/Berlin'",
        // The just-in-time compiler was left out; the server works without it.
        "set jit = on",
        "set jit_above_cost = 0",
        "select sum(n) from generate_series(1, 1000) n",
    ] {
        connection.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let line = server.psql_line();
    let psql = Path::new(&std::env::var_os("TIDEGATE_PG_BIN").unwrap()).join("psql");
    let arguments = line.split_once(" -h ").unwrap().1;
    let passfile = line.split_once(' ').unwrap().0;
    let said = Command::new("sh")
        .args(["-c", &format!("{passfile} '{}' -h {arguments} -Atc 'select 40 + 2'", psql.display())])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), "42", "{said:?}");
    connection.close().await.unwrap();
    server.stop().await;
}
