//! Postgres itself is killed in the middle of a slice: what is committed stays, and the unlogged notes are not trusted.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use simulator::{Change, Hold, Match, Point, Rows};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tidegate::postgres::Embedded;
use tidegate::schedule::{ByHand, enqueue_manual};

use super::points::committed_pages;
use super::zombie::run_ends;
use super::{LONG, MARKS, assert_tidy, eventually, midnight, reached, world};
use crate::support::{Process, ServerFolder, World};

fn change_the_truth(world: &World) {
    let rows = || Rows::between(MARKS, midnight(-2), midnight(0));
    world.control().lynn().vanish(rows().every(7)).unwrap();
    let set = Change::Set { field: "markValue".to_owned(), json: "\"changed\"".to_owned() };
    world.control().lynn().change(rows().every(5), set).unwrap();
}

fn hold_third_page_of_second_day(world: &World) -> Hold {
    world.control().hold_after(Match::report(MARKS).page(3), 1, Point::BeforeResponse)
}

/// How often the first page of the second day was requested.
fn first_pages(world: &World) -> usize {
    let day = midnight(-1).format("%Y-%m-%d").to_string();
    let calls = world.control().stats().reports;
    calls.iter().filter(|call| call.page == 1 && call.start_date.contains(&day)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_seen_rows_lost_in_a_crash_of_postgres_delete_nothing() {
    let world = world(2, 250, 100, "[navigation_marks]", &["lookback: 10d"]).await;
    world.sync().await;
    change_the_truth(&world);
    let hold = hold_third_page_of_second_day(&world);
    let run = world.enqueue(ByHand::Manual).await;
    let mut daemon = Process::start(&world.config_path(), &["run"], &[]);
    reached(&hold, &mut daemon).await;
    committed_pages(&world, 2).await;
    // What recovery does to an unlogged table, while the process already has new connections.
    sqlx::query("truncate tidegate.seen_row").execute(&world.database.pool()).await.unwrap();
    let before = first_pages(&world);
    hold.release();
    run_ends(&world, run).await;
    assert_eq!(first_pages(&world) - before, 1, "the slice is read from its first page again");
    world.assert_truth(MARKS, midnight(-2), midnight(1)).await;
    assert_tidy(&world.database).await;
}

async fn pool_of(folder: &ServerFolder) -> PgPool {
    let server = Embedded::attach(&folder.path().join("postgres")).await.unwrap();
    PgPoolOptions::new().max_connections(2).connect(server.url().expose()).await.unwrap()
}

async fn enqueue(world: &World, pool: &PgPool) -> i64 {
    let config = world.config();
    let mut connection = pool.acquire().await.unwrap();
    enqueue_manual(&mut connection, &config.jobs["lynn"], &[MARKS], ByHand::Manual).await.unwrap()
}

/// Waits until a run has succeeded. Makes waiting runs due; Postgres may be down in the meantime.
async fn succeeded(pool: &PgPool, run: i64) {
    eventually(LONG, async || {
        let hurry = "with task as (update tidegate.task set waiting_until = now() where state = 'waiting')
            update tidegate.run set due_at = now() where state = 'waiting'";
        sqlx::query(hurry).execute(pool).await.ok()?;
        let state = "select state from tidegate.run where id = $1";
        let state: String = sqlx::query_scalar(state).bind(run).fetch_one(pool).await.ok()?;
        assert_ne!(state, "failed");
        (state == "succeeded").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_killed_postmaster_loses_seen_rows_of_a_slice_and_no_row() {
    let world = world(2, 250, 100, "[navigation_marks]", &["lookback: 10d"]).await;
    let folder = ServerFolder::new(0o755);
    let data_dir = folder.path().join("postgres");
    world.edit_config(|text| {
        let rest = text.split_once('\n').unwrap().1;
        format!("embedded: {{ data_dir: {} }}\n{rest}", data_dir.display())
    });
    let mut daemon = Process::start(&world.config_path(), &["run"], &[]);
    eventually(LONG, async || daemon.said().contains("daemon started").then_some(())).await;
    let pool = pool_of(&folder).await;
    let first = enqueue(&world, &pool).await;
    succeeded(&pool, first).await;

    change_the_truth(&world);
    let hold = hold_third_page_of_second_day(&world);
    let second = enqueue(&world, &pool).await;
    reached(&hold, &mut daemon).await;
    let noted = "select reading_seen from tidegate.slice where reading_pages = 2";
    eventually(LONG, async || sqlx::query_scalar::<_, i64>(noted).fetch_optional(&pool).await.unwrap()).await;
    let before = first_pages(&world);

    let pid_file = data_dir.join("cluster/postmaster.pid");
    let text = fs::read_to_string(&pid_file).unwrap();
    let postmaster = Pid::from_raw(text.lines().next().unwrap().parse().unwrap()).unwrap();
    kill_process(postmaster, Signal::KILL).unwrap();
    let notes = "select count(*) from tidegate.seen_row";
    // Orphaned backends from before the crash respond for a moment.
    let emptied = async || sqlx::query_scalar::<_, i64>(notes).fetch_one(&pool).await.ok().filter(|left| *left == 0);
    eventually(LONG, emptied).await;
    hold.release();
    succeeded(&pool, second).await;
    assert_eq!(first_pages(&world) - before, 1, "the slice is read from its first page again");
    assert_eq!(world.rows_in(&pool, MARKS).await, world.truth(MARKS, midnight(-2), midnight(1)));
    let left: i64 = sqlx::query_scalar(notes).fetch_one(&pool).await.unwrap();
    assert_eq!(left, 0);

    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(LONG).await.code(), Some(0), "{}", daemon.said());
}
