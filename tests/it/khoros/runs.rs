//! Whole runs: the tables contain what the vendor reports.

use std::collections::BTreeMap;
use std::sync::Arc;

use simulator::{Action, Change, Edit, Match, Rows};
use tidegate::app::Database;
use tidegate::schedule::ByHand;
use tidegate::store::progress::TaskState;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::support::eventually;
use crate::support::world::run_to_end;

const LONG: Duration = Duration::from_mins(1);
const WINDOWED: [&str; 8] = [
    "conversation_actions",
    "conversation_history_action",
    "response_approval",
    "combined",
    "raw_expert_help",
    "raw_agent_states",
    "team_performance",
    "team_performance_interval",
];
/// The lists are the rows of this day.
const EPOCH: DateTime<Utc> = DateTime::UNIX_EPOCH;

fn end_of_lists() -> DateTime<Utc> {
    EPOCH + TimeDelta::days(1)
}

/// The last of several rows with one id.
fn by_id(rows: Vec<Map<String, Value>>, id: &str) -> Vec<String> {
    let entities: BTreeMap<String, _> = rows.into_iter().map(|row| (row[id].to_string(), row)).collect();
    same(entities.into_values().collect())
}

/// Conversations that a run reports: created or closed since `from`, or open at `to`.
fn reported(world: &World, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<String> {
    let at = |row: &Map<String, Value>, name: &str| row[name].as_str().unwrap().parse::<DateTime<Utc>>().ok();
    let mut rows = truth(world, "conversation", from - TimeDelta::days(12), to);
    rows.retain(|row| {
        let created = at(row, "created_time").unwrap();
        let closed = at(row, "closed_time");
        // In the simulator, conversations older than ten days are not open.
        let open = closed.is_none() && created >= Utc::now() - TimeDelta::days(10);
        created >= from || closed.is_some_and(|closed| closed >= from) || open
    });
    // A closing time that is not a time does not fit the column.
    for row in &mut rows {
        row.retain(|name, value| name != "closed_time" || *value != "");
    }
    same(rows)
}

fn ends(tasks: &[TaskState]) -> BTreeMap<String, DateTime<Utc>> {
    tasks.iter().filter_map(|task| Some((task.stream.clone(), task.last_window_end?))).collect()
}

/// Today has no rows, so that the open slice does not change.
fn without_today(world: &World) {
    let data = world.control().khoros().data();
    for stream in &world.config().jobs["khoros"].streams {
        let export = stream.stream.vendor_id.rsplit('/').next().unwrap().to_owned();
        data.vanish(Rows::between(&export, ago(0), ago(-2))).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_first_run_loads_every_export() {
    let recipe =
        Recipe { connection: vec!["marketing: { Brand Post: raw_brand_post }".to_owned()], ..Recipe::default() };
    let world = recipe.world().await;
    without_today(&world);
    let tasks = world.sync_ok().await;
    assert_eq!(tasks.len(), 15);
    for stream in WINDOWED {
        assert_truth(&world, stream, stream, ago(2), ago(0)).await;
    }
    assert_truth(&world, "marketing_brand_post", "raw_brand_post", ago(2), ago(0)).await;
    for (stream, id) in [("incoming_post", "post_id"), ("response", "response_id"), ("author", "author_uuid")] {
        assert_equal(stream, &world.rows(stream).await, &by_id(truth(&world, stream, ago(2), ago(0)), id));
    }
    for list in ["user", "teams"] {
        assert_truth(&world, list, list, EPOCH, end_of_lists()).await;
    }
    assert_equal("conversation", &world.rows("conversation").await, &reported(&world, ago(2), ago(-1)));
    let open: Vec<_> = world.control().khoros().submitted();
    let open = open.iter().filter(|call| call.get("conversationReportType") == Some("OPEN_AT_END")).count();
    assert_eq!(open, 1, "once per run");
    let kinds: Vec<String> =
        sqlx::query_scalar("select distinct kind from tidegate.table_column where table_schema = 'khoros' order by 1")
            .fetch_all(&world.database.pool())
            .await
            .unwrap();
    assert!(kinds.contains(&"text".to_owned()), "{kinds:?}");
    let stats = world.control().stats();
    assert_eq!((stats.unexpected, stats.violations), (vec![], vec![]));

    // An empty text that came before its field had a column is null until it is read again.
    let settled = world.sync_ok().await;
    for task in settled {
        assert_eq!((task.rows_inserted, task.rows_deleted), (0, 0), "{task:?}");
    }
    // After that, a run changes only new rows.
    let again = world.sync_ok().await;
    for task in again {
        assert_eq!((task.rows_inserted, task.rows_updated, task.rows_deleted), (0, 0, 0), "{task:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_file_larger_than_its_memory_share_that_breaks_off_leaves_no_row_twice() {
    const MANY: u64 = 30_000;
    let options = Options { volume: Volume::Exactly(MANY), ..free() };
    let start = ago(1).date_naive();
    let world = Recipe { options, streams: "[combined]", start, ..Recipe::default() }.world().await;
    without_today(&world);
    world.edit_config(|text| text.replace("concurrency: 2", "concurrency: 64"));
    world.control().next(Match::endpoint("files_get"), Action::CutAfter { bytes: 7_000_000 });
    let tasks = world.sync_ok().await;
    assert_eq!(tasks[0].rows_inserted, i64::try_from(MANY).unwrap());
    let found = world.rows("combined").await;
    assert!(found == same(truth(&world, "combined", ago(1), ago(0))), "{} rows", found.len());
    let tried = "select n_tup_ins > 30000 from pg_stat_user_tables where relname = 'combined'";
    // Rows of the first half were in the table, until it broke off.
    eventually(LONG, async || world.scalar::<bool>(tried).await.then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_one_connection_is_enough() {
    let world = Recipe { streams: "[raw_agent_states, combined, user]", ..Recipe::default() }.world().await;
    without_today(&world);
    world.edit_config(|text| text.replace("max_connections: 6", "max_connections: 1"));
    let options = world.config().database;
    assert_eq!(options.max_connections, 1);
    let database = Database::open(&world.config(), &CancellationToken::new()).await.unwrap();
    let run = world.enqueue_job("khoros", ByHand::Manual).await;
    let tasks = run_to_end(Arc::new(world.config()), database.pool.clone(), run).await;
    // A task that gets no database connection within 15 s is postponed.
    assert_succeeded(&tasks);
    assert!(tasks.iter().all(|task| task.attempts == 0), "{tasks:?}");
    assert_truth(&world, "raw_agent_states", "raw_agent_states", ago(2), ago(0)).await;
    database.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_exports_that_failed_runs_left_do_not_keep_each_other_waiting() {
    let streams = "[conversation_actions, combined, raw_agent_states]";
    let world = Recipe { streams, job: vec!["lookback: 5d".to_owned()], ..Recipe::default() }.world().await;
    without_today(&world);
    world.sync_ok().await;
    // Each stream failed in its second slice, and now its first one is due again.
    let left = sqlx::query(
        r#"update tidegate.slice
        set reading_run = finished_run, reading_until = window_end, cursor = jsonb_build_object(
            'parts', '[" 1/1"]'::jsonb, 'part', 0, 'attempt', 1,
            'job', jsonb_build_object(
                'handle', '{"workflow": "w", "run": "r"}'::jsonb, 'submitted_at', clock_timestamp(), 'polls', 1
            )
        )::text
        where window_start = $1"#,
    )
    .bind(ago(1))
    .execute(&world.database.pool())
    .await
    .unwrap();
    assert_eq!(left.rows_affected(), 3);
    tokio::time::timeout(LONG, world.sync_ok()).await.unwrap();
    for stream in ["conversation_actions", "combined", "raw_agent_states"] {
        assert_truth(&world, stream, stream, ago(2), ago(0)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_files_load_the_same_entities() {
    let streams = "[conversation, incoming_post, conversation_actions, user]";
    let connection = vec!["report_format: csv".to_owned()];
    let world = Recipe { connection, streams, ..Recipe::default() }.world().await;
    without_today(&world);
    world.sync_ok().await;
    let ids = |rows: Vec<String>| -> Vec<String> {
        let id = |row: &String| {
            let row: Map<String, Value> = serde_json::from_str(row).unwrap();
            row["conversation_id"].as_str().unwrap().to_owned()
        };
        sorted(rows.iter().map(id))
    };
    assert_eq!(ids(world.rows("conversation").await), ids(reported(&world, ago(2), ago(-1))));
    let mut posts = truth(&world, "incoming_post", ago(2), ago(0));
    for row in &mut posts {
        row.retain(|_, value| value != "");
    }
    assert_equal("incoming_post", &world.rows("incoming_post").await, &same(posts));
    let mut actions = truth(&world, "conversation_actions", ago(2), ago(0));
    for row in &mut actions {
        row.retain(|_, value| value != "");
    }
    assert_equal("conversation_actions", &world.rows("conversation_actions").await, &same(actions));
    let users: i64 = world.scalar("select count(*) from khoros.\"user\" where _deleted_at is null").await;
    assert_eq!(users, 12);
    assert_eq!(world.control().stats().unexpected, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_changed_vanished_and_late_rows_end_as_last_reported() {
    let streams = "[conversation_actions, incoming_post, user, teams]";
    let job = vec!["lookback: 36h".to_owned()];
    let world = Recipe { streams, job, start: ago(3).date_naive(), ..Recipe::default() }.world().await;
    without_today(&world);
    let data = world.control().khoros().data();
    let near = |export: &str| Rows::between(export, ago(1), ago(0));
    for export in ["conversation_actions", "incoming_post"] {
        assert!(data.late(near(export).every(9)).unwrap() > 2);
    }
    world.sync_ok().await;
    assert_truth(&world, "conversation_actions", "conversation_actions", ago(3), ago(0)).await;

    let posts_before = by_id(truth(&world, "incoming_post", ago(3), ago(0)), "post_id");
    data.release_late();
    let set = |field: &str| Change::Set { field: field.to_owned(), json: "\"corrected\"".to_owned() };
    for export in ["conversation_actions", "incoming_post"] {
        data.change(near(export).every(10).first(3), set("NEW_FIELD")).unwrap();
        data.change(
            near(export).every(11).first(3),
            set(if export == "incoming_post" { "MESSAGE_TEXT" } else { "NOTE" }),
        )
        .unwrap();
        assert!(data.vanish(near(export).every(7).first(4)).unwrap() > 3);
    }
    data.edit(Edit::Duplicate { rows: near("conversation_actions").every(8), copies: 2, distance: 0 }).unwrap();
    let list = |export: &str| Rows::between(export, EPOCH, end_of_lists());
    for list in [list("user").every(5), list("teams").every(2)] {
        assert!(data.vanish(list).unwrap() > 0);
    }
    data.change(list("user").every(3).first(1), set("TEAM_NAME")).unwrap();
    let tasks = world.sync_ok().await;
    assert_truth(&world, "conversation_actions", "conversation_actions", ago(3), ago(0)).await;
    // Entities that are no longer reported stay; the others are as last reported.
    let (found, now) = (world.rows("incoming_post").await, same(truth(&world, "incoming_post", ago(3), ago(0))));
    assert!(now.iter().all(|row| found.contains(row)));
    assert!(found.iter().all(|row| now.contains(row) || posts_before.contains(row)));
    assert_eq!(found.len(), now.len() + 4);
    for (table, gone, left) in [("user", 2, 10), ("teams", 1, 2)] {
        let count = async |condition: &str| -> i64 {
            world.scalar(&format!("select count(*) from khoros.\"{table}\" where _deleted_at is {condition}")).await
        };
        assert_eq!((count("not null").await, count("null").await), (gone, left), "{table}");
    }
    let corrected: i64 = world.scalar("select count(*) from khoros.\"user\" where team_name = 'corrected'").await;
    assert_eq!(corrected, 1, "the agent is the same one");
    assert_eq!(ends(&tasks).len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_odd_records_are_kept_somewhere() {
    let world = Recipe { streams: "[conversation, author]", ..Recipe::default() }.world().await;
    without_today(&world);
    let data = world.control().khoros().data();
    let all = |export: &str| Rows::between(export, ago(2), ago(0));
    let whole = Change::Whole { json: "[7]".to_owned() };
    data.change(all("conversation").every(13), Change::Remove { field: "CONVERSATION_ID".to_owned() }).unwrap();
    data.change(all("conversation").every(17), whole).unwrap();
    data.change(all("author").every(5), Change::StringToObject { field: "FOLLOWERS".to_owned() }).unwrap();
    data.change(all("author").every(7), Change::Remove { field: "AUTHOR_UUID".to_owned() }).unwrap();
    let tasks = world.sync().await;
    for task in &tasks {
        let state = if task.stream == "conversation" { "held" } else { "succeeded" };
        assert_eq!(task.state, state, "{task:#?}");
    }
    let reasons: Vec<String> = sqlx::query_scalar(
        "select distinct reason from tidegate.rejected_record where stream = 'conversation' order by 1",
    )
    .fetch_all(&world.database.pool())
    .await
    .unwrap();
    assert_eq!(reasons, ["no key field `CONVERSATION_ID`", "not an object"]);
    // Without an id, an author is identified by the whole content.
    let nameless: i64 = world.scalar("select count(*) from khoros.author where author_uuid is null").await;
    assert_eq!(nameless, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_job_identifies_the_rows() {
    let streams = "[{ name: raw_agent_states, key: [agent_id, state_start] }]";
    let world = Recipe { streams, job: vec!["lookback: 5d".to_owned()], ..Recipe::default() }.world().await;
    without_today(&world);
    world.sync_ok().await;
    let data = world.control().khoros().data();
    let set = Change::Set { field: "duration_seconds".to_owned(), json: "\"1\"".to_owned() };
    data.change(Rows::between("raw_agent_states", ago(1), ago(0)).every(8).first(3), set).unwrap();
    let tasks = world.sync_ok().await;
    assert_eq!((tasks[0].rows_updated, tasks[0].rows_inserted, tasks[0].rows_deleted), (3, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_the_rate_is_kept_by_everything_together() {
    let options = Options {
        speed: 60.0,
        volume: Volume::Exactly(3),
        khoros: Account { job_time: Duration::from_secs(20), ..Account::default() },
        ..Options::default()
    };
    let world = Recipe { options, quota: "{ limit: 20, per: 1s }", start: ago(1).date_naive(), ..Recipe::default() }
        .world()
        .await;
    world.sync_ok().await;
    let stats = world.control().stats();
    let limit = &stats.limits["khoros.requests"];
    assert_eq!((stats.violations, limit.refused, stats.unexpected), (vec![], 0, vec![]));
    assert!(limit.highest_sliding <= 20 && limit.counted > 60, "{limit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_export_that_fails_leaves_the_others_alone() {
    let world = Recipe { streams: "[author, response, teams]", ..Recipe::default() }.world().await;
    let body = r#"{"status":"FAIL","result":"no such metric for harbour-k7"}"#.to_owned();
    let refused = Action::Text { status: 200, content_type: "text/plain".to_owned(), body };
    world.control().next(Match { endpoint: Some("khoros_create".to_owned()), ..Match::report("author") }, refused);
    let tasks = world.sync().await;
    for task in &tasks {
        let wanted = (task.stream == "author").then_some("the vendor refused: “no such metric for ***”");
        assert_eq!(task.error.as_deref(), wanted, "{}", task.stream);
    }
    world.sync_ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_that_failed_do_not_hold_up_the_others() {
    let streams = "[author, response, combined, incoming_post, raw_expert_help]";
    let world = Recipe { streams, ..Recipe::default() }.world().await;
    let failing = ["author", "response", "combined"];
    for export in failing {
        let location = "http://10.0.0.1/x".to_owned();
        let on = Match { endpoint: Some("khoros_download".to_owned()), ..Match::report(export) };
        world.control().next(on, Action::Redirect { status: 307, location });
    }
    // Their jobs are done and their cursors are stored; no worker waits for them.
    let tasks = world.sync().await;
    for task in tasks {
        let wanted = if failing.contains(&task.stream.as_str()) { "failed" } else { "succeeded" };
        assert_eq!(task.state, wanted, "{}", task.stream);
    }
    world.sync_ok().await;
}
