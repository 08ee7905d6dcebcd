//! A kill at each named point of a slice, of a first reading and of one that finds rows.

use simulator::{Change, Hold, Match, Point, Rows};
use tokio::net::TcpSocket;

use super::{LONG, MARKS, Obstacle, SURVEY, Scene, blocked, eventually, midnight, reached};
use crate::support::{Process, TestDatabase, World};

/// Kills at a point of the first reading and of a later one. Each time an undisturbed run follows.
async fn survives(kill: impl AsyncFn(&Scene)) {
    let scene = Scene::new().await;
    scene.make_hard();
    for again in [false, true] {
        if again {
            scene.change_the_truth();
        }
        kill(&scene).await;
        scene.world.control().quiet();
        scene.sync().await;
        scene.sync_reference().await;
        scene.assert_equal().await;
    }
}

/// A `sync` whose call for page `page` of the second day's navigation marks is held.
async fn held(scene: &Scene, page: u32, point: Point) -> (Process, Hold) {
    let hold = scene.world.control().hold_after(Match::report(MARKS).page(page), 1, point);
    let mut process = scene.begin();
    reached(&hold, &mut process).await;
    (process, hold)
}

/// Kills a `sync` while a statement like `query` waits for the lock of `lock`, which is taken while page `page` is
/// requested.
async fn kill_after(scene: &Scene, page: u32, lock: &str, query: &str) {
    let (process, hold) = held(scene, page, Point::BeforeResponse).await;
    let obstacle = Obstacle::new(&scene.world.database, lock).await;
    hold.release();
    blocked(&scene.world.database, query).await;
    process.kill();
    obstacle.release().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_during_a_login_loses_nothing() {
    survives(async |scene| {
        let hold = scene.world.control().hold(Match::endpoint("create_token"), Point::BeforeResponse);
        let mut process = scene.begin();
        reached(&hold, &mut process).await;
        process.kill();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_while_a_slice_is_prepared_loses_nothing() {
    survives(async |scene| {
        let lock = "lock table tidegate.seen_row in access exclusive mode";
        let obstacle = Obstacle::new(&scene.world.database, lock).await;
        let process = scene.begin();
        blocked(&scene.world.database, "delete from tidegate.seen_row%").await;
        process.kill();
        obstacle.release().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_before_a_reservation_loses_nothing() {
    // Only a reservation uses this table; settling the call before does not.
    let lock = "lock table tidegate.quota_waiter in access exclusive mode";
    survives(async |scene| kill_after(scene, 2, lock, "%tidegate.quota_reserve%").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_while_a_call_is_settled_loses_nothing() {
    let lock = "lock table tidegate.quota_ledger in access exclusive mode";
    survives(async |scene| kill_after(scene, 2, lock, "%tidegate.quota_settle%").await).await;
}

/// A port where connecting hangs: its queue is full and no connection is accepted.
async fn deaf_port() -> (tokio::net::TcpListener, Vec<tokio::net::TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    let patience = std::time::Duration::from_millis(300);
    while let Ok(connected) = tokio::time::timeout(patience, tokio::net::TcpStream::connect(address)).await {
        queued.push(connected.unwrap());
        assert!(queued.len() < 100, "the queue of this system is never full");
    }
    (listener, queued)
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_between_reservation_and_sending_loses_nothing() {
    survives(async |scene| {
        let (listener, _queued) = deaf_port().await;
        let url = format!("http://{}", listener.local_addr().unwrap());
        let used = || async { scene.world.scalar::<i64>("select count(*) from tidegate.quota_use").await };
        let before = used().await;
        let env = [("TIDEGATE__CONNECTIONS__ACME__BASE_URL", url.as_str())];
        let process = Process::start(&scene.world.config_path(), &["sync"], &env);
        eventually(LONG, async || (used().await > before).then_some(())).await;
        process.kill();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_while_the_vendor_works_on_a_request_loses_nothing() {
    survives(async |scene| held(scene, 2, Point::BeforeResponse).await.0.kill()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_in_the_middle_of_a_body_loses_nothing() {
    survives(async |scene| held(scene, 2, Point::MidBody).await.0.kill()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_in_the_middle_of_a_page_too_large_for_memory_loses_nothing() {
    // Half of 25 MB has been sent: more than is kept in memory, so a transaction is open and rows are staged.
    survives(async |scene| {
        let rows = Rows::between(MARKS, midnight(-1), midnight(0)).every(2);
        let long = Change::LongString { field: "markValue".to_owned(), bytes: 600_000 };
        scene.world.control().lynn().change(rows, long).unwrap();
        let (process, _hold) = held(scene, 2, Point::MidBody).await;
        let staged = "select count(*) from pg_stat_activity
            where datname = current_database() and state = 'idle in transaction' and query ilike 'copy%'";
        eventually(LONG, async || (scene.world.scalar::<i64>(staged).await > 0).then_some(())).await;
        process.kill();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_while_rows_are_merged_loses_nothing() {
    let lock = "lock table lynn.navigation_marks in access exclusive mode";
    survives(async |scene| kill_after(scene, 2, lock, "lock table%").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_while_vanished_rows_are_deleted_loses_nothing() {
    survives(async |scene| {
        // The last page: seen rows are looked up, the others noted, and rows that were not seen are deleted.
        let lock = "lock table tidegate.seen_row in access exclusive mode";
        let fresh =
            scene.world.scalar::<i64>("select count(*) from tidegate.slice where finished_run is not null").await;
        if fresh == 0 {
            held(scene, 3, Point::BeforeResponse).await.0.kill();
        } else {
            kill_after(scene, 3, lock, "%tidegate.seen_row%").await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_at_the_fence_check_loses_nothing() {
    survives(async |scene| kill_after(scene, 2, "select from tidegate.run for update", "%with held as%").await).await;
}

/// Makes every commit that changed rows wait for the holder of the advisory lock 77.
async fn delay_commits(database: &TestDatabase) {
    for statement in [
        "create function public.wait_at_commit() returns trigger language plpgsql as
            'begin perform pg_advisory_xact_lock_shared(77); return null; end'",
        "create constraint trigger wait_at_commit after insert or update or delete on lynn.navigation_marks
            deferrable initially deferred for each row execute function public.wait_at_commit()",
    ] {
        sqlx::query(statement).execute(&database.pool()).await.unwrap();
    }
}

async fn stop_delaying_commits(database: &TestDatabase) {
    sqlx::query("drop function public.wait_at_commit() cascade").execute(&database.pool()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_at_the_commit_loses_nothing() {
    survives(async |scene| {
        let database = &scene.world.database;
        delay_commits(database).await;
        kill_after(scene, 2, "select pg_advisory_xact_lock(77)", "commit%").await;
        // The server commits for a client that is gone.
        let open = "select count(*) from pg_stat_activity
            where datname = current_database() and query ilike 'commit%' and state = 'active'";
        eventually(LONG, async || (scene.world.scalar::<i64>(open).await == 0).then_some(())).await;
        stop_delaying_commits(database).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_commit_that_ends_after_a_takeover_loses_nothing() {
    let scene = Scene::new().await;
    scene.make_hard();
    scene.sync().await;
    scene.change_the_truth();
    let database = &scene.world.database;
    delay_commits(database).await;
    let (process, hold) = held(&scene, 2, Point::BeforeResponse).await;
    let obstacle = Obstacle::new(database, "select pg_advisory_xact_lock(77)").await;
    hold.release();
    blocked(database, "commit%").await;
    process.kill();
    // The test cannot end the lease, because the commit locks the run. It expires by itself.
    let successor = scene.begin();
    blocked(database, "%insert into tidegate.stream%").await;
    obstacle.release().await;
    super::is_done(successor).await;
    stop_delaying_commits(database).await;
    scene.sync_reference().await;
    scene.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_between_a_commit_and_the_next_page_loses_nothing() {
    survives(async |scene| {
        let (process, _hold) = held(scene, 3, Point::BeforeResponse).await;
        committed_pages(&scene.world, 2).await;
        process.kill();
    })
    .await;
}

/// Waits until that many pages of a slice under way are committed.
pub(super) async fn committed_pages(world: &World, pages: i32) {
    let query = "select coalesce(max(reading_pages), 0) from tidegate.slice";
    eventually(LONG, async || (world.scalar::<i32>(query).await == pages).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_kill_while_a_table_grows_loses_nothing() {
    survives(async |scene| {
        let database = &scene.world.database;
        let hold = scene.world.control().hold(Match::report(SURVEY).page(1), Point::BeforeResponse);
        let mut process = scene.begin();
        reached(&hold, &mut process).await;
        // As a BI tool's long query does.
        let obstacle = Obstacle::new(database, "lock table lynn.survey_result in access share mode").await;
        hold.release();
        blocked(database, "alter table%").await;
        process.kill();
        obstacle.release().await;
    })
    .await;
}
