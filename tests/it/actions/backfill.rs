//! Backfills: what they cost, which slices they read, and which of them share a run.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use super::{BEARER, Port, STREAM, request, world};
use crate::support::world::{Recipe, assert_succeeded, run_to_end};
use crate::support::{TestDatabase, World, ago, port};

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_from_the_page_shows_its_cost_and_really_runs() {
    let (world, port) = world().await;
    world.sync_ok().await;
    let (from, to) = (ago(1).date_naive(), ago(0).date_naive());
    let path = format!("/jobs/lynn/backfills?from={from}&to={to}&stream=navigation_marks");
    let page = port.get(&path).await;
    assert!(page.body.contains("What it would read; the quotas allow all of it by"), "{}", page.body);
    assert!(page.body.contains("<dd>1, which was read before</dd>"), "{}", page.body);
    let plan = port.send("GET", &format!("/api/v1{path}"), BEARER, "").await.json();
    assert_eq!((&plan["plan"][0]["slices"], &plan["plan"][0]["again"]), (&json!(1), &json!(1)), "{plan}");
    let before = port.get("/jobs/lynn/backfills").await.body;
    assert!(!before.contains("method=\"post\""), "first the days are chosen: {before}");
    let made = port.act(&path, "").await;
    let run: i64 = made.place().strip_prefix("/runs/").unwrap().parse().unwrap();
    let read: String = world.scalar(&format!("select kind from tidegate.run where id = {run}")).await;
    assert_eq!(read, "backfill");
    let tasks = run_to_end(Arc::new(world.config()), world.database.pool(), run).await;
    assert_succeeded(&tasks);
    assert_eq!((tasks.len(), tasks[0].slices_done), (1, 1));
    for wrong in [
        format!("from={to}&to={from}"),
        format!("from={from}"),
        "from=2999-01-01&to=2999-01-02".to_owned(),
        format!("from=-200000-01-01&to={to}"),
        format!("from=1990-01-01&to={to}"),
        format!("from={from}&to=9999-01-01"),
        format!("from={from}&to={to}&stream=nothing"),
    ] {
        let response = port.post("/jobs/lynn/backfills", &format!("{}&{wrong}", request(1))).await;
        assert_eq!(response.status, 422, "{wrong}: {}", response.body);
    }
    let wrong = port.get(&format!("/jobs/lynn/backfills?from=1990-01-01&to={to}")).await;
    assert!(wrong.status == 422 && wrong.body.contains("before the year 2000"), "{}", wrong.body);
    let early = port.get(&format!("/jobs/lynn/backfills?from=2001-01-01&to={to}")).await.body;
    assert!(early.contains("the <code>start</code> of the job: the job does not want older days"), "{early}");
    assert!(!page.body.contains("does not want older days"), "{}", page.body);
    sqlx::raw_sql("update tidegate.stream set jobs = '{lynn}', wanted_from = now()")
        .execute(&world.database.pool())
        .await
        .unwrap();
    assert!(port.get(STREAM).await.body.contains("/jobs/lynn/backfills?stream=navigation_marks"));
}

#[tokio::test]
async fn a_job_of_lists_only_has_no_button_for_a_backfill() {
    let database = TestDatabase::create().await;
    let lists = "
  acme-outbound:
    vendor: lynn_outbound
    tenant: 4411
    access_token: \"7c01d94ab3e2f5\"
    access_token_secret: \"0b6f2f4e-52a1-4c0e-9d61-3a7a4be0c111\"
    enabled_streams: [campaigns]
jobs:
  lists: { connection: acme-outbound, streams: [campaigns] }
";
    let config = port::config(&port::CONFIG.replace("\njobs:\n", lists));
    let port = Port::open(database.pool(), config, true).await;
    for (job, has_days) in [("lynn-hourly", true), ("lists", false)] {
        let page = port.get(&format!("/jobs/{job}")).await;
        assert!(page.status == 200 && page.body.contains("Run now…"), "{job}: {}", page.body);
        assert_eq!(page.body.contains("Backfill…"), has_days, "{job}: {}", page.body);
    }
    assert_eq!(port.get("/jobs/lists/backfills").await.status, 409);
}

#[tokio::test]
async fn a_backfill_shows_which_whole_slices_contain_other_days() {
    let recipe = Recipe { job: vec!["slice: 7d".to_owned()], ..Recipe::default() };
    let start = recipe.start;
    let world = World::with(recipe).await;
    let port = Port::open(world.database.pool(), world.config(), true).await;
    // The 39th slice, which is still open.
    let (from, to) = (start + chrono::TimeDelta::days(268), start + chrono::TimeDelta::days(269));
    let first = start + chrono::TimeDelta::days(266);
    let page = port.get(&format!("/jobs/lynn/backfills?from={from}&to={to}")).await.body;
    let wider = format!("So it reads <code>navigation_marks</code> in slices of 7d from {first} 00:00 to ");
    assert!(page.contains(&wider), "{page}");
    // Whole slices contain no other days.
    let (from, to) = (start + chrono::TimeDelta::days(7), start + chrono::TimeDelta::days(21));
    let page = port.get(&format!("/jobs/lynn/backfills?from={from}&to={to}")).await.body;
    assert!(page.contains("Slices are read whole") && !page.contains("So it reads"), "{page}");
    let before = port.get("/jobs/lynn/backfills").await.body;
    assert!(before.contains("Slices are read whole") && !before.contains("So it reads"), "{before}");
}

#[tokio::test(flavor = "multi_thread")]
async fn backfills_of_one_range_at_once_on_two_replicas_share_a_run() {
    const PATH: &str = "/jobs/lynn/backfills";
    let (world, one) = world().await;
    let two = Port::open(world.database.pool(), world.config(), true).await;
    let (from, to) = (ago(3).date_naive(), ago(1).date_naive());
    for round in 1..=5_i64 {
        let to = to - chrono::TimeDelta::days(round);
        let from = from - chrono::TimeDelta::days(round);
        let body = json!({ "from": from, "to": to });
        let calls = (0..10).map(|n| if n % 2 == 0 { one.api(PATH, &body) } else { two.api(PATH, &body) });
        let replies = futures_util::future::join_all(calls).await;
        let runs: BTreeSet<String> = replies
            .iter()
            .map(|reply| {
                assert_eq!(reply.status, 200, "{}", reply.body);
                reply.json()["run_id"].to_string()
            })
            .collect();
        assert_eq!(runs.len(), 1, "{runs:?}");
        assert_eq!(world.scalar::<i64>("select count(*) from tidegate.run").await, round);
        assert_eq!(world.scalar::<i64>("select count(*) from tidegate.event").await, 10 * round);
    }
    // Runs by hand are independent of each other, at once as one after another.
    let run = json!({});
    let (first, second) = tokio::join!(one.api("/jobs/lynn/runs", &run), two.api("/jobs/lynn/runs", &run));
    assert_ne!(first.json()["run_id"], second.json()["run_id"], "{} {}", first.body, second.body);
}
