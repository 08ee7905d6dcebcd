//! Times that cannot be right: the row stays, and no figure follows from the time.

use super::{Mart, filled};

#[tokio::test]
async fn an_end_long_after_its_row_was_loaded_closes_no_conversation() {
    let mart = filled().await;
    mart.run(
        "insert into khoros.conversation (_connection, conversation_id, _run_id, _loaded_at, status, created_time, closed_time)
        select 'acme', id, 1, now() - loaded, '', now() - interval '3 days', now() + closed
        from (values
            ('typo', interval '0', interval '400 days'),
            ('ago', interval '2 days', interval '-12 hours'),
            ('zone', interval '0', interval '10 hours'),
            ('closed', interval '0', interval '-1 day')
        ) as c (id, loaded, closed);
        insert into lexer.case_details (_connection, _window_start, _row_key, _run_id, _loaded_at, case_id, opened_utc, closed_utc)
        values ('acme', now() - interval '3 days', gen_random_uuid(), 1, now(), 'case', now() - interval '3 days', '2206-01-01');
        insert into jaicp.sessions (_connection, project_short_name, session_id, _run_id, _loaded_at, start_time, duration)
        values ('acme', 'p', 's', 1, now(), now() - interval '3 hours', 9000000000000);
        insert into lynn.current_interactions (_connection, _window_start, _row_key, _run_id, _loaded_at, session_id, date, duration)
        values ('acme', now(), gen_random_uuid(), 1, now(), 'i', now() - interval '3 hours', 900000000)",
    )
    .await;
    let found = "select string_agg(coalesce(conversation_id, '') || ' ' || status || ' ' || (ended_at is not null)
            || ' ' || (resolution_seconds is not null), ', ' order by source, conversation_id)
        from mart.conversations";
    assert_eq!(
        mart.text(found).await.unwrap(),
        "p/s open false false, ago open false false, closed closed true true, typo open false false, zone closed true true, \
         case open false false, i open false false"
    );
    mart.run(
        "insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
        values ('acme', 'conversation', 'khoros', 'conversation', current_date - 9, 'UTC', '1d')",
    )
    .await;
    let open = "select string_agg(source || ' ' || open_count, ', ' order by source) from mart.backlog_days
        join mart.calendar using (day) where is_today";
    assert_eq!(mart.text(open).await.unwrap(), "khoros 2, lexer 1");
}

#[tokio::test]
async fn a_row_whose_time_cannot_be_right_stays_and_has_no_day() {
    let mart = filled().await;
    for (number, time) in
        ["2206-01-01", "1970-01-02", "1989-12-31 23:59:59Z", "2026-01-02 23:30:00Z"].iter().enumerate()
    {
        mart.run(format!(
            "insert into khoros.conversation (_connection, conversation_id, _run_id, _loaded_at, created_time)
            values ('acme', '{number}', 1, '2026-01-02', '{time}');
            insert into khoros.incoming_post (_connection, _row_key, _run_id, _loaded_at, post_id, conversation_id, post_time)
            values ('acme', gen_random_uuid(), 1, '2026-01-02', '{number}', '{number}', '{time}');
            insert into khoros.response (_connection, _row_key, _run_id, _loaded_at, response_id, conversation_id, agent_display_id, response_time)
            values ('acme', gen_random_uuid(), 1, '2026-01-02', '{number}', '{number}', 'a', '{time}');
            insert into jaicp.messages (_connection, project_short_name, session_id, question_id, _run_id, _loaded_at, timestamp, operator_info_id)
            values ('acme', 'p', 's', '{number}', 1, '2026-01-02', '{time}', 'o'),
                ('acme', 'p', 's', '{number} bot', 1, '2026-01-02', '{time}', null);
            insert into lynn.survey_result (_connection, _window_start, _row_key, _run_id, _loaded_at, date)
            values ('acme', '2026-01-01', gen_random_uuid(), 1, '2026-01-02', '{time}')"
        ))
        .await;
    }
    for (view, time, rows) in [
        ("conversations", "started_at", 4),
        ("messages", "sent_at", 16),
        ("bot_turns", "occurred_at", 4),
        ("survey_responses", "answered_at", 4),
    ] {
        let counts =
            format!("select count(*) || ' ' || count({time}) || ' ' || count(day) || ' ' || max(day) from mart.{view}");
        let expected = format!("{rows} {rows} {} 2026-01-02", rows / 4);
        assert_eq!(mart.text(counts).await.unwrap(), expected, "{view}");
    }
    let hours = "select string_agg(distinct hour::text, ' ') from (
        select hour from mart.conversations union all select hour from mart.messages) h";
    assert_eq!(mart.text(hours).await.unwrap(), "23");
    let waits = "select count(*) from mart.conversations where first_response_seconds is not null";
    assert_eq!(mart.count(waits).await, 1);
    assert_eq!(
        mart.text("select string_agg(source || ' ' || day, ', ' order by source) from mart.agent_days").await.unwrap(),
        "jaicp 2026-01-02, khoros 2026-01-02"
    );
}

#[tokio::test]
async fn the_calendar_counts_the_days_back_from_today_in_the_business_zone() {
    let mut mart = Mart::new().await;
    for zone in [chrono_tz::UTC, chrono_tz::Pacific::Kiritimati, chrono_tz::Pacific::Pago_Pago] {
        mart.settings.timezone = zone;
        mart.refresh().await;
        let today = format!(
            "select string_agg(day::text, ' ') = (now() at time zone '{zone}')::date::text from mart.calendar where is_today and days_ago = 0"
        );
        assert_eq!(mart.text(format!("select ({today})::text")).await.unwrap(), "true", "{zone}");
        let wrong = "select count(*) from mart.calendar a join mart.calendar b on b.days_ago = a.days_ago + 1 where b.day <> a.day - 1";
        assert_eq!(mart.count(wrong).await, 0);
    }
}
