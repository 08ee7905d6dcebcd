//! Actions need a login. Wrong ones are slow and hold up no one else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{BASIC, BEARER, JOB, Port, SAME_ORIGIN, request, world};
use crate::support::World;

#[tokio::test]
async fn p7_without_a_login_nothing_can_be_changed() {
    let world = World::new().await;
    let port = Port::open(world.database.pool(), world.config(), false).await;
    for page in ["/", JOB, "/system", "/quotas", "/connections/acme"] {
        let page = port.get(page).await;
        assert_eq!(page.status, 200);
        assert!(!page.body.contains("class=\"act\"") && !page.body.contains("method=\"post\""), "{}", page.body);
    }
    for path in ["/jobs/lynn/runs", "/jobs/lynn/pause", "/system/pause", "/problems/1/mute", "/runs/1/cancel"] {
        for method in ["GET", "POST"] {
            let headers = format!("{SAME_ORIGIN}content-type: application/x-www-form-urlencoded\r\n");
            let page = port.send(method, path, &headers, &request(1)).await;
            assert_eq!(page.status, 403, "{method} {path}: {}", page.body);
            assert!(page.body.contains("server.auth"), "{}", page.body);
            let document = port.send(method, &format!("/api/v1{path}"), BEARER, "{}").await;
            assert_eq!((document.status, document.json()["status"].as_u64()), (403, Some(403)), "{method} {path}");
        }
    }
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.run").await, 0);
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.event").await, 0);
}

#[tokio::test]
async fn p7_wrong_credentials_are_slow_counted_and_not_logged() {
    let (_world, port) = world().await;
    let begun = Instant::now();
    let wrong = port.send("GET", "/", "authorization: Basic b3BlcmF0b3I6aHVudGVyMg==\r\n", "").await;
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_eq!(wrong.status, 401);
    assert!(wrong.head.contains("www-authenticate: Basic realm=\"Tidegate\""), "{}", wrong.head);
    assert!(!wrong.body.contains("hunter2") && !wrong.body.contains("b3BlcmF0b3I6"), "{}", wrong.body);
    assert_eq!(port.send("GET", "/", "", "").await.status, 401);
    assert_eq!(port.send("GET", "/healthz", "", "").await.status, 200);
    assert_eq!(port.send("GET", "/metrics", "", "").await.status, 401);
    let metrics = port.send("GET", "/metrics", BEARER, "").await;
    assert!(metrics.body.contains("tidegate_auth_failures_total 1\n"), "only the wrong one counts: {}", metrics.body);
    assert_eq!(port.send("GET", "/api/v1/overview", BEARER, "").await.status, 200);
    assert_eq!(port.get("/").await.status, 200);
}

#[tokio::test]
async fn p7_many_wrong_credentials_hold_up_neither_probes_nor_those_who_may_log_in() {
    let (_world, port) = world().await;
    let wrong = (0..30).map(|_| port.send("GET", "/", "authorization: Bearer wrong-token-of-another\r\n", ""));
    let right = async {
        let begun = Instant::now();
        assert_eq!(port.send("GET", "/healthz", "", "").await.status, 200);
        assert_eq!(port.send("GET", "/api/v1/jobs", BEARER, "").await.status, 200);
        begun.elapsed()
    };
    let (replies, _took) = tokio::join!(futures_util::future::join_all(wrong), right);
    let count = |status| replies.iter().filter(|reply| reply.status == status).count();
    assert_eq!(count(401) + count(429), 30);
    assert!(count(429) >= 10, "{}", count(429));
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_probes_and_right_logins_are_served_during_100_wrong_logins_at_once() {
    let (_world, port) = world().await;
    let is_over = AtomicBool::new(false);
    let wrong = (0..100).map(|_| async {
        while !is_over.load(Ordering::Relaxed) {
            let reply = port.send("GET", "/", "authorization: Bearer wrong-token-of-another\r\n", "").await;
            assert!(matches!(reply.status, 401 | 429), "{}", reply.status);
        }
    });
    let right = async {
        for _ in 0..30 {
            for (path, login) in [("/healthz", ""), ("/api/v1/jobs", BEARER), ("/", BASIC)] {
                let reply = tokio::time::timeout(Duration::from_secs(3), port.send("GET", path, login, "")).await;
                assert_eq!(reply.expect(path).status, 200, "{path}");
            }
        }
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(futures_util::future::join_all(wrong), right);
}
