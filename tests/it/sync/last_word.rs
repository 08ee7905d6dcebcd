//! Changes at the vendor between two runs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use simulator::{Change, Edit, Rows};
use sqlx::AssertSqlSafe;

use super::ago;
use crate::support::World;
use crate::support::daemon::command;
use crate::support::world::Recipe;

const REPORTS: [&str; 2] = ["navigation_marks", "survey_result"];

/// The key of a row, and the values that must not change while the vendor's data do not change.
async fn untouched(world: &World, report: &str) -> BTreeMap<String, String> {
    let query = format!("select _row_key::text, concat_ws(' ', xmin, _run_id, _loaded_at) from lynn.{report}");
    let rows: Vec<(String, String)> =
        sqlx::query_as(AssertSqlSafe(query)).fetch_all(&world.database.pool()).await.unwrap();
    rows.into_iter().collect()
}

/// Changes, deletes, duplicates, adds and delays rows of the day that began then.
fn edit(world: &World, report: &str, days_ago: i64, text: &str) {
    let control = world.control();
    let (from, to) = (ago(days_ago), ago(days_ago - 1));
    let day = || Rows::between(report, from, to);
    let set = Change::Set { field: text.to_owned(), json: "\"corrected\"".to_owned() };
    control.lynn().change(day().every(10).first(20), set).unwrap();
    assert!(control.lynn().vanish(day().every(7).first(30)).unwrap() > 0);
    let duplicate = |distance| Edit::Duplicate { rows: day().every(11).first(9), copies: 2, distance };
    control.lynn().edit(duplicate(0)).unwrap();
    // On another page.
    control.lynn().edit(duplicate(100)).unwrap();
    for hours in [1, 13, 23] {
        control.lynn().insert(report, from + chrono::TimeDelta::hours(hours)).unwrap();
    }
}

async fn assert_day(world: &World, report: &str, days_ago: i64, expected: &[String]) {
    let found = world.rows_where(report, &format!("_window_start = '{}'", ago(days_ago))).await;
    assert_eq!(found.len(), expected.len(), "{report}, {days_ago} days ago");
    assert!(found == expected, "{report}, {days_ago} days ago");
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_changed_deleted_late_and_duplicate_rows_end_as_last_reported() {
    let world = World::with(Recipe {
        start: ago(6).date_naive(),
        streams: "[navigation_marks, survey_result]",
        job: vec!["lookback: 36h".to_owned()],
        ..Recipe::default()
    })
    .await;
    let (near, far) = (1, 5);
    for report in REPORTS {
        // In the second on the boundary of two days.
        world.control().lynn().insert(report, ago(3)).unwrap();
        for days_ago in [near, far] {
            let late = Rows::between(report, ago(days_ago), ago(days_ago - 1)).every(13);
            assert!(world.control().lynn().late(late).unwrap() > 5);
        }
    }
    let tasks = world.sync().await;
    assert!(tasks.iter().all(|task| task.state == "succeeded"), "{tasks:#?}");
    // The streams were read one after another, each up to its own limit.
    let ends = |tasks: &[tidegate::store::progress::TaskState]| -> BTreeMap<String, DateTime<Utc>> {
        tasks.iter().map(|task| (task.stream.clone(), task.last_window_end.unwrap())).collect()
    };
    let first_end = ends(&tasks);
    let (mut before, mut far_truth) = (BTreeMap::new(), BTreeMap::new());
    for report in REPORTS {
        world.assert_truth(report, ago(6), first_end[report]).await;
        before.insert(report, untouched(&world, report).await);
        far_truth.insert(report, world.truth(report, ago(far), ago(far - 1)));
    }

    for report in REPORTS {
        let text = if report == "survey_result" { "comment" } else { "markValue" };
        edit(&world, report, near, text);
        edit(&world, report, far, text);
    }
    world.control().lynn().release_late();
    let tasks = world.sync().await;
    let end = ends(&tasks);
    for task in &tasks {
        assert!(task.state == "succeeded" && (2..=3).contains(&task.slices_done), "{task:?}");
        assert!(task.rows_inserted > 0 && task.rows_deleted > 0 && task.rows_unchanged > 100, "{task:?}");
    }
    for report in REPORTS {
        assert_day(&world, report, near, &world.truth(report, ago(near), ago(near - 1))).await;
        assert_day(&world, report, far, &far_truth[report]).await;
        let (old, now) = (&before[report], untouched(&world, report).await);
        let (mut same, mut new) = (0, 0);
        for (key, row) in &now {
            match old.get(key) {
                Some(known) => {
                    assert_eq!(known, row, "{report}: a row that is as it was is not written");
                    same += 1;
                }
                None => new += 1,
            }
        }
        assert!(same > 1000 && new > 20, "{report}: {same} {new}");
    }

    // Beyond the lookback a backfill is needed.
    let tasks = world.backfill(ago(far), ago(far - 1)).await;
    assert!(tasks.iter().all(|task| task.state == "succeeded" && task.slices_done == 1), "{tasks:#?}");
    for report in REPORTS {
        world.assert_truth(report, ago(6), end[report]).await;
    }
    let before = untouched(&world, REPORTS[0]).await;
    let tasks = world.backfill(ago(6), ago(3)).await;
    for task in tasks {
        assert_eq!((task.rows_inserted, task.rows_updated, task.rows_deleted), (0, 0, 0), "{task:?}");
        assert_eq!(task.slices_done, 3);
    }
    assert_eq!(untouched(&world, REPORTS[0]).await, before, "reading again what is the same writes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_day_that_became_empty_is_emptied_once_it_is_released() {
    let world = World::with(Recipe {
        start: ago(3).date_naive(),
        streams: "[navigation_marks, survey_result]",
        job: vec!["lookback: 36h".to_owned()],
        ..Recipe::default()
    })
    .await;
    world.sync().await;
    for report in REPORTS {
        world.control().lynn().vanish(Rows::between(report, ago(1), ago(0))).unwrap();
    }
    for task in world.sync().await {
        assert_eq!((task.state.as_str(), task.rows_deleted), ("held", 0), "{task:?}");
    }
    let release = ["held", "release", "lynn", "--stream", REPORTS[0], "--stream", REPORTS[1]];
    assert!(command(&world, &[], &release).await.status.success());
    let tasks = world.sync().await;
    for task in tasks {
        assert_eq!((task.state.as_str(), task.rows_deleted), ("succeeded", 250), "{task:?}");
        assert_day(&world, &task.stream, 1, &[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_slices_read_while_the_databases_clock_was_ahead_are_read_again() {
    let world = World::with(Recipe {
        start: ago(2).date_naive(),
        streams: "[navigation_marks]",
        job: vec!["lookback: 0s".to_owned()],
        ..Recipe::default()
    })
    .await;
    assert_eq!(world.sync().await[0].slices_done, 3);
    assert_eq!(world.sync().await[0].slices_done, 1, "the open day alone");
    let ahead = "update tidegate.slice set finished_at = finished_at + interval '1 day'";
    sqlx::query(ahead).execute(&world.database.pool()).await.unwrap();
    let again = world.sync().await;
    assert_eq!((again[0].state.as_str(), again[0].slices_done, again[0].rows_deleted), ("succeeded", 3, 0));
    let age = "select min(extract(epoch from clock_timestamp() - finished_at))::float8 from tidegate.slice";
    assert!(world.scalar::<f64>(age).await >= 0.0);
    assert_eq!(world.sync().await[0].slices_done, 1);
}
