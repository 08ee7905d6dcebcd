//! Clock changes in the zone whose local times are requested from the vendor.

use chrono_tz::Tz;
use simulator::Options;
use sqlx::AssertSqlSafe;

use crate::support::world::{Recipe, assert_succeeded};
use crate::support::{World, at};

/// Only the last of these has a column with the time of a row.
const REPORTS: [&str; 3] = ["survey_result", "show_dialogs", "navigation_marks"];

/// A vendor that reads local times of Madrid, and a job with windows of this length.
async fn world(slice: &str) -> World {
    let recipe = Recipe::default();
    World::with(Recipe {
        options: Options { filter_timezone: Tz::Europe__Madrid, ..recipe.options },
        connection: vec!["filter_timezone: Europe/Madrid".to_owned()],
        job: vec![format!("slice: {slice}")],
        streams: "[survey_result, show_dialogs, navigation_marks]",
        ..recipe
    })
    .await
}

async fn read(world: &World, from: &str, to: &str) {
    assert_succeeded(&world.backfill(at(from), at(to)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_every_row_of_an_hour_that_occurs_twice_is_loaded_once() {
    for slice in ["30m", "1h", "6h", "1d"] {
        let world = world(slice).await;
        // From 02:00 to 03:00 occurs twice on 25 October, from 00:00Z and from 01:00Z, and never on 29 March.
        for (from, to) in
            [("2026-10-24T00:00:00Z", "2026-10-26T00:00:00Z"), ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z")]
        {
            // Whole days, because a slice that overlaps the range is read completely.
            if slice == "1d" && from.contains("12:") {
                continue;
            }
            read(&world, from, to).await;
            for report in REPORTS {
                let condition = format!("_window_start >= '{from}' and _window_start < '{to}'");
                let (found, truth) =
                    (world.rows_where(report, &condition).await, world.truth(report, at(from), at(to)));
                assert!(!truth.is_empty(), "{report}");
                assert_eq!(found.len(), truth.len(), "{report} in {slice} from {from}");
                assert_eq!(found, truth, "{report} in {slice} from {from}");
            }
        }
        // No two calls requested the same local times, except for further pages of the same window.
        let calls = world.control().stats().reports;
        for report in REPORTS {
            let mut asked: Vec<_> = calls.iter().filter(|call| call.report == report && call.page == 1).collect();
            asked.sort_by(|a, b| a.start_date.cmp(&b.start_date));
            for pair in asked.windows(2) {
                assert!(pair[0].end_date <= pair[1].start_date, "{slice}: {:?} {:?}", pair[0], pair[1]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_rows_in_two_older_slices_are_replaced_by_the_merged_slice() {
    let world = world("1h").await;
    let (from, to) = ("2026-10-24T00:00:00Z", "2026-10-26T00:00:00Z");
    read(&world, from, to).await;
    // As left by versions whose slices met within the hour: each of the three has the rows of the whole hour.
    for report in REPORTS {
        for start in ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z"] {
            let statements = format!(
                "insert into lynn.{report}
                select (jsonb_populate_record(row, jsonb_build_object('_window_start', '{start}'::timestamptz))).*
                from lynn.{report} as row
                where _window_start = '2026-10-24T23:00:00Z';
                insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_run, rows_total)
                select connection, stream, '{start}', '{start}'::timestamptz + interval '1 h',
                    '{start}'::timestamptz + interval '1 h', finished_run, rows_total
                from tidegate.slice
                where stream = '{report}' and window_start = '2026-10-24T23:00:00Z'"
            );
            sqlx::raw_sql(AssertSqlSafe(statements)).execute(&world.database.pool()).await.unwrap();
        }
        let statement = format!(
            "update tidegate.slice
            set window_end = '2026-10-25T00:00:00Z', read_until = '2026-10-25T00:00:00Z'
            where stream = '{report}' and window_start = '2026-10-24T23:00:00Z'"
        );
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&world.database.pool()).await.unwrap();
        assert!(world.rows(report).await.len() > world.truth(report, at(from), at(to)).len(), "{report}");
    }
    read(&world, from, to).await;
    for report in REPORTS {
        world.assert_truth(report, at(from), at(to)).await;
    }
    let slices =
        "select count(*) from tidegate.slice where window_start in ('2026-10-25T00:00:00Z', '2026-10-25T01:00:00Z')";
    assert_eq!(world.scalar::<i64>(slices).await, 0);
    let ends = "select count(*) from tidegate.slice
        where window_start = '2026-10-24T23:00:00Z' and window_end = '2026-10-25T02:00:00Z'";
    assert_eq!(world.scalar::<i64>(ends).await, 3);
    // The next reading changes nothing.
    let loaded = "select max(_loaded_at)::text from lynn.survey_result";
    let before: String = world.scalar(loaded).await;
    read(&world, from, to).await;
    assert_eq!(world.scalar::<String>(loaded).await, before);
}
