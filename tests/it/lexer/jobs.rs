//! CSV jobs across restarts, kills and failures: none is created twice without need, and no table contains what gives
//! access to a file.

use serde_json::json;
use simulator::{Action, Fault, Match, Point};

use super::*;
use crate::support::{Process, eventually};

/// A world whose jobs take long enough for a kill.
async fn slow(streams: &str, millis: u64) -> World {
    let lexer = Account { job_takes: Duration::from_millis(millis), ..Account::default() };
    world(Options { lexer, ..options() }, streams, 1, &[], &["lookback: 0s"]).await
}

async fn cursor(world: &World) -> String {
    let query = "select cursor from tidegate.slice where cursor is not null limit 1";
    let pool = world.database.pool();
    eventually(LONG, async || sqlx::query_scalar(query).fetch_optional(&pool).await.unwrap()).await
}

fn start(world: &World) -> Process {
    Process::start(&world.config_path(), &["sync"], &[])
}

async fn succeeds(mut process: Process) {
    let status = process.wait(LONG).await;
    assert!(status.success(), "{}", process.said());
}

/// As if the killed process had been silent for as long as its lease lasts.
async fn expire_leases(world: &World) {
    sqlx::query("update tidegate.run set lease_until = clock_timestamp() - interval '1 ms' where state = 'running'")
        .execute(&world.database.pool())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_job_that_runs_is_polled_by_the_next_process_and_no_second_one_is_created() {
    let world = slow("[mention_sla_export]", 1_000).await;
    let killed = start(&world);
    let stored = cursor(&world).await;
    killed.kill();
    // Promise 7: what is stored gives access to nothing.
    let tokens = lexer(&world).job_tokens();
    assert_eq!(tokens.len(), 1);
    assert!(stored.contains("s1.") && !stored.contains(&tokens[0]) && !stored.contains("http"), "{stored}");
    expire_leases(&world).await;
    succeeds(start(&world)).await;
    assert_file(&world, SLA).await;
    assert_eq!(asked(&world)[SLA], slices(&world, SLA).await.len(), "one job for each slice");
    let left: i64 = world.scalar("select count(*) from tidegate.slice where cursor is not null").await;
    assert_eq!(left, 0);
    assert_well_behaved(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_at_any_step_of_a_job_loses_and_duplicates_nothing() {
    for (endpoint, point) in [
        ("lexer_reports", Point::BeforeResponse),
        ("lexer_status", Point::BeforeResponse),
        ("files_get", Point::BeforeResponse),
        ("files_get", Point::MidBody),
    ] {
        let world = slow("[nps_submissions]", 100).await;
        // The second call: that of the second form, or the second poll of the first job.
        let hold = world.control().hold_after(Match::endpoint(endpoint), 1, point);
        let mut process = start(&world);
        eventually(LONG, async || {
            assert!(!process.has_ended(), "{}", process.said());
            hold.is_reached().then_some(())
        })
        .await;
        // The next process knows a job as soon as its cursor is durable; the loading half may store it a little later.
        // The first job may be done before its second poll.
        let part = asked(&world)["nps_submissions"] - 1;
        if endpoint != "lexer_reports" {
            let durable = format!(
                "select count(*) > 0 from tidegate.slice where cursor::jsonb ->> 'part' = '{part}' and cursor::jsonb ->> 'job' <> 'null'"
            );
            eventually(LONG, async || world.scalar::<bool>(&durable).await.then_some(())).await;
        }
        process.kill();
        hold.release();
        expire_leases(&world).await;
        succeeds(start(&world)).await;
        let read = slices(&world, "nps_submissions").await;
        let truth = lexer(&world).data().count("nps_submissions", read[0].0, read.last().unwrap().1).unwrap();
        let rows: i64 = world.scalar("select count(*) from lexer.nps_submissions").await;
        assert_eq!(u64::try_from(rows).unwrap(), truth, "{endpoint} {point:?}");
        let most = 2 * read.len() + usize::from(endpoint == "lexer_reports");
        assert!(asked(&world)["nps_submissions"] <= most, "{endpoint} {point:?}: {:?}", asked(&world));
        assert_well_behaved(&world);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_forms_that_were_read_are_not_read_again_after_a_kill() {
    let world = slow("[nps_volume]", 100).await;
    let hold = world.control().hold_after(Match::report("nps_volume"), 1, Point::BeforeResponse);
    let mut process = start(&world);
    eventually(LONG, async || {
        assert!(!process.has_ended(), "{}", process.said());
        hold.is_reached().then_some(())
    })
    .await;
    assert_eq!(cursor(&world).await, r#"{"forms":[502,503],"at":1}"#);
    process.kill();
    hold.release();
    expire_leases(&world).await;
    succeeds(start(&world)).await;
    let calls: Vec<u32> = world
        .control()
        .stats()
        .reports
        .iter()
        .filter(|call| call.report == "nps_volume")
        .map(|call| call.page)
        .collect();
    assert_eq!(calls, [502, 503, 503], "forms in the order in which they were asked for");
    assert_eq!(asked(&world)["forms"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_complete_at_once_is_not_polled() {
    let world = slow("[mention_sla_export, case_details]", 0).await;
    world.sync_ok().await;
    assert_file(&world, SLA).await;
    assert_eq!(world.control().stats().calls.get("lexer_status"), None);
    assert_well_behaved(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_or_vanishes_is_created_again_and_the_third_failure_is_reported_with_the_vendors_message() {
    let word = |status: &str| Action::Json {
        status: 200,
        body: json!({ "status": status, "url": null, "token": "x" }).to_string(),
    };
    let status = || Match::endpoint("lexer_status");
    let world = slow("[case_details]", 100).await;
    world.control().next(status(), word("broken"));
    world.control().mischief(Fault::new(status(), Action::Status { status: 404 }).after(1));
    world.sync_ok().await;
    assert_file(&world, "case_details").await;
    assert_eq!(asked(&world)["case_details"], slices(&world, "case_details").await.len() + 2);

    for (body, said) in [
        ("expired & gone", "failed 3 times: “expired & gone”"),
        ("complete", "failed 3 times: `complete`, but no file"),
    ] {
        let world = slow("[case_details]", 100).await;
        world.control().mischief(Fault::new(status(), word(body)).times(3));
        let (error, _) = fails(&world).await;
        assert!(error.contains(said), "{error}");
        // The next run begins with a new job.
        world.sync_ok().await;
        assert_file(&world, "case_details").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_job_of_another_token_is_created_again() {
    let world = slow("[case_details]", 2_000).await;
    let killed = start(&world);
    cursor(&world).await;
    killed.kill();
    expire_leases(&world).await;
    // As if the token had changed: what is stored was sealed with the old one.
    sqlx::query(
        "update tidegate.slice set cursor = overlay(cursor placing 'AAAA' from position('s1.' in cursor) + 8) where cursor is not null",
    )
    .execute(&world.database.pool())
    .await
    .unwrap();
    succeeds(start(&world)).await;
    assert_file(&world, "case_details").await;
    assert_eq!(asked(&world)["case_details"], slices(&world, "case_details").await.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_fetched_again_after_a_temporary_error_with_a_new_link_from_its_job() {
    let world = slow("[mention_sla_export]", 50).await;
    let file = || Match::endpoint("files_get");
    for action in [Action::Cut, Action::Status { status: 503 }] {
        world.control().next(file(), action);
    }
    world.control().mischief(Fault::new(file(), Action::XmlErrorWith200).after(1));
    world.control().next(Match::endpoint("lexer_status"), Action::Status { status: 500 });
    world.sync_ok().await;
    assert_file(&world, SLA).await;
    assert_eq!(asked(&world)[SLA], slices(&world, SLA).await.len());
    assert_well_behaved(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_not_created_twice_if_its_response_was_an_error() {
    let world = slow("[mention_sla_export]", 50).await;
    world.control().next(Match::endpoint("lexer_reports"), Action::Json { status: 400, body: "{}".to_owned() });
    let (error, _) = fails(&world).await;
    assert!(error.contains("refused: the report (status 400)"), "{error}");
    assert_eq!(asked(&world)[SLA], 1);
}
