//! Keys: every one that a relation names is in its list, and no row that a vendor reports twice doubles one.

use super::company::Warehouse;
use super::{KEYS, Mart, filled, natural, tables, unlisted};
use crate::support::ago;

/// Columns that name agents and customers.
const NAMING: &[(&str, &str)] = &[
    ("khoros.conversation", "assigned_agent_display_id"),
    ("khoros.conversation", "author_uuid"),
    ("khoros.response", "agent_display_id"),
    ("khoros.incoming_post", "author_uuid"),
    ("lexer.user_summary", "user_id"),
    ("lexer.user_volume", "user_id"),
    ("lexer.case_details", "agent"),
    ("lexer.case_details", "customer_username"),
    ("lexer.mention_sla_export", "agent_first_name"),
    ("lexer.mention_sla_export", "customer_username"),
    ("lexer.nps_submissions", "agent"),
    ("lexer.nps_submissions", "customer_username"),
    ("jaicp.sessions", "client_id"),
    ("jaicp.messages", "operator_info_id"),
    ("jaicp.messages", "client_id"),
    ("jaicp.messages", "session_id"),
    ("lynn.current_interactions", "agent"),
    ("lynn.survey_result", "agent"),
    ("lynn.show_dialogs", "author"),
];

#[tokio::test]
async fn every_agent_and_customer_that_a_relation_names_is_in_its_list() {
    let mart = Mart::new().await;
    mart.add_columns(natural).await;
    mart.refresh().await;
    for is_odd in [false, true] {
        mart.fill(60, is_odd).await;
        for (number, (table, column)) in NAMING.iter().enumerate() {
            // The keys of tables are texts of their own.
            let row = format!("(select ctid from {table} order by ctid offset {number} limit 1)");
            mart.run(format!("update {table} set {column} = 'only in {table}' where ctid = {row}")).await;
        }
        mart.run("update lynn.show_dialogs set \"from\" = 'agent'; update lexer.user_volume set is_total = false, state = 'new'").await;
        assert_eq!(unlisted(&mart.pool).await, [""; 0], "odd: {is_odd}");
        let named = "select count(*) from mart.agents where agent_id like 'only in%'";
        assert!(mart.count(named).await > 6);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_agent_and_customer_of_the_simulators_is_in_its_list() {
    let world = Warehouse::between(ago(3), ago(1)).await.world;
    assert_eq!(unlisted(&world.database.pool()).await, [""; 0]);
    for (view, key) in [("conversations", "agent_key"), ("messages", "customer_key"), ("survey_responses", "agent_key")]
    {
        let named: i64 = world.scalar(&format!("select count({key}) from mart.{view}")).await;
        assert!(named > 0, "{view}");
    }
}

/// Rows that a vendor reports twice: by relation, the statements that make them, and what the relation has of them.
const TWICE: &[(&str, &str, &str)] = &[
    (
        "conversations",
        "insert into lexer.case_details (_connection, _window_start, _row_key, _run_id, _loaded_at, case_id, status)
        values ('acme', '2026-01-01', gen_random_uuid(), 1, '2026-01-09', 'c', 'old'), ('acme', '2026-01-03', gen_random_uuid(), 1, '2026-01-04', 'c', 'newest'),
            ('acme', '2026-01-02', gen_random_uuid(), 1, '2026-01-08', 'c', 'old')",
        "select string_agg(status_raw, ' ') from mart.conversations",
    ),
    (
        "messages",
        "insert into khoros.incoming_post (_connection, _row_key, _run_id, _loaded_at, post_id, author_uuid)
        values ('acme', gen_random_uuid(), 1, '2026-01-02', '1', 'new'), ('acme', gen_random_uuid(), 1, '2026-01-01', '1', 'old');
        insert into khoros.response (_connection, _row_key, _run_id, _loaded_at, response_id, delivery_status)
        values ('acme', gen_random_uuid(), 1, '2026-01-01', '1', 'old'), ('acme', gen_random_uuid(), 1, '2026-01-02', '1', 'newest')",
        "select string_agg(delivery_status, ' ') from mart.messages where direction = 'agent'",
    ),
    (
        "messages_text",
        "insert into khoros.incoming_post (_connection, _row_key, _run_id, _loaded_at, post_id, message_text)
        values ('acme', gen_random_uuid(), 1, '2026-01-02', '1', 'newest'), ('acme', gen_random_uuid(), 1, '2026-01-01', '1', 'old')",
        "select string_agg(text, ' ') from mart.messages_text",
    ),
    (
        "agent_days",
        "insert into khoros.response (_connection, _row_key, _run_id, _loaded_at, response_id, agent_display_id, response_time)
        select 'acme', gen_random_uuid(), 1, now(), '1', 'a', '2026-01-01' from generate_series(1, 2);
        insert into khoros.response (_connection, _row_key, _run_id, _loaded_at, response_id, agent_display_id, response_time)
        values ('acme', gen_random_uuid(), 1, now(), '2', 'a', '2026-01-01')",
        "select case when sum(replies) = 2 then 'newest' end from mart.agent_days",
    ),
    (
        "agents",
        "insert into khoros.\"user\" (_connection, _row_key, _run_id, _loaded_at, agent_display_id, agent_name)
        values ('acme', gen_random_uuid(), 1, '2026-01-02', '1', 'newest'), ('acme', gen_random_uuid(), 1, '2026-01-01', '1', 'old')",
        "select string_agg(name, ' ') from mart.agents",
    ),
    (
        "customers",
        "insert into khoros.author (_connection, _row_key, _run_id, _loaded_at, author_uuid, author_name)
        values ('acme', gen_random_uuid(), 1, '2026-01-02', '1', 'newest'), ('acme', gen_random_uuid(), 1, '2026-01-01', '1', 'old')",
        "select string_agg(handle, ' ') from mart.customers",
    ),
    (
        "survey_responses",
        "insert into lynn.survey_result (_connection, _window_start, _row_key, _run_id, _loaded_at, value)
        values ('acme', '2026-01-01', '00000000-0000-0000-0000-000000000001', 1, '2026-01-09', 'old'),
            ('acme', '2026-01-02', '00000000-0000-0000-0000-000000000001', 1, '2026-01-02', 'newest')",
        "select string_agg(answer, ' ') from mart.survey_responses",
    ),
    (
        "bot_turns",
        "insert into lynn.navigation_marks (_connection, _window_start, _row_key, _run_id, _loaded_at, intent)
        values ('acme', '2026-01-01', '00000000-0000-0000-0000-000000000001', 1, now(), 'i'), ('acme', '2026-01-02', '00000000-0000-0000-0000-000000000001', 1, now(), 'i')",
        "select case when count(distinct turn_key) = 2 then 'newest' end from mart.bot_turns",
    ),
    (
        "messages",
        "insert into lexer.mention_sla_export (_connection, _window_start, _row_key, _run_id, _loaded_at)
        values ('acme', '2026-01-01', '00000000-0000-0000-0000-000000000001', 1, now()), ('acme', '2026-01-02', '00000000-0000-0000-0000-000000000001', 1, now());
        insert into lynn.show_dialogs (_connection, _window_start, _row_key, _run_id, _loaded_at)
        values ('acme', '2026-01-01', '00000000-0000-0000-0000-000000000001', 1, now()), ('acme', '2026-01-02', '00000000-0000-0000-0000-000000000001', 1, now())",
        "select case when count(distinct m.message_key) = 4 then 'newest' end from mart.messages m join mart.messages_text t using (message_key)",
    ),
    (
        "nps_days",
        "insert into lexer.nps_summary (_connection, _window_start, form, nps_category, _run_id, _loaded_at, total_sent)
        values ('acme', '2026-01-01 00:00Z', 1, 'all', 1, now(), 2), ('acme', '2026-01-01 12:00Z', 1, 'all', 1, now(), 3)",
        "select case when sum(sent) = 5 then 'newest' end from mart.nps_days",
    ),
    (
        "backlog_days",
        "insert into lexer.user_volume (_connection, _window_start, user_id, state, is_total, _run_id, _loaded_at, count)
        values ('acme', '2026-01-01 00:00Z', '1', 'new', false, 1, '2026-01-09', 2), ('acme', '2026-01-01 12:00Z', '1', 'new', false, 1, '2026-01-02', 3)",
        "select case when sum(open_count) = 3 then 'newest' end from mart.backlog_days",
    ),
    (
        "campaigns",
        "insert into lynn.campaigns (_connection, _row_key, _run_id, _loaded_at, campaign_id, name)
        values ('acme', gen_random_uuid(), 1, '2026-01-02', '1', 'newest'), ('acme', gen_random_uuid(), 1, '2026-01-01', '1', 'old')",
        "select string_agg(name, ' ') from mart.campaigns",
    ),
];

#[tokio::test]
async fn of_rows_that_are_reported_twice_the_newest_counts_and_no_key_doubles() {
    let mart = filled().await;
    for (view, rows, read) in TWICE {
        mart.run(*rows).await;
        assert_eq!(mart.text(*read).await.as_deref(), Some("newest"), "{view}");
        let key = KEYS.iter().find(|(name, _)| name == view).unwrap().1;
        let doubled =
            format!("select count(*) from (select {key} from mart.{view} group by {key} having count(*) > 1) k");
        assert_eq!(mart.count(doubled).await, 0, "{view}");
        for table in tables() {
            mart.run(format!("delete from {table}")).await;
        }
    }
}
