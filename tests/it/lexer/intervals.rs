//! Reports by hour, and days of a zone across a clock change.

use chrono::{NaiveDate, NaiveDateTime, Offset as _};
use chrono_tz::Tz;

use super::*;

const STREAMS: &str = "[states_volume, response_volume, case_volume]";

async fn sums(world: &World, condition: &str) -> BTreeMap<(String, DateTime<Utc>), i64> {
    let query = format!(
        "select state, interval_start, sum(value)::bigint from lexer.states_volume where {condition} group by 1, 2"
    );
    let rows: Vec<(String, DateTime<Utc>, i64)> =
        sqlx::query_as(AssertSqlSafe(query)).fetch_all(&world.database.pool()).await.unwrap();
    rows.into_iter().map(|(state, at, value)| ((state, at), value)).collect()
}

/// Messages by state and hour of an offset.
fn hourly(
    world: &World,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    minutes: i64,
) -> BTreeMap<(String, DateTime<Utc>), i64> {
    let mut counts = BTreeMap::new();
    for row in lexer(world).data().rows(SLA, from, to + TimeDelta::hours(1)).unwrap() {
        let at = row["Customer Publish Date (UTC)"].as_str().unwrap();
        let at = NaiveDateTime::parse_from_str(at, "%Y-%m-%d %H:%M:%S").unwrap().and_utc();
        let into = (at.timestamp() + minutes * 60).rem_euclid(3600);
        let hour = at - TimeDelta::seconds(into);
        if hour >= from && hour < to {
            *counts.entry((row["State"].as_str().unwrap().to_owned(), hour)).or_default() += 1;
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_hours_add_up_to_the_messages_and_each_belongs_to_one_slice() {
    // A zone with an offset of half an hour: hours cross the ends of slices.
    for (offset, minutes, slice) in [("+00:00", 0, "1d"), ("+05:30", 330, "3d")] {
        let connection = ["intervals: hour".to_owned(), format!("utc_offset: \"{offset}\"")];
        let connection: Vec<&str> = connection.iter().map(String::as_str).collect();
        let slice = format!("slice: {slice}");
        let world = world(options(), STREAMS, 6, &connection, &[&slice, "lookback: 0s"]).await;
        world.sync_ok().await;
        let lengths: Vec<String> = sqlx::query_scalar("select distinct granularity from lexer.states_volume union select granularity from lexer.response_volume union select granularity from lexer.case_volume")
            .fetch_all(&world.database.pool())
            .await
            .unwrap();
        assert_eq!(lengths, ["hour"], "{offset}");
        let read = slices(&world, "states_volume").await;
        let (from, to) = (read[0].0, ago(1));
        assert!(read.len() >= 2);
        let found = sums(&world, &format!("interval_start < '{to}'")).await;
        let truth = hourly(&world, from, to, minutes);
        assert!(truth.len() > 80);
        assert_eq!(found, truth, "{offset}");
        let twice: i64 = world
            .scalar("select count(*) from (select from lexer.states_volume group by state, interval_start having count(*) > 1) as twice")
            .await;
        assert_eq!(twice, 0, "{offset}");
        let cases: i64 = world
            .scalar(&format!(
                "select count(distinct interval_start) from lexer.case_volume where interval_start < '{to}'"
            ))
            .await;
        assert_eq!(cases, (to - from).num_hours(), "{offset}: every hour has its level");
        for call in world.control().stats().reports.iter().filter(|call| call.report == "states_volume") {
            let moment = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
            assert!(moment(&call.end_date) - moment(&call.start_date) < TimeDelta::days(3), "{call:?}");
        }
        assert_well_behaved(&world);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_are_returned_instead_of_hours_are_recognised() {
    use simulator::{Action, Match};
    let world = world(options(), "[case_volume]", 1, &["intervals: hour"], &["lookback: 0s", "slice: 1d"]).await;
    let day = |days: i64| ago(days).format("%Y-%m-%d 00:00").to_string();
    let element = |days: i64| serde_json::json!({ "value": days, "date_range": { "date_from": day(days) } });
    let body = serde_json::json!({ "open": [element(2), element(1)] }).to_string();
    world.control().next(Match::report("case_volume"), Action::Json { status: 200, body });
    world.sync_ok().await;
    let days: Vec<(String, f64)> = sqlx::query_as(AssertSqlSafe(format!(
        "select granularity, value::float8 from lexer.case_volume where interval_start < '{}'",
        ago(0)
    )))
    .fetch_all(&world.database.pool())
    .await
    .unwrap();
    assert_eq!(days, [("day".to_owned(), 1.0)]);
}

/// The last day before this week on which the zone's clock changed, and some time before it.
fn last_change(zone: Tz) -> NaiveDate {
    let offset = |days: i64| ago(days).with_timezone(&zone).offset().fix();
    let days = (8..400).find(|days| offset(*days) != offset(*days - 1)).unwrap();
    ago(days).date_naive()
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_each_day_of_a_zone_belongs_to_one_slice_across_a_clock_change() {
    let zone = chrono_tz::Europe::Berlin;
    let change = last_change(zone);
    let days = (ago(0).date_naive() - change).num_days() + 9;
    let job = ["lookback: 0s", "timezone: Europe/Berlin"];
    let streams = "[states_volume, case_volume, nps_volume]";
    let world = world(options(), streams, days, &["utc_offset: Europe/Berlin", "forms: [502]"], &job).await;
    world.sync_ok().await;
    for (table, label) in [("states_volume", "interval_label"), ("case_volume", "interval_label")] {
        let twice: i64 = world
            .scalar(&format!(
                "select count(*) from (
                    select {label} from lexer.{table} group by {label} having count(distinct _window_start) > 1
                ) as twice"
            ))
            .await;
        assert_eq!(twice, 0, "{table}: a day of two slices");
    }
    let dates: Vec<String> =
        sqlx::query_scalar("select distinct left(interval_label, 10) from lexer.case_volume order by 1")
            .fetch_all(&world.database.pool())
            .await
            .unwrap();
    let first = ago(days).date_naive();
    let wanted: Vec<String> = first.iter_days().take(dates.len()).map(|date| date.to_string()).collect();
    assert_eq!(dates, wanted, "no day is missing");
    assert!(i64::try_from(dates.len()).unwrap() >= days, "{}", dates.len());
    let surveys: i64 = world.scalar("select count(*) - count(distinct (\"timestamp\" at time zone 'Europe/Berlin' + interval '3 hours')::date) from lexer.nps_volume").await;
    assert_eq!(surveys, 0, "a day of two slices");
    let offsets: Vec<String> = sqlx::query_scalar("select distinct utc_offset from lexer.case_volume order by 1")
        .fetch_all(&world.database.pool())
        .await
        .unwrap();
    assert_eq!(offsets, ["+01:00", "+02:00"]);
    let wrong: i64 = world
        .scalar(
            "select count(*) from lexer.case_volume where replace(utc_offset, ':00', '')::int
                <> extract(hour from (_window_start at time zone 'Europe/Berlin') - (_window_start at time zone 'UTC'))::int",
        )
        .await;
    assert_eq!(wrong, 0, "each slice has the offset of its start");
    assert_well_behaved(&world);
}
