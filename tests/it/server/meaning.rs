//! What pages say about days, quotas, pauses and hints is what the tables mean.

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tidegate::quota::waiter_of_task;

use super::api;
use crate::support::port::{self, CONFIG, Port};
use crate::support::story;
use crate::support::{TestDatabase, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn p11_days_that_no_job_asks_for_are_not_in_the_list_of_days_to_read() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    story::calm(&pool).await;
    // A backfill of many years that was cancelled: one day and a part of the next.
    let cancelled = "
        insert into tidegate.slice (connection, stream, window_start, window_end, read_until, finished_run, finished_at)
        select 'acme-lynn', 'survey_result', day, day + interval '1 day', day + length, 1, now() - interval '4 minutes'
        from (values ('2001-03-01 03:00Z'::timestamptz, interval '1 day'), ('2001-03-02 03:00Z', '1 hour')) as read (day, length)";
    sqlx::raw_sql(cancelled).execute(&pool).await.unwrap();
    let path = "/streams/acme-lynn/survey_result";
    let port = Port::open(pool.clone()).await;
    let stream = port.fetch(&api(path), "").await.json();
    assert_eq!((&stream["has_gap"], &stream["gaps"], &stream["gaps_total"]), (&json!(false), &json!([]), &json!(0)));
    assert_eq!((&stream["years"][0], &stream["days_from"]), (&json!(2001), &Value::Null), "{stream}");
    assert!(!port.fetch(path, "").await.body.contains("tidegate backfill"));
    let old = port.fetch(&format!("{}?year=2001", api(path)), "").await.json();
    let states: Vec<&Value> = old["days"].as_array().unwrap().iter().map(|day| &day["state"]).collect();
    assert_eq!(states, [&json!("complete"), &json!("partial")], "what was read is shown");
    let overview = port.fetch(&api("/"), "").await.json();
    let days = overview["connections"][0]["days"].as_array().unwrap();
    assert_eq!(days.last().unwrap()["state"], "partial", "today, on a connection where all is well: {overview}");
    port.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_the_bar_of_a_connection_begins_with_the_first_day_that_a_job_asks_for() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    story::calm(&pool).await;
    let newer = "
        delete from tidegate.slice where window_start < now() - interval '12 days';
        update tidegate.stream set wanted_from = (
            select min(window_start) from tidegate.slice where slice.stream = stream.stream
        )";
    sqlx::raw_sql(newer).execute(&pool).await.unwrap();
    let port = Port::open(pool.clone()).await;
    for (path, summary) in
        [("/", "/connections/0"), ("/connections", "/connections/0"), ("/connections/acme-lynn", "/summary")]
    {
        let document = port.fetch(&api(path), "").await.json();
        let days = document.pointer(&format!("{summary}/days")).unwrap().as_array().unwrap();
        let states: Vec<&Value> = days.iter().map(|span| &span["state"]).collect();
        assert_eq!(states, [&json!("complete"), &json!("partial")], "{path}: {document}");
        let first: chrono::NaiveDate = days[0]["from"].as_str().unwrap().parse().unwrap();
        let age = (chrono::Utc::now().date_naive() - first).num_days();
        assert!((10..=12).contains(&age), "{path}: {first}");
    }
    let page = port.fetch("/", "").await.body;
    assert!(!page.contains("class=\"d-missing\""), "{page}");
    port.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_the_page_of_a_stream_says_from_which_day_on_it_shows_days() {
    let database = TestDatabase::create().await;
    story::calm(&database.pool()).await;
    sqlx::raw_sql("update tidegate.stream set wanted_from = '2005-01-01 03:00Z' where stream = 'survey_result'")
        .execute(&database.pool())
        .await
        .unwrap();
    let port = Port::open(database.pool()).await;
    let path = "/streams/acme-lynn/survey_result";
    let stream = port.fetch(&api(path), "").await.json();
    let first = stream["days_from"].as_str().unwrap().to_owned();
    assert_eq!(stream["gaps"][0]["from"], first, "{first}");
    let page = port.fetch(path, "").await.body;
    assert!(page.contains(&format!("Only days from {first} on are shown")), "{page}");
    port.close().await;
}

/// A limit that is blocked and little used, and one of another credential that is used up.
const BLOCKED_AND_FULL: &str = "
    insert into tidegate.quota_limit (ledger_id, name, unit, amount, per, reach, width, blocked_until)
    values (1, 'period_bandwidth', 'bytes', 1000, '12 hours', '12 hours', '1 hour', now() + interval '10 minutes');
    insert into tidegate.quota_ledger (key, connections) values ('key 2', '{full-lynn}');
    insert into tidegate.quota_limit (ledger_id, name, unit, amount, per, reach, width)
    select id, 'period_calls', 'calls', 100, '12 hours', '12 hours', '1 hour' from tidegate.quota_ledger where key = 'key 2';
    insert into tidegate.quota_use (limit_id, ends_at, used)
    select l.id, now() + interval '1 hour', 100
    from tidegate.quota_limit as l inner join tidegate.quota_ledger as ledger on ledger.id = l.ledger_id
    where ledger.key = 'key 2'";

/// A run with a task. Returns the run.
const RUNNING: &str = "
    with run as (
        insert into tidegate.run (job, connection, kind, state, created_at, started_at, lease_until, owner)
        values ('lynn-hourly', 'acme-lynn', 'schedule', 'running', now(), now(), now() + interval '1 hour', 'host-1')
        returning id
    )
    insert into tidegate.task (run_id, stream, state) select id, 'menu_detail', 'running' from run returning run_id";

const WAITER: &str = "
    insert into tidegate.quota_waiter (ledger_id, waiter, limit_ids, bytes, priority, due_at, expected_at, expires_at)
    select 1, $1, array_agg(id), 0, $2, now(), now() + interval '10 minutes', now() + interval '1 hour'
    from tidegate.quota_limit where ledger_id = 1 and name = 'period_bandwidth'";

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_quota_ranks_first_and_a_waiting_call_names_its_task() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    story::calm(&pool).await;
    sqlx::raw_sql(BLOCKED_AND_FULL).execute(&pool).await.unwrap();
    let run: i64 = sqlx::query_scalar(RUNNING).fetch_one(&pool).await.unwrap();
    for (waiter, priority) in [(waiter_of_task(run, "menu_detail"), 3), (waiter_of_task(run, "show_error"), 2)] {
        sqlx::query(WAITER).bind(waiter).bind(priority).execute(&pool).await.unwrap();
    }
    let full = "  full-lynn: { vendor: lynn_reporting, tenant: 4412, access_token: \"t1-7c01d94ab3e2f5\", \
                access_token_secret: \"0b6f2f4e-52a1-4c0e-9d61-3a7a4be0c111\" }\njobs:\n";
    let port = Port::of(pool.clone(), port::config(&CONFIG.replace("jobs:\n", full))).await;
    let quotas = port.fetch("/api/v1/quotas", "").await.json();
    let order: Vec<&Value> =
        quotas["credentials"].as_array().unwrap().iter().map(|one| &one["connections"][0]).collect();
    assert_eq!(order, [&json!("acme-lynn"), &json!("full-lynn")], "{quotas}");
    let waiters = &quotas["credentials"][0]["waiters"];
    let named = |waiter: &Value| (waiter["run_id"].clone(), waiter["job"].clone(), waiter["stream"].clone());
    assert_eq!(named(&waiters[0]), (json!(run), json!("lynn-hourly"), json!("menu_detail")), "{waiters}");
    assert_eq!(named(&waiters[1]), (Value::Null, Value::Null, Value::Null), "no such task: {waiters}");
    let page = port.fetch("/quotas", "").await.body;
    let task = format!("run {run}</a> of <a href=\"/jobs/lynn-hourly\">lynn-hourly</a>, menu_detail, priority 3");
    assert!(page.contains(&task), "{page}");
    let overview = port.fetch("/api/v1/overview", "").await.json();
    let acme = overview["connections"].as_array().unwrap().iter().find(|one| one["connection"] == "acme-lynn").unwrap();
    assert_eq!(acme["fullest"]["limit"], "period_bandwidth", "{overview}");
    assert!(acme["fullest"]["blocked_until"].is_string(), "{overview}");
    for path in ["/", "/connections"] {
        let page = port.fetch(path, "").await.body;
        assert!(page.contains("<div class=\"bad\">period_<wbr>bandwidth is blocked until <time"), "{path}: {page}");
    }
    port.close().await;
}

/// A run that a limit has postponed, with its only task. Returns the run.
const POSTPONED: &str = "
    with run as (
        insert into tidegate.run (job, connection, kind, state, priority, due_at)
        values ('lynn-hourly', 'acme-lynn', 'schedule', 'waiting', 7, now() + interval '5 minutes')
        returning id
    )

    insert into tidegate.task (run_id, stream, state, waiting_for, waiting_until, attempts)
    select id, 'survey_result', 'waiting', 'quota period_calls', now() + interval '5 minutes', 2 from run
    returning run_id";

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_names_what_a_stream_waits_for_while_a_worker_has_its_run() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    story::calm(&pool).await;
    let port = Port::open(pool.clone()).await;
    let waiting = async || port.fetch(&api("/"), "").await.json();
    let before = waiting().await;
    let run: i64 = sqlx::query_scalar(RUNNING).fetch_one(&pool).await.unwrap();
    sqlx::query(
        "insert into tidegate.task (run_id, stream, state, waiting_for, waiting_until)
        values ($1, 'survey_result', 'waiting', 'export', now() + interval '5 minutes'),
            ($1, 'show_error', 'waiting', 'vendor', now() - interval '1 minute')",
    )
    .bind(run)
    .execute(&pool)
    .await
    .unwrap();
    let of_run = |overview: &Value| {
        let found = overview["waiting"].as_array().unwrap().iter().find(|one| one["run_id"] == run);
        found.map(|one| one["waiting_for"].clone())
    };
    // A page may be some seconds old.
    let soon = std::time::Duration::from_secs(20);
    let overview = eventually(soon, async || Some(waiting().await).filter(|overview| of_run(overview).is_some())).await;
    assert_eq!(of_run(&overview), Some(json!("export")), "the time of the other one has come: {overview}");
    let total = |overview: &Value| overview["waiting_total"].as_i64().unwrap();
    assert_eq!(total(&overview), total(&before) + 1, "{overview}");
    let page = port.fetch("/", "").await.body;
    let (_, listed) = page.split_once("aria-label=\"Waiting\"").expect("a list of what waits");
    assert!(listed.contains(&format!("/runs/{run}\"")) && listed.contains("<td>export</td>"), "{listed}");
    let page = port.fetch(&format!("/runs/{run}"), "").await.body;
    assert!(page.contains("<br>for export, until <time"), "{page}");
    assert!(page.contains("<br>for its turn, after the wait for vendor"), "{page}");
    sqlx::query("update tidegate.task set waiting_until = now() - interval '1 second' where run_id = $1")
        .bind(run)
        .execute(&pool)
        .await
        .unwrap();
    eventually(soon, async || of_run(&waiting().await).is_none().then_some(())).await;
    port.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_a_limit_has_postponed_is_named_once_with_its_limit_and_time() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    story::calm(&pool).await;
    sqlx::raw_sql(BLOCKED_AND_FULL).execute(&pool).await.unwrap();
    let run: i64 = sqlx::query_scalar(POSTPONED).fetch_one(&pool).await.unwrap();
    let other = "insert into tidegate.task (run_id, stream, state, waiting_for, waiting_until) values
        ($1, 'menu_detail', 'waiting', 'export', now() + interval '1 minute'),
        ($1, 'show_error', 'waiting', 'quota period_calls', now() - interval '1 minute')";
    sqlx::query(other).bind(run).execute(&pool).await.unwrap();
    let until = "select waiting_until from tidegate.task where stream = 'survey_result' and state = 'waiting'";
    let until: chrono::DateTime<chrono::Utc> = sqlx::query_scalar(until).fetch_one(&pool).await.unwrap();
    let port = Port::open(pool.clone()).await;
    let quotas = port.fetch("/api/v1/quotas", "").await.json();
    let credential = &quotas["credentials"][0];
    assert_eq!(credential["waiters_total"], 1, "{quotas}");
    let waiter = &credential["waiters"][0];
    assert_eq!(
        (&waiter["run_id"], &waiter["job"], &waiter["stream"], &waiter["limits"], &waiter["priority"]),
        (&json!(run), &json!("lynn-hourly"), &json!("survey_result"), &json!(["period_calls"]), &json!(7)),
        "{quotas}"
    );
    assert_eq!(waiter["expected_at"], json!(until), "{quotas}");
    let page = port.fetch("/quotas", "").await.body;
    let named = "lynn-hourly</a>, survey_result, priority 7, for period_calls: expected <time";
    assert!(page.contains(&format!("run {run}</a> of <a href=\"/jobs/lynn-hourly\">{named}")), "{page}");

    let path = "/streams/acme-lynn/survey_result";
    let stream = port.fetch(&api(path), "").await.json();
    let waiting = json!({
        "run_id": run, "job": "lynn-hourly", "waiting_for": "quota period_calls", "until": until, "attempts": 2,
        "error": null, "hint": null
    });
    assert_eq!((&stream["state"], &stream["waiting"]), (&json!("waiting"), &waiting), "{stream}");
    let page = port.fetch(path, "").await.body;
    assert!(page.contains("lynn-hourly</a> waits for quota period_calls until <time"), "{page}");
    assert!(page.contains("after 2 temporary errors in a row.</p>"), "{page}");
    let due = port.fetch("/streams/acme-lynn/show_error", "").await.body;
    assert!(due.contains("lynn-hourly</a> has waited for quota period_calls and is due.</p>"), "{due}");
    let streams = port.fetch(&api("/streams"), "").await.json();
    let row = streams["streams"].as_array().unwrap().iter().find(|row| row["stream"] == "survey_result").unwrap();
    assert_eq!(row["waiting"], waiting, "{streams}");
    let page = port.fetch("/streams", "").await.body;
    assert!(page.contains("<span class=\"quiet\">for quota period_<wbr>calls, until <time"), "{page}");
    port.close().await;

    // The task still has its place in the queue of calls.
    sqlx::query(WAITER).bind(waiter_of_task(run, "survey_result")).bind(7).execute(&pool).await.unwrap();
    let port = Port::open(pool).await;
    let quotas = port.fetch("/api/v1/quotas", "").await.json();
    let credential = &quotas["credentials"][0];
    assert_eq!(
        (&credential["waiters_total"], &credential["waiters"][0]["run_id"]),
        (&json!(1), &json!(run)),
        "{quotas}"
    );
    port.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_wait_is_over_waits_for_a_worker() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    story::calm(&pool).await;
    let run: i64 = sqlx::query_scalar(POSTPONED).fetch_one(&pool).await.unwrap();
    let over = "update tidegate.task set waiting_until = now() - interval '6 minutes' where state = 'waiting';
        update tidegate.run set due_at = now() - interval '6 minutes' where state = 'waiting'";
    sqlx::raw_sql(over).execute(&pool).await.unwrap();
    let port = Port::open(pool).await;
    let overview = port.fetch(&api("/"), "").await.json();
    let waiting = &overview["waiting"][0];
    assert_eq!(
        (&waiting["run_id"], &waiting["waiting_for"], &waiting["until"]),
        (&json!(run), &json!("quota period_calls"), &Value::Null),
        "{overview}"
    );
    assert!(port.fetch("/", "").await.body.contains("<td>is due, waits for a worker</td>"));
    let document = port.fetch(&api(&format!("/runs/{run}")), "").await.json();
    assert_eq!(document["tasks"][0]["waiting_until"], Value::Null, "{document}");
    port.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_waits_after_an_error_says_which() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    story::calm(&pool).await;
    let run: i64 = sqlx::query_scalar(POSTPONED).fetch_one(&pool).await.unwrap();
    let failed = "
        update tidegate.task
        set waiting_for = 'vendor', attempts = 4, error = 'the connection could not be made', hint = 'see the vendor'
        where run_id = $1";
    sqlx::query(failed).bind(run).execute(&pool).await.unwrap();
    let earlier = "
        update tidegate.stream set failures = 1, last_error = 'HTTP 500', last_error_at = now()
        where stream = 'survey_result';
        update tidegate.task set state = 'failed', error = 'HTTP 500', hint = 'ask the vendor'
        where run_id = 1 and stream = 'survey_result';";
    sqlx::raw_sql(earlier).execute(&pool).await.unwrap();
    let port = Port::open(pool).await;
    let path = "/streams/acme-lynn/survey_result";
    let stream = port.fetch(&api(path), "").await.json();
    let waiting = &stream["waiting"];
    assert_eq!(
        (&waiting["error"], &waiting["hint"]),
        (&json!("the connection could not be made"), &json!("see the vendor")),
        "{stream}"
    );
    assert_eq!(
        (&stream["last_error"], &stream["hint"]),
        (&json!("HTTP 500"), &json!("ask the vendor")),
        "of the run before: {stream}"
    );
    let page = port.fetch(path, "").await.body;
    let says = "after 4 temporary errors in a row. The last error: the connection could not be made\
        <br>To do: see the vendor</p>";
    assert!(page.contains(says), "{page}");
    let page = port.fetch(&format!("/runs/{run}"), "").await.body;
    let says = "The last error: <span class=\"bad\">the connection could not be made</span><br>To do: see the vendor";
    assert!(page.contains(says), "{page}");
    port.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_failed_stream_says_which_of_the_conditions_holds() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    story::calm(&pool).await;
    let path = "/streams/acme-lynn/survey_result";
    let operator = "The last reading failed for a reason that only an operator can remove.";
    let repeated = "The last 4 readings failed.";
    let first = "No reading has succeeded yet.";
    let reset = "No reading has succeeded since the stream was reset.";
    for (change, conditions) in [
        ("failures = 1, needs_operator = true", vec![operator]),
        ("failures = 4, needs_operator = false", vec![repeated]),
        ("failures = 4, needs_operator = true", vec![operator, repeated]),
        ("failures = 1, needs_operator = false, reset_at = now() - interval '1 minute'", vec![reset]),
        ("failures = 1, needs_operator = false, last_success_at = null", vec![first]),
        // It has failed once after a success.
        ("failures = 1, needs_operator = false, reset_at = null, last_success_at = now()", vec![]),
    ] {
        let change = format!(
            "update tidegate.stream set last_error = 'HTTP 500', last_error_at = now(), {change}
            where stream = 'survey_result'"
        );
        sqlx::raw_sql(AssertSqlSafe(change.clone())).execute(&pool).await.unwrap();
        // Another process, which has no earlier response.
        let port = Port::open(pool.clone()).await;
        let stream = port.fetch(&api(path), "").await.json();
        assert_eq!(stream["state"] == "failed", !conditions.is_empty(), "{change}: {stream}");
        assert_eq!(stream["needs_operator"], conditions.contains(&operator), "{change}: {stream}");
        let page = port.fetch(path, "").await.body;
        let said: Vec<&str> =
            [operator, repeated, first, reset].into_iter().filter(|condition| page.contains(*condition)).collect();
        assert_eq!(said, conditions, "{change}: {page}");
        port.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_firing_is_promised_while_a_run_of_an_earlier_one_is_unfinished() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    story::calm(&pool).await;
    let run: i64 = sqlx::query_scalar(POSTPONED).fetch_one(&pool).await.unwrap();
    let later = "update tidegate.run set due_at = now() + interval '3 hours' where id = $1 returning due_at";
    let until: chrono::DateTime<chrono::Utc> = sqlx::query_scalar(later).bind(run).fetch_one(&pool).await.unwrap();
    let moment = |value: &Value| value.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    for is_unfinished in [true, false] {
        let port = Port::open(pool.clone()).await;
        let overview = port.fetch(&api("/"), "").await.json();
        let jobs = port.fetch(&api("/jobs"), "").await.json();
        let job = port.fetch(&api("/jobs/lynn-hourly"), "").await.json();
        let status = port.fetch("/status.json", "").await.json();
        let after = if is_unfinished { json!(run) } else { Value::Null };
        for (firing, at) in [
            (&overview["next"][0], "at"),
            (&jobs["jobs"][0], "next_firing"),
            (&job["job"], "next_firing"),
            (&status["jobs"][0], "next_firing"),
        ] {
            assert_eq!(firing["after_run"], after, "{firing}");
            assert_eq!(moment(&firing[at]) > until, is_unfinished, "{firing}");
        }
        assert_eq!(moment(&job["firings"][0]["at"]) > until, is_unfinished, "{job}");
        let says = format!(", if <a href=\"/runs/{run}\">run {run}</a> has ended");
        for path in ["/", "/jobs"] {
            let page = port.fetch(path, "").await.body;
            assert_eq!(page.contains(&says), is_unfinished, "{path}: {page}");
        }
        let page = port.fetch("/jobs/lynn-hourly", "").await.body;
        assert_eq!(page.contains("has not ended. Until it has, no firing makes a run."), is_unfinished, "{page}");
        port.close().await;
        // A run by hand does not prevent firings.
        let by_hand = "update tidegate.run set kind = 'manual' where id = $1";
        sqlx::query(by_hand).bind(run).execute(&pool).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_firing_at_the_instant_at_which_a_pause_ends_is_the_next_one() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    story::calm(&pool).await;
    let moment = |value: &Value| value.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    for (until, next) in [
        ("2066-01-05T03:15:00Z", "2066-01-05T03:15:00Z"),
        ("2066-01-05T03:15:00.5Z", "2066-01-05T04:15:00Z"),
        ("2066-01-05T03:14:59.5Z", "2066-01-05T03:15:00Z"),
    ] {
        let pause = "insert into tidegate.pause (job, until, reason, actor)
            values ('lynn-hourly', $1::text::timestamptz, 'maintenance', 'ana')
            on conflict (job) do update set until = excluded.until";
        sqlx::query(pause).bind(until).execute(&pool).await.unwrap();
        let port = Port::open(pool.clone()).await;
        let overview = port.fetch(&api("/"), "").await.json();
        let jobs = port.fetch(&api("/jobs"), "").await.json();
        let job = port.fetch(&api("/jobs/lynn-hourly"), "").await.json();
        let status = port.fetch("/status.json", "").await.json();
        for at in [
            &overview["next"][0]["at"],
            &jobs["jobs"][0]["next_firing"],
            &job["job"]["next_firing"],
            &job["firings"][0]["at"],
            &status["jobs"][0]["next_firing"],
        ] {
            assert_eq!(moment(at), moment(&json!(next)), "paused until {until}");
        }
        port.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p10_while_slices_are_held_pages_say_that_the_newest_data_leave_them_out() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    story::calm(&pool).await;
    let path = "/streams/acme-lynn/survey_result";
    let moment = |value: &Value| value.as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let mut newest = Vec::new();
    for is_held in [false, true] {
        let hold = "
            update tidegate.slice
            set held_since = now(), held_reason = 'few rows', held_rows_there = 100, held_rows_reported = 20
            where $1 and stream = 'survey_result' and window_start > now() - interval '2 days'";
        sqlx::query(hold).bind(is_held).execute(&pool).await.unwrap();
        let port = Port::open(pool.clone()).await;
        newest.push(moment(&port.fetch(&api(path), "").await.json()["newest_data_until"]));
        let page = port.fetch(path, "").await.body;
        assert_eq!(page.contains("<dt>Newest data that are not held</dt>"), is_held, "{page}");
        assert_eq!(page.contains("<dt>Newest data</dt>"), !is_held, "{page}");
        let page = port.fetch("/streams", "").await.body;
        assert_eq!(page.contains("<span class=\"quiet\">of what is not held</span>"), is_held, "{page}");
        port.close().await;
    }
    assert!(newest[1] < newest[0], "{newest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_the_configuration_pauses_says_so_also_while_everything_is_paused() {
    let database = TestDatabase::create().await;
    story::calm(&database.pool()).await;
    let pause = "insert into tidegate.pause (job, until, reason, actor)
        values ('', now() + interval '1 hour', 'maintenance', 'ana')";
    sqlx::raw_sql(pause).execute(&database.pool()).await.unwrap();
    let paused = CONFIG.replace("    start: 2026-01-01\n", "    start: 2026-01-01\n    paused: true\n");
    for (config, by_configuration) in [(paused, true), (CONFIG.to_owned(), false)] {
        let port = Port::of(database.pool(), port::config(&config)).await;
        let page = port.fetch("/jobs/lynn-hourly", "").await.body;
        assert!(page.contains("Every job is paused until"), "{page}");
        assert_eq!(
            page.contains("Paused by <code>paused: true</code> in the configuration"),
            by_configuration,
            "{page}"
        );
        assert_eq!(page.contains("The end of an operator's pause does not end this one."), by_configuration, "{page}");
        assert_eq!(page.contains("Paused until"), !by_configuration, "{page}");
        port.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_from_the_configuration_has_no_link_to_a_page_that_does_not_exist() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    story::calm(&pool).await;
    let removed = "
        insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice, jobs)
        values ('gone-vendor', 'users', 'lexer', 'users', '2026-01-01', 'UTC', '1d', '{}');
        insert into tidegate.run (job, connection, kind, state, started_at, finished_at)
        values ('removed-job', 'gone-vendor', 'manual', 'failed', now(), now())";
    sqlx::raw_sql(removed).execute(&pool).await.unwrap();
    let run: i64 = sqlx::query_scalar("select max(id) from tidegate.run").fetch_one(&pool).await.unwrap();
    let port = Port::open(pool.clone()).await;
    for path in [format!("/runs/{run}"), "/streams/gone-vendor/users".to_owned()] {
        let page = port.fetch(&path, "").await;
        assert_eq!(page.status, 200, "{path}: {}", page.body);
        assert!(page.body.contains("gone-vendor"), "{path}: {}", page.body);
        for gone in ["href=\"/jobs/removed-job", "href=\"/connections/gone-vendor"] {
            assert!(!page.body.contains(gone), "{path}: {}", page.body);
        }
    }
    let well = port.fetch("/streams/acme-lynn/survey_result", "").await.body;
    assert!(well.contains("href=\"/connections/acme-lynn\""), "{well}");
    port.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_hints_show_code_as_code_and_markup_as_text() {
    let database = TestDatabase::create().await;
    story::calm(&database.pool()).await;
    let problem = "insert into tidegate.problem (kind, scope, opened_at, summary, hint)
        values ('stalled', 'system', now(), 'a `loop` fails', 'write `key: <b>` in `tidegate.yaml`')";
    sqlx::raw_sql(problem).execute(&database.pool()).await.unwrap();
    let port = Port::open(database.pool()).await;
    for path in ["/", "/problems"] {
        let page = port.fetch(path, "").await.body;
        assert!(page.contains("a <code>loop</code> fails"), "{path}: {page}");
        assert!(page.contains("write <code>key: &lt;b&gt;</code> in <code>tidegate.yaml</code>"), "{path}: {page}");
    }
    let wrong = port.fetch("/streams?q=%00", "").await;
    assert_eq!(wrong.status, 400);
    assert!(wrong.body.contains("The address has the character NUL (%00)"), "{}", wrong.body);
    port.close().await;
}

/// The texts of a page that state this instant, without the moment at which the page was read.
fn texts_of(page: &str, instant: &str) -> Vec<String> {
    let (_, content) = page.split_once("id=\"pause\"").expect("a page with a button");
    let times = content.split("<time datetime=\"").skip(1).filter_map(|time| time.split_once("</time>"));
    let texts = times.filter_map(|(time, _)| time.strip_prefix(instant)?.rsplit_once('>'));
    texts.map(|(_, text)| text.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_one_instant_reads_the_same_on_every_page() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    story::trouble(&pool, "refused").await;
    let waits = "update tidegate.run set due_at = '2066-01-05 03:15:59.96Z' where id = 4;
        update tidegate.task set waiting_until = '2066-01-05 03:15:59.96Z' where run_id = 4;
        update tidegate.run set job = 'lynn-hourly' where id = 4;
        update tidegate.schema_change set connection = 'acme-lynn' where column_name = 'score'";
    sqlx::raw_sql(waits).execute(&pool).await.unwrap();
    let port = Port::open(pool.clone()).await;
    let shown = [
        "/",
        "/streams",
        "/streams/acme-lynn/survey_result",
        "/jobs/lynn-hourly",
        "/runs",
        "/runs?job=lynn-hourly",
        "/runs/1",
        "/runs/2",
        "/connections/acme-lynn",
        "/problems",
        "/events",
        "/schema",
    ];
    for path in shown {
        let page = port.fetch(path, "").await.body;
        let mut texts = texts_of(&page, "2026-01-05T03:15:00Z");
        texts.extend(texts_of(&page, "2026-01-05T03:16:00Z"));
        assert!(!texts.is_empty(), "{path}: {page}");
        // That of Tidegate itself has no other zone than UTC.
        let other: Vec<&String> = texts.iter().filter(|text| !text.contains(" (-03:00)")).collect();
        let of_system = usize::from(matches!(path, "/" | "/problems"));
        assert_eq!(other.len(), of_system, "{path}: {texts:?}");
    }
    // What waits until then waits no shorter than is shown.
    for path in ["/", "/runs/4"] {
        let page = port.fetch(path, "").await.body;
        let texts = texts_of(&page, "2066-01-05T03:15:59Z");
        assert!(!texts.is_empty() && texts.iter().all(|text| text.contains("00:16 (-03:00)")), "{path}: {texts:?}");
    }
    let page = port.fetch("/streams/acme-lynn/survey_result", "").await.body;
    let (_, calendar) = page.split_once("class=\"calendar\"").expect("a calendar");
    assert!(calendar.contains(", read ") && !calendar.contains("UTC</title>"), "{calendar}");
    port.close().await;
}
