//! Whole runs: the tables contain what the vendor reports.

use chrono::Datelike as _;
use serde_json::json;
use simulator::{Action, Change, Match, Rows};

use super::site::{Site, ago};
use super::*;

const ENTITIES: &str = "[sessions, messages, clients]";

fn v1() -> String {
    let Account { unified_token, project, .. } = Account::default();
    format!("api: v1\nproject: {project}\ntoken: {unified_token}")
}

fn set(field: &str, json: &str) -> Change {
    Change::Set { field: field.to_owned(), json: json.to_owned() }
}

async fn links(site: &Site, table: &str) -> BTreeSet<(String, i64)> {
    let id = if table == "session_label_links" { "session_id" } else { "question_id" };
    let query = format!("select {id}, label_id from jaicp.{table}");
    let rows: Vec<(String, i64)> =
        sqlx::query_as(sqlx::AssertSqlSafe(query)).fetch_all(&site.database.pool()).await.unwrap();
    rows.into_iter().collect()
}

fn labels(rows: &[Map<String, Value>], id: &str) -> BTreeSet<(String, i64)> {
    let of = |row: &Map<String, Value>| {
        let labels = row["labels"].as_array().cloned().unwrap_or_default();
        let id = row[id].as_str().unwrap().to_owned();
        labels.into_iter().map(move |label| (id.clone(), label["id"].as_i64().unwrap())).collect::<Vec<_>>()
    };
    rows.iter().flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_a_first_run_loads_what_the_vendor_reports() {
    for (connection, lists) in [(String::new(), 3), (v1(), 1)] {
        let site = Site::new(&connection, "\"*\"", "lookback: 0s").await;
        let tasks = site.sync_ok().await;
        assert_eq!(tasks.len(), 10 + lists, "{connection}");
        for entity in ["sessions", "clients"] {
            site.assert_rows(entity, site.truth(entity)).await;
        }
        site.assert_rows("messages", site.messages()).await;
        assert_eq!(links(&site, "session_label_links").await, labels(&site.truth("sessions"), "sessionId"));
        assert_eq!(links(&site, "message_label_links").await, labels(&site.truth("messages"), "questionId"));
        let counts = [("message_labels", 6), ("experiments", 2), ("experiment_branches", 3), ("experiment_counts", 2)];
        for (table, count) in counts.into_iter().chain([("unique_clients", 1), ("sessions_count", 1)]) {
            assert_eq!(site.count(table).await, count, "{table}");
        }
        let sum: f64 = site.scalar("select sum(value) from jaicp.stats_series where metric = 'messages'").await;
        assert!((sum - 180.0).abs() < 0.5, "{sum}");
        assert!(site.count("telephony_daily").await > 0);
        let extra: i64 = site.scalar("select count(*) from jaicp.messages where _extra is not null").await;
        let rejected: i64 = site.scalar("select count(*) from tidegate.rejected_record").await;
        assert_eq!((extra, rejected), (0, 0), "everything documented has a column");
        site.assert_well_behaved();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_changed_late_and_erased_rows_end_as_last_reported() {
    let site = Site::new("", ENTITIES, "lookback: 5d").await;
    let data = site.jaicp().data();
    let all = || Rows::between("messages", ago(3), ago(0));
    assert!(data.late(all().every(13)).unwrap() > 5);
    // The vendor counts only within the requested window.
    site.jaicp().shape(|shape| shape.counts_in_window = true);
    site.sync_ok().await;
    let counted: i64 = site.scalar("select sum(question_count)::bigint from jaicp.sessions").await;
    let first_loaded: DateTime<Utc> = site.scalar("select max(_loaded_at) from jaicp.sessions").await;

    data.release_late();
    data.change(all().every(10), set("textAnswer", "\"corrected\"")).unwrap();
    data.change(all().every(7), set("cleaned", "true")).unwrap();
    data.change(all().every(7), set("question", "\"message has been deleted\"")).unwrap();
    data.change(all().every(11), set("labels", "[]")).unwrap();
    let session = site.truth("sessions")[9]["sessionId"].as_str().unwrap().to_owned();
    site.jaicp().set(&session, "labels", json!([{ "id": 42, "name": "new", "priority": 0 }]));
    site.jaicp().set(&session, "sessionResult", json!("done"));
    let gone = site.truth("sessions")[20]["sessionId"].as_str().unwrap().to_owned();
    site.jaicp().hide(&gone);
    site.sync_ok().await;

    let erased: i64 = site
        .scalar(
            "select count(*) from jaicp.messages where cleaned and cleaned_at is not null
            and coalesce(question, text_answer, request_data::text) is null and nlp_info_nlp_class is not null",
        )
        .await;
    let all_erased: i64 = site.scalar("select count(*) from jaicp.messages where cleaned").await;
    assert!(erased > 15 && erased == all_erased, "{erased} of {all_erased}");
    assert_eq!(site.count("messages").await, 180);
    let corrected: i64 = site.scalar("select count(*) from jaicp.messages where text_answer = 'corrected'").await;
    assert!(corrected > 10, "{corrected}");
    let unlabelled: i64 = site.scalar("select count(*) from jaicp.message_label_links").await;
    assert_eq!(usize::try_from(unlabelled).unwrap(), labels(&site.truth("messages"), "questionId").len());
    let of_session =
        format!("select string_agg(label_id::text, ',') from jaicp.session_label_links where session_id = '{session}'");
    assert_eq!(site.scalar::<String>(&of_session).await, "42");
    let result = format!("select session_result from jaicp.sessions where session_id = '{session}'");
    assert_eq!(site.scalar::<String>(&result).await, "done");
    let stays: i64 = site.scalar(&format!("select count(*) from jaicp.sessions where session_id = '{gone}'")).await;
    assert_eq!(stays, 1, "entities that are no longer listed stay");
    let now: i64 = site.scalar("select sum(question_count)::bigint from jaicp.sessions").await;
    assert!(now >= counted, "a count never falls: {now} {counted}");

    let when: DateTime<Utc> = site.scalar("select min(cleaned_at) from jaicp.messages").await;
    let tasks = site.sync_ok().await;
    for task in tasks {
        assert_eq!((task.rows_inserted, task.rows_updated), (0, 0), "what is the same is not written: {task:?}");
    }
    assert_eq!(site.scalar::<DateTime<Utc>>("select min(cleaned_at) from jaicp.messages").await, when);
    assert!(when > first_loaded);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_new_fields_and_other_types_are_kept() {
    let site = Site::new("", ENTITIES, "lookback: 0s").await;
    let data = site.jaicp().data();
    let all = || Rows::between("messages", ago(3), ago(0));
    data.change(all(), set("newField", "{\"deep\":1}")).unwrap();
    data.change(all().every(5), Change::StringToObject { field: "question".into() }).unwrap();
    data.change(all().every(6), Change::NumberToString { field: "processingTime".into() }).unwrap();
    data.change(all().every(9), set("labels", "[{\"name\":\"without an id\"}]")).unwrap();
    data.change(all().every(21), Change::Remove { field: "questionId".into() }).unwrap();
    data.change(all().every(26), Change::Whole { json: "7".into() }).unwrap();
    for task in site.sync().await {
        let state = if task.stream == "messages" { "held" } else { "succeeded" };
        assert_eq!(task.state, state, "{task:#?}");
    }
    let kept: i64 = site.scalar("select count(*) from jaicp.messages where _extra ->> 'newField.deep' = '1'").await;
    let odd: i64 = site.scalar("select count(*) from jaicp.messages where _extra ? 'question'").await;
    let labels: i64 = site.scalar("select count(*) from jaicp.messages where _extra ? 'labels'").await;
    let numbers: i64 = site.scalar("select count(*) from jaicp.messages where processing_time is null").await;
    let rejected: i64 = site.scalar("select count(*) from tidegate.rejected_record").await;
    assert_eq!((kept + rejected, numbers), (180, 0));
    assert!(odd > 20 && labels > 10 && rejected > 10, "{odd} {labels} {rejected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_are_kept_when_the_bulk_list_comes_again() {
    let site = Site::new("message_status: true", "[messages]", "lookback: 5d").await;
    site.sync_ok().await;
    site.assert_rows("messages", site.truth("messages")).await;
    let told: i64 = site.scalar("select count(*) from jaicp.messages where status is not null").await;
    assert!(told > 50, "{told}");
    // Without the setting, the bulk list has no statuses, and removes none.
    site.write_config("", "[messages]", "lookback: 5d");
    let tasks = site.sync_ok().await;
    assert_eq!((tasks[0].rows_updated, tasks[0].rows_inserted), (0, 0));
    site.assert_rows("messages", site.truth("messages")).await;
    // The statuses change.
    let rows = Rows::between("messages", ago(3), ago(0));
    site.jaicp().data().change(rows, set("status", "\"READ\"")).unwrap();
    site.write_config("message_status: true", "[messages]", "lookback: 5d");
    site.sync_ok().await;
    let read: i64 = site.scalar("select count(*) from jaicp.messages where status = 'READ'").await;
    assert!(read >= told, "{read} {told}");
    site.assert_well_behaved();
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_labels_that_vanish_are_marked_and_observations_accumulate() {
    let site = Site::new("", "[session_labels, experiment_counts]", "").await;
    site.sync_ok().await;
    let body = r#"[{"id":7,"name":"Solved anew","priority":0}]"#.to_owned();
    site.control().next(Match::report("session_labels"), Action::Json { status: 200, body });
    site.sync_ok().await;
    let gone: i64 = site.scalar("select count(*) from jaicp.session_labels where _deleted_at is not null").await;
    let name: String = site.scalar("select name from jaicp.session_labels where _deleted_at is null").await;
    assert_eq!((gone, name.as_str(), site.count("experiment_counts").await), (3, "Solved anew", 4));
    site.sync_ok().await;
    let gone: i64 = site.scalar("select count(*) from jaicp.session_labels where _deleted_at is not null").await;
    assert_eq!((gone, site.count("experiment_counts").await), (0, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_week_that_begins_in_a_slice_ends_as_last_reported_after_the_slice() {
    let site = Site::new("stats_interval: week", "[{name: stats_series, slice: 1d}]", "lookback: 0s").await;
    site.sync_ok().await;
    let begun: i64 = site.scalar("select count(*) from tidegate.slice where stream = 'stats_series'").await;
    let weeks = "select count(*) from jaicp.stats_series where metric = 'messages' and interval_type = 'WEEK'";
    let before: i64 = site.scalar(weeks).await;
    let sum = "select coalesce(sum(value), 0) from jaicp.stats_series where metric = 'messages'";
    let known: f64 = site.scalar(sum).await;
    // A message arrives late, on a day after the one in which the week began.
    site.jaicp().data().insert("messages", ago(1) + TimeDelta::hours(5)).unwrap();
    let tasks = site.sync_ok().await;
    assert!(
        begun >= 3 && i64::from(tasks[0].slices_done) >= 3,
        "slices are read again although `lookback` is 0s: {tasks:?}"
    );
    assert_eq!(site.scalar::<i64>(weeks).await, before);
    let now: f64 = site.scalar(sum).await;
    // Its week may have begun before the first day that is read.
    let days = ago(1).weekday().num_days_from_monday();
    let is_read = ago(1) - TimeDelta::days(days.into()) >= ago(3);
    let added = if is_read { 1.0 } else { 0.0 };
    assert!((now - known - added).abs() < 0.5, "{known} {now}, and {added} were added");
    site.assert_well_behaved();
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_fill_their_tables() {
    for connection in [String::new(), v1()] {
        let streams = "[report_sessions, report_messages, report_clients, report_telephony]";
        let site = Site::new(&connection, streams, "lookback: 0s").await;
        site.sync_ok().await;
        assert_eq!((site.count("report_messages").await, site.count("report_clients").await), (180, 180));
        let sessions = site.jaicp().report("sessions", ago(3), ago(0));
        assert_eq!(usize::try_from(site.count("report_sessions").await).unwrap(), sessions.len());
        let phrases: BTreeSet<String> =
            sqlx::query_scalar("select phrase from jaicp.report_messages where phrase <> ''")
                .fetch_all(&site.database.pool())
                .await
                .unwrap()
                .into_iter()
                .collect();
        assert!(phrases.len() > 30);
        assert!(!site.control().stats().calls.contains_key("jaicp_write"), "tasks are left where they are");
        site.assert_well_behaved();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_a_vendor_that_refuses_leaves_the_other_streams_alone_and_says_why() {
    let site = Site::new("", "[messages, session_labels]", "").await;
    let body = r#"{"error":"reporter.filter.bad","message":"no such filter"}"#.to_owned();
    site.control().next(Match::report("messages"), Action::Json { status: 422, body });
    let tasks = site.sync().await;
    let task = |name: &str| tasks.iter().find(|task| task.stream == name).unwrap();
    assert_eq!(task("session_labels").state, "succeeded");
    assert_eq!(task("messages").state, "failed");
    let error = task("messages").error.clone().unwrap();
    assert!(error.contains("status 422, “reporter.filter.bad: no such filter”"), "{error}");
    site.sync_ok().await;
    site.assert_rows("messages", site.messages()).await;
}
