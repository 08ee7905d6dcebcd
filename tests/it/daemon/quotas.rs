//! Two daemons on one ledger, against a vendor that counts strictly.

use std::time::Duration;

use simulator::lynn::Volume;
use simulator::{Action, Match, Options, Quota, Stats, WindowKind, Wording};
use tidegate::schedule::ByHand;

use crate::support::daemon::{Daemon, SOON};
use crate::support::world::Recipe;
use crate::support::{World, ago, eventually};

/// The vendor's limit between two calls, and the slower configured one. On a busy machine a simulator may notice a call
/// late and then sees the next one too early; real periods are longer than such delays.
const PACE: Duration = Duration::from_millis(200);
const JITTER: Duration = Duration::from_millis(150);

/// Three jobs with far more to read than the limits allow. Two daemons, one of which is restarted, read for this long
/// after the first call.
async fn busy(window: WindowKind, limits: &[(&str, u64, Duration)], page_size: u32, observed: Duration) -> Stats {
    let mut options = Options { window, volume: Volume::Exactly(10_000), ..Options::default() };
    for (name, amount, period) in limits {
        options = options.limit(name, *amount, *period);
    }
    let world = World::with(Recipe { options, page_size, start: ago(90).date_naive(), ..Recipe::default() }).await;
    let start = ago(330).date_naive();
    world.edit_config(|text| {
        let more = |job: &str, stream: &str| {
            format!("  {job}:\n    connection: acme\n    streams: [{stream}]\n    start: {start}\n")
        };
        let asked = format!("requests: {{ limit: 1, per: {}ms }}", PACE.as_millis());
        let text = text.replace(&asked, &format!("requests: {{ limit: 1, per: {}ms }}", (PACE + JITTER).as_millis()));
        assert!(text.contains(&format!("{}ms", (PACE + JITTER).as_millis())));
        text + &more("menus", "menu_detail") + &more("surveys", "survey_result")
    });
    let (one, other) = tokio::join!(Daemon::start(&world), Daemon::start(&world));
    for job in ["lynn", "menus", "surveys"] {
        world.enqueue_job(job, ByHand::Manual).await;
    }
    let until = |secs: f64| {
        let world = &world;
        async move {
            let late = SOON + observed;
            eventually(late, async || {
                let stats = world.control().stats();
                let first = stats.reports.first()?.at_secs;
                (stats.uptime_secs >= first + secs).then_some(stats)
            })
            .await
        }
    };
    until(observed.as_secs_f64() / 3.0).await;
    let (status, ..) = one.terminate().await;
    assert!(status.success());
    let one = Daemon::start(&world).await;
    let stats = until(observed.as_secs_f64()).await;
    let (..) = tokio::join!(one.kill(), other.kill());
    assert_eq!(stats.violation_count, 0, "{:?}", &stats.violations);
    assert_eq!(stats.unauthorized, 0);
    assert_eq!(stats.unexpected, []);
    stats
}

/// The used share of what `limit` permits within `observed`. The ledger keeps some distance from the end of each
/// period, so complete periods are observed.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn utilisation(stats: &Stats, limit: &str, observed: Duration) -> f64 {
    let limit = &stats.limits[limit];
    let permitted = limit.amount as f64 * observed.as_secs_f64() / limit.period_secs;
    let used = limit.counted as f64 / permitted;
    println!("{} of {permitted} used: {:.1} %", limit.counted, used * 100.0);
    used
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_two_daemons_exhaust_a_call_quota_and_never_exceed_it() {
    let observed = Duration::from_secs(40);
    let limits = [
        ("create_token", 6, Duration::from_secs(20)),
        ("requests", 1, PACE),
        ("period_calls", 40, Duration::from_secs(20)),
        ("period_bandwidth", 1_000_000_000, Duration::from_secs(20)),
    ];
    let read = |window| busy(window, &limits, 100, observed);
    let (fixed, sliding) = tokio::join!(read(WindowKind::Fixed), read(WindowKind::Sliding));
    for stats in [fixed, sliding] {
        assert!(utilisation(&stats, "period_calls", observed) > 0.8);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_two_daemons_keep_the_pace_of_a_rate_and_use_it() {
    let observed = Duration::from_secs(20);
    let limits = [
        ("create_token", 6, Duration::from_secs(20)),
        ("requests", 1, PACE),
        ("period_calls", 10_000, Duration::from_secs(20)),
        ("period_bandwidth", 1_000_000_000, Duration::from_secs(20)),
    ];
    let read = |window| busy(window, &limits, 100, observed);
    let (fixed, sliding) = tokio::join!(read(WindowKind::Fixed), read(WindowKind::Sliding));
    for stats in [fixed, sliding] {
        assert!(utilisation(&stats, "requests", observed.mul_f64(PACE.div_duration_f64(PACE + JITTER))) > 0.8);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_two_daemons_exhaust_a_bandwidth_and_never_exceed_it() {
    let observed = Duration::from_secs(40);
    let limits = [
        ("create_token", 6, Duration::from_secs(20)),
        ("requests", 1, PACE),
        ("period_calls", 10_000, Duration::from_secs(20)),
        ("period_bandwidth", 5_000_000, Duration::from_secs(20)),
    ];
    let read = |window| busy(window, &limits, 1000, observed);
    let (fixed, sliding) = tokio::join!(read(WindowKind::Fixed), read(WindowKind::Sliding));
    for stats in [fixed, sliding] {
        assert!(utilisation(&stats, "period_bandwidth", observed) > 0.8);
    }
}

/// The quotas that streams wait for.
async fn waiting(world: &World, run: i64) -> Option<String> {
    sqlx::query_scalar("select waiting_for from tidegate.task where run_id = $1 and state = 'waiting'")
        .bind(run)
        .fetch_optional(&world.database.pool())
        .await
        .unwrap()
}

async fn state(world: &World, run: i64) -> String {
    world.scalar(&format!("select state from tidegate.run where id = {run}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_an_exhausted_period_postpones_the_run_and_frees_the_worker() {
    let period = Duration::from_secs(66);
    let options = Recipe::default().options.limit("period_calls", 6, period);
    let world = World::with(Recipe {
        options,
        start: ago(2).date_naive(),
        job: vec!["lookback: 0s".to_owned()],
        worker: "{ concurrency: 1, lease: 5s }",
        ..Recipe::default()
    })
    .await;
    // Another account with its own quota, on which the only worker can continue.
    let options = Recipe::default().options;
    let neighbour = simulator::start(options).await.unwrap();
    world.edit_config(|text| {
        let jobs = text.find("jobs:").unwrap();
        let other = text[text.find("  acme:").unwrap()..jobs]
            .replace("  acme:", "  other:")
            .replace(&world.simulator.base_url(), &neighbour.base_url())
            .replace("limit: 6,", "limit: 1000,");
        let start = ago(28).date_naive();
        let job = format!("  other:\n    connection: other\n    streams: [survey_result]\n    start: {start}\n");
        format!("{}{other}{}{job}", &text[..jobs], &text[jobs..])
    });
    let daemon = Daemon::start(&world).await;
    let run = world.enqueue(ByHand::Manual).await;
    let what = eventually(SOON, async || waiting(&world, run).await).await;
    assert_eq!(what, "quota period_calls");
    eventually(SOON, async || (state(&world, run).await == "waiting").then_some(())).await;
    let other = world.enqueue_job("other", ByHand::Manual).await;
    eventually(SOON, async || (state(&world, other).await == "succeeded").then_some(())).await;
    assert_eq!(state(&world, run).await, "waiting");
    let ended = async || (state(&world, run).await == "succeeded").then_some(());
    eventually(period * 2 + SOON, ended).await;
    let stats = world.control().stats();
    assert_eq!(stats.violation_count, 0, "{:?}", stats.violations);
    let (start, end) = (world.config().jobs["lynn"].start, last_end(&world).await);
    world.assert_truth("navigation_marks", start.and_time(chrono::NaiveTime::MIN).and_utc(), end).await;
    daemon.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_run_that_waits_for_a_used_up_limit_continues_when_the_limit_is_raised() {
    let world = World::with(Recipe { start: ago(1).date_naive(), ..Recipe::default() }).await;
    let (low, high) = ("period_calls: { limit: 2,", "period_calls: { limit: 1000000,");
    let change = |from: &'static str, to: &'static str| {
        world.edit_config(|text| {
            assert!(text.contains(from), "{text}");
            text.replace(from, to)
        });
    };
    change(high, low);
    let daemon = Daemon::start(&world).await;
    let run = world.enqueue(ByHand::Manual).await;
    eventually(SOON, async || (state(&world, run).await == "waiting").then_some(())).await;
    assert_eq!(waiting(&world, run).await.as_deref(), Some("quota period_calls"));
    let wait = format!(
        "select extract(epoch from due_at - now())::float8 from tidegate.run where id = {run} and state = 'waiting'"
    );
    assert!(world.scalar::<f64>(&wait).await > 3600.0, "the limit is free again in hours");
    let line = "tidegate_quota_wait_seconds_total{connection=\"acme\",limit=\"period_calls\"}";
    assert_eq!(daemon.metric(line).await, Some(0.0), "the wait has not ended");
    change(low, high);
    eventually(SOON * 2, async || (state(&world, run).await == "succeeded").then_some(())).await;
    let stats = world.control().stats();
    assert_eq!(stats.violation_count, 0, "{:?}", stats.violations);
    let waited = daemon.metric(line).await.unwrap();
    let most = "select extract(epoch from finished_at - created_at)::float8 from tidegate.run where id = ";
    let most: f64 = world.scalar(&format!("{most}{run}")).await;
    assert!(waited > 0.0 && waited < most, "{waited} of {most}: the wait until the limit was raised");
    let stored: f64 = world.scalar("select coalesce(sum(waited_seconds), 0) from tidegate.quota_hour").await;
    assert!(stored > waited - 0.01, "{stored} {waited}");
    daemon.kill().await;
}

async fn last_end(world: &World) -> chrono::DateTime<chrono::Utc> {
    world.scalar("select max(read_until) from tidegate.slice where stream = 'navigation_marks'").await
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_rate_exhausted_by_another_client_costs_one_refused_call() {
    let world = World::with(Recipe { start: ago(1).date_naive(), ..Recipe::default() }).await;
    for wording in [Wording::Json, Wording::Text, Wording::Html] {
        let too_many = Action::TooMany { seconds: 2, wording, header: wording == Wording::Html };
        let before = world.control().stats().reports.len();
        world.control().next(Match::report("navigation_marks").page(2), too_many);
        let tasks = world.sync().await;
        assert_eq!(tasks[0].state, "succeeded", "{tasks:?}");
        let calls = &world.control().stats().reports[before..];
        let refused = calls.iter().position(|call| call.status == 429).unwrap();
        let wait = calls[refused + 1].at_secs - calls[refused].at_secs;
        assert!(wait >= 2.0, "{wording:?}: {wait}");
        assert_eq!(calls.iter().filter(|call| call.status == 429).count(), 1, "{wording:?}");
        assert_eq!(i64::try_from(calls.len()).unwrap(), tasks[0].pages + 1, "{wording:?}: no storm");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_quota_exhausted_by_another_client_stops_all_runs_on_the_credential() {
    let world = World::with(Recipe {
        start: ago(1).date_naive(),
        streams: "[navigation_marks, survey_result, menu_detail]",
        ..Recipe::default()
    })
    .await;
    world.edit_config(|text| {
        let start = ago(28).date_naive();
        let job = "  second:\n    connection: acme\n    streams: [show_error]\n    priority: 9";
        format!("{text}{job}\n    start: {start}\n")
    });
    let out = Action::OutOfQuota { quota: Quota::Calls, replenished_in: "00:02:00".to_owned(), retry_after: None };
    world.control().next(Match::report("menu_detail").page(2), out);
    let (one, other) = tokio::join!(Daemon::start(&world), Daemon::start(&world));
    let run = world.enqueue(ByHand::Manual).await;
    eventually(SOON, async || (state(&world, run).await == "waiting").then_some(())).await;
    let second = world.enqueue_job("second", ByHand::Manual).await;
    eventually(SOON, async || (state(&world, second).await == "waiting").then_some(())).await;
    let tasks: Vec<(String, f64)> = sqlx::query_as(
        "select waiting_for, extract(epoch from waiting_until - now())::float8 from tidegate.task where state = 'waiting'",
    )
    .fetch_all(&world.database.pool())
    .await
    .unwrap();
    assert_eq!(tasks.len(), 4, "{tasks:?}");
    for (waiting_for, secs) in &tasks {
        assert_eq!(waiting_for, "quota period_calls");
        assert!((80.0..125.0).contains(secs), "{secs}");
    }
    let blocked = r#"tidegate_quota_blocked{connection="acme",limit="period_calls"}"#;
    assert_eq!(one.metric(blocked).await, Some(1.0));
    assert_eq!(other.metric(blocked).await, Some(1.0));
    let stats = world.control().stats();
    let refused = stats.reports.iter().position(|call| call.status == 403).unwrap();
    assert_eq!(stats.reports.len(), refused + 1, "no call after the refusal: {:#?}", stats.reports);
    // The vendor's quota is replenished.
    for sql in [
        "update tidegate.quota_limit set blocked_until = now() - interval '1 second' where blocked_until is not null",
        "update tidegate.task set waiting_until = now() where state = 'waiting'",
        "update tidegate.run set due_at = now() where state = 'waiting'",
    ] {
        sqlx::query(sql).execute(&world.database.pool()).await.unwrap();
    }
    for run in [run, second] {
        eventually(SOON, async || (state(&world, run).await == "succeeded").then_some(())).await;
    }
    let calls = world.control().stats().reports;
    let pages: i64 = world.scalar("select sum(pages)::bigint from tidegate.task").await;
    assert_eq!(i64::try_from(calls.len()).unwrap(), pages + 1, "only the refused call is repeated");
    tokio::join!(one.kill(), other.kill());
}
