//! A check for problems that fails is a problem itself, and so is other work of a process that does not succeed.

use std::time::Duration;

use tidegate::config::NotifyFormat;
use tidegate::notify::Timing;
use tidegate::store::topic::Topic;

use super::{Bench, notifier, quick};
use crate::support::daemon::{Daemon, SOON};
use crate::support::{World, eventually};

/// The check reads this table, and little else does.
const BREAK: &str = "alter table tidegate.push_batch rename to push_batch_away";
const MEND: &str = "alter table tidegate.push_batch_away rename to push_batch";

#[tokio::test]
async fn p12_a_check_for_problems_that_fails_is_a_problem_that_is_sent_and_ends() {
    let bench = Bench::new(NotifyFormat::Slack).await;
    bench.accepts().await;
    bench.execute(BREAK).await;
    for _ in 0..2 {
        let checked = bench.notifier.check(&bench.pool, &bench.config).await;
        assert!(checked.is_err(), "{checked:?}");
        bench.send().await;
    }
    assert_eq!(bench.open().await, ["stalled system"]);
    let texts = bench.texts().await;
    assert_eq!(texts.len(), 1, "it is the same problem: {texts:?}");
    assert!(texts[0].contains("✕ Tidegate does not do all its work since "), "{texts:?}");
    assert!(texts[0].contains("push_batch") && texts[0].contains("does not exist (SQLSTATE 42P01)"), "{texts:?}");
    // Problems that were open before stay open meanwhile, and new ones are found afterwards.
    bench.fail(&["marks"], "refused").await;
    bench.execute(MEND).await;
    bench.check().await;
    assert_eq!(bench.open().await, ["failed acme/marks", "stalled system"], "one check without it is not enough");
    bench.check().await;
    assert_eq!(bench.open().await, ["failed acme/marks"]);
    bench.send().await;
    let last = bench.texts().await.pop().unwrap();
    assert!(last.contains("✓ Tidegate: over since "), "{last}");
    let events = bench.all("select kind from tidegate.event where summary like 'stalled:%' order by id").await;
    assert_eq!(events, ["problem", "recovered"]);
}

#[tokio::test]
async fn a_check_that_fails_once_is_not_a_problem() {
    let mut timing = quick();
    for patience in timing.patience.iter_mut().filter(|patience| patience.topic == Topic::Stalled) {
        patience.delay = Duration::from_mins(2);
    }
    let bench = Bench::with(NotifyFormat::Slack, timing.clone()).await;
    bench.execute(BREAK).await;
    bench.notifier.check(&bench.pool, &bench.config).await.unwrap_err();
    assert_eq!(bench.open().await.len(), 0);
    bench.execute(MEND).await;
    bench.check().await;
    assert_eq!(bench.all("select kind from tidegate.problem").await.len(), 0, "nothing is left of it");

    bench.execute(BREAK).await;
    bench.notifier.check(&bench.pool, &bench.config).await.unwrap_err();
    bench.execute("update tidegate.problem set seen_first_at = now() - interval '2 minutes'").await;
    // Any process records it, and all of them the same problem.
    let other = notifier(Timing { check_every: Duration::ZERO, ..timing });
    other.check(&bench.pool, &bench.config).await.unwrap_err();
    bench.notifier.check(&bench.pool, &bench.config).await.unwrap_err();
    assert_eq!(bench.open().await, ["stalled system"]);
    assert_eq!(bench.all("select kind from tidegate.event").await, ["problem"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_the_age_of_a_check_that_fails_grows_in_probes_and_metrics_and_on_the_page_of_the_system() {
    let world = World::new().await;
    let daemon = Daemon::start(&world).await;
    let age = async || -> f64 {
        let (_, metrics) = daemon.get("/metrics").await;
        let line = metrics.lines().find(|line| line.starts_with("tidegate_loop_age_seconds{loop=\"problems\"}"));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    };
    let pool = world.database.pool();
    sqlx::raw_sql(BREAK).execute(&pool).await.unwrap();
    // A check is done every 30 s.
    eventually(SOON * 2, async || daemon.said().contains("problems could not be checked").then_some(())).await;
    eventually(SOON * 2, async || (age().await > 35.0).then_some(())).await;
    let (status, alive) = daemon.get("/healthz").await;
    assert!(status == 200 && alive.contains("\nproblems: last succeeded "), "{alive}");
    let (_, page) = daemon.get("/api/v1/system").await;
    let system: serde_json::Value = serde_json::from_str(&page).unwrap();
    let loops = system["processes"][0]["loops"].as_object().unwrap();
    for name in ["enqueue", "claim", "alive", "problems", "notify", "mart", "reconciliation", "prune"] {
        assert!(loops.contains_key(name), "{name}: {page}");
    }
    sqlx::raw_sql(MEND).execute(&pool).await.unwrap();
    eventually(SOON * 2, async || (age().await < 30.0).then_some(())).await;
    daemon.kill().await;
}
