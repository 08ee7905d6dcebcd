//! A connection stays bound to the account that it read first.

use super::{DAY_ROWS, STREAM, ago, assert_succeeded, loaded, read_again, rows};
use crate::support::World;
use crate::support::daemon::{Daemon, command};
use crate::support::world::Recipe;

fn calls(world: &World) -> u64 {
    world.control().stats().calls.values().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_another_account_under_the_same_name_is_refused_before_anything_is_read() {
    let world = loaded(&[]).await;
    let before = calls(&world);
    let tenant = simulator::lynn::Account::default().tenant;
    world.edit_config(|text| text.replace(&format!("tenant: {tenant}"), "tenant: 77"));
    let task = read_again(&world).await;
    assert_eq!(task.state, "failed", "{task:#?}");
    let (error, hint) = (task.error.clone().unwrap(), task.hint.clone().unwrap());
    assert!(error.contains(&format!("tenant `{tenant}`")) && error.contains("tenant `77`"), "{error}");
    assert!(hint.contains("tidegate connections forget"), "{hint}");
    let output = command(&world, &[], &["check"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("another account"), "{output:?}");
    assert_eq!((calls(&world), rows(&world).await), (before, 2 * DAY_ROWS), "no call was sent and no row deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_another_host_or_vendor_is_another_account_but_new_credentials_are_not() {
    let world = loaded(&[]).await;
    world.edit_config(|text| text.replace("http://127.0.0.1:", "http://localhost:"));
    let task = read_again(&world).await;
    assert!(task.error.as_deref().unwrap().contains("host `localhost`"), "{task:#?}");
    world.edit_config(|text| text.replace("http://localhost:", "http://127.0.0.1:"));
    let secret = simulator::lynn::Account::default().access_token_secret;
    world.edit_config(|text| text.replace(&secret, "rotated-secret"));
    let task = read_again(&world).await;
    assert!(
        task.hint.as_deref().unwrap().starts_with("check the credentials"),
        "the call was sent, and the vendor refused it: {task:#?}"
    );
    world.edit_config(|text| text.replace("rotated-secret", &secret));
    assert_succeeded(&[read_again(&world).await]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_account_can_be_corrected_while_nothing_was_read() {
    let world = World::with(Recipe { start: ago(2).date_naive(), ..Recipe::default() }).await;
    let tenant = simulator::lynn::Account::default().tenant;
    world.edit_config(|text| text.replace(&format!("tenant: {tenant}"), "tenant: 77"));
    let task = read_again(&world).await;
    assert_eq!(task.state, "failed", "the vendor has no such tenant: {task:#?}");
    world.edit_config(|text| text.replace("tenant: 77", &format!("tenant: {tenant}")));
    assert_succeeded(&[read_again(&world).await]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_never_read_has_no_first_reading_although_its_quota_is_shown() {
    let world = World::with(Recipe { start: ago(2).date_naive(), ..Recipe::default() }).await;
    let daemon = Daemon::start(&world).await;
    assert_eq!(daemon.status().await["quotas"][0]["connection"], "acme");
    let first_read = async || {
        let known = command(&world, &[], &["connections", "--json"]).await;
        let known: serde_json::Value = serde_json::from_slice(&known.stdout).unwrap();
        known["connections"][0]["pinned_at"].clone()
    };
    assert!(first_read().await.is_null());
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.connection").await, 0, "it is not bound either");
    drop(daemon);
    let tenant = simulator::lynn::Account::default().tenant;
    world.edit_config(|text| text.replace(&format!("tenant: {tenant}"), "tenant: 77"));
    assert_eq!(world.sync().await[0].state, "failed", "the vendor has no such tenant");
    world.edit_config(|text| text.replace("tenant: 77", &format!("tenant: {tenant}")));
    assert!(first_read().await.is_null(), "it is bound, but nothing was read");
    assert_succeeded(&world.sync().await);
    assert!(first_read().await.is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_a_forgotten_connection_may_read_another_account() {
    let world = loaded(&[]).await;
    world.edit_config(|text| text.replace("http://127.0.0.1:", "http://localhost:"));
    assert_eq!(read_again(&world).await.state, "failed");
    let known = command(&world, &[], &["connections"]).await;
    let known = String::from_utf8(known.stdout).unwrap();
    assert!(known.contains("acme") && known.contains("host 127.0.0.1"), "{known}");
    let output = command(&world, &[], &["connections", "forget", "acne"]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = command(&world, &[], &["connections", "forget", "acme"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("{} rows stay", 2 * DAY_ROWS)), "{output:?}");
    assert_eq!(rows(&world).await, 2 * DAY_ROWS);
    assert_succeeded(&[read_again(&world).await]);
    let truth = world.truth(STREAM, ago(2), ago(0)).len();
    assert_eq!(rows(&world).await, i64::try_from(truth).unwrap(), "the same rows, once");

    let output = command(&world, &[], &["connections", "forget", "acme", "--rows"]).await;
    assert_eq!((output.status.code(), rows(&world).await), (Some(0), 0), "{output:?}");
    for table in ["stream", "slice", "fingerprint", "connection"] {
        assert_eq!(world.scalar::<i64>(&format!("select count(*) from tidegate.{table}")).await, 0, "{table}");
    }
}
