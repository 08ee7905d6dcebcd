//! What the views are: commented, stable, unique by key, and complete.

use tidegate::mart::relations::RELATIONS;

use super::{KEYS, Mart, VIEWS_OF_MIGRATIONS, natural};

#[tokio::test]
async fn p11_every_relation_and_column_has_a_comment() {
    let mart = Mart::new().await;
    let relations: i64 = mart.count("select count(*) from pg_views where schemaname = 'mart'").await;
    assert_eq!(relations, i64::try_from(RELATIONS.len()).unwrap() + VIEWS_OF_MIGRATIONS);
    let uncommented: Vec<String> = sqlx::query_scalar(
        "select class.relname || '.' || coalesce(attribute.attname, '')
        from pg_class class
        left join pg_attribute attribute on attribute.attrelid = class.oid and attribute.attnum > 0
        where class.relnamespace = 'mart'::regnamespace
            and (obj_description(class.oid) is null or col_description(class.oid, attribute.attnum) is null)",
    )
    .fetch_all(&mart.pool)
    .await
    .unwrap();
    assert!(uncommented.is_empty(), "{uncommented:?}");
    let functions = "select count(*) from pg_proc where pronamespace = 'tidegate'::regnamespace
        and proname in ('text_as_time', 'person_key', 'may_read_contacts') and obj_description(oid) is not null";
    assert_eq!(mart.count(functions).await, 3);
}

#[tokio::test]
async fn p11_every_view_is_unique_by_its_key_and_has_every_row_of_its_tables() {
    let mart = Mart::new().await;
    let columns = mart.columns().await;
    mart.add_columns(natural).await;
    mart.fill(20, false).await;
    mart.run("update khoros.conversation set closed_time = null where conversation_id < 'v2'").await;
    mart.refresh().await;
    assert_eq!(mart.columns().await, columns, "the same columns and types over any tables");
    let counts = mart.read_all().await;
    for (view, key) in KEYS {
        let keys = mart.count(format!("select count(*) from (select distinct {key} from mart.{view}) k")).await;
        let null = mart.count(format!("select count(*) from mart.{view} where not (({key}) is not null)")).await;
        assert_eq!((keys, null), (counts[view], 0), "{view}");
        assert!(counts[view] > 0 || *view == "campaign_pushes", "{view} is empty");
    }
    for (view, source, tables) in [
        ("conversations", "khoros", "select count(*) from khoros.conversation"),
        ("conversations", "jaicp", "select count(*) from jaicp.sessions"),
        ("conversations", "lexer", "select count(distinct case_id) from lexer.case_details"),
        (
            "conversations",
            "lynn",
            "select count(distinct session) from (
                select session from lynn.navigation_marks union all select session_id from lynn.current_interactions) s",
        ),
        (
            "messages",
            "khoros",
            "select (select count(*) from khoros.incoming_post) + (select count(*) from khoros.response)",
        ),
        ("messages", "lexer", "select count(*) from lexer.mention_sla_export"),
        ("messages", "jaicp", "select count(*) from jaicp.messages"),
        ("messages", "lynn", "select count(*) from lynn.show_dialogs"),
        ("bot_turns", "lynn", "select count(*) from lynn.navigation_marks"),
        (
            "agents",
            "lexer",
            "select count(*) from (
                select id::text from lexer.users union select user_id from lexer.user_summary union select agent from lexer.case_details) a",
        ),
        ("customers", "jaicp", "select count(*) from jaicp.clients"),
        ("survey_responses", "lynn", "select count(*) from lynn.survey_result"),
        ("survey_responses", "lexer", "select count(*) from lexer.nps_submissions"),
        ("campaigns", "lynn", "select count(*) from lynn.campaigns"),
        ("nps_days", "lexer", "select count(*) from lexer.nps_summary"),
    ] {
        let found = mart.count(format!("select count(*) from mart.{view} where source = '{source}'")).await;
        assert_eq!(found, mart.count(tables).await, "{view} {source}");
    }
}

#[tokio::test]
async fn a_view_that_was_dropped_or_changed_is_made_again_and_others_are_left_alone() {
    let mart = Mart::new().await;
    let columns = mart.columns().await;
    let oids = "select string_agg(oid || relname || xmin, ',' order by relname) from pg_class
        where relnamespace = 'mart'::regnamespace and relname <> 'nps_days'";
    let definition = "select md5(string_agg(pg_get_viewdef(oid), '' order by relname)) from pg_class
        where relnamespace = 'mart'::regnamespace";
    let made = mart.text(definition).await;
    let before = mart.text(oids).await;
    mart.refresh().await;
    assert_eq!(mart.text(oids).await, before, "nothing to do");
    for change in [
        "drop view mart.nps_days",
        "alter view mart.nps_days rename column sent to posted",
        "drop view mart.nps_days; create view mart.nps_days as select 1 as another",
        "drop view mart.conversations cascade",
        "create or replace view mart.channels as select 'a'::text as source, 'b'::text as channel_raw, 'c'::text as channel",
        "drop view mart.channels cascade",
    ] {
        let before = mart.text(oids).await;
        mart.run(change).await;
        mart.refresh().await;
        assert_eq!(mart.columns().await, columns, "{change}");
        assert_eq!(mart.text(definition).await, made, "{change}");
        assert!(!change.contains("nps_days") || mart.text(oids).await == before, "{change}: others were made again");
        mart.read_all().await;
    }
}

#[tokio::test]
async fn the_configuration_replaces_what_was_found() {
    let mut mart = Mart::new().await;
    mart.run(
        "alter table khoros.conversation add column created_time timestamptz, add column my_start timestamptz, add column network text;
        insert into khoros.conversation (_connection, conversation_id, _run_id, _loaded_at, created_time, my_start, network)
        values ('acme', 'c1', 1, now(), '2024-01-01T12:00Z', '2024-06-30T22:30Z', 'House')",
    )
    .await;
    let read = "select started_at || ' ' || day || ' ' || channel from mart.conversations";
    mart.refresh().await;
    assert_eq!(mart.text(read).await.unwrap(), "2024-01-01 12:00:00+00 2024-01-01 house");

    let field = |name: &str| ("khoros.conversation".to_owned(), name.to_owned());
    mart.settings.timezone = chrono_tz::Europe::Madrid;
    mart.settings.columns.insert(field("started_at"), "my_start".to_owned());
    mart.settings.channels.insert(("khoros".to_owned(), "house".to_owned()), "in person".to_owned());
    mart.refresh().await;
    assert_eq!(mart.text(read).await.unwrap(), "2024-06-30 22:30:00+00 2024-07-01 in person");

    mart.settings.columns.insert(field("started_at"), "later".to_owned());
    mart.refresh().await;
    assert_eq!(mart.text(read).await, None, "a column that does not exist yet feeds nothing");
    mart.run("alter table khoros.conversation add column later text default '2024-02-29'").await;
    mart.refresh().await;
    assert_eq!(mart.text(read).await.unwrap(), "2024-02-29 00:00:00+00 2024-02-29 in person");
}

#[tokio::test]
async fn the_comment_of_the_tables_state_says_whose_row_stands_for_each_child_table() {
    let mart = Mart::new().await;
    let comment = mart.text("select obj_description('mart.data_status'::regclass)").await.unwrap();
    let mut children = 0;
    for stream in tidegate::connector::all_streams() {
        for child in stream.children.iter() {
            let said = format!("of {0}.{1} for {0}.{2}", stream.schema, stream.name, child.name);
            assert!(comment.contains(&said), "{said}");
            children += 1;
        }
    }
    assert_eq!(comment.matches(" for ").count() - 1, children, "{comment}");
}

#[tokio::test]
async fn a_query_computes_only_the_columns_that_it_asks_for() {
    let mart = Mart::new().await;
    mart.add_columns(natural).await;
    mart.refresh().await;
    // The others group by keys of agents, so every query computes these.
    let is_grouped = |name: &str| matches!(name, "agent_days" | "backlog_days" | "service_levels");
    for relation in RELATIONS.iter().filter(|relation| !is_grouped(relation.name)) {
        let plan: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "explain verbose select count(*) from mart.{}",
            relation.name
        )))
        .fetch_all(&mart.pool)
        .await
        .unwrap();
        // Branches of a union with other types than the union are computed whole.
        let is_pseudonym = |line: &&String| {
            ["sha256(", "pseudonym(", "agent_id(", "person_key("].iter().any(|call| line.contains(call))
        };
        let computed: Vec<&String> = plan.iter().filter(is_pseudonym).collect();
        assert!(computed.is_empty(), "{}: {computed:?}", relation.name);
    }
}
