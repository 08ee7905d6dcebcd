//! A checkpoint keeps everything or nothing.

use tidegate::load::LoadError;
use tidegate::load::transaction::{PageEnd, PageLoad};
use tidegate::store::{cursor, reading, run};

use super::plant::{CONNECTION, LEASE, Plant, numbered, whole};

/// Everything that a page changes, as text.
async fn state(plant: &Plant) -> String {
    let table = plant.table();
    let parts = [
        format!("select coalesce(jsonb_agg(t order by t::text), '[]')::text from {table} as t"),
        "select coalesce(jsonb_agg(t order by t::text), '[]')::text from tidegate.slice as t".to_owned(),
        "select coalesce(jsonb_agg(t order by t::text), '[]')::text from tidegate.seen_row as t".to_owned(),
        "select coalesce(jsonb_agg(t order by t::text), '[]')::text from tidegate.rejected_record as t".to_owned(),
        "select coalesce(jsonb_agg(t order by t::text), '[]')::text from tidegate.task as t".to_owned(),
        "select coalesce(jsonb_agg(jsonb_build_array(page_bytes, slice_bytes)), '[]')::text from tidegate.stream"
            .to_owned(),
    ];
    let mut state = String::new();
    for sql in parts {
        let part: String = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&plant.pool).await.unwrap();
        state.push_str(&part);
        state.push('\n');
    }
    state
}

/// Reads a slice of two pages; `break_in` takes it away from this worker before the second is committed.
async fn interrupted(break_in: impl AsyncFnOnce(&Plant, &run::Claim)) -> (LoadError, bool) {
    let plant = Plant::new().await;
    plant.read(whole(0), &[numbered([1, 2, 3])]).await;
    let claim = plant.claim().await;
    let mut reader = plant.reader(&claim, whole(0)).await;
    let mut first = numbered([1, 2]);
    first.push("[]".to_owned());
    reader.page(&first, Some("second")).await.unwrap();
    let second = [r#"{"n":4}"#, r#"{"n":1}"#, "[1]"];
    let chunks = reader.write(&second);
    let mut connection = reader.loader.pool.acquire().await.unwrap();
    let mut page = PageLoad::begin(&mut reader.loader, &mut connection, &chunks[0].layout, usize::MAX).await.unwrap();
    for chunk in chunks {
        page.copy(chunk, &reader.reading).await.unwrap();
    }
    break_in(&plant, &claim).await;
    let before = state(&plant).await;
    let end = PageEnd { next: None, bytes: 100 };
    let error = page.checkpoint(end, &mut reader.reading).await.unwrap_err();
    (error, state(&plant).await == before)
}

#[tokio::test]
async fn p1_a_run_that_was_taken_over_keeps_nothing() {
    let (error, kept_nothing) = interrupted(async |plant, claim| {
        sqlx::query("update tidegate.run set lease_until = now() - interval '1 s'").execute(&plant.pool).await.unwrap();
        assert!(plant.take(claim.id).await.fence > claim.fence);
    })
    .await;
    assert!(matches!(error, LoadError::Fenced), "{error}");
    assert!(kept_nothing);
}

#[tokio::test]
async fn p1_a_run_that_was_ended_keeps_nothing() {
    let (error, kept_nothing) = interrupted(async |plant, _| {
        sqlx::query("update tidegate.run set state = 'cancelled'").execute(&plant.pool).await.unwrap();
    })
    .await;
    assert!(matches!(error, LoadError::Fenced), "{error}");
    assert!(kept_nothing);
}

#[tokio::test]
async fn p1_a_stream_that_another_run_holds_keeps_nothing() {
    let (error, kept_nothing) = interrupted(async |plant, _| {
        plant.claim().await;
    })
    .await;
    assert!(matches!(error, LoadError::Fenced), "{error}");
    assert!(kept_nothing);
}

#[tokio::test]
async fn p1_a_slice_that_another_worker_moved_keeps_nothing() {
    for how in ["restarted", "advanced", "gone"] {
        let (error, kept_nothing) = interrupted(async |plant, _| {
            let slice = plant.slice(whole(0)).await;
            let mut session = plant.pool.acquire().await.unwrap();
            match how {
                "restarted" => reading::restart(&mut session, slice.id).await.unwrap(),
                "gone" => {
                    cursor::reset(&mut session, CONNECTION, &plant.stream.name, None).await.unwrap();
                }
                _ => {
                    sqlx::query("update tidegate.slice set reading_pages = 2").execute(&mut *session).await.unwrap();
                }
            }
        })
        .await;
        // The rows that were seen were deleted with the slice.
        let told = if how == "advanced" { "moved by another worker" } else { "rows that were seen is lost" };
        assert!(error.to_string().contains(told), "{how}: {error}");
        assert!(kept_nothing, "{how}");
    }
}

#[tokio::test]
async fn p1_a_crash_of_postgres_between_two_pages_deletes_no_rows() {
    let (error, kept_nothing) = interrupted(async |plant, _| {
        // Crash recovery empties an unlogged table.
        sqlx::query("truncate tidegate.seen_row").execute(&plant.pool).await.unwrap();
    })
    .await;
    assert!(matches!(error, LoadError::SeenLost), "{error}");
    assert!(kept_nothing);
}

#[tokio::test]
async fn p1_a_page_that_is_dropped_leaves_nothing() {
    let plant = Plant::new().await;
    plant.read(whole(0), &[numbered([1, 2, 3])]).await;
    let claim = plant.claim().await;
    let mut reader = plant.reader(&claim, whole(0)).await;
    let before = state(&plant).await;
    let chunks = reader.write(&[r#"{"n":1}"#, "[]"]);
    let mut connection = reader.loader.pool.acquire().await.unwrap();
    let mut page = PageLoad::begin(&mut reader.loader, &mut connection, &chunks[0].layout, usize::MAX).await.unwrap();
    for chunk in chunks {
        page.copy(chunk, &reader.reading).await.unwrap();
    }
    drop(page);
    assert_eq!(state(&plant).await, before);
    // The loader can be used again.
    reader.page(&numbered([3]), None).await.unwrap();
    assert_eq!(plant.rows(whole(0)).await.len(), 1);
}

#[tokio::test]
async fn p1_a_reading_resumes_at_its_cursor() {
    let plant = Plant::new().await;
    for fresh in [true, false] {
        let claim = plant.claim().await;
        let mut reader = plant.reader(&claim, whole(0)).await;
        assert_eq!(reader.reading.fresh, fresh);
        reader.page(&numbered([1, 1]), Some("second")).await.unwrap();
        // Like another process, which only has the state in the database.
        let second = plant.claim().await;
        let mut reader = plant.resumed(&second, whole(0)).await;
        let slice = &reader.reading.slice;
        assert_eq!((slice.position.cursor.as_deref(), slice.position.pages), (Some("second"), 1));
        assert_eq!((slice.position.run, slice.position.until), (Some(claim.id), Some(whole(0).end)));
        assert_eq!(slice.position.fresh, fresh);
        assert!(reader.loader.seen_is_whole(slice).await.unwrap());
        reader.page(&numbered([1, 2]), None).await.unwrap();
        let slice = plant.slice(whole(0)).await;
        assert_eq!((slice.position.cursor, slice.position.pages, slice.position.run), (None, 0, None));
        assert_eq!((slice.read_until, slice.finished_run), (Some(whole(0).end), Some(second.id)));
        let rows = plant.rows(whole(0)).await;
        assert_eq!(rows.iter().map(|row| row["n"].as_str()).collect::<Vec<_>>(), ["1", "1", "1", "2"]);
    }
}

#[tokio::test]
async fn p1_the_loss_of_seen_rows_in_a_crash_of_postgres_is_detected() {
    let plant = Plant::new().await;
    plant.read(whole(0), &[numbered([1, 2, 3])]).await;
    let claim = plant.claim().await;
    let mut reader = plant.reader(&claim, whole(0)).await;
    reader.page(&numbered([1]), Some("second")).await.unwrap();
    assert!(reader.loader.seen_is_whole(&reader.reading.slice).await.unwrap());
    // Crash recovery empties an unlogged table.
    sqlx::query("truncate tidegate.seen_row").execute(&plant.pool).await.unwrap();
    let mut reader = plant.resumed(&claim, whole(0)).await;
    assert!(!reader.loader.seen_is_whole(&reader.reading.slice).await.unwrap());
    reader.loader.begin_reading(&mut reader.reading).await.unwrap();
    reader.pages(&[numbered([1]), numbered([3])]).await;
    assert_eq!(plant.rows(whole(0)).await.len(), 2);
}

#[tokio::test]
async fn p1_a_worker_that_lost_the_stream_cannot_begin_a_reading() {
    let plant = Plant::new().await;
    let lost = plant.claim().await;
    let mut zombie = plant.reader(&lost, whole(0)).await;
    let claim = plant.claim().await;
    let mut reader = plant.reader(&claim, whole(0)).await;
    reader.page(&numbered([1]), Some("second")).await.unwrap();
    let error = zombie.loader.begin_reading(&mut zombie.reading).await.unwrap_err();
    assert!(matches!(error, LoadError::Fenced));
    assert_eq!(plant.slice(whole(0)).await.position.pages, 1);
    reader.page(&numbered([2]), None).await.unwrap();
}

#[tokio::test]
async fn p1_a_worker_whose_run_was_taken_over_cannot_hold_the_stream() {
    let plant = Plant::new().await;
    let old = plant.claim().await;
    sqlx::query("update tidegate.run set lease_until = now() - interval '1 s'").execute(&plant.pool).await.unwrap();
    let new = plant.take(old.id).await;
    assert!(new.taken_over);
    assert!(run::hold_stream(&plant.pool, &new, &plant.stream.name).await.unwrap());
    assert!(!run::hold_stream(&plant.pool, &old, &plant.stream.name).await.unwrap());
    assert!(run::pass_fence(&plant.pool, &new, &plant.stream.name, LEASE).await.unwrap());
    assert!(!run::pass_fence(&plant.pool, &old, &plant.stream.name, LEASE).await.unwrap());
}

#[tokio::test]
async fn p1_statistics_cover_the_committed_pages() {
    let plant = Plant::new().await;
    plant.read(whole(0), &[numbered([1, 2]), numbered([3]), vec!["[]".to_owned()]]).await;
    let task: (i32, i64, i64, i64, i64) =
        sqlx::query_as("select slices_done, pages, rows_read, rows_inserted, records_rejected from tidegate.task")
            .fetch_one(&plant.pool)
            .await
            .unwrap();
    assert_eq!(task, (1, 3, 4, 3, 1));
    let traffic: (i64, i64) =
        sqlx::query_as("select page_bytes, slice_bytes from tidegate.stream").fetch_one(&plant.pool).await.unwrap();
    assert_eq!(traffic, (100, 300));
}
