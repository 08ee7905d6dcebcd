//! Who may read what.

use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use tidegate::mart::relations::{RELATIONS, TEXTS};

use super::{Mart, natural, tables};

const DENIED: &str = "42501";

/// The SQLSTATE that a statement ends with.
async fn refused(session: &mut PgConnection, sql: &str) -> Option<String> {
    let error = session.execute(AssertSqlSafe(sql.to_owned())).await.err()?;
    Some(error.as_database_error().unwrap().code().unwrap().into_owned())
}

#[tokio::test]
async fn p7_readers_read_all_of_the_mart_and_analysts_neither_texts_nor_contacts() {
    let mart = Mart::new().await;
    mart.add_columns(natural).await;
    mart.fill(5, false).await;
    mart.refresh().await;
    let mut reader = mart.session_as("tidegate_reader").await;
    let mut analyst = mart.session_as("tidegate_analyst").await;
    for relation in RELATIONS.iter().map(|relation| relation.name).chain([
        "data_status",
        "day_status",
        "schema_changes",
        "stored_relations",
    ]) {
        let sql = format!("select * from mart.{relation}");
        assert_eq!(refused(&mut reader, &sql).await, None, "{relation}");
        let expected = (relation == "messages_text").then_some(DENIED);
        assert_eq!(refused(&mut analyst, &sql).await.as_deref(), expected, "{relation}");
    }
    for table in ["lynn.navigation_marks", "khoros.author", "jaicp.messages", "lexer.users"] {
        let sql = format!("select * from {table}");
        assert_eq!(refused(&mut reader, &sql).await, None);
        assert_eq!(refused(&mut analyst, &sql).await.as_deref(), Some(DENIED), "{table}");
    }
    for table in ["tidegate.setting", "tidegate.run", "tidegate.mart_view"] {
        for session in [&mut reader, &mut analyst] {
            assert_eq!(refused(session, &format!("select * from {table}")).await.as_deref(), Some(DENIED), "{table}");
        }
    }
    for (view, column) in
        [("agents", "email"), ("customers", "handle"), ("customers", "name"), ("survey_responses", "comment")]
    {
        let sql = format!("select count({column}) > 0 from mart.{view}");
        let seen: bool = sqlx::query_scalar(AssertSqlSafe(sql.clone())).fetch_one(&mut reader).await.unwrap();
        let hidden: bool = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut analyst).await.unwrap();
        assert_eq!((seen, hidden), (true, false), "{view}.{column}");
    }
    for session in [&mut reader, &mut analyst] {
        let listed: Vec<String> = sqlx::query_scalar(
            "select format('%I.%I', table_schema, table_name) from information_schema.tables
            where table_schema not in ('pg_catalog', 'information_schema')",
        )
        .fetch_all(&mut *session)
        .await
        .unwrap();
        assert!(listed.len() >= RELATIONS.len());
        for table in listed {
            assert_eq!(refused(session, &format!("select * from {table} limit 0")).await, None, "{table}");
        }
    }
}

/// Marks that a reader finds in some view and an analyst in none: a table, a column and a value for it.
const CONTACTS: &[(&str, &str, &str)] = &[
    ("lexer.mention_sla_export", "customer_username", "handle-of-lexer"),
    ("lexer.mention_sla_export", "customer_fullname", "name-of-lexer"),
    ("lexer.nps_submissions", "customer_username", "handle-of-nps"),
    ("lexer.case_details", "customer_username", "handle-of-case"),
    ("lexer.users", "email", "agent@lexer.example"),
    ("khoros.author", "author_name", "handle-of-khoros"),
    ("khoros.author", "author_uuid", "id-of-author"),
    ("khoros.incoming_post", "author_uuid", "id-of-poster"),
    ("khoros.\"user\"", "agent_email", "agent@khoros.example"),
    ("khoros.conversation", "assigned_agent_display_id", "assigned@khoros.example"),
    ("khoros.response", "agent_display_id", "replied@khoros.example"),
    ("jaicp.sessions", "session_id", "resterisk-4917612345"),
    ("jaicp.sessions", "client_id", "4917612346"),
    ("jaicp.messages", "session_id", "resterisk-4917612347"),
    ("jaicp.messages", "client_id", "4917612348"),
    ("jaicp.messages", "operator_info_id", "operator@jaicp.example"),
    ("jaicp.clients", "id", "4917612349"),
    ("jaicp.clients", "username", "handle-of-jaicp"),
    ("lynn.current_interactions", "agent", "agent@lynn.example"),
    ("lynn.survey_result", "agent", "asked@lynn.example"),
    ("lynn.survey_result", "value", "call-me-4917612350"),
    ("lynn.survey_result", "comment", "call-me-4917612351"),
    ("lynn.contacts", "full_name", "name-of-contact"),
    ("lynn.contacts", "id", "4917612352"),
];

#[tokio::test]
async fn p7_an_analyst_finds_no_contact_data_in_any_column_of_any_view() {
    let mart = Mart::new().await;
    mart.add_columns(natural).await;
    mart.fill(5, false).await;
    for (table, column, mark) in CONTACTS {
        // Rows stay different: part of the key may be marked.
        mart.run(format!("update {table} set {column} = '{mark}' where ctid = (select min(ctid) from {table})")).await;
    }
    mart.run("update lynn.show_dialogs set \"from\" = 'agent', author = 'wrote@lynn.example'").await;
    mart.refresh().await;
    let mut analyst = mart.session_as("tidegate_analyst").await;
    let mut reader = mart.session_as("tidegate_reader").await;
    let marks: Vec<&str> = CONTACTS.iter().map(|(_, _, mark)| *mark).chain(["wrote@lynn.example"]).collect();
    let mut seen = Vec::new();
    for relation in RELATIONS {
        let rows = format!("select coalesce(string_agg(t::text, ' '), '') from mart.{} t", relation.name);
        for mark in &marks {
            let found = format!("select position('{mark}' in ({rows})) > 0");
            if relation.name != TEXTS {
                let shown: bool = sqlx::query_scalar(AssertSqlSafe(&*found)).fetch_one(&mut analyst).await.unwrap();
                assert!(!shown, "{mark} in {}", relation.name);
            }
            let shown: bool = sqlx::query_scalar(AssertSqlSafe(&*found)).fetch_one(&mut reader).await.unwrap();
            if shown {
                seen.push(*mark);
            }
        }
    }
    for name in
        ["handle-of-lexer", "agent@lexer.example", "agent@lynn.example", "resterisk-4917612345", "call-me-4917612350"]
    {
        assert!(seen.contains(&name), "a reader sees {name}");
    }
}

/// Rows without an id of the vendor: the key of such a row is a hash of all that is in it.
const UNNAMED: &str = "update khoros.incoming_post set post_id = null;
    update khoros.response set response_id = null;
    update lexer.case_details set case_id = null";

/// Keys that the mart makes of the keys of rows: the view, the key, and the rows.
const OF_ROWS: &[(&str, &str, &str)] = &[
    ("conversations", "conversation_key", "source = 'lexer'"),
    ("messages", "message_key", "source <> 'jaicp'"),
    ("bot_turns", "turn_key", "source = 'lynn'"),
    ("survey_responses", "response_key", "true"),
];

#[tokio::test]
async fn p7_the_hash_of_a_row_is_in_no_column_that_an_analyst_sees_and_keys_made_of_it_depend_on_the_salt() {
    let mart = Mart::new().await;
    mart.add_columns(natural).await;
    mart.fill(5, false).await;
    mart.run(UNNAMED).await;
    mart.refresh().await;
    let mut analyst = mart.session_as("tidegate_analyst").await;
    let mut hashes = Vec::new();
    for table in tables() {
        let sql = format!("select coalesce(array_agg(to_jsonb(t) ->> '_row_key'), '{{}}') from {table} t");
        let found: Vec<Option<String>> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mart.pool).await.unwrap();
        hashes.extend(found.into_iter().flatten());
    }
    assert!(hashes.len() >= 45, "{}", hashes.len());
    for relation in RELATIONS.iter().filter(|relation| relation.name != TEXTS) {
        let sql = format!("select coalesce(string_agg(t::text, ' '), '') from mart.{} t", relation.name);
        let shown: String = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut analyst).await.unwrap();
        for hash in &hashes {
            assert!(!shown.contains(hash) && !shown.contains(&hash.replace('-', "")), "{hash} in {}", relation.name);
        }
    }
    let joined = "select count(*) from mart.messages join mart.messages_text using (message_key)";
    assert_eq!(mart.count(joined).await, mart.count("select count(*) from mart.messages").await);

    let before = keys_of_rows(&mut analyst).await;
    let doubled: Vec<_> = before.iter().filter(|key| before.iter().filter(|other| other == key).count() > 1).collect();
    assert!(doubled.is_empty() && before.len() == 40, "{before:?}");
    mart.run("update tidegate.setting set value = 'another' where name = 'mart_salt'").await;
    let after = keys_of_rows(&mut analyst).await;
    assert_eq!(after.len(), before.len());
    assert_eq!(after.iter().filter(|key| before.contains(key)).collect::<Vec<_>>(), [""; 0]);
}

async fn keys_of_rows(session: &mut PgConnection) -> Vec<String> {
    let mut keys = Vec::new();
    for (view, key, rows) in OF_ROWS {
        let sql = format!("select '{view} ' || {key} from mart.{view} where {rows}");
        keys.extend(sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch_all(&mut *session).await.unwrap());
    }
    keys
}

#[tokio::test]
async fn p7_rights_stay_as_they_are_when_a_view_is_replaced_and_texts_are_withheld_again() {
    let mut mart = Mart::new().await;
    mart.run(
        "revoke select on mart.agents from tidegate_analyst; grant select on mart.messages_text to tidegate_analyst",
    )
    .await;
    mart.settings.timezone = chrono_tz::America::Santiago;
    mart.refresh().await;
    let may = |view: &str| format!("select has_table_privilege('tidegate_analyst', 'mart.{view}', 'select')::text");
    assert_eq!(mart.text(may("agents")).await.unwrap(), "false", "an administrator decided so");
    assert_eq!(mart.text(may("conversations")).await.unwrap(), "true");
    assert_eq!(mart.text(may("messages_text")).await.unwrap(), "false");
}
