//! The summary of a stream is what its slices say, after whatever happened to them.

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::{FromRow, PgConnection, PgPool};
use tidegate::store::reading::{self, Hold, Position};
use tidegate::store::{cursor, held, stream};

use super::{STREAM, execute, finished, text};
use crate::support::random::seed;
use crate::support::{TestDatabase, at};

const CASES: u32 = 10;
const STEPS: u32 = 80;
const DAYS: i64 = 12;

#[derive(Debug, FromRow)]
struct Slice {
    connection: String,
    stream: String,
    window_start: DateTime<Utc>,
    window_end: DateTime<Utc>,
    read_until: Option<DateTime<Utc>>,
    is_read: bool,
    is_held: bool,
}

#[derive(Debug, FromRow)]
struct Stored {
    connection: String,
    stream: String,
    anchor: chrono::NaiveDate,
    wanted_from: Option<DateTime<Utc>>,
    #[sqlx(flatten)]
    summary: Summary,
}

#[derive(Debug, Clone, PartialEq, FromRow)]
struct Summary {
    covers_from: Option<DateTime<Utc>>,
    read_through: Option<DateTime<Utc>>,
    complete_until: Option<DateTime<Utc>>,
    newest_data_until: Option<DateTime<Utc>>,
    has_gap: bool,
    held_slices: i32,
}

/// Asserts that the summary of each stream is what its slices say. Grids are in UTC, or the streams have `wanted_from`.
pub async fn assert_summaries(pool: &PgPool) {
    let mut transaction = pool.begin().await.unwrap();
    assert_summaries_in(&mut transaction).await;
}

async fn assert_summaries_in(conn: &mut PgConnection) {
    let slices: Vec<Slice> = sqlx::query_as(
        "select connection, stream, window_start, window_end, read_until,
            coalesce(finished_at <= clock_timestamp(), false) as is_read, held_since is not null as is_held
        from tidegate.slice
        order by connection, stream, window_start",
    )
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    let streams: Vec<Stored> = sqlx::query_as(
        "select connection, stream, anchor, wanted_from, covers_from, read_through, complete_until, newest_data_until,
            has_gap, held_slices
        from tidegate.stream",
    )
    .fetch_all(conn)
    .await
    .unwrap();
    for stored in streams {
        let of_stream = |slice: &&Slice| slice.connection == stored.connection && slice.stream == stored.stream;
        let slices: Vec<&Slice> = slices.iter().filter(of_stream).collect();
        let wanted = stored.wanted_from.unwrap_or_else(|| stored.anchor.and_time(NaiveTime::MIN).and_utc());
        let said = summary(&slices, wanted, &stored.summary);
        assert_eq!(stored.summary, said, "{}/{}: {slices:#?}", stored.connection, stored.stream);
    }
}

/// What the slices of a stream say, recomputed from all of them.
fn summary(slices: &[&Slice], wanted: DateTime<Utc>, stored: &Summary) -> Summary {
    let held_slices = i32::try_from(slices.iter().filter(|slice| slice.is_held).count()).unwrap();
    if let Some(list) = slices.iter().find(|slice| slice.window_start == DateTime::UNIX_EPOCH) {
        // When the last reading that was not held began is stored in the summary only.
        let until = if list.is_held { stored.complete_until } else { list.read_until };
        let complete_until = until.filter(|_| list.is_read);
        return Summary {
            covers_from: None,
            read_through: None,
            complete_until,
            newest_data_until: complete_until,
            has_gap: false,
            held_slices,
        };
    }
    let reach = |slice: &Slice| slice.read_until.unwrap().min(slice.window_end);
    let read: Vec<&Slice> = slices.iter().copied().filter(|slice| slice.is_read).collect();
    // Parts without gaps, as start and end, each with its first slice and those that follow.
    let mut parts: Vec<Vec<&Slice>> = Vec::new();
    for slice in &read {
        match parts.last_mut() {
            Some(part) if part.last().is_some_and(|last| reach(last) == slice.window_start) => part.push(slice),
            _ => parts.push(vec![slice]),
        }
    }
    let covers = |slice: &&&Slice| slice.window_start <= wanted && wanted < slice.window_end;
    let after = |slice: &&&Slice| slice.window_start > wanted;
    let chosen = read.iter().find(covers).or_else(|| read.iter().find(after)).or(read.last());
    let part = chosen.and_then(|chosen| {
        parts.iter().find(|part| part.iter().any(|slice| slice.window_start == chosen.window_start))
    });
    let covers_from = part.and_then(|part| part.first()).map(|slice| slice.window_start);
    let read_through = part.and_then(|part| part.last()).map(|slice| reach(slice));
    let held_from = slices.iter().filter(|slice| slice.is_held && Some(slice.window_start) >= covers_from);
    let held_from = held_from.map(|slice| slice.window_start).min();
    Summary {
        covers_from,
        read_through,
        complete_until: read_through.map(|through| held_from.map_or(through, |held| held.min(through))),
        newest_data_until: read.iter().rev().find(|slice| !slice.is_held).map(|slice| reach(slice)),
        has_gap: covers_from.is_some_and(|from| from > wanted) || read.last().map(|slice| reach(slice)) > read_through,
        held_slices,
    }
}

/// Midnight of a day of January 2026.
fn day(number: i64) -> DateTime<Utc> {
    at("2026-01-01T00:00:00Z") + TimeDelta::days(number - 1)
}

/// Ends the reading of a slice of one page.
async fn finish(conn: &mut PgConnection, window: (DateTime<Utc>, DateTime<Utc>), until: DateTime<Utc>, is_held: bool) {
    let slice = cursor::open_slice(conn, "acme", "marks", window).await.unwrap();
    let position = Position { until: Some(until), pages: 1, rows: 3, ..Position::default() };
    let hold = Hold {
        reason: "the vendor reported none of 100 rows".to_owned(),
        rows_there: 100,
        rows_reported: 0,
        records_rejected: 0,
        had_rows: true,
    };
    let hold = is_held.then_some(&hold);
    assert!(reading::finish(&mut *conn, slice.id, 7, &position, hold, slice.released).await.unwrap());
}

/// One thing that may happen to the slices of a stream.
async fn step(conn: &mut PgConnection, dice: &mut StdRng) {
    let number = dice.random_range(-2..DAYS);
    // Slices of a grid do not overlap: a day of a longer slice stands for the slice.
    let longer = "select window_start, window_end from tidegate.slice where window_start <= $1 and window_end > $1";
    let window = sqlx::query_as(longer).bind(day(number)).fetch_optional(&mut *conn).await.unwrap();
    let window: (DateTime<Utc>, DateTime<Utc>) = window.unwrap_or_else(|| (day(number), day(number + 1)));
    match dice.random_range(0..12) {
        0..=3 => finish(conn, window, window.1, false).await,
        4 => {
            let until = window.0 + TimeDelta::hours(dice.random_range(1..24));
            finish(conn, window, until, dice.random_bool(0.2)).await;
        }
        5 => finish(conn, window, window.1, true).await,
        6 => {
            held::release(&mut *conn, "acme", "marks", (Some(window.0), None), "command").await.unwrap();
        }
        7 if dice.random_bool(0.3) => {
            cursor::reset(conn, "acme", "marks", Some(day(number))).await.map(drop).unwrap();
        }
        8 if dice.random_bool(0.3) => {
            // It becomes a day longer.
            let longer = (window.0, window.1 + TimeDelta::days(1));
            cursor::open_slice(conn, "acme", "marks", longer).await.map(drop).unwrap();
        }
        9 => {
            finish(conn, window, window.1, false).await;
            // The clock was a day ahead.
            let ahead =
                "update tidegate.slice set finished_at = clock_timestamp() + interval '1 day' where window_start = $1";
            sqlx::query(ahead).bind(window.0).execute(&mut *conn).await.unwrap();
        }
        10 => {
            let wanted = "update tidegate.stream set wanted_from = $1 where stream = 'marks'";
            let from = [None, Some(day(0)), Some(day(1)), Some(day(4) + TimeDelta::hours(3))];
            sqlx::query(wanted).bind(from.choose(dice).unwrap()).execute(&mut *conn).await.unwrap();
        }
        // Begun and not finished.
        _ => cursor::open_slice(conn, "acme", "marks", window).await.map(drop).unwrap(),
    }
}

#[tokio::test]
async fn p11_the_summary_of_a_stream_is_what_its_slices_say_after_whatever_happened() {
    let database = TestDatabase::create().await;
    let mut dice = StdRng::seed_from_u64(seed());
    let mut conn = database.connect().await;
    execute(&database.pool(), STREAM).await;
    for _ in 0..CASES {
        cursor::reset(&mut conn, "acme", "marks", None).await.unwrap();
        assert_summaries_in(&mut conn).await;
        for _ in 0..STEPS {
            step(&mut conn, &mut dice).await;
            assert_summaries_in(&mut conn).await;
        }
    }
}

#[tokio::test]
async fn p11_complete_until_ends_at_a_gap_and_at_a_held_slice() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    execute(&pool, STREAM).await;
    let status = "select (covers_from at time zone 'UTC')::date || ' ' || (complete_until at time zone 'UTC')::date
        || ' ' || (newest_data_until at time zone 'UTC')::date || ' ' || has_gap || ' ' || held_slices from mart.data_status";
    assert_eq!(text(&pool, status).await, None, "nothing was read");
    execute(&pool, finished(1, 4)).await;
    assert_eq!(text(&pool, status).await.unwrap(), "2026-01-01 2026-01-05 2026-01-05 false 0");
    execute(&pool, finished(7, 9)).await;
    assert_eq!(text(&pool, status).await.unwrap(), "2026-01-01 2026-01-05 2026-01-10 true 0");
    let hold = "update tidegate.slice
        set held_since = now(), held_reason = 'r', held_rows_there = 9, held_rows_reported = 1
        where window_start = '2026-01-03 00:00Z'";
    execute(&pool, hold).await;
    assert_eq!(text(&pool, status).await.unwrap(), "2026-01-01 2026-01-03 2026-01-10 true 1");
    execute(&pool, finished(5, 6)).await;
    assert_eq!(text(&pool, status).await.unwrap(), "2026-01-01 2026-01-03 2026-01-10 false 1");
    let over = "update tidegate.slice
        set held_since = null, held_reason = null, held_rows_there = null, held_rows_reported = null";
    execute(&pool, over).await;
    assert_eq!(text(&pool, status).await.unwrap(), "2026-01-01 2026-01-10 2026-01-10 false 0");
    // A past range that was read before the first day is not part of what the job asks for.
    let past = finished(1, 2).replace("2026-01", "2025-03");
    execute(&pool, past).await;
    assert_eq!(text(&pool, status).await.unwrap(), "2026-01-01 2026-01-10 2026-01-10 false 0");
}

#[tokio::test]
async fn p11_a_list_is_complete_until_its_last_reading_that_was_not_held_began() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    let mut conn = database.connect().await;
    execute(&pool, STREAM).await;
    let window = tidegate::worker::grid::list_window();
    let until = "select (complete_until at time zone 'UTC')::date || ' ' || held_slices from mart.data_status where covers_from is null";
    for (began, is_held, expected) in [
        (day(3), true, None),
        (day(4), false, Some("2026-01-04 0")),
        (day(5), true, Some("2026-01-04 1")),
        (day(6), false, Some("2026-01-06 0")),
    ] {
        finish(&mut conn, (window.start, window.end), began, is_held).await;
        assert_eq!(text(&pool, until).await.as_deref(), expected);
        assert_summaries(&pool).await;
    }
    cursor::reset(&mut conn, "acme", "marks", None).await.unwrap();
    assert_eq!(text(&pool, until).await, None);
}

#[tokio::test]
async fn p11_what_was_read_in_the_future_is_not_complete_when_the_clock_is_right_again() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    execute(&pool, STREAM).await;
    execute(&pool, finished(1, 4)).await;
    // As left by a clock that was ahead when the summary was written.
    execute(
        &pool,
        "alter table tidegate.slice disable trigger slice_changed;
        update tidegate.slice set finished_at = clock_timestamp() + interval '1 day' where window_start >= '2026-01-03 00:00Z';
        alter table tidegate.slice enable trigger slice_changed;
        update tidegate.stream set last_finish_at = clock_timestamp() + interval '1 day', last_success_at = now()",
    )
    .await;
    let status = "select state || ' ' || coalesce((complete_until at time zone 'UTC')::date::text, 'unknown')
        || ' ' || (newest_data_until at time zone 'UTC')::date from mart.data_status";
    assert_eq!(text(&pool, status).await.unwrap(), "pending unknown 2026-01-05");
    stream::forget_future(&mut database.connect().await).await.unwrap();
    assert_eq!(text(&pool, status).await.unwrap(), "on time 2026-01-03 2026-01-03");
    assert_summaries(&pool).await;
    let days = "select string_agg(state, ' ' order by day) from mart.day_status where day < '2026-01-05'";
    assert_eq!(text(&pool, days).await.unwrap(), "complete complete missing missing");
}
