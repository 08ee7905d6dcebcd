//! Every list, report and file in its table.

use std::collections::BTreeMap;

use chrono::{FixedOffset, NaiveDateTime};
use serde_json::json;

use super::*;

/// The streams whose figures the vendor counts for exactly the requested window.
const WINDOWED: &[&str] = &["summary", "case_summary", "classifications", "case_classifications", "user_summary"];

fn utc() -> FixedOffset {
    FixedOffset::east_opt(0).unwrap()
}

/// What the vendor returns for a slice; the end is exclusive.
fn figures(world: &World, kind: &'static str, slice: (DateTime<Utc>, DateTime<Utc>), nps: Option<i64>) -> Value {
    let (from, to) = (slice.0.with_timezone(&utc()), (slice.1 - TimeDelta::seconds(1)).with_timezone(&utc()));
    lexer(world).figures(kind, from, to, nps.map(|form| (form, "all"))).unwrap()
}

fn as_rows(figures: Value) -> Vec<Map<String, Value>> {
    let rows = if figures.is_array() { figures.as_array().unwrap().clone() } else { vec![figures] };
    let row = |row: Value| row.as_object().unwrap().clone().into_iter().filter(|(_, value)| !value.is_null()).collect();
    rows.into_iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_first_run_loads_every_list_report_and_file() {
    let world = world(options(), "\"*\"", 9, &[], &["lookback: 0s"]).await;
    let tasks = world.sync_ok().await;
    assert_eq!(tasks.len(), 17);
    for stream in WINDOWED {
        let mut expected = Vec::new();
        for slice in slices(&world, stream).await {
            expected.extend(as_rows(figures(&world, stream, slice, None)));
        }
        for row in &mut expected {
            if *stream == "classifications" {
                row.insert("is_total".to_owned(), json!(row["state"] == "all_states"));
            }
        }
        let found = rows(&world, stream).await;
        assert!(found.iter().all(|row| row.contains_key("window_end")), "{stream}");
        assert!(!expected.is_empty());
        assert_eq!(canonical(found), canonical(expected), "{stream}");
    }
    lists_are_loaded(&world).await;
    states_are_counted(&world).await;
    responses_are_averaged(&world).await;
    cases_are_counted(&world).await;
    agents_are_unpivoted(&world).await;
    surveys_are_loaded(&world).await;
    for file in [SLA, "case_details"] {
        assert_file(&world, file).await;
    }
    assert_well_behaved(&world);
    let extra: i64 = world.scalar("select sum(values_extra)::bigint from tidegate.task").await;
    // The name of the form has no column; every other value has one.
    assert_eq!(extra, 0);
}

/// 1.0 and 1 are the same number.
fn canonical(rows: impl IntoIterator<Item = Map<String, Value>>) -> Vec<String> {
    let spelled = |value: Value| match value.as_f64() {
        Some(number) => number.to_string().into(),
        None => value,
    };
    let row = |row: Map<String, Value>| row.into_iter().map(|(name, value)| (name, spelled(value))).collect();
    texts(rows.into_iter().map(row))
}

async fn lists_are_loaded(world: &World) {
    for list in ["users", "groups", "forms"] {
        let expected = as_rows(json!(lexer(world).list(list))).into_iter().map(|mut row| {
            row.remove("groups");
            for (_, value) in &mut row {
                if let Some(text) = value.as_str().filter(|text| text.ends_with('Z') && text.len() == 20) {
                    *value = text.replace('Z', "+00:00").into();
                }
            }
            row
        });
        assert_eq!(canonical(rows(world, list).await), canonical(expected), "{list}");
    }
    for (list, table, id) in [("users", "user_groups", "user_id"), ("forms", "form_groups", "form_id")] {
        let links = lexer(world).list(list).into_iter().flat_map(|row| {
            let groups = row["groups"].as_array().unwrap().clone();
            groups
                .into_iter()
                .map(move |group| Map::from_iter([(id.to_owned(), row["id"].clone()), ("group_id".to_owned(), group)]))
        });
        assert_eq!(texts(rows(world, table).await), texts(links), "{table}");
    }
}

/// The messages of a range, each with the day on which it was written.
fn mentions(world: &World, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<(String, Map<String, Value>)> {
    let rows = lexer(world).data().rows(SLA, from, to).unwrap();
    let day = |row: &Map<String, Value>| row["Customer Publish Date (UTC)"].as_str().unwrap()[..10].to_owned();
    rows.into_iter().map(|row| (day(&row), row)).collect()
}

/// Only slices that are over: the content of an open slice changes every second.
async fn closed(world: &World, stream: &str) -> (DateTime<Utc>, DateTime<Utc>) {
    let slices = slices(world, stream).await;
    (slices[0].0, ago(0).min(slices.last().unwrap().1))
}

async fn intervals(world: &World, stream: &str, named: &str) -> BTreeMap<(String, String), Value> {
    let (from, to) = closed(world, stream).await;
    let found = rows(world, stream).await.into_iter().filter_map(|row| {
        let start: DateTime<Utc> = row["interval_start"].as_str().unwrap().parse().unwrap();
        assert_eq!((row["granularity"].as_str(), row["utc_offset"].as_str()), (Some("day"), Some("+00:00")));
        let label = NaiveDateTime::parse_from_str(row["interval_label"].as_str().unwrap(), "%Y-%m-%d %H:%M").unwrap();
        assert_eq!(label.and_utc(), start);
        assert!(start >= from, "a row of another slice");
        (start < to)
            .then(|| ((row[named].as_str().unwrap().to_owned(), start.date_naive().to_string()), row["value"].clone()))
    });
    found.collect()
}

async fn states_are_counted(world: &World) {
    let (from, to) = closed(world, "states_volume").await;
    let mut expected: BTreeMap<(String, String), u64> = BTreeMap::new();
    for (day, row) in mentions(world, from, to) {
        *expected.entry((row["State"].as_str().unwrap().to_owned(), day)).or_default() += 1;
    }
    let found = intervals(world, "states_volume", "state").await;
    let found: BTreeMap<_, u64> = found.into_iter().map(|(key, value)| (key, value.as_u64().unwrap())).collect();
    assert!(expected.len() > 40);
    assert_eq!(found, expected);
}

async fn responses_are_averaged(world: &World) {
    let (from, to) = closed(world, "response_volume").await;
    let mut waits: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (day, row) in mentions(world, from, to) {
        if let Ok(minutes) = row["Customer Wait Time (min)"].as_str().unwrap().parse::<f64>() {
            waits.entry(day).or_default().push(minutes * 60.0);
        }
    }
    let found = intervals(world, "response_volume", "metric").await;
    assert_eq!(found.len(), waits.len());
    for ((metric, day), value) in found {
        let waits = &waits[&day];
        let average = waits.iter().sum::<f64>() / f64::from(u32::try_from(waits.len()).unwrap());
        assert!(metric == "avg_response_time" && (value.as_f64().unwrap() - average).abs() < 0.001, "{day}");
    }
    let units: Vec<String> = sqlx::query_scalar("select distinct unit from lexer.response_volume")
        .fetch_all(&world.database.pool())
        .await
        .unwrap();
    assert_eq!(units, ["unknown"]);
}

async fn cases_are_counted(world: &World) {
    let (from, to) = closed(world, "case_volume").await;
    let found = intervals(world, "case_volume", "series").await;
    let cases = lexer(world).data().rows("case_details", from - TimeDelta::days(3), to).unwrap();
    let moment = |row: &Map<String, Value>, column: &str| {
        NaiveDateTime::parse_from_str(row[column].as_str().unwrap(), "%Y-%m-%d %H:%M:%S").unwrap().and_utc()
    };
    assert_eq!(i64::try_from(found.len()).unwrap(), (to - from).num_days());
    for ((_, day), value) in found {
        let day: DateTime<Utc> = format!("{day}T00:00:00Z").parse().unwrap();
        let active = |row: &&Map<String, Value>| {
            moment(row, "Opened (UTC)") < day + TimeDelta::days(1) && moment(row, "Closed (UTC)") >= day
        };
        assert_eq!(value.as_u64().unwrap(), cases.iter().filter(active).count() as u64, "{day}");
    }
}

async fn agents_are_unpivoted(world: &World) {
    let mut expected = Vec::new();
    for slice in slices(world, "user_volume").await {
        for agent in as_rows(figures(world, "user_volume", slice, None)) {
            for (state, count) in agent["states"].as_object().unwrap() {
                expected.push(Map::from_iter([
                    ("user_id".to_owned(), agent["user_id"].to_string().into()),
                    ("first_name".to_owned(), agent["first_name"].clone()),
                    ("last_name".to_owned(), agent["last_name"].clone()),
                    ("state".to_owned(), state.as_str().into()),
                    ("count".to_owned(), count.clone()),
                    ("is_total".to_owned(), state.starts_with("all_").into()),
                ]));
            }
        }
    }
    let mut found = rows(world, "user_volume").await;
    for row in &mut found {
        assert!(row.remove("extracted_at").is_some());
    }
    assert_eq!(texts(found), texts(expected));
    // The same text in all tables with agents, so that BI tools can join them.
    let unknown: i64 = world
        .scalar(
            "select count(*) from lexer.user_summary as s full join lexer.user_volume as v using (_connection, user_id)
            left join lexer.users as u on u.id::text = user_id where u.id is null",
        )
        .await;
    assert_eq!(unknown, 0);
}

async fn surveys_are_loaded(world: &World) {
    let surveys = [502, 503];
    let mut expected = Vec::new();
    for slice in slices(world, "nps_summary").await {
        for form in surveys {
            let mut row = as_rows(figures(world, "nps_summary", slice, Some(form))).remove(0);
            row.insert("form".to_owned(), form.into());
            row.insert("nps_category".to_owned(), "all".into());
            expected.push(row);
        }
    }
    assert_eq!(canonical(rows(world, "nps_summary").await), canonical(expected));

    let (from, to) = closed(world, "nps_volume").await;
    let mut days = 0;
    for row in rows(world, "nps_volume").await {
        let day: DateTime<Utc> = row["timestamp"].as_str().unwrap().parse().unwrap();
        assert_eq!(row["timestamp"], row["date"]);
        assert!(day >= from);
        if day < to {
            let wanted = figures(world, "nps_summary", (day, day + TimeDelta::days(1)), row["form"].as_i64());
            for (name, value) in wanted.as_object().unwrap() {
                assert_eq!(row[&format!("data_{name}")].as_f64(), value.as_f64(), "{day} {name}");
            }
            days += 1;
        }
    }
    assert_eq!(days, 2 * (to - from).num_days(), "every day of every slice, the first ones too");

    // Both forms in one table, each row with the form that was requested.
    let read = slices(world, "nps_submissions").await;
    let mut found = rows(world, "nps_submissions").await;
    for row in &mut found {
        let form_id = row.remove("form_id").unwrap();
        assert_eq!(Some(form_id.to_string().as_str()), row["form_id_2"].as_str());
        assert_eq!(row.remove("nps_category"), Some("all".into()));
        let theirs = row.remove("form_id_2").unwrap();
        row.insert("form_id".to_owned(), theirs);
    }
    assert_eq!(texts(found), file_truth(world, "nps_submissions", read[0].0, read.last().unwrap().1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_window_stays_daily_and_slices_do_not_overlap() {
    // Slices of one day, each of which alone would get a response with hours.
    let world =
        world(options(), "[states_volume, case_volume, nps_volume]", 3, &[], &["slice: 1d", "lookback: 0s"]).await;
    world.sync_ok().await;
    for (table, key) in
        [("states_volume", "interval_start"), ("case_volume", "interval_start"), ("nps_volume", "timestamp")]
    {
        let wrong: i64 = world
            .scalar(&format!(
                "select count(*) from lexer.{table}
                where not (\"{key}\" >= _window_start and \"{key}\" < _window_start + interval '1 day')"
            ))
            .await;
        let days: i64 = world.scalar(&format!("select count(distinct \"{key}\") from lexer.{table}")).await;
        // A day without a message has no states; the current day may have none yet.
        let read_until = slices(&world, table).await.last().unwrap().1;
        let is_empty = table == "states_volume" && lexer(&world).data().count(SLA, ago(0), read_until).unwrap() == 0;
        assert_eq!((wrong, days), (0, if is_empty { 3 } else { 4 }), "{table}");
    }
    let hours: i64 = world.scalar("select count(*) from lexer.states_volume where granularity <> 'day'").await;
    assert_eq!(hours, 0);
    for call in world.control().stats().reports {
        let moment = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        if call.report == "states_volume" {
            let range = moment(&call.end_date) - moment(&call.start_date);
            assert!(range >= TimeDelta::days(5) - TimeDelta::seconds(1), "{call:?}");
            assert!(call.start_date.ends_with("T00:00:00+00:00"), "{call:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn days_are_those_of_the_configured_offset() {
    let connection = ["utc_offset: \"+11:00\"", "response_volume_unit: seconds"];
    let world =
        world(options(), "[states_volume, nps_volume, response_volume]", 8, &connection, &["lookback: 0s"]).await;
    world.sync_ok().await;
    for (table, key) in [("states_volume", "interval_start"), ("nps_volume", "timestamp")] {
        let hours: Vec<f64> = sqlx::query_scalar(AssertSqlSafe(format!(
            "select distinct extract(hour from \"{key}\" at time zone 'UTC')::float8 from lexer.{table}"
        )))
        .fetch_all(&world.database.pool())
        .await
        .unwrap();
        assert_eq!(hours, [13.0], "{table}: local midnight");
    }
    let read = slices(&world, "states_volume").await;
    let total: i64 = world
        .scalar(&format!("select sum(value)::bigint from lexer.states_volume where interval_start < '{}'", ago(2)))
        .await;
    let from = read[0].0 + TimeDelta::hours(13);
    let truth = lexer(&world).data().count(SLA, from, ago(2) + TimeDelta::hours(13)).unwrap();
    assert_eq!(u64::try_from(total).unwrap(), truth, "whole local days from the first that begins in the slice");
    let unit: String = world.scalar("select distinct unit from lexer.response_volume").await;
    assert_eq!(unit, "seconds");
    assert!(
        world
            .control()
            .stats()
            .reports
            .iter()
            .all(|call| call.start_date.is_empty() || call.start_date.ends_with("+11:00"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn workflow_states_are_off_by_default_and_read_in_either_form() {
    let derived = plain("[workflow_states]", 1).await;
    derived.sync_ok().await;
    let named = world(options(), "[workflow_states]", 1, &["workflow_states_type: workflow_volume"], &[]).await;
    named.sync_ok().await;
    for (world, is_derived) in [(&derived, true), (&named, false)] {
        let flags: bool = world
            .scalar("select bool_and(derived = (derived and true)) and bool_and(derived) from lexer.workflow_states")
            .await;
        assert_eq!(flags, is_derived);
        for (start, end) in slices(world, "workflow_states").await {
            let sum: Option<i64> = world
                .scalar(&format!("select sum(volume)::bigint from lexer.workflow_states where _window_start = '{start}' and not is_total"))
                .await;
            let count = lexer(world).data().count(SLA, start, end).unwrap();
            assert_eq!(u64::try_from(sum.unwrap_or_default()).unwrap(), count);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_can_be_named_instead_of_found() {
    let connection = ["forms: [503]", "nps_category: promoters"];
    let world = world(options(), "[nps_summary, nps_submissions]", 1, &connection, &[]).await;
    world.sync_ok().await;
    assert_eq!(asked(&world).get("forms"), None);
    let forms: Vec<(i64, String)> = sqlx::query_as("select distinct form, nps_category from lexer.nps_summary")
        .fetch_all(&world.database.pool())
        .await
        .unwrap();
    assert_eq!(forms, [(503, "promoters".to_owned())]);
    let scores: Vec<String> = sqlx::query_scalar("select score from lexer.nps_submissions order by 1")
        .fetch_all(&world.database.pool())
        .await
        .unwrap();
    let read = slices(&world, "nps_submissions").await;
    let submitted = lexer(&world).data().rows("nps_submissions", read[0].0, read.last().unwrap().1).unwrap();
    let promoting = |row: &Map<String, Value>| row["Form ID"] == "503" && (row["Score"] == "9" || row["Score"] == "10");
    let mut promoters: Vec<&str> =
        submitted.iter().filter(|row| promoting(row)).map(|row| row["Score"].as_str().unwrap()).collect();
    promoters.sort_unstable();
    assert!(!promoters.is_empty() && promoters.len() < submitted.len());
    assert_eq!(scores, promoters);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_surveys_has_no_rows_and_no_fault() {
    let world = plain("[nps_summary, nps_volume, nps_submissions]", 1).await;
    lexer(&world).edit_list("forms", |forms| forms.iter_mut().for_each(|form| form["nps"] = false.into()));
    world.sync_ok().await;
    assert_eq!(asked(&world), BTreeMap::from([("forms".to_owned(), 1)]), "asked once for all slices");
}
