//! How a daemon ends, and the effect of time limits.

use std::time::Duration;

use rustix::process::Signal;
use simulator::{Match, Point};
use sqlx::Connection as _;
use tidegate::schedule::ByHand;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::daemon::{Daemon, SOON, command, tidegate};
use crate::support::lock::{free_late, is_waited_for};
use crate::support::world::Recipe;
use crate::support::{World, ago, eventually};

async fn one_day(job: &[&str]) -> World {
    let start = ago(1).date_naive();
    let job = job.iter().map(|line| (*line).to_owned()).collect();
    World::with(Recipe { job, start, ..Recipe::default() }).await
}

async fn assert_truth(world: &World) {
    let until = world.scalar("select max(read_until) from tidegate.slice").await;
    let start = world.config().jobs["lynn"].start.and_time(chrono::NaiveTime::MIN).and_utc();
    world.assert_truth("navigation_marks", start, until).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_and_sigint_end_a_daemon_in_time_while_a_body_stalls() {
    let world = one_day(&[]).await;
    let run = world.enqueue(ByHand::Manual).await;
    for signal in [Signal::TERM, Signal::INT] {
        let hold = world.control().hold(Match::report("navigation_marks").page(2), Point::MidBody);
        let daemon = Daemon::start(&world).await;
        tokio::time::timeout(SOON, hold.reached()).await.unwrap();
        let (status, took, said) = daemon.end(signal).await;
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert!(said.contains("daemon stopped"), "{said}");
        let state: String = world.scalar(&format!("select state from tidegate.run where id = {run}")).await;
        assert_eq!(state, "queued", "another worker can continue at once: {said}");
    }
    world.control().quiet();
    let daemon = Daemon::start(&world).await;
    let succeeded = format!("select state = 'succeeded' from tidegate.run where id = {run}");
    eventually(SOON, async || world.scalar::<bool>(&succeeded).await.then_some(())).await;
    assert_truth(&world).await;
    let first_pages = world.control().stats().reports.iter().filter(|call| call.page == 1).count();
    assert_eq!(first_pages, 2, "p3: one for each slice");
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_sigterm_waits_for_the_outcome_of_an_action() {
    let world = World::new().await;
    let auth = "auth: { user: operator, password: correct horse, token: t0ken-of-scripts }";
    world.edit_config(|text| text.replace("listen: 127.0.0.1:0", &format!("listen: 127.0.0.1:0, {auth}")));
    for (frees, expected, pauses) in [(false, "HTTP/1.1 503", 0), (true, "HTTP/1.1 200", 1)] {
        let daemon = Daemon::start(&world).await;
        let mut stream = TcpStream::connect(daemon.address()).await.unwrap();
        let mut locker = world.database.connect().await;
        let mut lock = locker.begin().await.unwrap();
        // Only actions write it.
        sqlx::raw_sql("lock table tidegate.pause in share row exclusive mode").execute(&mut *lock).await.unwrap();
        let body = serde_json::json!({ "until": (chrono::Utc::now() + chrono::TimeDelta::days(1)).to_rfc3339(), "reason": "maintenance" }).to_string();
        let request = format!(
            "POST /api/v1/jobs/lynn/pause HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer t0ken-of-scripts\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        is_waited_for(&world, "pause").await;
        let mut response = String::new();
        let answering = stream.read_to_string(&mut response);
        let ((status, took, said), _lock, answered) =
            tokio::join!(daemon.terminate(), free_late(lock, frees), answering);
        answered.unwrap();
        assert!(response.starts_with(expected), "{response} {said}");
        assert_eq!(response.contains("this call has done nothing"), !frees, "{response}");
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(took < Duration::from_secs(10), "{took:?} {said}");
        assert_eq!(world.scalar::<i64>("select count(*) from tidegate.pause").await, pauses);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_daemon_ends_at_once() {
    let world = World::new().await;
    let daemon = Daemon::start(&world).await;
    let (status, took, _) = daemon.terminate().await;
    assert!(status.success() && took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_daemon_whose_database_never_responds_stops_on_request() {
    let world = World::new().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://tidegate@{}/tidegate", silent.local_addr().unwrap());
    let config = world.config_path();
    let args = ["--config", config.to_str().unwrap(), "run"];
    let child = tidegate(world.folder.path(), &[("TIDEGATE__DATABASE__URL", &url)], &args).spawn().unwrap();
    let daemon = Daemon::watch(child);
    let _connection = tokio::time::timeout(SOON, silent.accept()).await.unwrap().unwrap();
    let (status, took, said) = daemon.terminate().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(took < Duration::from_secs(5), "{took:?} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_beyond_its_timeout_fails_with_a_hint_and_keeps_its_cursor() {
    let world = one_day(&["timeout: 3s"]).await;
    let hold = world.control().hold(Match::report("navigation_marks").page(3), Point::MidBody);
    let output = command(&world, &[], &["sync", "--json"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(hold.is_reached());
    let (error, hint): (String, String) =
        sqlx::query_as("select error, hint from tidegate.task").fetch_one(&world.database.pool()).await.unwrap();
    assert!(error.contains("timeout") && hint.contains("raise the job's `timeout`"), "{error}; {hint}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("longer than the job's timeout"), "{said}");
    assert_eq!(world.scalar::<i32>("select reading_pages from tidegate.slice").await, 2);
    world.control().quiet();
    let before = world.control().stats().reports.len();
    world.edit_config(|text| text.replace("timeout: 3s", "timeout: 60s"));
    let output = command(&world, &[], &["sync"]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(world.control().stats().reports[before].page, 3, "p3: continues after the last checkpoint");
    assert_truth(&world).await;
}
