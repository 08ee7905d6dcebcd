//! What the figures of the views mean.

use tidegate::mart::state::State;
use tidegate::mart::unread;

use super::{Mart, filled};

/// Two streams of Lexer whose days, from the first to the last, were each read `after` their start.
async fn daily(mart: &Mart, streams: [&str; 2], (first, last): (&str, &str), after: &str) {
    for stream in streams {
        mart.run(format!(
            "insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
            values ('acme', '{stream}', 'lexer', '{stream}', '{first}', 'UTC', '1d');
            insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_at)
            select 'acme', '{stream}', day, day + interval '1 day', day + interval '1 day', day + interval '{after}'
            from generate_series(timestamptz '{first} 00:00Z', '{last} 00:00Z', '1 day') day"
        ))
        .await;
    }
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
    daily(&mart, ["summary", "mention_sla_export"], ("2026-01-01", "2026-01-03"), "1 day").await;
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
async fn p11_closed_cases_are_compared_with_slices_and_a_lookback_of_one_day() {
    let mart = filled().await;
    // The run after midnight reads the day that has just ended, and none before it.
    daily(&mart, ["case_summary", "case_details"], ("2026-01-01", "2026-01-03"), "30 hours").await;
    mart.run(
        "insert into lexer.case_summary (_connection, _window_start, window_end, _run_id, _loaded_at, total_cases)
        select 'acme', day, day + interval '1 day', 1, now(), case extract(day from day) when 2 then 2 else 1 end
        from generate_series(timestamptz '2026-01-01 00:00Z', '2026-01-03 00:00Z', '1 day') day;
        insert into lexer.case_details (_connection, _window_start, _row_key, _run_id, _loaded_at, case_id, opened_utc, closed_utc)
        select 'acme', slice::timestamptz, gen_random_uuid(), 1, now(), id, opened::timestamptz, closed::timestamptz
        from (values
            ('2026-01-01 00:00Z', 'short', '2026-01-01 10:00Z', '2026-01-01 11:00Z'),
            ('2026-01-01 00:00Z', 'over midnight', '2026-01-01 22:00Z', null),
            ('2026-01-02 00:00Z', 'over midnight', '2026-01-01 22:00Z', '2026-01-02 09:00Z'),
            ('2026-01-02 00:00Z', 'old', '2025-06-01 00:00Z', '2026-01-02 09:00Z'),
            ('2026-01-02 00:00Z', 'open', '2026-01-02 23:00Z', null)
        ) as c (slice, id, opened, closed)",
    )
    .await;
    let differences = "select string_agg(coalesce(difference::text, 'incomparable'), ', ' order by bucket_start)
        from mart.reconciliation where metric = 'closed cases'";
    assert_eq!(mart.text(differences).await.unwrap(), "0, 0, -1", "one that was closed on the last day is missing");
}

#[tokio::test]
async fn p11_a_case_that_is_reopened_counts_on_each_day_on_which_it_was_closed() {
    let mart = filled().await;
    daily(&mart, ["case_summary", "case_details"], ("2026-01-07", "2026-01-10"), "30 hours").await;
    mart.run(
        "insert into lexer.case_summary (_connection, _window_start, window_end, _run_id, _loaded_at, total_cases)
        select 'acme', day, day + interval '1 day', 1, now(), case extract(day from day) when 7 then 2 when 10 then 1 else 0 end
        from generate_series(timestamptz '2026-01-07 00:00Z', '2026-01-10 00:00Z', '1 day') day;
        insert into lexer.case_details (_connection, _window_start, _row_key, _run_id, _loaded_at, case_id, opened_utc, closed_utc)
        select 'acme', slice::timestamptz, gen_random_uuid(), 1, now(), id, '2026-01-07 01:00Z', closed::timestamptz
        from (values
            ('2026-01-07 00:00Z', 'closed', '2026-01-07 11:00Z'),
            ('2026-01-08 00:00Z', 'closed', '2026-01-07 11:00Z'),
            ('2026-01-07 00:00Z', 'reopened', '2026-01-07 12:00Z'),
            ('2026-01-09 00:00Z', 'reopened', null),
            ('2026-01-10 00:00Z', 'reopened', '2026-01-10 09:00Z')
        ) as c (slice, id, closed)",
    )
    .await;
    let differences = "select string_agg(coalesce(difference::text, 'incomparable'), ', ' order by bucket_start)
        from mart.reconciliation where metric = 'closed cases'";
    assert_eq!(mart.text(differences).await.unwrap(), "0, 0, 0, 0");
}

#[tokio::test]
async fn a_negative_duration_is_null() {
    let mart = filled().await;
    mart.run(
        "insert into khoros.conversation (_connection, conversation_id, _run_id, _loaded_at, created_time, first_response_time_seconds)
        values ('acme', 'a', 1, now(), '2026-01-01 10:00Z', -180), ('acme', 'b', 1, now(), '2026-01-01 10:00Z', 0),
            ('acme', 'c', 1, now(), '2026-01-01 10:00Z', -1);
        insert into khoros.response (_connection, _row_key, _run_id, _loaded_at, response_id, conversation_id, response_time)
        values ('acme', gen_random_uuid(), 1, now(), '1', 'c', '2026-01-01 10:01Z');
        insert into lexer.case_details (_connection, _window_start, _row_key, _run_id, _loaded_at, case_id, opened_utc, first_reply_time_sec)
        values ('acme', '2026-01-01', gen_random_uuid(), 1, now(), 'd', '2026-01-01 10:00Z', -180);
        insert into lynn.current_interactions (_connection, _window_start, _row_key, _run_id, _loaded_at, session_id, date, agent, first_response_service_level_sec)
        select 'acme', '2026-01-01', gen_random_uuid(), 1, now(), 'e', '2026-01-01', 'anna', seconds from unnest(array[-180, 7]) seconds;
        insert into lexer.mention_sla_export (_connection, _window_start, _row_key, _run_id, _loaded_at, customer_wait_time_min)
        select 'acme', '2026-01-01', gen_random_uuid(), 1, now(), minutes from unnest(array[-3, 2]) minutes;
        insert into lexer.user_summary (_connection, _window_start, user_id, _run_id, _loaded_at, total_responded_to, avg_response_time)
        values ('acme', '2026-01-01', '1', 1, now(), 3, -100);
        insert into jaicp.messages (_connection, project_short_name, session_id, question_id, _run_id, _loaded_at, processing_time)
        values ('acme', 'p', 's', '1', 1, now(), -1500)",
    )
    .await;
    let waits = "select string_agg(concat_ws(' ', conversation_id, first_response_seconds, first_response_basis), ', ' order by conversation_id)
        from mart.conversations";
    assert_eq!(mart.text(waits).await.unwrap(), "a, b 0 vendor, c 60 computed, d, e 7 vendor");
    let messages =
        "select concat_ws(' ', string_agg(wait_seconds::text, ','), count(processing_seconds)) from mart.messages";
    assert_eq!(mart.text(messages).await.unwrap(), "120 0");
    let days = "select concat_ws(' ', wait_seconds_total, waits) from mart.agent_days where source = 'lexer'";
    assert_eq!(mart.text(days).await.unwrap(), "0");
}

#[tokio::test]
async fn a_sender_is_known_in_three_languages_and_others_have_no_direction() {
    let mart = filled().await;
    mart.run(
        "insert into lynn.show_dialogs (_connection, _window_start, _row_key, _run_id, _loaded_at, \"from\", author)
        select 'acme', '2026-01-01', gen_random_uuid(), 1, now(), sender, 'by ' || sender
        from unnest(array['Client', 'USUÁRIO', 'contacto', 'agente', ' Asesor ', 'atendente', 'Robô', 'sistema', 'bot', 'duende', '']) sender",
    )
    .await;
    let directions = "select string_agg(concat_ws(' ', direction, count), ', ' order by direction)
        from (select direction, count(*) from mart.messages group by direction) d";
    assert_eq!(mart.text(directions).await.unwrap(), "agent 3, bot 3, customer 3, 2");
    assert_eq!(mart.count("select count(*) from mart.agents").await, 3);
    let session = &mut mart.database.connect().await;
    let columns = State::read(session).await.unwrap().columns();
    let counts = unread::count(session, &columns, &mart.settings).await.unwrap();
    let sender = counts.iter().find(|count| count.field == "sender").unwrap();
    assert_eq!((sender.values, sender.unread), (10, 1), "one word is not known");
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

#[tokio::test]
async fn a_channel_of_khoros_is_that_of_the_conversation_then_of_the_post_then_of_the_author() {
    let mart = filled().await;
    mart.run(
        "insert into khoros.conversation (_connection, conversation_id, _run_id, _loaded_at, network, author_uuid)
        values ('acme', 'a', 1, now(), 'House', 'w'), ('acme', 'b', 1, now(), '', 'w'), ('acme', 'c', 1, now(), null, null), ('acme', 'd', 1, now(), null, 'x');
        insert into khoros.incoming_post (_connection, _row_key, _run_id, _loaded_at, post_id, conversation_id, author_uuid, network)
        values ('acme', gen_random_uuid(), 1, now(), '1', 'a', 'w', 'Post'), ('acme', gen_random_uuid(), 1, now(), '2', 'b', 'w', 'Post'), ('acme', gen_random_uuid(), 1, now(), '3', 'c', 'w', '');
        insert into khoros.response (_connection, _row_key, _run_id, _loaded_at, response_id, conversation_id, network)
        select 'acme', gen_random_uuid(), 1, now(), conversation, conversation, 'Brand' from unnest(array['a', 'b', 'c', 'd', 'e']) conversation;
        insert into khoros.author (_connection, _row_key, _run_id, _loaded_at, author_uuid, network)
        values ('acme', gen_random_uuid(), 1, now(), 'w', 'Author')",
    )
    .await;
    let channels = |view: &str, of: &str| {
        format!("select string_agg(split_part({of}, ':', 3) || ' ' || channel, ', ' order by {of}) from mart.{view}")
    };
    assert_eq!(
        mart.text(channels("conversations", "conversation_key")).await.unwrap(),
        "a house, b post, c author, d unknown"
    );
    assert_eq!(
        mart.text(channels("messages", "message_key")).await.unwrap(),
        "post/1 post, post/2 post, post/3 author, response/a house, response/b post, response/c author, response/d brand, response/e brand"
    );
}

#[tokio::test]
async fn averages_come_with_what_they_are_made_of() {
    let mart = filled().await;
    mart.run(
        "insert into khoros.conversation (_connection, conversation_id, _run_id, _loaded_at, created_time, assigned_agent_display_id, first_response_time_seconds)
        values ('acme', 'a', 1, now(), '2026-01-01', 'x', 10), ('acme', 'b', 1, now(), '2026-01-01', 'x', 20), ('acme', 'c', 1, now(), '2026-01-01', 'x', null);
        insert into lexer.user_summary (_connection, _window_start, user_id, _run_id, _loaded_at, total_responded_to, avg_response_time)
        values ('acme', '2026-01-01', '1', 1, now(), 3, 100), ('acme', '2026-01-01 12:00Z', '1', 1, now(), 5, null);
        insert into jaicp.messages (_connection, project_short_name, session_id, question_id, _run_id, _loaded_at, timestamp, processing_time)
        values ('acme', 'p', 's', '1', 1, now(), '2026-01-01', 1500)",
    )
    .await;
    let waits = "select string_agg(source || ' ' || wait_seconds_total || ' ' || waits || ' ' || wait_seconds, ', ' order by source) from mart.agent_days";
    assert_eq!(mart.text(waits).await.unwrap(), "khoros 30 2 15, lexer 300 3 100");
    let turn = "select coalesce(wait_seconds::text, 'null') || ' ' || processing_seconds from mart.messages";
    assert_eq!(mart.text(turn).await.unwrap(), "null 1.5");
}

#[tokio::test]
async fn service_levels_are_counted_by_what_each_vendor_measures() {
    let mart = filled().await;
    mart.run(
        "insert into lynn.current_interactions (_connection, _window_start, _row_key, _run_id, _loaded_at, session_id, date, channel, agent, compliance)
        select 'acme', '2026-01-01', gen_random_uuid(), 1, now(), 's' || i, '2026-01-01', 'web chat', 'anna', 90 + 10 * (i % 2) from generate_series(1, 5) i;
        insert into lexer.mention_sla_export (_connection, _window_start, _row_key, _run_id, _loaded_at, source_type, customer_publish_date_utc, within_customer_sla, agent_reponse_date_utc, agent_response)
        select 'acme', timestamptz '2026-01-01', gen_random_uuid(), 1, now(), 'email', timestamptz '2026-01-01', case when i < 7 then i % 3 > 0 end,
            case when i % 2 = 0 then timestamptz '2026-01-01' end, 'yes'
        from generate_series(1, 9) i
        union all
        select 'acme', '2026-01-01', gen_random_uuid(), 1, now(), 'email', '2026-01-01', i > 1, null, nullif(repeat('x', i), '') from generate_series(0, 2) i
        union all
        select 'acme', '2026-01-02', gen_random_uuid(), 1, now(), 'email', '2026-01-02', true, null, null from generate_series(1, 2) i
        union all
        select 'acme', '2026-01-03', gen_random_uuid(), 1, now(), 'email', '2026-01-03', true, null, null from generate_series(1, 2) i
        union all
        select 'acme', '2026-01-04', gen_random_uuid(), 1, now(), 'email', '2026-01-04', true, '2026-01-04', 'yes';
        insert into lexer.user_summary (_connection, _window_start, user_id, _run_id, _loaded_at, mentions_assigned, responded_to, broke_sla)
        values ('acme', '2025-12-31', '1', 1, now(), 20, 7, 3), ('acme', '2025-12-31', '2', 1, now(), 3, 0, 0), ('acme', '2026-01-01', '1', 1, now(), 100, 8, 5),
            ('acme', '2026-01-02', '1', 1, now(), 5, 4, 1), ('acme', '2026-01-03', '1', 1, now(), 5, 0, 0),
            ('acme', '2026-01-04', '1', 1, now(), 40, 30, 6), ('acme', '2026-01-04', '2', 1, now(), 9, 9, 0), ('other', '2026-01-01', '1', 1, now(), null, 10, 4)",
    )
    .await;
    let found = "select string_agg(concat_ws(' ', source, connection, day, unit, channel, measured, met, breached, unmeasured), ', '
            order by source, connection, day, agent_key)
        from mart.service_levels";
    assert_eq!(
        mart.text(found).await.unwrap(),
        "lexer acme 2025-12-31 message unknown 7 4 3 13, lexer acme 2025-12-31 message unknown 0 0 0 3, \
         lexer acme 2026-01-01 message email 8 5 3 4, lexer acme 2026-01-02 message unknown 4 3 1 1, \
         lexer acme 2026-01-03 message email 0 0 0 2, lexer acme 2026-01-04 message unknown 30 24 6 10, \
         lexer acme 2026-01-04 message unknown 9 9 0 0, lexer other 2026-01-01 message unknown 10 6 4, \
         lynn acme 2026-01-01 conversation webchat 5 3 2 0"
    );
    let flags = "select string_agg(coalesce(within_sla::text, '-') || coalesce(reply_by, '-'), ' ' order by within_sla, reply_by)
        from mart.messages where source = 'lexer' and day = '2026-01-01'";
    assert_eq!(
        mart.text(flags).await.unwrap(),
        "falseagent falseagent falseagent trueagent trueagent trueagent trueagent trueagent -agent -agent -agent --",
        "a message without a reply is neither met nor breached"
    );
}

#[tokio::test]
async fn a_campaign_of_jaicp_counts_calls_and_a_blacklist_that_is_not_read_counts_nobody() {
    let mart = filled().await;
    mart.run(
        "insert into jaicp.messages (_connection, project_short_name, session_id, question_id, _run_id, _loaded_at, timestamp, call_task_id, client_id, question, status)
        select 'acme', 'p', session, session || turn, 1, now(), '2026-01-01', 7, client, case when turn = 2 then said end, status
        from (values ('a', '1', 'yes', null), ('b', '1', null, null), ('c', '2', null, 'NOT_SENT'), ('d', '3', null, 'READ')) as s (session, client, said, status)
        cross join generate_series(1, 3) turn;
        insert into lynn.campaigns (_connection, _row_key, _run_id, _loaded_at, campaign_id) values ('acme', gen_random_uuid(), 1, now(), '1')",
    )
    .await;
    let counts = "select concat_ws(' ', sent, failed, unknown, answered) from mart.campaigns where source = 'jaicp'";
    assert_eq!(mart.text(counts).await.unwrap(), "2 1 1 1");
    let blacklisted = "select coalesce(blacklisted::text, 'null') from mart.campaigns where source = 'lynn'";
    assert_eq!(mart.text(blacklisted).await.unwrap(), "null");
    mart.run(
        "insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice, complete_until)
        values ('acme', 'dnd_contacts', 'lynn', 'dnd_contacts', current_date, 'UTC', '1d', now());
        update tidegate.stream set complete_until = now()",
    )
    .await;
    assert_eq!(mart.text(blacklisted).await.unwrap(), "0");
}

#[tokio::test]
async fn p11_days_before_the_first_slice_are_missing_from_the_anchor_on_while_no_process_has_said_what_is_wanted() {
    let mart = filled().await;
    mart.run(
        "insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
        select 'acme', stream, 'lexer', stream, current_date - 4, 'UTC', '1d' from unnest(array['summary', 'users', 'fresh']) stream;
        insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_at)
        values ('acme', 'summary', current_date - 2, current_date - 1, current_date - 1, now()), ('acme', 'users', 'epoch', 'infinity', now(), now())",
    )
    .await;
    let states = "select string_agg(state, ' ' order by day) from mart.day_status where table_name = 'lexer.";
    assert_eq!(mart.text(format!("{states}summary'")).await.unwrap(), "missing missing complete missing missing");
    assert_eq!(mart.text(format!("{states}fresh'")).await.unwrap(), "missing missing missing missing missing");
    assert_eq!(mart.text(format!("{states}users'")).await, None, "a list has no days");
    mart.run("update tidegate.stream set wanted_from = current_date - 3, jobs = array['job'] where stream <> 'users'")
        .await;
    assert_eq!(mart.text(format!("{states}fresh'")).await.unwrap(), "missing missing missing missing");
}
