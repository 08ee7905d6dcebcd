//! What is older than `warehouse.keep` is dropped, is not read again, and does not count as missing.

use chrono::{DateTime, Datelike as _, Months, NaiveDate, NaiveTime, TimeDelta, Utc};
use simulator::Options;
use simulator::lynn::Volume;
use sqlx::PgPool;
use tidegate::config::{Partition, Warehouse};
use tidegate::store::keep::entities::{self, ChildTable};
use tidegate::store::keep::windows::{self, Step};
use tidegate::store::keep::{self, Expired, partitions as keep_partitions};

use super::{divided, partitions, run, texts};
use crate::load::fingerprints;
use crate::load::plant::{CONNECTION, Plant, numbered, whole};
use crate::support::daemon::{Daemon, SOON, command};
use crate::support::world::Recipe;
use crate::support::{World, ago, eventually};

const TABLE: &str = "lynn.survey_result";

fn expired(kept_from: &str) -> Expired<'static> {
    Expired { schema: "lynn", table: "survey_result", kept_from: at(kept_from) }
}

fn at(date: &str) -> DateTime<Utc> {
    date.parse::<NaiveDate>().unwrap().and_time(NaiveTime::MIN).and_utc()
}

/// Rows in March, April and May 2024.
async fn plant(is_divided: bool) -> Plant {
    let plant = Plant::new().await;
    let claim = plant.claim().await;
    plant.resumed(&claim, whole(9)).await;
    run(&plant.pool, "delete from tidegate.slice").await;
    if is_divided {
        assert!(divided(&plant).await);
    }
    for number in [0, 1, 31, 61] {
        fingerprints::read(&plant, whole(number), &[numbered(0..120)], 1).await;
    }
    plant
}

/// Drops the old partitions; returns their names.
async fn drop_partitions(plant: &Plant, kept_from: &str) -> Vec<String> {
    let mut session = plant.pool.acquire().await.unwrap();
    let old = keep_partitions::old(&mut session, expired(kept_from)).await.unwrap().unwrap();
    for partition in &old {
        // Upkeep may give it parameters meanwhile.
        let set = format!("alter table {}.{} set (autovacuum_vacuum_cost_delay = 1)", partition.schema, partition.name);
        run(&plant.pool, &set).await;
        assert!(keep_partitions::take_away(&mut session, expired(kept_from), partition).await.unwrap());
        assert!(!keep_partitions::take_away(&mut session, expired(kept_from), partition).await.unwrap(), "once");
    }
    old.into_iter().map(|partition| partition.name).collect()
}

/// Deletes the old rows of the table's slices, `limit` at a time; returns how many each time.
async fn delete_rows(plant: &Plant, kept_from: &str, limit: i64) -> Vec<u64> {
    let mut session = plant.pool.acquire().await.unwrap();
    let streams = keep::streams(&mut session, expired(kept_from)).await.unwrap();
    let mut steps = Vec::new();
    for stream in streams {
        loop {
            let Step { rows, more } =
                windows::slices(&mut session, expired(kept_from), &stream, true, limit).await.unwrap();
            steps.push(rows);
            if !more {
                break;
            }
        }
    }
    steps
}

async fn days(plant: &Plant) -> Vec<String> {
    texts(&plant.pool, "select distinct _window_start::date::text from lynn.survey_result order by 1").await
}

async fn slices(plant: &Plant) -> Vec<String> {
    texts(&plant.pool, "select window_start::date::text from tidegate.slice order by 1").await
}

async fn status(pool: &PgPool) -> Vec<String> {
    let query = "select concat_ws(' ', covers_from::date, has_gap, (select state from tidegate.stream_state limit 1))
        from mart.data_status";
    texts(pool, query).await
}

#[tokio::test]
async fn partitions_that_are_wholly_old_are_dropped_with_their_slices() {
    let plant = plant(true).await;
    assert_eq!(drop_partitions(&plant, "2024-03-31").await, [""; 0], "March is not over");
    assert_eq!(drop_partitions(&plant, "2024-05-01").await, ["survey_result_2024_03", "survey_result_2024_04"]);
    assert_eq!(
        (days(&plant).await, slices(&plant).await),
        (vec!["2024-05-01".to_owned()], vec!["2024-05-01".to_owned()])
    );
    assert_eq!(plant.count("select count(distinct slice_id) from tidegate.fingerprint").await, 1);
    let wanted = "select wanted_from::date::text || ' ' || coalesce(reset_at::text, 'not reset') from tidegate.stream";
    assert_eq!(texts(&plant.pool, wanted).await, ["2024-05-01 not reset"]);
    assert_eq!(status(&plant.pool).await[0].split_whitespace().take(2).collect::<Vec<_>>(), ["2024-05-01", "f"]);
    let events = "select count(*)::text from tidegate.event where kind = 'table' and summary like '%was dropped%'";
    assert_eq!(texts(&plant.pool, events).await, ["2"]);
    // What was dropped may be read again, if it is wanted again.
    plant.read(whole(0), &[numbered(0..3)]).await;
    assert_eq!(days(&plant).await, ["2024-03-01", "2024-05-01"]);
}

#[tokio::test]
async fn p10_a_partition_with_a_slice_that_is_held_or_read_or_reaches_further_stays() {
    for needed in [
        "held_since = now(), held_reason = 'few', held_rows_there = 120, held_rows_reported = 1",
        "reading_run = 7",
        "window_end = '2024-05-02Z'",
    ] {
        let plant = plant(true).await;
        run(&plant.pool, &format!("update tidegate.slice set {needed} where window_start = '2024-03-02Z'")).await;
        assert_eq!(drop_partitions(&plant, "2024-05-01").await, ["survey_result_2024_04"], "{needed}");
        assert_eq!(days(&plant).await, ["2024-03-01", "2024-03-02", "2024-05-01"]);
        assert_eq!(slices(&plant).await, ["2024-03-01", "2024-03-02", "2024-05-01"]);
    }
}

#[tokio::test]
async fn the_partition_of_everything_before_a_division_is_dropped_when_all_of_it_is_old() {
    let plant = plant(false).await;
    assert!(divided(&plant).await);
    assert_eq!(drop_partitions(&plant, "2024-06-01").await, [""; 0]);
    let far = (Utc::now().date_naive() + Months::new(3)).with_day(1).unwrap().to_string();
    let dropped = drop_partitions(&plant, &far).await;
    assert!(dropped[0].starts_with("survey_result_until_"), "{dropped:?}");
    assert_eq!((days(&plant).await, slices(&plant).await), (vec![], vec![]));
}

#[tokio::test]
async fn a_partition_in_use_is_dropped_later() {
    use sqlx::{Connection as _, Executor as _};
    let plant = plant(true).await;
    let mut reader = plant.database.connect().await;
    reader.execute("begin; select from lynn.survey_result limit 1").await.unwrap();
    let mut session = plant.pool.acquire().await.unwrap();
    let old = keep_partitions::old(&mut session, expired("2024-04-01")).await.unwrap().unwrap();
    let error = keep_partitions::take_away(&mut session, expired("2024-04-01"), &old[0]).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "55P03");
    reader.execute("rollback").await.unwrap();
    assert!(keep_partitions::take_away(&mut session, expired("2024-04-01"), &old[0]).await.unwrap());
    reader.close().await.unwrap();
    assert_eq!(partitions(&plant.pool, TABLE).await.iter().filter(|name| name.contains("2024_03:")).count(), 0);
}

#[tokio::test]
async fn rows_of_a_table_that_is_not_divided_are_deleted_in_batches() {
    let plant = plant(false).await;
    assert_eq!(delete_rows(&plant, "2024-03-01", 100).await, [0]);
    assert_eq!(delete_rows(&plant, "2024-05-01", 100).await, [100, 100, 100, 60]);
    assert_eq!(
        (days(&plant).await, slices(&plant).await),
        (vec!["2024-05-01".to_owned()], vec!["2024-05-01".to_owned()])
    );
    assert_eq!(status(&plant.pool).await[0].split_whitespace().take(2).collect::<Vec<_>>(), ["2024-05-01", "f"]);
    let again = fingerprints::read(&plant, whole(61), &[numbered(0..120)], 1).await;
    assert_eq!(again.rows_unchanged, 120);
}

#[tokio::test]
async fn p4_slices_of_which_only_some_rows_were_dropped_are_whole_when_they_are_read_again() {
    let plant = plant(false).await;
    let mut session = plant.pool.acquire().await.unwrap();
    let stream = keep::streams(&mut session, expired("2024-05-01")).await.unwrap().remove(0);
    let step = windows::slices(&mut session, expired("2024-05-01"), &stream, true, 150).await.unwrap();
    assert_eq!(step, Step { rows: 150, more: true });
    for number in [0, 1, 31] {
        fingerprints::read(&plant, whole(number), &[numbered(0..120)], 1).await;
    }
    assert_eq!(plant.count("select count(*) from lynn.survey_result").await, 480);
}

#[tokio::test]
async fn p10_the_rows_of_a_held_slice_stay_in_a_table_that_is_not_divided() {
    let plant = plant(false).await;
    let held = "held_since = now(), held_reason = 'few', held_rows_there = 120, held_rows_reported = 1";
    run(&plant.pool, &format!("update tidegate.slice set {held} where window_start = '2024-03-02Z'")).await;
    assert_eq!(delete_rows(&plant, "2024-05-01", 1000).await, [240]);
    assert_eq!(days(&plant).await, ["2024-03-02", "2024-05-01"]);
    // Rows whose cursors were reset belong to no slice.
    run(&plant.pool, "delete from tidegate.slice where window_start = '2024-05-01Z'").await;
    let mut session = plant.pool.acquire().await.unwrap();
    let after = windows::connection_after(&mut session, expired("2024-06-01"), "").await.unwrap().unwrap();
    assert_eq!(after, CONNECTION);
    assert_eq!(windows::connection_after(&mut session, expired("2024-06-01"), &after).await.unwrap(), None);
    let mut step = async || windows::without_slice(&mut session, expired("2024-06-01"), CONNECTION, 100).await.unwrap();
    assert_eq!(step().await, Step { rows: 100, more: true });
    assert_eq!(step().await, Step { rows: 20, more: false });
    assert_eq!(days(&plant).await, ["2024-03-02"]);
}

#[tokio::test]
async fn entities_are_deleted_by_their_own_time_with_their_children() {
    let plant = Plant::documented().await;
    run(
        &plant.pool,
        "insert into jaicp.sessions (_connection, project_short_name, session_id, start_time, _run_id, _loaded_at)
        select 'acme', 'p', n::text, case when n % 10 > 0 then timestamptz '2024-01-01Z' + n * interval '1 day' end, 1, now()
        from generate_series(1, 100) as n;
        insert into jaicp.session_label_links (_connection, project_short_name, session_id, label_id, _run_id, _loaded_at)
        select 'acme', 'p', n::text, 1, 1, now() from generate_series(1, 100) as n",
    )
    .await;
    let mut session = plant.pool.acquire().await.unwrap();
    let own = |name: &str| (name.to_owned(), name.to_owned());
    let children = [ChildTable {
        name: "session_label_links".to_owned(),
        key: vec![own("project_short_name"), own("session_id")],
    }];
    let of = Expired { schema: "jaicp", table: "sessions", kept_from: at("2024-02-01") };
    assert_eq!(
        windows::has_columns(&mut session, of, &["nothing", "start_time"]).await.unwrap().unwrap(),
        "start_time"
    );
    let mut step = async || entities::rows(&mut session, of, "start_time", &children, 20).await.unwrap();
    assert_eq!(step().await, Step { rows: 20, more: true });
    assert_eq!(step().await, Step { rows: 7, more: false });
    assert_eq!(plant.count("select count(*) from jaicp.sessions").await, 73);
    assert_eq!(plant.count("select count(*) from jaicp.session_label_links").await, 73, "those without a time stay");
}

/// A world whose job begins 100 days ago, with four rows on each day.
async fn world(sections: &str) -> World {
    let defaults = Recipe::default();
    let world = World::with(Recipe {
        options: Options { volume: Volume::Exactly(4), ..defaults.options },
        start: ago(100).date_naive(),
        ..Recipe::default()
    })
    .await;
    world.edit_config(|text| format!("{sections}{text}"));
    world
}

fn kept_from(months: u16) -> DateTime<Utc> {
    Warehouse { partition: Partition::None, keep_months: Some(months) }.kept_from(Utc::now()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_the_daemon_drops_what_is_old_and_nothing_counts_as_missing() {
    for sections in ["", "warehouse: { partition: month }\n"] {
        let world = world(sections).await;
        world.sync_ok().await;
        let before = "select count(*) from lynn.navigation_marks where _window_start < date_trunc('day', now())";
        assert_eq!(world.scalar::<i64>(before).await, 400);
        world.edit_config(|text| {
            let keep = sections.replace('\n', "").replace(" }", ", keep: 1 month }");
            let keep = if keep.is_empty() { "warehouse: { keep: 1 month }".to_owned() } else { keep };
            format!("{keep}\n{}", text.trim_start_matches(sections))
        });
        let from = kept_from(1);
        let checked = String::from_utf8(command(&world, &[], &["check"]).await.stdout).unwrap();
        let slices = (from - ago(100)).num_days();
        let announced = format!(
            "warning: lynn.navigation_marks: {slices} slices from {} on, with {} rows when they were last read",
            ago(100).format("%Y-%m-%d"),
            slices * 4,
        );
        assert!(checked.contains(&announced), "{announced}: {checked}");
        let daemon = Daemon::start(&world).await;
        let kept = (ago(0) - from).num_days() * 4;
        let left = "select count(*) from lynn.navigation_marks where _window_start < date_trunc('day', now())";
        eventually(SOON, async || (world.scalar::<i64>(left).await == kept).then_some(())).await;
        let status =
            "select concat_ws(' ', covers_from = wanted_from, has_gap, state, covers_from) from tidegate.stream_state";
        let wanted = format!("t f on time {}", from.format("%Y-%m-%d 00:00:00+00"));
        eventually(SOON, async || (world.scalar::<String>(status).await == wanted).then_some(())).await;
        let missing = "select count(*) from mart.day_status where state = 'missing'";
        assert_eq!(world.scalar::<i64>(missing).await, 0);
        drop(daemon.terminate().await);
        // Nothing of it is read again.
        world.sync_ok().await;
        assert_eq!(world.scalar::<i64>(left).await, kept);
        let first = "select min(window_start) from tidegate.slice";
        assert_eq!(world.scalar::<DateTime<Utc>>(first).await, from);
        let old = (from - TimeDelta::days(3)).date_naive().to_string();
        let to = ago(1).date_naive().to_string();
        let refused = command(&world, &[], &["backfill", "lynn", "--from", &old, "--to", &to]).await;
        assert_eq!(refused.status.code(), Some(2));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains("older rows are dropped (`warehouse.keep`)"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_starts_before_what_is_kept_reads_only_what_is_kept() {
    let world = world("warehouse: { partition: month, keep: 2 months }\n").await;
    world.sync_ok().await;
    let first = "select min(window_start) from tidegate.slice";
    assert_eq!(world.scalar::<DateTime<Utc>>(first).await, kept_from(2));
    let anchor = "select anchor from tidegate.stream";
    assert_eq!(world.scalar::<NaiveDate>(anchor).await, ago(100).date_naive(), "the grid begins at the job's start");
}
