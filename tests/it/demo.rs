//! The demo as a new user sees it: an empty folder, an empty environment, the real binary.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::support::ServerFolder;
use crate::support::daemon::{Daemon, SOON, tidegate};

/// Time limit for initialising a cluster on a busy machine, and for three days of eight reports at the demo's pace.
const PATIENCE: Duration = Duration::from_mins(3);

/// The address of the status port, which is written in the demo's configuration: one demo at a time.
static PORT: Mutex<()> = Mutex::const_new(());

fn folder() -> ServerFolder {
    let folder = ServerFolder::new(0o755);
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

/// The demo needs only the programs' folders. Three days are enough for a test.
fn env() -> Vec<(&'static str, &'static str)> {
    static START: LazyLock<String> = LazyLock::new(|| crate::support::ago(3).date_naive().to_string());
    vec![("PATH", "/usr/local/bin:/usr/bin:/bin"), ("DEMO_START", &START)]
}

/// What `demo --once` reports per stream: rows read and new rows.
async fn once(folder: &Path) -> Vec<(String, u64, u64)> {
    let output = tokio::time::timeout(PATIENCE, tidegate(folder, &env(), &["demo", "--once"]).output()).await;
    let output = output.expect("the demo ends").unwrap();
    let (said, complaints) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{said}{complaints}");
    let mut lines = said.lines().skip_while(|line| !line.starts_with("JOB"));
    let head: Vec<&str> = lines.next().unwrap_or_else(|| panic!("{said}")).split_whitespace().collect();
    let column = |name: &str| head.iter().position(|found| *found == name).unwrap();
    lines
        .filter(|line| line.starts_with("demo-lynn"))
        .map(|line| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(cells[column("STATE")], "succeeded", "{line}");
            let number = |name| cells[column(name)].replace(',', "").parse().unwrap();
            (cells[column("STREAM")].to_owned(), number("READ"), number("NEW"))
        })
        .collect()
}

/// Number of servers whose cluster is in `folder`.
fn servers(folder: &Path) -> usize {
    let folder = folder.file_name().unwrap().to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .map(|arguments| String::from_utf8_lossy(&arguments).into_owned())
        .filter(|line| line.contains(folder) && line.contains("postgres"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_in_an_empty_folder_loads_everything_and_continues_where_it_stopped() {
    let folder = folder();
    let first = once(folder.path()).await;
    assert_eq!(first.len(), 8, "{first:?}");
    let sum = |tasks: &[(String, u64, u64)]| tasks.iter().map(|(_, _, new)| new).sum::<u64>();
    assert!(sum(&first) > 1000, "{first:?}");
    let second = once(folder.path()).await;
    assert_eq!(second.len(), 8);
    assert!(sum(&second) * 4 < sum(&first), "{second:?}");
    assert_eq!(servers(folder.path()), 0, "Postgres ends with the demo");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_says_how_to_query_its_data_and_ends_cleanly() {
    let _port = PORT.lock().await;
    let folder = folder();
    let demo = Daemon::watch(tidegate(folder.path(), &env(), &["demo"]).spawn().unwrap());
    let begun = std::time::Instant::now();
    while !demo.said().contains("BI tool") {
        assert!(begun.elapsed() < PATIENCE, "{}", demo.said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let said = demo.said();
    let table = said.lines().find(|line| line.starts_with("lynn.navigation_marks")).unwrap();
    let rows: u64 = table.split_whitespace().nth(1).unwrap().replace(',', "").parse().unwrap();
    assert!(rows > 100 && table.contains("succeeded"), "{table}");
    let line = said.lines().find_map(|line| line.strip_prefix("database")).unwrap().trim();
    let psql = Command::new("sh")
        .args(["-c", &format!("{line} -Atc 'select count(*) from lynn.navigation_marks'")])
        .current_dir(folder.path())
        .env_clear()
        .envs(env())
        .output()
        .await
        .unwrap();
    let counted = String::from_utf8(psql.stdout).unwrap();
    assert!(counted.trim().parse::<u64>().is_ok_and(|counted| counted >= rows), "{line}: {counted} {:?}", psql.stderr);
    let (program, _) = line.split_once(" -h ").unwrap();
    let program = program.rsplit(' ').next().unwrap();
    let place = said.lines().find_map(|line| line.strip_prefix("BI tool")).unwrap().trim();
    let (place, _) = place.split_once("  (").unwrap();
    let ask = async |query: &str| {
        let mut psql = Command::new("sh");
        psql.args(["-c", &format!("{program} '{place}' -Atc '{query}'")])
            .current_dir(folder.path())
            .env_clear()
            .envs(env());
        psql.output().await.unwrap()
    };
    let read = ask("select count(*) from lynn.navigation_marks").await;
    assert!(read.status.success() && read.stdout.len() > 2, "{place}: {read:?}");
    for forbidden in ["select * from tidegate.run", "delete from lynn.navigation_marks"] {
        let refused = ask(forbidden).await;
        assert!(String::from_utf8_lossy(&refused.stderr).contains("permission denied"), "{forbidden}: {refused:?}");
    }
    let status = said.lines().find_map(|line| line.strip_prefix("status")).unwrap().trim();
    let page = tidegate::http::client().unwrap().get(status).send().await.unwrap();
    assert_eq!(page.status().as_u16(), 200);
    assert!(servers(folder.path()) > 0);

    // The configuration that it wrote is valid by itself.
    let reads: [&[&str]; 7] = [
        &["status"],
        &["runs"],
        &["held"],
        &["connections"],
        &["streams", "lynn_reporting"],
        &["plan"],
        &["check", "--offline"],
    ];
    for command in reads {
        let args = [&["--config", "data/demo/config"], command].concat();
        let output = tidegate(folder.path(), &env(), &args).output().await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{command:?}: {output:?}");
    }

    let (status, took, said) = demo.end(Signal::INT).await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    let gone = async || (servers(folder.path()) == 0).then_some(());
    crate::support::eventually(SOON, gone).await;
}

/// Executes statements in one session with the `psql` command that the demo printed.
async fn psql(folder: &Path, said: &str, statements: &[&str]) {
    let line = said.lines().find_map(|line| line.strip_prefix("database    PGPASSFILE")).unwrap();
    let statements = format!(" -c \"{}\"", statements.join("\" -c \""));
    let mut command = Command::new("sh");
    command.args(["-c", &format!("PGPASSFILE{line} -v ON_ERROR_STOP=1{statements}")]);
    let done = command.current_dir(folder).env_clear().envs(env()).output().await.unwrap();
    assert!(done.status.success(), "{statements}: {done:?}");
}

/// Waits until the demo has printed `words` more often than `times`.
async fn says(demo: &Daemon, words: &str, times: usize) {
    let begun = std::time::Instant::now();
    while demo.said().matches(words).count() <= times {
        assert!(begun.elapsed() < PATIENCE, "not `{words}`: {}", demo.said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_continues_after_its_sessions_were_ended_and_after_its_database_only_read() {
    const TABLE: &str = "READ UNTIL";
    let _port = PORT.lock().await;
    let folder = folder();
    let demo = Daemon::watch(tidegate(folder.path(), &env(), &["demo"]).spawn().unwrap());
    says(&demo, "BI tool", 0).await;
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
        where pid <> pg_backend_pid() and usename = current_user";
    for _ in 0..5 {
        psql(folder.path(), &demo.said(), &[end]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let tables = demo.said().matches(TABLE).count();
    says(&demo, TABLE, tables).await;
    psql(folder.path(), &demo.said(), &["alter database tidegate set default_transaction_read_only = on"]).await;
    let (status, _, said) = demo.end(Signal::INT).await;
    assert_eq!((status.code(), said.matches("stopping …").count()), (Some(0), 1), "{said}");

    let demo = Daemon::watch(tidegate(folder.path(), &env(), &["demo"]).spawn().unwrap());
    says(&demo, "the database only reads: it is a standby, or was made read-only; the demo continues", 0).await;
    let mend =
        ["set default_transaction_read_only = off", "alter database tidegate reset default_transaction_read_only"];
    psql(folder.path(), &demo.said(), &mend).await;
    says(&demo, "the database responds as it should again; the demo continues", 0).await;
    says(&demo, "BI tool", 0).await;
    let (status, _, said) = demo.end(Signal::INT).await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert_eq!(said.matches("; the demo continues when that is over").count(), 1, "{said}");
}
