//! What is older than `warehouse.keep` is dropped, is not read again, and does not count as missing.

use chrono::{DateTime, Datelike as _, Months, NaiveDate, NaiveTime, TimeDelta, Utc};
use simulator::Options;
use simulator::lynn::Volume;
use sqlx::PgPool;
use tidegate::config::{Partition, Warehouse};
use tidegate::store::keep::entities::{self, ChildTable, Entities};
use tidegate::store::keep::windows;
use tidegate::store::keep::{self, Expired, Step, partitions as keep_partitions};

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
    let expired = expired(kept_from);
    let old = keep_partitions::old(&mut session, expired).await.unwrap().unwrap();
    for partition in &old {
        // Upkeep may give it parameters meanwhile.
        let set = format!("alter table {}.{} set (autovacuum_vacuum_cost_delay = 1)", partition.schema, partition.name);
        run(&plant.pool, &set).await;
        let Step { gone, more } = keep_partitions::forget(&mut session, expired, partition).await.unwrap();
        assert!(!more);
        assert!(keep_partitions::take_away(&mut session, expired, partition, gone).await.unwrap());
        assert!(!keep_partitions::take_away(&mut session, expired, partition, gone).await.unwrap(), "once");
    }
    old.into_iter().map(|partition| partition.name).collect()
}

/// Deletes the old slices of the table.
async fn forget_slices(plant: &Plant, kept_from: &str) {
    let mut session = plant.pool.acquire().await.unwrap();
    for stream in keep::streams(&mut session, expired(kept_from)).await.unwrap() {
        while windows::slices(&mut session, expired(kept_from), &stream).await.unwrap().more {}
    }
}

/// Deletes the old slices of the table and then their rows, `limit` at a time; returns how many each time.
async fn delete_rows(plant: &Plant, kept_from: &str, limit: i64) -> Vec<u64> {
    forget_slices(plant, kept_from).await;
    let mut session = plant.pool.acquire().await.unwrap();
    let mut steps = Vec::new();
    loop {
        let step = windows::without_slice(&mut session, expired(kept_from), CONNECTION, limit).await.unwrap();
        steps.push(step.gone);
        if !step.more {
            return steps;
        }
    }
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
        "reading_run = (select max(id) from tidegate.run where finished_at is null)",
    ] {
        let plant = plant(true).await;
        run(&plant.pool, &format!("update tidegate.slice set {needed} where window_start = '2024-03-02Z'")).await;
        assert_eq!(drop_partitions(&plant, "2024-05-01").await, ["survey_result_2024_04"], "{needed}");
        assert_eq!(days(&plant).await, ["2024-03-01", "2024-03-02", "2024-05-01"]);
        assert_eq!(slices(&plant).await, ["2024-03-01", "2024-03-02", "2024-05-01"]);
    }
    let plant = plant(true).await;
    let further = "update tidegate.slice set window_end = '2024-05-01T06:00Z' where window_start = '2024-04-01Z'";
    run(&plant.pool, further).await;
    assert_eq!(drop_partitions(&plant, "2024-05-01").await, ["survey_result_2024_03"]);
    assert_eq!(days(&plant).await, ["2024-04-01", "2024-05-01"]);
    assert_eq!(slices(&plant).await, ["2024-04-01", "2024-05-01"]);
}

#[tokio::test]
async fn p10_a_held_slice_keeps_every_partition_that_its_window_reaches() {
    let plant = plant(true).await;
    let held = "held_since = now(), held_reason = 'few', held_rows_there = 120, held_rows_reported = 1";
    // Rows of another grid may still be in the part of its window that is in April.
    run(
        &plant.pool,
        &format!("update tidegate.slice set {held}, window_end = '2024-04-02Z' where window_start = '2024-03-02Z'"),
    )
    .await;
    assert_eq!(drop_partitions(&plant, "2024-05-01").await, [""; 0]);
    assert_eq!(slices(&plant).await.len(), 4);
    run(
        &plant.pool,
        "update tidegate.slice set held_since = null, held_reason = null, held_rows_there = null,
        held_rows_reported = null",
    )
    .await;
    assert_eq!(drop_partitions(&plant, "2024-05-01").await, ["survey_result_2024_03", "survey_result_2024_04"]);
}

#[tokio::test]
async fn a_reading_that_its_run_has_given_up_keeps_no_partition() {
    let plant = plant(true).await;
    run(
        &plant.pool,
        "update tidegate.slice set reading_run = 7 where window_start = '2024-03-02Z';
        update tidegate.run set state = 'failed', finished_at = now()",
    )
    .await;
    assert_eq!(drop_partitions(&plant, "2024-05-01").await, ["survey_result_2024_03", "survey_result_2024_04"]);
}

#[tokio::test]
async fn p11_no_slice_counts_as_complete_whose_rows_are_about_to_go() {
    // As after a kill between the two: in a partition, and in a table that is not divided.
    for is_divided in [true, false] {
        let plant = plant(is_divided).await;
        run(&plant.pool, "update tidegate.slice set lacks_columns_since = now() where window_start < '2024-04-01Z'")
            .await;
        if is_divided {
            let mut session = plant.pool.acquire().await.unwrap();
            for partition in keep_partitions::old(&mut session, expired("2024-05-01")).await.unwrap().unwrap() {
                keep_partitions::forget(&mut session, expired("2024-05-01"), &partition).await.unwrap();
            }
        } else {
            forget_slices(&plant, "2024-05-01").await;
        }
        assert_eq!(slices(&plant).await, ["2024-05-01"]);
        assert_eq!(days(&plant).await.len(), 4, "the rows are still there");
        assert_eq!(plant.count("select count(distinct slice_id) from tidegate.fingerprint").await, 1);
        assert_eq!(plant.count("select count(*) from tidegate.slice where lacks_columns_since is not null").await, 0);
        assert_eq!(status(&plant.pool).await[0].split_whitespace().take(2).collect::<Vec<_>>(), ["2024-05-01", "f"]);
        // If more is kept from now on, the day is read again, and has what was reported last.
        fingerprints::read(&plant, whole(0), &[numbered(1..121)], 1).await;
        assert_eq!(plant.rows(whole(0)).await.len(), 120);
        // A pass goes on where it was interrupted.
        if is_divided {
            assert_eq!(drop_partitions(&plant, "2024-05-01").await.len(), 2);
        } else {
            delete_rows(&plant, "2024-05-01", 1000).await;
        }
        assert_eq!(days(&plant).await, ["2024-05-01"]);
    }
}

#[tokio::test]
async fn a_partition_on_which_a_view_depends_is_not_dropped() {
    let plant = plant(true).await;
    run(&plant.pool, "create view public.march as select n from lynn.survey_result_2024_03").await;
    let mut session = plant.pool.acquire().await.unwrap();
    let old = keep_partitions::old(&mut session, expired("2024-04-01")).await.unwrap().unwrap();
    keep_partitions::forget(&mut session, expired("2024-04-01"), &old[0]).await.unwrap();
    let error = keep_partitions::take_away(&mut session, expired("2024-04-01"), &old[0], 2).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "2BP01");
    assert_eq!(plant.count("select count(*) from public.march").await, 240);
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
    let mut session = plant.pool.acquire().await.unwrap();
    let old = keep_partitions::old(&mut session, expired("2024-04-01")).await.unwrap().unwrap();
    let take_away = async |session: &mut sqlx::PgConnection| {
        keep_partitions::take_away(session, expired("2024-04-01"), &old[0], 2).await
    };
    assert!(!take_away(&mut session).await.unwrap(), "its slices go first");
    keep_partitions::forget(&mut session, expired("2024-04-01"), &old[0]).await.unwrap();
    let mut reader = plant.database.connect().await;
    reader.execute("begin; select from lynn.survey_result limit 1").await.unwrap();
    let error = take_away(&mut session).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "55P03");
    reader.execute("rollback").await.unwrap();
    assert!(take_away(&mut session).await.unwrap());
    reader.close().await.unwrap();
    assert_eq!(partitions(&plant.pool, TABLE).await.iter().filter(|name| name.contains("2024_03:")).count(), 0);
}

#[tokio::test]
async fn p11_days_that_were_never_read_are_no_gap_once_they_are_too_old() {
    let plant = plant(false).await;
    run(
        &plant.pool,
        "delete from tidegate.slice where window_start < '2024-05-01Z';
        update tidegate.stream set wanted_from = '2024-03-01Z'",
    )
    .await;
    let shown = async || {
        let query = "select concat_ws(' ', has_gap, wanted_from::date) from tidegate.stream";
        texts(&plant.pool, query).await
    };
    assert_eq!(shown().await, ["t 2024-03-01"]);
    let mut session = plant.pool.acquire().await.unwrap();
    for stream in keep::wanting_more(&mut session, expired("2024-05-01")).await.unwrap() {
        keep::want_less(&mut session, expired("2024-05-01"), &stream).await.unwrap();
    }
    assert_eq!(shown().await, ["f 2024-05-01"]);
    assert_eq!(keep::wanting_more(&mut session, expired("2024-05-01")).await.unwrap(), []);
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
    forget_slices(&plant, "2024-05-01").await;
    let mut session = plant.pool.acquire().await.unwrap();
    let step = windows::without_slice(&mut session, expired("2024-05-01"), CONNECTION, 150).await.unwrap();
    assert_eq!(step, Step { gone: 150, more: true });
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
    assert_eq!(step().await, Step { gone: 100, more: true });
    assert_eq!(step().await, Step { gone: 20, more: false });
    assert_eq!(days(&plant).await, ["2024-03-02"]);
    // A row belongs to the slice whose window contains it, also if it was read on another grid.
    run(&plant.pool, "update lynn.survey_result set _window_start = '2024-03-02T06:00:00Z'").await;
    assert_eq!(step().await, Step { gone: 0, more: false });
}

#[tokio::test]
async fn p10_entities_are_deleted_by_their_own_time_with_their_children_unless_a_slice_is_held() {
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
    // In both forms; the second is for tables that are distributed.
    for (connection, first, second) in [(None, 20, 7), (Some(CONNECTION.to_owned()), 18, 0)] {
        let rows = Entities { column: "start_time".to_owned(), children: children.to_vec(), connection };
        let of = if rows.connection.is_some() { Expired { kept_from: at("2024-02-21"), ..of } } else { of };
        let held = "update tidegate.slice set held_since = now(), held_reason = 'few', held_rows_there = 1,
            held_rows_reported = 0 where stream = 'sessions'";
        run(&plant.pool, "delete from tidegate.slice where stream = 'sessions'").await;
        run(
            &plant.pool,
            "insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
            values ('acme', 'sessions', 'jaicp', 'sessions', '2024-01-01', 'UTC', '1d') on conflict do nothing;
            insert into tidegate.slice (connection, stream, window_start, window_end)
            values ('acme', 'sessions', '2024-01-01Z', '2024-01-02Z')",
        )
        .await;
        run(&plant.pool, held).await;
        let mut step = async || entities::rows(&mut session, of, &rows, 20).await.unwrap();
        assert_eq!(step().await, Step { gone: 0, more: false }, "promise 10: what a held slice reported is not known");
        run(&plant.pool, "delete from tidegate.slice where stream = 'sessions'").await;
        assert_eq!(step().await, Step { gone: first, more: first == 20 });
        assert_eq!(step().await, Step { gone: second, more: false });
        if rows.connection.is_none() {
            assert_eq!(plant.count("select count(*) from jaicp.sessions").await, 73);
        }
    }
    assert_eq!(plant.count("select count(*) from jaicp.sessions").await, 55);
    assert_eq!(plant.count("select count(*) from jaicp.session_label_links").await, 55, "those without a time stay");
    // The places of rows are those of one table only.
    run(&plant.pool, "create table public.heir () inherits (jaicp.sessions)").await;
    assert_eq!(windows::has_columns(&mut session, of, &["start_time"]).await.unwrap(), None);
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
        let line = checked.lines().find(|line| line.starts_with("lynn.navigation_marks ")).unwrap();
        let announced: Vec<&str> = line.split_whitespace().take(4).collect();
        let [from_on, oldest] = [from, ago(100)].map(|day| day.format("%Y-%m-%dT00:00:00Z").to_string());
        let rows = ((from - ago(100)).num_days() * 4).to_string();
        assert_eq!(announced[1..], [from_on, oldest, rows]);
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

#[tokio::test(flavor = "multi_thread")]
async fn check_and_status_show_what_is_dropped_before_it_is() {
    let world = world("warehouse: { partition: month }\n").await;
    world.sync_ok().await;
    let said = async |args: &[&str]| {
        let output = command(&world, &[], args).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let json = async |args: &[&str]| serde_json::from_str::<serde_json::Value>(&said(args).await).unwrap();
    let before = json(&["check", "--json"]).await;
    assert_eq!(before["warehouse"]["divided"], serde_json::json!(["lynn.navigation_marks"]));
    assert_eq!(before["warehouse"]["old_rows"], serde_json::json!([]));
    // The setting is tried before a daemon has it.
    world.edit_config(|text| text.replace("partition: month", "partition: none, keep: 1 month"));
    let from = kept_from(1);
    let rows = 400 - (ago(0) - from).num_days() * 4;
    let counted = "select count(*) from lynn.navigation_marks where _window_start < date_trunc('day', now())";
    let old = &json(&["check", "--json"]).await["warehouse"]["old_rows"];
    assert_eq!(old.as_array().unwrap().len(), 1, "{old}");
    // Of a partition that ends with what is kept. The one of everything until next month is not old.
    let whole = old[0]["partitions"].as_array().unwrap().is_empty();
    assert!(!whole && old[0]["table"] == "lynn.navigation_marks", "{old}");
    assert_eq!(old[0]["rows"], rows, "{old}");
    assert_eq!(old[0]["oldest"].as_str().unwrap()[..10], ago(100).date_naive().to_string());
    let text = said(&["check"]).await;
    assert!(text.contains("`partition` is `none`, but 1 table is divided by month and will stay so"), "{text}");
    assert!(text.contains("a daemon with this configuration drops for good"), "{text}");
    let text = said(&["status"]).await;
    assert!(text.contains("Older than `warehouse.keep`: a daemon drops for good"), "{text}");
    assert_eq!(world.scalar::<i64>(counted).await, 400, "nothing was dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tells_which_tables_will_be_divided_and_what_stands_in_the_way() {
    let world = World::with(Recipe { start: ago(3).date_naive(), ..Recipe::default() }).await;
    world.sync_ok().await;
    world.edit_config(|text| format!("warehouse: {{ partition: month }}\n{text}"));
    let said = async || {
        let output = command(&world, &[], &["check"]).await;
        String::from_utf8(output.stdout).unwrap()
    };
    let text = said().await;
    assert!(text.contains("1 table with rows will be divided by month, each when the next task"), "{text}");
    run(&world.database.pool(), "create materialized view public.m as select session from lynn.navigation_marks").await;
    let text = said().await;
    assert!(
        text.contains("lynn.navigation_marks will not be divided: the materialized view public.m reads it"),
        "{text}"
    );
}
