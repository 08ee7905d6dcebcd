//! What changes at the vendor between two runs.

use serde_json::json;
use simulator::{Change, Edit, Rows};

use super::*;

/// The values that must not change while the vendor's data do not change.
async fn versions(world: &World, table: &str) -> Vec<(String, String)> {
    let query =
        format!("select _row_key::text, concat_ws(' ', xmin, _run_id, _loaded_at) from lexer.{table} order by 1");
    sqlx::query_as(AssertSqlSafe(query)).fetch_all(&world.database.pool()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_changed_file_is_replaced_without_rewriting_unchanged_rows() {
    let world = world(options(), "[mention_sla_export, summary, states_volume]", 3, &[], &["lookback: 60h"]).await;
    let day = |days| Rows::between(SLA, ago(days), ago(days - 1));
    let data = lexer(&world).data();
    assert!(data.late(day(1).every(13)).unwrap() > 2);
    world.sync_ok().await;
    assert_file(&world, SLA).await;
    let before = versions(&world, SLA).await;

    let set = Change::Set { field: "State".to_owned(), json: "\"closed later\"".to_owned() };
    data.change(day(1).every(10), set).unwrap();
    assert!(data.vanish(day(2).every(7)).unwrap() > 2);
    data.edit(Edit::Duplicate { rows: day(2).every(11), copies: 2, distance: 0 }).unwrap();
    data.insert(SLA, ago(2) + TimeDelta::hours(5)).unwrap();
    data.release_late();
    let tasks = world.sync_ok().await;
    assert_file(&world, SLA).await;
    let task = tasks.iter().find(|task| task.stream == SLA).unwrap();
    assert!(task.rows_inserted > 5 && task.rows_deleted > 5 && task.rows_unchanged > 50, "{task:?}");
    let after = versions(&world, SLA).await;
    let same = before.iter().filter(|row| after.contains(row)).count();
    assert!(same > 60, "{same} of {} rows were left alone", before.len());
    // The figures change accordingly.
    let later: i64 = world
        .scalar("select coalesce(sum(value), 0)::bigint from lexer.states_volume where state = 'closed later'")
        .await;
    let truth: i64 = world.scalar("select count(*) from lexer.mention_sla_export where state = 'closed later'").await;
    assert!(later > 0 && later == truth);
    let volume: i64 = world
        .scalar("select sum(total_volume)::bigint from lexer.summary where _window_start < date_trunc('day', now())")
        .await;
    let rows: i64 = world
        .scalar("select count(*) from lexer.mention_sla_export where _window_start < date_trunc('day', now())")
        .await;
    assert_eq!(volume, rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_rows_of_a_slice_that_is_still_open_keep_their_keys_although_it_grows() {
    let world = plain("[case_details]", 0).await;
    // All of today's cases exist before the first run, so that only the end of the window changes.
    let data = lexer(&world).data();
    data.vanish(Rows::between("case_details", ago(0), ago(-1))).unwrap();
    for _ in 0..3 {
        data.insert("case_details", ago(0)).unwrap();
    }
    world.sync_ok().await;
    let before = versions(&world, "case_details").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let tasks = world.sync_ok().await;
    assert_eq!((tasks[0].rows_inserted, tasks[0].rows_deleted), (0, 0), "{tasks:?}");
    let keys = |rows: Vec<(String, String)>| rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(versions(&world, "case_details").await), keys(before));
    let window_end: DateTime<Utc> = world.scalar("select distinct window_end from lexer.case_details").await;
    let until: DateTime<Utc> = world.scalar("select read_until from tidegate.slice").await;
    assert_eq!(window_end, until);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_new_columns_of_a_file_are_added_and_odd_values_of_reports_are_kept() {
    let world = plain("[mention_sla_export, case_details]", 1).await;
    lexer(&world).add_column(SLA, "Sentiment (new)");
    let set = Change::Set { field: "Sentiment (new)".to_owned(), json: "\"glad\"".to_owned() };
    lexer(&world).data().change(Rows::since(SLA, ago(2)).every(2), set).unwrap();
    world.sync_ok().await;
    assert_file(&world, SLA).await;
    let kinds: Vec<(String, String)> =
        sqlx::query_as("select column_name, kind from tidegate.table_column where table_name = $1")
            .bind(SLA)
            .fetch_all(&world.database.pool())
            .await
            .unwrap();
    assert_eq!(kinds, [("sentiment_new".to_owned(), "text".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_lists_follow_the_vendor_with_their_links() {
    let world = plain("[users, groups, forms]", 1).await;
    world.sync_ok().await;
    lexer(&world).edit_list("users", |users| {
        users.remove(0);
        users[0]["groups"] = json!([377, 999]);
        users[0]["email"] = json!(null);
        users[1]["timezone"] = json!({ "name": "x" });
        users.push(json!({ "id": 99, "first_name": "New", "groups": [301], "role": "lead" }));
    });
    let before: Vec<(i64, String)> = sqlx::query_as("select id, xmin::text from lexer.forms order by 1")
        .fetch_all(&world.database.pool())
        .await
        .unwrap();
    world.sync_ok().await;
    let users: Vec<(i64, bool)> = sqlx::query_as("select id, _deleted_at is not null from lexer.users order by 1")
        .fetch_all(&world.database.pool())
        .await
        .unwrap();
    assert_eq!(users, [(41, true), (42, false), (57, false), (58, false), (99, false)]);
    let links: Vec<(i64, i64)> = sqlx::query_as("select user_id, group_id from lexer.user_groups order by 1, 2")
        .fetch_all(&world.database.pool())
        .await
        .unwrap();
    assert_eq!(links, [(42, 377), (42, 999), (57, 301), (57, 302), (58, 301), (58, 302), (58, 377), (99, 301)]);
    let extra: Vec<Value> = sqlx::query_scalar("select _extra from lexer.users where _extra is not null order by id")
        .fetch_all(&world.database.pool())
        .await
        .unwrap();
    assert_eq!(extra, [json!({ "timezone": { "name": "x" } }), json!({ "role": "lead" })]);
    let after: Vec<(i64, String)> = sqlx::query_as("select id, xmin::text from lexer.forms order by 1")
        .fetch_all(&world.database.pool())
        .await
        .unwrap();
    assert_eq!(before, after, "what did not change is not written");
}
