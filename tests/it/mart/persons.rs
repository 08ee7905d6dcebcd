//! Who took part, and who is the same person.

use super::{filled, unlisted};

#[tokio::test]
async fn the_last_agent_by_time_has_a_session_and_all_are_counted() {
    let mart = filled().await;
    mart.run(
        "insert into jaicp.sessions (_connection, project_short_name, session_id, _run_id, _loaded_at, start_time, is_livechat)
        values ('acme', 'p', 's', 1, now(), '2026-01-01', true), ('acme', 'p', 'bot', 1, now(), '2026-01-01', false);
        insert into jaicp.messages (_connection, project_short_name, session_id, question_id, _run_id, _loaded_at, timestamp, operator_info_id)
        values ('acme', 'p', 's', '1', 1, now(), '2026-01-01 00:01Z', 'anna'), ('acme', 'p', 's', '2', 1, now(), '2026-01-01 00:03Z', 'zoe'),
            ('acme', 'p', 's', '3', 1, now(), '2026-01-01 00:02Z', 'bert'), ('acme', 'p', 's', '4', 1, now(), '2026-01-01 00:01Z', 'zoe');
        insert into lynn.current_interactions (_connection, _window_start, _row_key, _run_id, _loaded_at, session_id, date, agent_connection_date, agent, work_group)
        values ('acme', '2026-01-01', gen_random_uuid(), 1, now(), 's', '2026-01-01 00:01Z', '2026-01-01 00:02Z', 'anna', 'Zeta'),
            ('acme', '2026-01-01', gen_random_uuid(), 1, now(), 's', '2026-01-01 00:01Z', '2026-01-01 00:09Z', 'zoe', 'Alpha'),
            ('acme', '2026-01-02', gen_random_uuid(), 1, now(), 't', '2026-01-02 00:01Z', null, 'anna', 'Alpha');
        insert into khoros.conversation (_connection, conversation_id, _run_id, _loaded_at, assigned_agent_display_id)
        values ('acme', 'replied', 1, now(), ''), ('acme', 'assigned', 1, now(), 'bert'), ('acme', 'nobody', 1, now(), '');
        insert into khoros.response (_connection, _row_key, _run_id, _loaded_at, response_id, conversation_id, agent_display_id, response_time)
        values ('acme', gen_random_uuid(), 1, now(), '1', 'replied', 'zoe', '2026-01-01 00:02Z'),
            ('acme', gen_random_uuid(), 1, now(), '2', 'replied', 'anna', '2026-01-01 00:03Z');
        insert into lexer.case_details (_connection, _window_start, _row_key, _run_id, _loaded_at, case_id, agent, first_reply_time_sec)
        values ('acme', '2026-01-01', gen_random_uuid(), 1, now(), 'case', 'Anna', 5), ('acme', '2026-01-01', gen_random_uuid(), 1, now(), 'unnamed', '', 5)",
    )
    .await;
    let found = "select string_agg(conversation_id || ' ' || coalesce(split_part(agent_key, ':', 3), '-') || ' ' || coalesce(agents::text, '?'),
            ', ' order by source, conversation_id)
        from mart.conversations";
    assert_eq!(
        mart.text(found).await.unwrap(),
        "p/bot - 0, p/s zoe 3, assigned bert 1, nobody - 0, replied anna 2, case anna 1, unnamed - ?, s zoe 2, t anna 1"
    );
    let teams = "select string_agg(name || ' ' || team, ', ' order by name) from mart.agents where source = 'lynn'";
    assert_eq!(mart.text(teams).await.unwrap(), "anna Alpha, zoe Alpha", "of the last session");
}

#[tokio::test]
async fn lexers_names_lead_to_its_users_also_without_a_last_name_and_by_a_first_name_of_one_only() {
    let mart = filled().await;
    mart.run(
        "insert into lexer.users (_connection, id, first_name, last_name, _run_id, _loaded_at, _deleted_at)
        values ('acme', 1, 'Ana', 'Reis', 1, now(), null), ('acme', 2, 'Robin', null, 1, now(), null), ('acme', 3, 'Max', 'Born', 1, now(), null),
            ('acme', 4, 'Max', 'Planck', 1, now(), null), ('acme', 5, 'Ana', 'Reis', 1, now(), now()), ('acme', 6, 'Ida', 'Noether ', 1, now(), null);
        insert into lexer.nps_submissions (_connection, _window_start, _row_key, _run_id, _loaded_at, agent)
        select 'acme', '2026-01-01', gen_random_uuid(), 1, now(), agent
        from unnest(array['ana reis', 'Robin', 'Max', ' Max  Planck', 'Max Planck ', 'Ida', 'Eve Stranger', '']) agent;
        insert into lexer.mention_sla_export (_connection, _window_start, _row_key, _run_id, _loaded_at, agent_first_name, agent_last_name)
        values ('acme', '2026-01-01', gen_random_uuid(), 1, now(), 'Robin', ''), ('acme', '2026-01-01', gen_random_uuid(), 1, now(), 'Ida', 'Noether')",
    )
    .await;
    let found = "select string_agg(coalesce(split_part(agent_key, ':', 3), '-'), ', ' order by agent_key) from mart.";
    assert_eq!(
        mart.text(format!("{found}survey_responses")).await.unwrap(),
        "1, 2, 4, 6, eve stranger, max, max  planck, -",
        "two agents are Max"
    );
    assert_eq!(mart.text(format!("{found}messages")).await.unwrap(), "2, 6");
    let names =
        "select string_agg(agent_id || ' ' || name, ', ' order by agent_key) from mart.agents where active is null";
    assert_eq!(mart.text(names).await.unwrap(), "eve stranger Eve Stranger, max Max, max  planck Max  Planck");
}

#[tokio::test]
async fn only_an_address_or_a_name_of_two_words_makes_two_entries_one_person() {
    let mart = filled().await;
    mart.run(
        "insert into khoros.author (_connection, _row_key, _run_id, _loaded_at, author_uuid, author_name)
        select 'acme', gen_random_uuid(), 1, now(), 'k' || number, name
        from unnest(array['maria', 'maria_lopez', 'user_12', 'eve@example.com', '小龍 李', null]) with ordinality as n (name, number);
        insert into jaicp.clients (_connection, project_short_name, channel_type, bot_id, id, _run_id, _loaded_at, username, first_name)
        select 'acme', 'p', 'telegram', 'b', 'j' || number, 1, now(), name, case when name = 'maria' then 'Maria Lopez' end
        from unnest(array['maria', 'Maria_Lopez', 'user_12', 'EVE@example.com', '小龍 李', null]) with ordinality as n (name, number);
        insert into lynn.contacts (_connection, _row_key, _run_id, _loaded_at, id, full_name)
        values ('acme', gen_random_uuid(), 1, now(), '1', 'Maria'), ('acme', gen_random_uuid(), 1, now(), '2', 'maria  lopez')",
    )
    .await;
    let persons = "select string_agg(entries, ', ' order by entries) from (
        select string_agg(source || ' ' || coalesce(handle, name), ' = ' order by source) as entries
        from mart.customers group by person_key having count(*) > 1) p";
    assert_eq!(
        mart.text(persons).await.unwrap(),
        "jaicp EVE@example.com = khoros eve@example.com, jaicp Maria_Lopez = khoros maria_lopez, \
         jaicp maria = lynn maria  lopez, jaicp 小龍 李 = khoros 小龍 李"
    );
    assert_eq!(mart.count("select count(*) from mart.customers where person_key is null").await, 0);

    mart.run(
        "insert into khoros.\"user\" (_connection, _row_key, _run_id, _loaded_at, agent_display_id, agent_name, agent_email)
        values ('acme', gen_random_uuid(), 1, now(), '14', 'Robin', 'robin@example.com'), ('acme', gen_random_uuid(), 1, now(), '15', 'Ana Reis', 'ana@example.com');
        insert into lexer.users (_connection, id, first_name, last_name, _run_id, _loaded_at)
        values ('acme', 14, 'Robin', null, 1, now()), ('acme', 15, 'Ana', 'Reis', 1, now());
        insert into lynn.survey_result (_connection, _window_start, _row_key, _run_id, _loaded_at, agent)
        values ('acme', '2026-01-01', gen_random_uuid(), 1, now(), 'ROBIN@example.com'), ('acme', '2026-01-01', gen_random_uuid(), 1, now(), 'robin')",
    )
    .await;
    let persons = "select string_agg(entries, ', ' order by entries) from (
        select string_agg(source || ' ' || agent_id, ' = ' order by source) as entries
        from mart.agents group by person_key having count(*) > 1) p";
    assert_eq!(mart.text(persons).await.unwrap(), "khoros 14 = lynn ROBIN@example.com, khoros 15 = lexer 15");
}

#[tokio::test]
async fn a_client_of_jaicp_without_a_bot_in_the_list_is_the_client_of_its_sessions() {
    let mart = filled().await;
    mart.run(
        "insert into jaicp.clients (_connection, project_short_name, channel_type, bot_id, id, _run_id, _loaded_at, username)
        values ('acme', 'p', 'telegram', '', '1', 1, now(), 'ana_reis'), ('acme', 'p', 'telegram', '', '2', 1, now(), 'silent_one'),
            ('acme', 'p', 'telegram', 'b', '3', 1, now(), 'listed_one');
        insert into jaicp.sessions (_connection, project_short_name, session_id, channel_type, bot_id, client_id, client_username, _run_id, _loaded_at)
        values ('acme', 'p', 's1', 'TELEGRAM', 'b', '1', 'ana_reis', 1, now()), ('acme', 'p', 's3', 'telegram', 'b', '3', null, 1, now()),
            ('acme', 'p', 's4', 'telegram', null, '4', 'no_bot', 1, now());
        insert into jaicp.messages (_connection, project_short_name, session_id, question_id, channel_type, bot_id, client_id, _run_id, _loaded_at)
        values ('acme', 'p', 's1', 'q', 'telegram', 'b', '1', 1, now()), ('acme', 'p', 'unread', 'q', 'telegram', 'b', '5', 1, now())",
    )
    .await;
    let customers = "select string_agg(coalesce(handle, '-'), ' ' order by handle) from mart.customers";
    assert_eq!(mart.text(customers).await.unwrap(), "ana_reis listed_one no_bot silent_one -");
    let joined = "select count(*) from mart.conversations join mart.customers using (customer_key)";
    assert_eq!(mart.count(joined).await, 3);
    assert_eq!(unlisted(&mart.pool).await, [""; 0]);
}

#[tokio::test]
async fn an_agent_who_is_named_by_an_address_has_the_name_that_other_systems_give_to_it() {
    let mart = filled().await;
    mart.run(
        "insert into khoros.\"user\" (_connection, _row_key, _run_id, _loaded_at, agent_display_id, agent_name, agent_email)
        values ('acme', gen_random_uuid(), 1, now(), '14', 'Ana Reis', 'ana@example.com'), ('acme', gen_random_uuid(), 1, now(), '15', 'Zoë', 'shared@example.com');
        insert into lexer.users (_connection, id, first_name, last_name, email, _run_id, _loaded_at)
        values ('acme', 14, 'ana', 'REIS', 'ANA@example.com', 1, now()), ('acme', 15, 'Max', null, 'shared@example.com', 1, now());
        insert into lynn.survey_result (_connection, _window_start, _row_key, _run_id, _loaded_at, agent)
        select 'acme', '2026-01-01', gen_random_uuid(), 1, now(), agent
        from unnest(array['Ana@example.com', 'shared@example.com', 'new.one@example.com', 'Eve', '@eve']) agent",
    )
    .await;
    let agents = "select string_agg(concat_ws(' ', name, coalesce(email, '-')), ', ' order by agent_id collate \"C\")
        from mart.agents where source = 'lynn'";
    assert_eq!(
        mart.text(agents).await.unwrap(),
        "@eve -, Ana Reis Ana@example.com, Eve -, new.one new.one@example.com, shared shared@example.com",
        "two systems name the shared address differently"
    );
    let mut analyst = mart.session_as("tidegate_analyst").await;
    let seen = "select string_agg(concat_ws(' ', coalesce(agent_id, '-'), coalesce(email, '-')), ', ' order by name)
        from mart.agents where source = 'lynn' and name in ('Ana Reis', 'new.one')";
    let seen: String = sqlx::query_scalar(seen).fetch_one(&mut analyst).await.unwrap();
    assert_eq!(seen, "- -, - -");
}

#[tokio::test]
async fn blanks_around_a_name_do_not_make_another_person() {
    let mart = filled().await;
    mart.run(
        "insert into khoros.\"user\" (_connection, _row_key, _run_id, _loaded_at, agent_display_id, agent_name, agent_email)
        values ('acme', gen_random_uuid(), 1, now(), '14', 'Ana Reis', 'ana@example.com'), ('acme', gen_random_uuid(), 1, now(), '15', ' Eva Born ', 'eva@example.com');
        insert into lynn.survey_result (_connection, _window_start, _row_key, _run_id, _loaded_at, agent)
        select 'acme', '2026-01-01', gen_random_uuid(), 1, now(), agent from unnest(array[' Ana Reis ', 'Eva Born', 'Eva@example.com']) agent",
    )
    .await;
    let persons = "select string_agg(entries, ', ' order by entries) from (
        select string_agg(source || ' ' || trim(agent_id), ' = ' order by source, agent_id collate \"C\") as entries
        from mart.agents group by person_key) p";
    assert_eq!(
        mart.text(persons).await.unwrap(),
        "khoros 14 = lynn Ana Reis, khoros 15 = lynn Eva Born = lynn Eva@example.com"
    );
}

/// Ids and names of agents, and whether they are telephone numbers.
const NUMBERS: &[(&str, bool)] = &[
    ("+56987654321", true),
    ("+56 9 1234 5678", true),
    ("+56\u{a0}9\u{a0}1234\u{a0}5678", true),
    (" +56-9-1234.5678 ", true),
    ("Ana (+56 9 1234 5678)", true),
    ("(02) 1234-567", true),
    ("9.1234.5678", true),
    ("9 1234 5678", true),
    ("56987654321", false),
    ("+5698-76", false),
    ("12-34-56", false),
    ("team-1234567", false),
    ("Agent 12 of 2026-01-01", false),
    ("12345678-aaaa-4bbb-8ccc-123456789012", false),
    ("ana", false),
];

#[tokio::test]
async fn p7_an_analyst_sees_no_telephone_number_of_an_agent_and_bare_digits_are_an_id() {
    let mart = filled().await;
    for (number, (text, _)) in NUMBERS.iter().enumerate() {
        mart.run(format!(
            "insert into jaicp.messages (_connection, project_short_name, session_id, question_id, _run_id, _loaded_at, timestamp, operator_info_id)
            values ('acme', 'p', 's{number}', 'q', 1, now(), '2026-01-01', '{text}');
            insert into lexer.nps_submissions (_connection, _window_start, _row_key, _run_id, _loaded_at, agent)
            values ('acme', '2026-01-01', gen_random_uuid(), 1, now(), '{text}');
            insert into lynn.survey_result (_connection, _window_start, _row_key, _run_id, _loaded_at, agent)
            values ('acme', '2026-01-01', gen_random_uuid(), 1, now(), '{text}');
            insert into khoros.conversation (_connection, conversation_id, _run_id, _loaded_at, assigned_agent_display_id)
            values ('acme', '{number}', 1, now(), '{text}')"
        ))
        .await;
    }
    assert_eq!(unlisted(&mart.pool).await, [""; 0]);
    let mut analyst = mart.session_as("tidegate_analyst").await;
    let sql = "select string_agg(t::text, ' ') from mart.agents t union all select string_agg(t::text, ' ') from mart.messages t
        union all select string_agg(t::text, ' ') from mart.survey_responses t union all select string_agg(t::text, ' ') from mart.conversations t
        union all select string_agg(t::text, ' ') from mart.agent_days t";
    let shown: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut analyst).await.unwrap();
    for (text, is_number) in NUMBERS {
        assert_eq!(shown.concat().contains(text.trim()), !is_number, "{text}");
    }
    let names = "select count(*) from mart.agents where name is null and agent_id is null";
    let hidden: i64 = sqlx::query_scalar(names).fetch_one(&mut analyst).await.unwrap();
    let numbers = NUMBERS.iter().filter(|(_, is_number)| *is_number).count();
    assert_eq!(usize::try_from(hidden).unwrap(), 4 * numbers);
    let known: i64 = mart.count("select count(*) from mart.agents where name is null").await;
    assert_eq!(known, 0, "a reader sees them");
}

#[tokio::test]
async fn p7_keys_do_not_tell_that_a_customer_has_the_name_or_address_of_an_agent() {
    let mart = filled().await;
    mart.run(
        "insert into lexer.users (_connection, id, first_name, last_name, _run_id, _loaded_at)
        values ('acme', 1, 'Ana', 'Reis', 1, now());
        insert into lynn.survey_result (_connection, _window_start, _row_key, _run_id, _loaded_at, agent)
        values ('acme', '2026-01-01', gen_random_uuid(), 1, now(), 'ana@example.com');
        insert into lynn.contacts (_connection, _row_key, _run_id, _loaded_at, id, full_name)
        values ('acme', gen_random_uuid(), 1, now(), 'ana@example.com', 'Ana Reis');
        insert into lexer.mention_sla_export (_connection, _window_start, _row_key, _run_id, _loaded_at, customer_username)
        values ('acme', '2026-01-01', gen_random_uuid(), 1, now(), 'ana@example.com')",
    )
    .await;
    let both = "select count(*) from mart.agents a join mart.customers c
        on c.person_key = a.person_key or split_part(c.customer_key, ':', 3) in (split_part(a.agent_key, ':', 3), a.person_key)";
    assert_eq!(mart.count(both).await, 0);
    let same = "select count(*) from (select from mart.customers group by person_key) p";
    assert_eq!(mart.count(same).await, 2, "a name and an address");
    assert_eq!(mart.count("select count(*) from mart.customers").await, 2);
}
