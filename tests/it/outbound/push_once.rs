//! Promise 1: whatever happens to the process, no record is sent twice and none is forgotten.

use simulator::{Match, Point};

use super::super::support::{Process, World};
use super::{LONG, begin, eventually, push, push_world, reached, received, states};

const LOAD: &str = "add_campaign_data";

async fn batches(world: &World, state: &str, count: i64) {
    let query = format!("select count(*) from tidegate.push_batch where state = '{state}'");
    eventually(LONG, async || (world.scalar::<i64>(&query).await == count).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_between_send_and_response_makes_a_batch_unknown_and_nothing_else() {
    let world = push_world(25, 10).await;
    let hold = world.control().hold_after(Match::endpoint(LOAD), 1, Point::BeforeResponse);
    let mut process = begin(&world);
    reached(&hold, &mut process).await;
    process.kill();
    assert_eq!(states(&world).await, ["done", "sending"]);
    hold.release();

    let dry = push(&world, &["--dry-run"]).await;
    assert_eq!((&dry.document["rows"]["new"], &dry.document["rows"]["held_back"]), (&5.into(), &10.into()));
    assert_eq!(states(&world).await, ["done", "sending"], "a dry run changes nothing");

    let pushed = push(&world, &[]).await;
    assert_eq!(pushed.code, 1, "{pushed:?}");
    assert!(
        pushed.said.contains("error: it is unknown whether 1 batch arrived; the rows are held back\nhint: look into")
    );
    assert_eq!(states(&world).await, ["done", "unknown", "done"]);
    assert_eq!(received(&world), (1..=25).collect::<Vec<i64>>(), "the vendor had taken it");

    let pushed = push(&world, &["--resend"]).await;
    assert_eq!((pushed.code, &pushed.document["rows"]["sent"]), (0, &10.into()), "{pushed:?}");
    assert_eq!(received(&world), (1..=25).chain(11..=20).collect::<Vec<i64>>());
    assert_eq!(push(&world, &[]).await.code, 0);
    assert_eq!(received(&world).len(), 35);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_before_a_batch_is_recorded_sends_nothing_of_it() {
    let world = push_world(25, 10).await;
    // Held while the task of the first batch is polled: the second batch is not claimed yet.
    let hold = world.control().hold(Match::endpoint("get_task_status"), Point::BeforeResponse);
    let mut process = begin(&world);
    reached(&hold, &mut process).await;
    process.kill();
    hold.release();
    assert_eq!(states(&world).await, ["sent"]);
    let pushed = push(&world, &[]).await;
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert_eq!(received(&world), (1..=25).collect::<Vec<i64>>());
    assert_eq!(states(&world).await, ["done"; 3], "the task of the killed push is followed to its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_two_pushes_at_once_send_every_row_once() {
    let world = push_world(60, 2).await;
    let hold = world.control().hold(Match::endpoint(LOAD), Point::BeforeResponse);
    let mut first = begin(&world);
    reached(&hold, &mut first).await;
    let second = push(&world, &[]).await;
    assert_eq!(second.code, 1, "{second:?}");
    let said = "error: another push of the job `renewals` is in progress\nhint: wait for it to end; nothing was sent\n";
    assert_eq!(second.said, said);
    hold.release();
    assert!(first.wait(LONG).await.success(), "{}", first.said());
    assert_eq!(received(&world), (1..=60).collect::<Vec<i64>>());
    assert_eq!(world.control().stats().calls[LOAD], 30);
}

/// If a firewall drops a session, its lock is released. The keys of the rows still prevent the second push from sending
/// them.
#[tokio::test(flavor = "multi_thread")]
async fn p1_rows_of_a_push_that_lost_its_lock_are_not_sent_by_another() {
    let world = push_world(6, 2).await;
    let hold = world.control().hold_after(Match::endpoint(LOAD), 1, Point::BeforeResponse);
    let mut first = begin(&world);
    reached(&hold, &mut first).await;
    let locked = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted
        and database = (select oid from pg_database where datname = current_database())";
    sqlx::query(locked).execute(&world.database.pool()).await.unwrap();
    eventually(LONG, async || {
        let left = "select count(*) from pg_locks where locktype = 'advisory' and granted
            and database = (select oid from pg_database where datname = current_database())";
        (world.scalar::<i64>(left).await == 0).then_some(())
    })
    .await;
    let second = push(&world, &[]).await;
    assert_eq!(second.code, 1, "the first's batch is unknown to the second: {second:?}");
    assert_eq!(received(&world), [1, 2, 3, 4, 5, 6]);
    batches(&world, "unknown", 1).await;
    hold.release();
    // The first process gets its response after all, and reports it before it finds that its cursor is gone.
    first.wait(LONG).await;
    batches(&world, "unknown", 0).await;
    assert_eq!(push(&world, &[]).await.code, 0);
    assert_eq!(received(&world), [1, 2, 3, 4, 5, 6], "nothing twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_random_kills_send_no_row_twice() {
    let world = push_world(200, 3).await;
    for round in 0..6_u64 {
        let process = Process::start(&world.config_path(), &["push", "renewals", "--json"], &[]);
        let calls = world.control().stats().calls.get(LOAD).copied().unwrap_or_default();
        eventually(LONG, async || {
            let now = world.control().stats().calls.get(LOAD).copied().unwrap_or_default();
            (now >= calls + 2 + round).then_some(())
        })
        .await;
        process.kill();
        // A push that was killed releases its lock within moments.
        eventually(LONG, async || {
            let left = "select count(*) from pg_locks where locktype = 'advisory' and granted
                and database = (select oid from pg_database where datname = current_database())";
            (world.scalar::<i64>(left).await == 0).then_some(())
        })
        .await;
    }
    push(&world, &[]).await;
    let mut received = received(&world);
    let sent = received.len();
    received.sort_unstable();
    received.dedup();
    assert_eq!(received.len(), sent, "nothing twice");
    let held: i64 =
        world.scalar("select coalesce(sum(rows), 0)::bigint from tidegate.push_batch where state = 'unknown'").await;
    assert!(200 - i64::try_from(sent).unwrap() <= held, "what did not arrive is among the unknown");
    assert_eq!(world.control().stats().unexpected, []);
}
