//! Start and stop, a second Tidegate beside the first, and what a crash leaves behind.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sqlx::Executor;
use sqlx::postgres::PgPoolOptions;
use tidegate::postgres::{Embedded, Error};
use tokio_util::sync::CancellationToken;

use super::{LONG, connect, keep, kept, open_folder, postmaster_pid, start};
use crate::support::{child, eventually};

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
    const NAME: &str = "embedded::life::a_server_left_by_a_killed_tidegate_is_adopted";
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
