//! Readers, loads and several processes at the same time.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tidegate::mart::relations::RELATIONS;
use tidegate::mart::{Settings, Views};
use tidegate::store::session;

use super::{Mart, VIEWS_OF_MIGRATIONS};
use crate::support::daemon::{Daemon, SOON};
use crate::support::world::Recipe;
use crate::support::{World, ago, clock, eventually};

async fn count(session: &mut PgConnection, view: &str) -> i64 {
    let sql = format!("select count(*) from {view}");
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(session).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_view_that_is_in_use_is_replaced_later_and_its_readers_are_not_locked_out() {
    if clock::is_shifted() {
        return;
    }
    let mut mart = Mart::new().await;
    let mut reader = mart.database.connect().await;
    let mut transaction = reader.begin().await.unwrap();
    count(&mut transaction, "mart.conversations").await;
    mart.settings.timezone = chrono_tz::Asia::Tokyo;
    let mut other = mart.database.connect().await;
    let both = async {
        tokio::join!(mart.refresh(), async {
            let mut slowest = Duration::ZERO;
            for _ in 0..30 {
                let begun = Instant::now();
                count(&mut other, "mart.conversations").await;
                slowest = slowest.max(begun.elapsed());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            slowest
        })
    };
    let ((), slowest) = tokio::time::timeout(SOON, both).await.expect("readers are not locked out");
    assert!(slowest < Duration::from_secs(5), "a reader waited {slowest:?}");
    let zone = "select (pg_get_viewdef('mart.conversations'::regclass) like '%Asia/Tokyo%')::text";
    assert_eq!(mart.text(zone).await.unwrap(), "false");
    assert_eq!(mart.text(zone.replace("conversations", "messages")).await.unwrap(), "true", "others are not in use");
    transaction.rollback().await.unwrap();
    mart.refresh().await;
    assert_eq!(mart.text(zone).await.unwrap(), "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_long_query_on_the_mart_stops_no_load() {
    if clock::is_shifted() {
        return;
    }
    let world = World::with(Recipe::of_undocumented_report()).await;
    world.sync_ok().await;
    let conversations: i64 = world.scalar("select count(*) from mart.conversations where started_at is not null").await;
    assert!(conversations > 0, "the run made the views over the columns that it added");
    let changed = world.give_rows_a_new_field();
    let mut reader = world.database.connect().await;
    let mut transaction = reader.begin().await.unwrap();
    count(&mut transaction, "mart.conversations").await;
    world.sync_ok().await;
    let extra = "select count(*) from lynn.current_interactions where _extra ->> 'newField' = 'x'";
    assert_eq!(world.scalar::<i64>(extra).await, changed);
    transaction.rollback().await.unwrap();
    world.sync_ok().await;
    assert_eq!(world.scalar::<i64>("select count(new_field) from lynn.current_interactions").await, changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_long_work_of_tidegate_gives_way_to_a_change_of_a_table_that_it_reads() {
    if clock::is_shifted() {
        return;
    }
    let mart = Mart::new().await;
    let mut worker = mart.database.connect().await;
    let backend = session::backend(&mut worker).await.unwrap();
    let mut transaction = worker.begin().await.unwrap();
    let working = format!(
        "select count(*) from pg_locks where pid = {backend} and relation = 'lynn.survey_result'::regclass and granted"
    );
    let change = async {
        eventually(SOON, async || (mart.count(&*working).await > 0).then_some(())).await;
        let mut other = mart.database.connect().await;
        let statements = "set lock_timeout = '3s'; alter table lynn.survey_result add column added text";
        sqlx::raw_sql(statements).execute(&mut other).await
    };
    let rolled_back = async {
        let statements = "lock table lynn.survey_result in access share mode; select pg_sleep(60)";
        let work = sqlx::raw_sql(statements).execute(&mut *transaction);
        let done = session::yielding(&mart.pool, backend, work).await;
        transaction.rollback().await.unwrap();
        done
    };
    let (done, changed) = tokio::join!(rolled_back, change);
    assert!(done.unwrap().is_none(), "it was cancelled, to be repeated later");
    changed.unwrap();

    // Without a session that waits it comes to its end.
    let mut transaction = worker.begin().await.unwrap();
    let work = sqlx::raw_sql("select pg_sleep(2)").execute(&mut *transaction);
    assert!(session::yielding(&mart.pool, backend, work).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_refresh_at_the_same_time_make_every_view_once() {
    let mart = Mart::without_views().await;
    let processes: Vec<Views> = (0..4).map(|_| Views::default()).collect();
    let pool = mart.database.another_pool(8);
    let settings = Settings::default();
    futures_util::future::join_all(processes.iter().map(|views| views.refresh(&pool, &settings))).await;
    futures_util::future::join_all(processes.iter().map(|views| views.refresh(&pool, &settings))).await;
    assert_eq!(mart.count("select count(*) from tidegate.mart_view").await, i64::try_from(RELATIONS.len()).unwrap());
    mart.read_all().await;
}

#[tokio::test]
async fn processes_with_different_settings_do_not_replace_each_others_views_in_turn() {
    let mart = Mart::new().await;
    let other = Views::default();
    let theirs = Settings { timezone: chrono_tz::Asia::Tokyo, ..Settings::default() };
    other.refresh(&mart.pool, &theirs).await;
    let made = "select string_agg(made_at::text, ',' order by name) from tidegate.mart_view";
    let before = mart.text(made).await;
    for _ in 0..3 {
        mart.refresh().await;
        other.refresh(&mart.pool, &theirs).await;
    }
    assert_eq!(mart.text(made).await, before, "the newer process decides");
}

#[tokio::test]
async fn a_view_that_others_read_keeps_its_columns_until_they_are_gone() {
    let mart = Mart::new().await;
    let columns = mart.columns().await;
    mart.run(
        "drop view mart.channels cascade;
        create view mart.channels as select 1 as another;
        create view public.mine as select another from mart.channels",
    )
    .await;
    mart.refresh().await;
    assert_eq!(mart.count("select another::bigint from public.mine").await, 1);
    mart.run("drop view public.mine").await;
    mart.refresh().await;
    assert_eq!(mart.columns().await, columns);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_make_the_views_and_remake_what_is_dropped() {
    let world = World::with(Recipe { start: ago(1).date_naive(), ..Recipe::default() }).await;
    let (one, two) = (Daemon::start(&world).await, Daemon::start(&world).await);
    let count = "select count(*) from pg_views where schemaname = 'mart'";
    let wanted = i64::try_from(RELATIONS.len()).unwrap() + VIEWS_OF_MIGRATIONS;
    eventually(SOON, async || (world.scalar::<i64>(count).await == wanted).then_some(())).await;
    for daemon in [one, two] {
        let said = daemon.said();
        assert!(!said.contains("WARN") || !said.contains("mart"), "{said}");
    }
}
