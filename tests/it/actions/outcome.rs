//! Every action has an outcome that its operator receives, also a slow one, and one during which the process stops.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::Connection as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::requests::SLOW_COMMIT;
use super::{BASIC, BEARER, Port, SAME_ORIGIN, request, world};
use crate::support::lock::{free_late, is_waited_for};
use crate::support::{World, eventually};

const RUNS: &str = "select count(*) from tidegate.run";
const LOCK: &str = "lock table tidegate.run in access exclusive mode";
const NOTHING: &str = "Tidegate is shutting down; this call has done nothing";

#[tokio::test(flavor = "multi_thread")]
async fn p7_an_action_that_arrives_late_and_waits_for_slow_ones_gets_its_response() {
    let (world, port) = world().await;
    sqlx::raw_sql(SLOW_COMMIT).execute(&world.database.pool()).await.unwrap();
    let mut locker = world.database.connect().await;
    let mut lock = locker.begin().await.unwrap();
    sqlx::raw_sql(LOCK).execute(&mut *lock).await.unwrap();
    let body = json!({});
    let slow = async { tokio::join!(port.api("/jobs/lynn/runs", &body), port.api("/jobs/lynn/runs", &body)) };
    let late = async {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        let form = request(1);
        let head = format!(
            "POST /jobs/lynn/runs HTTP/1.1\r\nhost: localhost\r\n{BASIC}{SAME_ORIGIN}content-type: \
             application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
            form.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // A body that needs its time: this is not a wait for a condition.
        sleep(Duration::from_secs(4)).await;
        stream.write_all(form.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    };
    // The first two hold their places for 10 s, then the third works until the lock is free, and its commit is slow.
    let free = async {
        sleep(Duration::from_secs(16)).await;
        lock.rollback().await.unwrap();
    };
    let ((first, second), response, ()) = tokio::join!(slow, late, free);
    assert_eq!((first.status, second.status), (503, 503), "{} {}", first.body, second.body);
    assert!(response.starts_with("HTTP/1.1 503"), "{response}");
    assert!(response.contains("it is not known whether it was done"), "{response}");
    eventually(Duration::from_secs(30), async || (world.scalar::<i64>(RUNS).await == 1).then_some(())).await;
    let again = port.post("/jobs/lynn/runs", &request(1)).await;
    assert_eq!(again.place(), format!("/runs/{}", world.scalar::<i64>("select id from tidegate.run").await));
    assert_eq!(world.scalar::<i64>(RUNS).await, 1);
}

/// An action that waits for a lock, after the process was asked to stop.
async fn stopped(frees: bool) -> (World, Port, super::Response, Duration) {
    let (world, port) = world().await;
    let mut locker = world.database.connect().await;
    let mut lock = locker.begin().await.unwrap();
    sqlx::raw_sql(LOCK).execute(&mut *lock).await.unwrap();
    let (body, begun) = (json!({}), Instant::now());
    let acting = port.api("/jobs/lynn/runs", &body);
    let stopping = async {
        is_waited_for(&world, "run").await;
        port.stops();
        free_late(lock, frees).await
    };
    let (response, _lock) = tokio::join!(acting, stopping);
    (world, port, response, begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_an_action_that_is_under_way_at_a_shutdown_is_done_and_gets_its_response() {
    let (world, port, response, _) = stopped(true).await;
    assert_eq!((response.status, response.json()["run_id"].as_i64()), (200, Some(1)), "{}", response.body);
    assert_eq!(world.scalar::<i64>(RUNS).await, 1);
    timeout(Duration::from_secs(8), port.server).await.expect("the port ends").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_an_action_that_cannot_end_at_a_shutdown_is_rolled_back_and_its_response_says_so() {
    let (world, port, response, took) = stopped(false).await;
    assert_eq!(response.status, 503, "{}", response.body);
    assert!(response.json()["detail"].as_str().unwrap().starts_with(NOTHING), "{}", response.body);
    assert!(took < Duration::from_secs(9), "{took:?}");
    timeout(Duration::from_secs(8), port.server).await.expect("the port ends").unwrap();
    let all = "select (select count(*) from tidegate.run) + (select count(*) from tidegate.event)";
    assert_eq!(world.scalar::<i64>(all).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_no_action_begins_after_the_process_was_asked_to_stop() {
    let (world, port) = world().await;
    // Before the port closes.
    port.health.stopping();
    let response = port.api("/jobs/lynn/runs", &json!({})).await;
    assert_eq!(response.status, 503, "{}", response.body);
    assert!(response.json()["detail"].as_str().unwrap().starts_with(NOTHING), "{}", response.body);
    assert!(response.head.contains("retry-after: "), "{}", response.head);
    let page = port.post("/jobs/lynn/runs", &request(1)).await;
    assert!(page.status == 503 && page.body.contains(NOTHING), "{} {}", page.status, page.body);
    let shown = port.send("GET", "/api/v1/jobs/lynn/runs", BEARER, "").await;
    assert_eq!(shown.status, 200, "what would happen can be read: {}", shown.body);
    assert_eq!(world.scalar::<i64>(RUNS).await, 0);
}
