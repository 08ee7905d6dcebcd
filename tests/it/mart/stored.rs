//! Views whose rows are stored (`mart.materialize`).

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection};
use tidegate::mart::relations::{RELATIONS, TEXTS};
use tidegate::mart::{Refresh, Role, Settings, Views};

use super::{Mart, natural};
use crate::support::daemon::{Daemon, SOON, command};
use crate::support::world::Recipe;
use crate::support::{World, ago, eventually};

/// The names of the relations that are stored.
fn stored() -> Vec<&'static str> {
    RELATIONS.iter().filter(|relation| relation.stored).map(|relation| relation.name).collect()
}

impl Mart {
    /// With rows in every table, and all of the stored relations stored.
    async fn stored() -> Self {
        let mut mart = Self::new().await;
        mart.add_columns(natural).await;
        mart.fill(20, false).await;
        mart.settings.materialize = true;
        mart.refresh().await;
        mart.store().await;
        assert_eq!(mart.stored_relations().await, stored());
        mart
    }

    async fn store(&self) {
        self.views.store(&self.pool, &self.settings, Refresh::Outdated).await;
    }

    async fn stored_relations(&self) -> Vec<&'static str> {
        let mut read: Vec<&str> = Vec::new();
        for relation in RELATIONS {
            let sql = format!(
                "select exists (
                    select from pg_depend depend
                    inner join pg_rewrite rule on rule.oid = depend.objid
                    inner join tidegate.mart_table stored on to_regclass('tidegate.' || stored.name) = depend.refobjid
                    where rule.ev_class = 'mart.{}'::regclass and stored.relation = '{0}'
                )",
                relation.name
            );
            if sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await.unwrap() {
                read.push(relation.name);
            }
        }
        read
    }

    /// As if a run had just finished slices.
    async fn finish_slices(&self) {
        self.run(
            "insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
            values ('acme', 'sessions', 'jaicp', 'sessions', '2024-02-01', 'UTC', '1d')
            on conflict do nothing;
            update tidegate.stream set last_finish_at = now()",
        )
        .await;
    }

    /// A hash of the rows of each view, as a role sees them.
    async fn rows_as(&self, role: &str) -> BTreeMap<&'static str, (i64, Option<String>)> {
        let mut session = self.session_as(role).await;
        let mut found = BTreeMap::new();
        for relation in RELATIONS.iter().filter(|relation| role == "tidegate_reader" || relation.name != TEXTS) {
            let sql = format!(
                "select count(*), md5(string_agg(t::text, '|' order by t::text collate \"C\")) from mart.{} t",
                relation.name
            );
            let hash = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut session).await.unwrap();
            found.insert(relation.name, hash);
        }
        found
    }

    /// What both roles see in the views as they are, and in views that compute their rows.
    async fn assert_as_computed(&self) {
        for role in ["tidegate_reader", "tidegate_analyst"] {
            let seen = self.rows_as(role).await;
            let settings = Settings { materialize: false, ..self.settings.clone() };
            Views::default().refresh(&self.pool, &settings).await;
            assert_eq!(self.stored_relations().await, [""; 0]);
            let computed = self.rows_as(role).await;
            Views::default().refresh(&self.pool, &self.settings).await;
            for (name, rows) in &computed {
                assert_eq!(seen.get(name), Some(rows), "{name} as {role}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_the_daemon_and_sync_store_rows_and_the_command_tells_how_old_they_are() {
    let worker = "{ concurrency: 2, lease: 5s }\nmart: { materialize: true }";
    let world = World::with(Recipe { worker, start: ago(1).date_naive(), ..Recipe::default() }).await;
    let said = async |args: &[&str]| String::from_utf8(command(&world, &[], args).await.stdout).unwrap();
    said(&["migrate"]).await;
    let text = said(&["status"]).await;
    assert!(!text.contains("Stored rows"), "{text}");
    let text = said(&["mart"]).await;
    assert!(text.starts_with("days are those of UTC\nno rows are stored yet: `run` and `sync` do it\n"), "{text}");
    said(&["sync"]).await;
    let marks = "select count(*) from lynn.navigation_marks";
    let turns = "select count(*) from mart.bot_turns";
    let stored_turns = async || -> i64 {
        let table = "select name from tidegate.mart_table where relation = 'bot_turns'";
        let table: String = world.scalar(table).await;
        let count = format!("select count(*) from tidegate.{table}");
        sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&world.database.pool()).await.unwrap()
    };
    let loaded: i64 = world.scalar(marks).await;
    assert!(loaded > 0);
    assert_eq!((stored_turns().await, world.scalar::<i64>(turns).await), (loaded, loaded));
    let text = said(&["mart"]).await;
    let expected = format!("days are those of UTC\nrows of {} relations are stored, the oldest ", stored().len());
    assert!(text.starts_with(&expected), "{text}");
    let document: serde_json::Value = serde_json::from_str(&said(&["mart", "--json"]).await).unwrap();
    assert_eq!(document["stored"].as_array().unwrap().len(), stored().len());

    let text = said(&["status"]).await;
    let (_, section) = text.split_once("\nStored rows of the mart\nRELATION ").unwrap_or_else(|| panic!("{text}"));
    for relation in stored() {
        assert!(section.lines().any(|line| line.split_whitespace().next() == Some(relation)), "{relation} {text}");
    }

    world.scalar::<i64>("with gone as (delete from lynn.navigation_marks returning 1) select count(*) from gone").await;
    let daemon = Daemon::start(&world).await;
    let age = daemon.metric(r#"tidegate_mart_stored_age_seconds{relation="bot_turns"}"#).await;
    assert!(age.is_some_and(|age| (0.0..600.0).contains(&age)), "{age:?}");
    let document = daemon.status().await;
    let listed = document["stored"].as_array().unwrap();
    assert_eq!(listed.len(), stored().len());
    assert!(listed.iter().all(|rows| rows["age_seconds"].is_i64() && rows["refreshed_at"].is_string()), "{document}");
    let (_, page) = daemon.get("/system").await;
    assert!(page.contains("Stored rows of the mart") && page.contains(">bot_turns</th>"), "{page}");
    eventually(SOON, async || (world.scalar::<i64>(turns).await == 0).then_some(())).await;
}

async fn tables(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "select relname::text from pg_class
        where relnamespace = 'tidegate'::regnamespace and relkind = 'r' and relname like 'mart\\_%\\_________________'
        order by 1",
    )
    .fetch_all(connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn p7_stored_rows_are_those_that_the_view_computes_for_readers_and_for_analysts() {
    let mart = Mart::new().await;
    let columns = mart.columns().await;
    drop(mart);
    let mart = Mart::stored().await;
    assert_eq!(mart.columns().await, columns, "the same columns, types and comments");
    mart.assert_as_computed().await;
    let mut analyst = mart.session_as("tidegate_analyst").await;
    let listed: Vec<String> = sqlx::query_scalar("select relation from mart.stored_relations order by 1")
        .fetch_all(&mut analyst)
        .await
        .unwrap();
    let mut names = stored();
    names.sort_unstable();
    assert_eq!(listed, names);
    for table in tables(&mut mart.database.connect().await).await {
        let read = sqlx::query(AssertSqlSafe(format!("select * from tidegate.{table}"))).execute(&mut analyst).await;
        assert!(read.is_err(), "{table}");
    }
}

#[tokio::test]
async fn p4_a_refresh_writes_what_differs_and_leaves_other_rows_alone() {
    let mart = Mart::stored().await;
    let table = mart.text("select name from tidegate.mart_table where relation = 'conversations'").await.unwrap();
    let versions = format!(
        "select string_agg(ctid::text || xmin, ',' order by ctid) from tidegate.{table}
        where conversation_key not like 'jaicp%'"
    );
    let before = mart.text(versions.clone()).await;
    let read = "select channel_raw from mart.conversations where conversation_id like '%/v1'";
    mart.run(
        "delete from jaicp.sessions where session_id = 'v2'; update jaicp.sessions set channel_type = 'Other' where session_id = 'v1'",
    )
    .await;
    assert_ne!(mart.text(read).await.as_deref(), Some("other"), "not refreshed yet");
    mart.finish_slices().await;
    mart.store().await;
    assert_eq!(mart.text(read).await.as_deref(), Some("other"));
    assert_eq!(mart.text(versions).await, before);
    mart.assert_as_computed().await;
}

#[tokio::test]
async fn a_relation_rests_after_a_refresh_and_is_refreshed_after_an_hour_without_slices_too() {
    let mart = Mart::stored().await;
    let refreshed = "select string_agg(refreshed_at::text, ',' order by relation) from tidegate.mart_table";
    let store = async || mart.views.store(&mart.pool, &mart.settings, Refresh::Due).await;
    let before = mart.text(refreshed).await;
    store().await;
    assert_eq!(mart.text(refreshed).await, before, "no slice was finished");
    mart.finish_slices().await;
    mart.run("update tidegate.mart_table set took_seconds = 60").await;
    store().await;
    assert_eq!(mart.text(refreshed).await, before, "it rests for ten minutes");
    mart.run("update tidegate.mart_table set took_seconds = 0").await;
    store().await;
    let after = mart.text(refreshed).await;
    assert_ne!(after, before);
    mart.run(
        "update tidegate.stream set last_finish_at = now() - interval '1 day';
        update tidegate.mart_table set refreshed_at = now() - interval '61 minutes' where relation = 'messages'",
    )
    .await;
    store().await;
    let stale = "select count(*) from mart.stored_relations where age_seconds > 600";
    assert_eq!(mart.count(stale).await, 0);
}

#[tokio::test]
async fn other_columns_lead_to_another_table_and_the_old_one_is_dropped() {
    let mut mart = Mart::stored().await;
    let mut session = mart.database.connect().await;
    let before = tables(&mut session).await;
    mart.settings.timezone = chrono_tz::America::Santiago;
    mart.refresh().await;
    assert!(mart.stored_relations().await.len() < stored().len(), "some compute their rows until they are stored");
    mart.store().await;
    assert_eq!(mart.stored_relations().await, stored());
    mart.assert_as_computed().await;
    assert!(tables(&mut session).await.len() > before.len(), "another process may still need the old tables");
    mart.run("update tidegate.mart_table set refreshed_at = refreshed_at - interval '10 minutes'").await;
    mart.store().await;
    assert_eq!(tables(&mut session).await.len(), stored().len());

    mart.settings.materialize = false;
    mart.refresh().await;
    assert_eq!(mart.stored_relations().await, [""; 0]);
    mart.run("update tidegate.mart_table set refreshed_at = refreshed_at - interval '10 minutes'").await;
    mart.store().await;
    assert_eq!(tables(&mut session).await, [""; 0]);
    assert_eq!(mart.count("select count(*) from tidegate.mart_table").await, 0);
    mart.read_all().await;
}

#[tokio::test]
async fn p12_a_relation_whose_rows_cannot_be_stored_holds_up_no_other() {
    let mart = Mart::stored().await;
    let table = mart.text("select name from tidegate.mart_table where relation = 'messages'").await.unwrap();
    mart.run(format!("alter table tidegate.{table} add constraint refuses check (false) not valid")).await;
    mart.run("update jaicp.messages set is_livechat = true, operator_info_id = 'new', question = ''").await;
    mart.finish_slices().await;
    let refreshed =
        "select string_agg(relation, ' ' order by relation) from tidegate.mart_table where refreshed_at >= $at";
    let now = mart.text("select clock_timestamp()::text").await.unwrap();
    mart.store().await;
    let done = mart.text(refreshed.replace("$at", &format!("'{now}'"))).await.unwrap();
    let mut expected = stored();
    expected.retain(|relation| *relation != "messages");
    expected.sort_unstable();
    assert_eq!(done, expected.join(" "));
}

#[tokio::test]
async fn p11_only_tables_that_a_view_reads_tell_how_old_a_relation_is() {
    let mut mart = Mart::stored().await;
    let told = "select count(*) from mart.stored_relations";
    assert_eq!(mart.count(told).await, i64::try_from(stored().len()).unwrap());
    mart.settings.materialize = false;
    mart.refresh().await;
    assert_eq!(mart.count(told).await, 0);
    assert!(mart.count("select count(*) from tidegate.mart_table").await > 0, "they are dropped later");
}

#[tokio::test]
async fn a_table_that_was_dropped_is_made_again() {
    let mart = Mart::stored().await;
    let table = mart.text("select name from tidegate.mart_table where relation = 'conversations'").await.unwrap();
    mart.run(format!("drop table tidegate.{table} cascade")).await;
    mart.refresh().await;
    mart.read_all().await;
    mart.store().await;
    assert_eq!(mart.stored_relations().await, stored());
    mart.assert_as_computed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_readers_and_refreshes_do_not_wait_for_each_other_and_one_process_stores_at_a_time() {
    let mart = Mart::stored().await;
    mart.run("delete from jaicp.messages where question_id < 'v2'").await;
    mart.finish_slices().await;
    let mut reader = mart.session_as("tidegate_analyst").await;
    sqlx::raw_sql("begin; set local lock_timeout = '1ms'").execute(&mut reader).await.unwrap();
    let count = async |reader: &mut PgConnection| -> i64 {
        sqlx::query_scalar("select count(*) from mart.messages").fetch_one(reader).await.unwrap()
    };
    let before = count(&mut reader).await;
    let another = Views::default();
    let both = async {
        tokio::join!(mart.store(), another.store(&mart.pool, &mart.settings, Refresh::Outdated));
    };
    tokio::time::timeout(Duration::from_mins(1), both).await.expect("a reader's transaction stops no refresh");
    assert!(count(&mut reader).await < before);
    drop(reader);
    mart.assert_as_computed().await;
    assert_eq!(tables(&mut mart.database.connect().await).await.len(), stored().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_refresh_that_is_cut_off_leaves_the_rows_as_they_were() {
    let mart = Mart::stored().await;
    let before = mart.rows_as("tidegate_reader").await;
    mart.run("delete from jaicp.messages; delete from khoros.response").await;
    mart.finish_slices().await;
    // The lock lets the refresh compute, but not write.
    let mut blocker = mart.database.connect().await;
    let table = mart.text("select name from tidegate.mart_table where relation = 'messages'").await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("begin; lock table tidegate.{table} in share mode")))
        .execute(&mut blocker)
        .await
        .unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(3), mart.store()).await.is_err());
    sqlx::raw_sql("rollback").execute(&mut blocker).await.unwrap();
    assert_eq!(mart.rows_as("tidegate_reader").await["messages"], before["messages"]);
    mart.finish_slices().await;
    mart.store().await;
    mart.assert_as_computed().await;
}

#[tokio::test]
async fn p12_a_process_refreshes_no_rows_of_a_view_that_is_not_its_own() {
    let mart = Mart::stored().await;
    let tables = "select string_agg(name, ' ' order by name) from tidegate.mart_table";
    let later = Settings { timezone: chrono_tz::Asia::Tokyo, ..mart.settings.clone() };
    let daemon = Views::of(Role::Daemon, "later");
    daemon.refresh(&mart.pool, &later).await;
    daemon.store(&mart.pool, &later, Refresh::Outdated).await;
    mart.run("update tidegate.mart_table set refreshed_at = refreshed_at - interval '10 minutes'").await;
    daemon.store(&mart.pool, &later, Refresh::Due).await;
    let before = mart.text(tables).await;
    mart.finish_slices().await;
    mart.refresh().await;
    mart.store().await;
    assert_eq!(mart.text(tables).await, before, "it follows the settings of the other");
    assert_eq!(mart.stored_relations().await, stored());

    // As if another version had made the view.
    mart.run("update tidegate.mart_view set made_from = 'another', version = 'another' where name = 'messages'").await;
    mart.finish_slices().await;
    let now = mart.text("select clock_timestamp()::text").await.unwrap();
    mart.refresh().await;
    mart.store().await;
    let refreshed = format!("select string_agg(relation, ' ') from tidegate.mart_table where refreshed_at < '{now}'");
    assert_eq!(mart.text(refreshed).await.as_deref(), Some("messages"));
}
