//! A daemon that is killed between the commit of a problem and the response of the target.

use std::collections::BTreeSet;
use std::time::Duration;

use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::body;
use crate::support::daemon::Daemon;
use crate::support::{World, eventually};

/// A claimed message belongs to its process for 30 s.
const AFTER_THE_LEASE: Duration = Duration::from_secs(90);

#[tokio::test]
async fn p12_a_message_of_a_killed_daemon_is_sent_again_under_the_same_id() {
    let target = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_delay(Duration::from_secs(8))).mount(&target).await;
    let world = World::new().await;
    world.edit_config(|text| {
        format!("notify: [{{ name: hook, url: \"{}/s3cret-path\", format: cloudevents }}]\n{text}", target.uri())
    });
    let pool = world.database.pool();
    sqlx::query(
        "insert into tidegate.push_batch (job, connection, campaign_id, template_id, rows, state)
        values ('outbound', 'acme', '1', '1', 5, 'unknown')",
    )
    .execute(&pool)
    .await
    .unwrap();
    let received = async || target.received_requests().await.unwrap();

    let daemon = Daemon::start(&world).await;
    eventually(AFTER_THE_LEASE, async || (!received().await.is_empty()).then_some(())).await;
    let said = daemon.kill().await;
    assert!(!said.contains("s3cret-path"), "{said}");
    target.reset().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200)).mount(&target).await;
    let first: String =
        sqlx::query_scalar("select id::text from tidegate.notification").fetch_one(&pool).await.unwrap();

    let daemon = Daemon::start(&world).await;
    eventually(AFTER_THE_LEASE, async || (!received().await.is_empty()).then_some(())).await;
    let ids: BTreeSet<String> =
        received().await.iter().map(|request| body(request)["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, BTreeSet::from([first]));
    eventually(AFTER_THE_LEASE, async || {
        let states: Vec<String> =
            sqlx::query_scalar("select state from tidegate.notification").fetch_all(&pool).await.unwrap();
        (states == ["sent"]).then_some(())
    })
    .await;
    let stated: Vec<String> = sqlx::query_scalar(
        "select stated.target from tidegate.notification_statement as stated inner join tidegate.instance as alive
            on stated.owner = alive.owner",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(stated.contains(&"hook".to_owned()), "a daemon states its targets: {stated:?}");
    assert_eq!(daemon.metric("tidegate_problems{kind=\"push_unknown\"}").await, Some(1.0));
    assert_eq!(daemon.metric("tidegate_problems{kind=\"failed\"}").await, Some(0.0));
    let accepted = "tidegate_notifications_total{target=\"hook\",outcome=\"accepted\"}";
    assert_eq!(daemon.metric(accepted).await, Some(1.0));
    for outcome in ["rate_limited", "refused", "server_error", "timeout", "unreachable"] {
        let attempts = format!("tidegate_notifications_total{{target=\"hook\",outcome=\"{outcome}\"}}");
        assert_eq!(daemon.metric(&attempts).await, Some(0.0), "{outcome} is counted from zero");
    }
    let (status, took, said) = daemon.terminate().await;
    assert!(status.success() && took < Duration::from_secs(10), "{took:?} {said}");
}
