//! Releases of held slices.

use std::time::Duration;

use super::{BEARER, STREAM, request, world};
use crate::support::eventually;

#[tokio::test]
async fn p7_a_release_needs_the_name_of_the_stream() {
    let (world, port) = world().await;
    assert_eq!(port.get(&format!("{STREAM}/release")).await.status, 409, "nothing is held");
    sqlx::raw_sql(
        "insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
         values ('acme', 'navigation_marks', 'lynn', 'navigation_marks', '2026-01-01', 'UTC', '1d');
         insert into tidegate.slice
            (connection, stream, window_start, window_end, read_until, finished_at, held_since, held_reason,
             held_rows_there, held_rows_reported)
         values ('acme', 'navigation_marks', '2026-01-01', '2026-01-02', '2026-01-02', now(), now(), 'few rows', 1234, 5);
         insert into tidegate.run (job, connection, kind, state, started_at, finished_at)
         values ('lynn', 'acme', 'schedule', 'held', now(), now());
         insert into tidegate.task (run_id, stream, state, started_at, finished_at)
         select id, 'navigation_marks', 'held', now(), now() from tidegate.run;
         update tidegate.task set error = '1 slice is held: few rows', hint = 'run `tidegate held release lynn`';
         update tidegate.run set error = '1 slice is held: few rows', hint = 'run `tidegate held release lynn`';
         update tidegate.stream set last_error = '1 slice is held: few rows', last_error_at = now()",
    )
    .execute(&world.database.pool())
    .await
    .unwrap();
    let page = port.get(STREAM).await.body;
    assert!(page.contains("<code>tidegate held release lynn</code>"), "{page}");
    let run = format!("/runs/{}", world.scalar::<i64>("select id from tidegate.run").await);
    let offer = format!("{STREAM}/release\">Release navigation_marks…</a>");
    let page = port.get(&run).await.body;
    assert!(page.contains(&offer), "the page of the held run leads there: {page}");
    let page = port.get(&format!("{STREAM}/release")).await.body;
    assert!(page.contains("<td>1,234</td><td>5</td>") && page.contains("few rows"), "{page}");
    for name in ["", "name=navigation_mark", "name=NAVIGATION_MARKS"] {
        let refused = port.act(&format!("{STREAM}/release"), name).await;
        assert_eq!(refused.status, 422, "{name}: {}", refused.body);
        assert!(!world.scalar::<bool>("select released from tidegate.slice").await);
    }
    assert_eq!(port.act(&format!("{STREAM}/release"), "name=navigation_marks").await.place(), STREAM);
    assert!(world.scalar::<bool>("select released from tidegate.slice").await);
    // Until the next reading, the page says who released it and what follows.
    let page = port.get(STREAM).await.body;
    assert!(page.contains("1 of 1 held slice released by operator from 127.0.0.1, <time"), "{page}");
    assert!(page.contains("The next reading deletes the rows of it") && !page.contains("/release\""), "{page}");
    let asks = page.contains("waits for a decision") || page.contains("<code>tidegate held release");
    assert!(!asks, "nothing asks for what was done: {page}");
    let document = port.send("GET", &format!("/api/v1{STREAM}"), BEARER, "").await.json();
    assert_eq!(document["release"]["slices"], 1, "{document}");
    assert_eq!(document["release"]["by"], "operator from 127.0.0.1");
    let kept = Duration::from_secs(20);
    eventually(kept, async || (!port.get(&run).await.body.contains("/release\"")).then_some(())).await;
    let page = port.get(&run).await.body;
    assert!(page.contains("1 slice is held") && !page.contains("tidegate held release"), "{page}");
    let again = port.get(&format!("{STREAM}/release")).await;
    assert!(again.status == 409 && again.body.contains("is released already"), "{}", again.body);
    let again = port.post(&format!("{STREAM}/release"), &format!("{}&name=navigation_marks", request(9))).await;
    assert_eq!(again.status, 409, "{}", again.body);
    let by: String = world.scalar("select released_by from tidegate.slice").await;
    assert_eq!(by, "operator from 127.0.0.1");
}

#[tokio::test]
async fn the_overview_offers_the_release_of_a_held_slice_during_a_pause() {
    let (world, port) = world().await;
    let (pool, config) = (world.database.pool(), world.config());
    sqlx::raw_sql(
        "insert into tidegate.stream
            (connection, stream, table_schema, table_name, anchor, timezone, slice, jobs, active_jobs)
         values ('acme', 'navigation_marks', 'lynn', 'navigation_marks', '2026-01-01', 'UTC', '1d', '{lynn}', '{lynn}');
         insert into tidegate.slice
            (connection, stream, window_start, window_end, read_until, finished_at, held_since, held_reason,
             held_rows_there, held_rows_reported)
         values ('acme', 'navigation_marks', '2026-01-01', '2026-01-02', '2026-01-02', now(), now(), 'few rows', 1234, 5)",
    )
    .execute(&pool)
    .await
    .unwrap();
    let notifier = crate::notify::notifier(crate::notify::quick());
    assert!(notifier.check(&pool, &config).await.unwrap());
    let until = (chrono::Utc::now() + chrono::TimeDelta::days(1)).format("%Y-%m-%dT%H:%M").to_string();
    let paused = port.act("/system/pause", &format!("until={until}&reason=maintenance")).await;
    assert_eq!(paused.status, 303, "{}", paused.body);
    for _ in 0..2 {
        assert!(notifier.check(&pool, &config).await.unwrap());
    }
    let page = port.get("/").await.body;
    assert!(page.contains("1 thing needs you") && page.contains(&format!("{STREAM}/release\"")), "{page}");
    assert_eq!(port.act(&format!("{STREAM}/release"), "name=navigation_marks").await.place(), STREAM);
    let page = port.get("/").await.body;
    assert!(page.contains("<h1>Nothing needs you</h1>") && !page.contains("/release\""), "before any check: {page}");
    for page in ["/problems", "/system"] {
        let page = port.get(page).await.body;
        assert!(!page.contains("/release\"") && page.contains("0 problems need you"), "{page}");
    }
    let open = "select count(*) from tidegate.problem where kind = 'held' and closed_at is null";
    assert_eq!(world.scalar::<i64>(open).await, 1);
    for _ in 0..2 {
        assert!(notifier.check(&pool, &config).await.unwrap());
    }
    assert_eq!(world.scalar::<i64>(open).await, 0, "two checks end it");
}
