//! A test message to a target of notifications: it is sent at once, or refused.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate::notify::Timing;
use tokio::time::timeout;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::Port;
use crate::notify::{notifier, quick, round};
use crate::support::World;

const TEST: &str = "/system/notify/oncall/test";

#[tokio::test]
async fn p12_a_test_message_is_sent_at_once_and_refused_with_the_remedy_if_the_target_is_gone() {
    let target = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(410)).mount(&target).await;
    let world = World::new().await;
    world.edit_config(|text| {
        format!("{text}notify: [{{ name: oncall, url: \"{}/x\", format: slack }}]\n", target.uri())
    });
    let pool = world.database.pool();
    let notifier = notifier(Timing { target_pause: Duration::from_hours(1), ..quick() });
    let port = Port::with(pool.clone(), world.config(), true, notifier.outgoing()).await;
    let config = Arc::clone(&port.config.borrow());
    let signal = notifier.outgoing().signal();

    assert_eq!(port.act(TEST, "").await.place(), "/system");
    // One at a time: others are not sent before messages about problems without an end.
    let second = port.api(TEST, &json!({})).await;
    let detail = second.json()["detail"].as_str().unwrap().to_owned();
    assert!(second.status == 409 && detail.contains("wait until it has an outcome"), "{} {detail}", second.status);
    timeout(Duration::from_secs(20), signal.notified()).await.expect("the action wakes the outbox of its process");
    assert_eq!(round(&notifier, &pool, &config).await, 1);
    assert_eq!(target.received_requests().await.unwrap().len(), 1);

    let form = port.get(TEST).await;
    assert!(form.status == 409 && form.body.contains("status 410"), "{} {}", form.status, form.body);
    let refused = port.api(TEST, &json!({})).await;
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(refused.status == 409 && detail.contains("save the file again"), "{} {detail}", refused.status);
    let messages = "select count(*) from tidegate.notification";
    assert_eq!(world.scalar::<i64>(messages).await, 1, "none waits without an end");

    // The configuration is loaded again.
    port.config.send_replace(Arc::new((*config).clone()));
    assert_eq!(port.get(TEST).await.status, 200);
    assert_eq!(port.api(TEST, &json!({})).await.status, 200);
    assert_eq!(world.scalar::<i64>(messages).await, 2);
}
