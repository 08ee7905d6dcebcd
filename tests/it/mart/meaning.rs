//! What the figures of the views mean.

use super::{Mart, natural};

async fn filled() -> Mart {
    let mart = Mart::new().await;
    mart.add_columns(natural).await;
    mart.refresh().await;
    mart
}

#[tokio::test]
async fn a_status_is_judged_by_the_vendors_word_and_a_closed_conversation_leaves_the_backlog() {
    let mart = filled().await;
    for (id, status, closed) in [
        ("closed", "Closed", "null"),
        ("spanish", " Cerrado ", "null"),
        ("reopened", "Reopened", "now() - interval '1 day'"),
        ("open", "Open", "null"),
        ("other", "In Quarantäne", "null"),
        ("ended", "In Quarantäne", "now() - interval '1 day'"),
        ("silent", "", "now() - interval '1 day'"),
    ] {
        mart.run(format!(
            "insert into khoros.conversation (_connection, conversation_id, _run_id, _loaded_at, status, created_time, closed_time)
            values ('acme', '{id}', 1, now(), '{status}', now() - interval '3 days', {closed})"
        ))
        .await;
    }
    mart.run(
        "insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
        values ('acme', 'conversation', 'khoros', 'conversation', current_date - 9, 'UTC', '1d')",
    )
    .await;
    let found =
        "select string_agg(conversation_id || ' ' || status, ', ' order by conversation_id) from mart.conversations";
    assert_eq!(
        mart.text(found).await.unwrap(),
        "closed closed, ended closed, open open, other unknown, reopened open, silent closed, spanish closed"
    );
    let today = "select string_agg(state || ' ' || open_count, ', ' order by state) from mart.backlog_days
        where day = (select max(day) from mart.calendar)";
    assert_eq!(mart.text(today).await.unwrap(), "open 2, unknown 1");
}

#[tokio::test]
async fn p11_a_held_slice_makes_only_its_own_totals_incomparable() {
    let mart = filled().await;
    for stream in ["summary", "mention_sla_export"] {
        mart.run(format!(
            "insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
            values ('acme', '{stream}', 'lexer', '{stream}', '2026-01-01', 'UTC', '1d');
            insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_at)
            select 'acme', '{stream}', day, day + interval '1 day', day + interval '1 day', day + interval '1 day'
            from generate_series(timestamptz '2026-01-01 00:00Z', '2026-01-03 00:00Z', '1 day') day"
        ))
        .await;
    }
    mart.run(
        "insert into lexer.summary (_connection, _window_start, window_end, _run_id, _loaded_at, total_volume)
        select 'acme', day, day + interval '1 day', 1, now(), 2
        from generate_series(timestamptz '2026-01-01 00:00Z', '2026-01-03 00:00Z', '1 day') day;
        insert into lexer.mention_sla_export (_connection, _window_start, _row_key, _run_id, _loaded_at)
        select 'acme', '2026-01-01 00:00Z', gen_random_uuid(), 1, now() from generate_series(1, 2);
        insert into lexer.mention_sla_export (_connection, _window_start, _row_key, _run_id, _loaded_at)
        values ('acme', '2026-01-03 00:00Z', gen_random_uuid(), 1, now());
        update tidegate.slice
        set held_since = now(), held_reason = 'r', held_rows_there = 1, held_rows_reported = 0
        where stream = 'mention_sla_export' and window_start = '2026-01-02 00:00Z'",
    )
    .await;
    let differences = "select string_agg(coalesce(difference::text, 'incomparable'), ', ' order by bucket_start)
        from mart.reconciliation where metric = 'mentions'";
    assert_eq!(mart.text(differences).await.unwrap(), "0, incomparable, -1");
}

#[tokio::test]
async fn p5_a_duration_that_overflows_in_seconds_is_null() {
    let mut mart = filled().await;
    mart.run("alter table khoros.conversation add column wait_hours double precision").await;
    mart.settings
        .columns
        .insert(("khoros.conversation".to_owned(), "first_response_seconds".to_owned()), "wait_hours".to_owned());
    mart.refresh().await;
    mart.run(
        "insert into khoros.conversation (_connection, conversation_id, _run_id, _loaded_at, wait_hours)
        values ('acme', 'a', 1, now(), 1e308), ('acme', 'b', 1, now(), 2)",
    )
    .await;
    let seconds = "select string_agg(coalesce(first_response_seconds::text, 'null'), ', ' order by conversation_id) from mart.conversations";
    assert_eq!(mart.text(seconds).await.unwrap(), "null, 7200");
}
