//! `tidegate notify`, and what it and the daemon never show.

use std::time::Duration;

use serde_json::Value;
use tidegate::store::distribution::Distribution;
use tidegate::store::{event, notification, problem};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::SECRET;
use crate::support::daemon::{Daemon, SOON, command};
use crate::support::secrets::texts;
use crate::support::{TestDatabase, World, eventually};

const HEADER: &str = "header-s3cret-value";
const BODY: &str = "body-s3cret-value";

/// A world with one target that accepts, and one that refuses and quotes what it got.
async fn world() -> (World, MockServer, MockServer) {
    let (good, bad) = (MockServer::start().await, MockServer::start().await);
    Mock::given(any()).respond_with(ResponseTemplate::new(204)).mount(&good).await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(403).set_body_string(format!("no {SECRET} {HEADER} {BODY}")))
        .mount(&bad)
        .await;
    let world = World::new().await;
    world.edit_config(|text| {
        format!(
            "notify:
  - {{ name: good, url: \"{}/{SECRET}\", format: cloudevents, headers: {{ X-Token: {HEADER} }} }}
  - {{ name: bad, url: \"{}/{SECRET}\", format: slack, headers: {{ X-Token: {HEADER} }} }}
  - {{ name: unreachable, url: \"http://127.0.0.1:1/{SECRET}\", format: slack }}
{text}",
            good.uri(),
            bad.uri()
        )
    });
    tidegate::store::migrate::migrate(&world.database.pool(), Distribution::None).await.unwrap();
    (world, good, bad)
}

#[tokio::test]
async fn p7_a_test_message_takes_the_usual_way_and_no_secret_appears() {
    let (world, good, bad) = world().await;
    let test = command(&world, &[("TIDEGATE__LOG__LEVEL", "trace")], &["notify", "test", "good", "--json"]).await;
    assert_eq!(test.status.code(), Some(0), "{test:?}");
    let document: Value = serde_json::from_slice(&test.stdout).unwrap();
    assert_eq!(document["tests"][0]["outcome"], "HTTP 204");
    assert_eq!(good.received_requests().await.unwrap().len(), 1);

    let all = command(&world, &[("TIDEGATE__LOG__LEVEL", "trace")], &["notify", "test"]).await;
    assert_eq!(all.status.code(), Some(1), "{all:?}");
    let said = String::from_utf8_lossy(&all.stdout).into_owned();
    assert!(said.contains("bad (127.0.0.1:") && said.contains("): not accepted: HTTP 403\n"), "{said}");
    assert!(said.contains("unreachable (127.0.0.1:1): not accepted: no connection\n"), "{said}");
    assert_eq!(bad.received_requests().await.unwrap().len(), 1, "a test is not repeated");

    let unknown = command(&world, &[], &["notify", "test", "goood"]).await;
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("did you mean `good`?"), "{unknown:?}");

    let list = command(&world, &[], &["notify", "list", "--json"]).await;
    let document: Value = serde_json::from_slice(&list.stdout).unwrap();
    let target = |name: &str| {
        document["targets"].as_array().unwrap().iter().find(|target| target["target"] == name).unwrap().clone()
    };
    assert!(target("good")["last_sent_at"].is_string() && target("bad")["last_sent_at"].is_null(), "{document}");
    assert_eq!(target("bad")["outcome"], "HTTP 403");
    let table = command(&world, &[], &["notify", "list"]).await;
    assert!(String::from_utf8_lossy(&table.stdout).contains("TARGET"), "{table:?}");

    let mut seen = texts(&world, "tidegate").await;
    for output in [test, all, unknown, list, table] {
        seen += &String::from_utf8_lossy(&[output.stdout, output.stderr].concat());
    }
    for secret in [SECRET, HEADER, BODY] {
        assert!(!seen.contains(secret), "{secret} in {seen}");
    }
}

/// The command is a process of its own, so a daemon that runs goes on.
#[tokio::test]
async fn a_test_message_that_is_refused_with_410_says_of_which_process_nothing_is_sent_any_more() {
    let (world, _good, bad) = world().await;
    bad.reset().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(410)).mount(&bad).await;
    let test = command(&world, &[], &["notify", "test", "bad"]).await;
    assert_eq!(test.status.code(), Some(1), "{test:?}");
    assert!(String::from_utf8_lossy(&test.stdout).contains("not accepted: HTTP 410\n"), "{test:?}");
    let said = String::from_utf8_lossy(&test.stderr).into_owned();
    assert!(said.contains("this process sends nothing to it until it loads the configuration again"), "{said}");
}

#[tokio::test]
async fn p7_a_daemon_that_cannot_notify_shows_no_secret() {
    let (world, _good, bad) = world().await;
    let daemon = Daemon::start_with(&world, &[("TIDEGATE__LOG__LEVEL", "trace")]).await;
    let pool = world.database.pool();
    sqlx::query("insert into tidegate.notification (target, kind) values ('bad', 'test'), ('unreachable', 'test')")
        .execute(&pool)
        .await
        .unwrap();
    eventually(SOON, async || (!bad.received_requests().await.unwrap().is_empty()).then_some(())).await;
    daemon.says("a notification was not accepted").await;
    // A refused configuration is an event, and a reload that is accepted too.
    world.edit_config(|text| text.replace("concurrency: 2", "concurrency: 0"));
    daemon.says("is refused").await;
    world.edit_config(|text| text.replace("concurrency: 0", "concurrency: 3"));
    daemon.says("configuration reloaded").await;
    let events = async || -> Vec<String> {
        sqlx::query_scalar("select kind || ' ' || (actor is not null) from tidegate.event order by id")
            .fetch_all(&pool)
            .await
            .unwrap()
    };
    eventually(SOON, async || (events().await.contains(&"reload true".to_owned())).then_some(())).await;
    assert_eq!(events().await[0], "reload_refused true");
    let (_, metrics) = daemon.get("/metrics").await;
    let (_, page) = daemon.get("/").await;
    let said = daemon.terminate().await.2;
    let seen = [texts(&world, "tidegate").await, metrics, page, said].concat();
    for secret in [SECRET, HEADER, BODY] {
        assert!(!seen.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn events_problems_and_messages_are_deleted_by_age() {
    const DAY: Duration = Duration::from_hours(24);
    let database = TestDatabase::create().await;
    let pool = database.pool();
    sqlx::raw_sql(
        "insert into tidegate.event (at, kind, summary)
        select now() - make_interval(days => n), 'reload', 'x' from generate_series(1, 99) as n;
        insert into tidegate.problem (kind, scope, summary, opened_at, closed_at)
        select 'late', 's' || n, 'x', now() - make_interval(days => n), now() - make_interval(days => n)
        from generate_series(1, 99) as n;
        insert into tidegate.problem (kind, scope, summary, opened_at) values ('late', 'open', 'x', now() - interval '1 year');
        insert into tidegate.notification (target, kind, state, created_at)
        select 'oncall', 'opened', 'sent', now() - make_interval(days => n) from generate_series(1, 99) as n",
    )
    .execute(&pool)
    .await
    .unwrap();
    assert_eq!(event::prune(&pool, 90 * DAY, 5).await.unwrap(), 5);
    assert_eq!(event::prune(&pool, 90 * DAY, 50).await.unwrap(), 5);
    assert_eq!(problem::prune(&pool, 90 * DAY, 50).await.unwrap(), 10);
    assert_eq!(notification::prune(&pool, 30 * DAY, 500).await.unwrap(), 70);
    let open: i64 = sqlx::query_scalar("select count(*) from tidegate.problem where closed_at is null")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(open, 1);
}
