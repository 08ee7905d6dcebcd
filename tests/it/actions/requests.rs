//! Ids of requests: a repetition does nothing, and an id is for one action with its values. What an action says if
//! the database does not do it.

use serde_json::json;
use sqlx::Connection as _;
use sqlx::postgres::PgPoolOptions;

use super::{BEARER, JOB, Port, request, world};
use crate::database::role::{Role, USES_TABLES};
use crate::support::eventually;

const REUSED: &str =
    "this request id was used for another action or for other values, so nothing was done; send a new id";

#[tokio::test]
async fn p7_a_repeated_action_is_done_once_also_with_two_replicas() {
    let (world, one) = world().await;
    let two = Port::open(world.database.pool(), world.config(), true).await;
    let form = request(7);
    let (first, second) = tokio::join!(one.post("/jobs/lynn/runs", &form), two.post("/jobs/lynn/runs", &form));
    assert_eq!((first.status, second.status), (303, 303), "{} {}", first.body, second.body);
    assert_eq!(first.place(), second.place(), "both lead to the run");
    assert_eq!(one.post("/jobs/lynn/runs", &form).await.place(), first.place());
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.run").await, 1);
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.event").await, 1);
    assert_eq!(one.get(first.place()).await.status, 200);
    // One that failed may be tried again.
    let wrong = format!("{}&stream=nothing", request(8));
    assert_eq!(one.post("/jobs/lynn/runs", &wrong).await.status, 422);
    assert_eq!(one.post("/jobs/lynn/runs", &request(8)).await.status, 303);
    for without in ["", "request=1", "request=x"] {
        assert_eq!(one.post("/jobs/lynn/runs", without).await.status, 422, "{without}");
    }
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.run").await, 2);
}

#[tokio::test]
async fn p7_a_request_id_that_is_used_for_something_else_is_refused() {
    let (world, port) = world().await;
    let until = (chrono::Utc::now() + chrono::TimeDelta::days(1)).format("%Y-%m-%dT%H:%M").to_string();
    let pause = format!("{}&until={until}&reason=x", request(7));
    assert_eq!(port.post("/jobs/lynn/runs", &request(7)).await.status, 303);
    for (path, form) in [
        ("/jobs/lynn/pause", pause.clone()),
        ("/jobs/lynn/runs", format!("{}&stream=navigation_marks", request(7))),
        ("/system/notify/oncall/test", request(7)),
    ] {
        let response = port.post(path, &form).await;
        assert_eq!(response.status, 409, "{path}: {}", response.body);
        assert!(response.body.contains("This form was sent before with other values"), "{path}: {}", response.body);
        assert!(response.body.contains(&format!("href=\"{path}\">Back to the form")), "{}", response.body);
        assert!(!response.body.contains("request id"), "a browser has none to change: {}", response.body);
    }
    let id = uuid::Uuid::from_u128(7).to_string();
    let other = port.api("/jobs/lynn/pause", &json!({ "request": id, "until": until, "reason": "x" })).await;
    assert_eq!((other.status, &other.json()["detail"]), (409, &json!(REUSED)), "{}", other.body);
    // The same by the API as by the form is a repetition.
    let same = port.api("/jobs/lynn/runs", &json!({ "request": id })).await.json();
    assert_eq!((&same["repeated"], &same["place"]), (&json!(true), &json!("/runs/1")), "{same}");
    let blank = port.post("/jobs/lynn/runs", &format!("{}&stream=", request(7))).await;
    assert_eq!((blank.status, blank.place()), (303, "/runs/1"), "a field without a value is not sent");
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.run").await, 1);
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.pause").await, 0);
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.event").await, 1);
    assert_eq!(port.post("/jobs/lynn/pause", &pause.replace(&request(7), &request(8))).await.place(), JOB);
    // Versions before this check did not store what was asked for.
    sqlx::query("update tidegate.event set request_digest = null").execute(&world.database.pool()).await.unwrap();
    assert_eq!(port.post("/jobs/lynn/runs", &request(7)).await.place(), "/runs/1");
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_of_two_actions_at_once_with_one_request_id_one_is_done() {
    let (world, one) = world().await;
    let two = Port::open(world.database.pool(), world.config(), true).await;
    for round in 1..=10_u32 {
        let form = request(u128::from(round));
        let stream = format!("{form}&stream=navigation_marks");
        let (run, test) =
            tokio::join!(one.post("/jobs/lynn/runs", &stream), two.post("/system/notify/oncall/test", &form));
        let mut statuses = [run.status, test.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [303, 409], "{} {}", run.body, test.body);
        let form = request(100 + u128::from(round));
        let of_stream = format!("{form}&stream=navigation_marks");
        let (mut all, mut stream) =
            tokio::join!(one.post("/jobs/lynn/runs", &form), two.post("/jobs/lynn/runs", &of_stream));
        if all.status != 303 {
            std::mem::swap(&mut all, &mut stream);
        }
        assert_eq!((all.status, stream.status), (303, 409), "{} {}", all.body, stream.body);
        let events: i64 = world.scalar("select count(*) from tidegate.event").await;
        assert_eq!(events, 2 * i64::from(round));
    }
    let done: i64 =
        world.scalar("select (select count(*) from tidegate.run) + (select count(*) from tidegate.notification)").await;
    assert_eq!(done, 20);
}

/// A commit that takes longer than a call may, as with a slow standby.
pub(super) const SLOW_COMMIT: &str = "
    create function public.slow() returns trigger language plpgsql
    as $$ begin perform pg_sleep(12); return null; end $$;
    create constraint trigger slow after insert on tidegate.event
    deferrable initially deferred for each row execute function public.slow()";

#[tokio::test(flavor = "multi_thread")]
async fn p7_what_the_database_did_not_confirm_is_called_unknown_and_can_be_repeated() {
    let (world, port) = world().await;
    sqlx::raw_sql(SLOW_COMMIT).execute(&world.database.pool()).await.unwrap();
    let response = port.api("/jobs/lynn/runs", &json!({})).await;
    let detail = response.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(response.status, 503, "{detail}");
    assert!(detail.contains("it is not known whether it was done"), "{detail}");
    let runs = "select count(*) from tidegate.run";
    eventually(std::time::Duration::from_secs(30), async || (world.scalar::<i64>(runs).await == 1).then_some(())).await;
    sqlx::raw_sql("drop function public.slow cascade").execute(&world.database.pool()).await.unwrap();
    let id = detail.split([' ', ',']).find(|word| uuid::Uuid::try_parse(word).is_ok()).unwrap();
    let again = port.api("/jobs/lynn/runs", &json!({ "request": id })).await.json();
    assert_eq!((&again["repeated"], &again["place"]), (&json!(true), &json!("/runs/1")), "{again}");
    assert_eq!(world.scalar::<i64>(runs).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_form_that_was_not_confirmed_has_a_button_that_sends_it_again() {
    let (world, port) = world().await;
    sqlx::raw_sql(SLOW_COMMIT).execute(&world.database.pool()).await.unwrap();
    let page = port.post("/jobs/lynn/runs", &format!("{}&stream=navigation_marks", request(5))).await;
    assert_eq!(page.status, 503, "{}", page.body);
    assert!(page.body.contains("it is not known whether it was done"), "{}", page.body);
    assert!(page.body.contains("<button class=\"main\">Send it again</button>"), "{}", page.body);
    assert!(!page.body.contains("request id") && !page.body.contains("Not possible"), "{}", page.body);
    let runs = "select count(*) from tidegate.run";
    eventually(std::time::Duration::from_secs(30), async || (world.scalar::<i64>(runs).await == 1).then_some(())).await;
    sqlx::raw_sql("drop function public.slow cascade").execute(&world.database.pool()).await.unwrap();
    let again = port.post("/jobs/lynn/runs", &page.hidden()).await;
    assert_eq!(again.place(), "/runs/1", "it was done");
    assert_eq!(world.scalar::<i64>(runs).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_an_action_that_the_database_refuses_or_delays_says_so() {
    let (world, _port) = world().await;
    let role = Role::create("").await;
    role.change(&world.database, USES_TABLES).await;
    role.change(&world.database, "revoke all on tidegate.run from ROLE").await;
    let pool = PgPoolOptions::new().max_connections(3).connect(&role.url(&world.database)).await.unwrap();
    let port = Port::open(pool.clone(), world.config(), true).await;
    let refused = port.api("/jobs/lynn/runs", &json!({})).await;
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(refused.status, 503, "{detail}");
    assert!(
        detail.starts_with("the database refused a statement; this call has done nothing; see /readyz"),
        "{detail}"
    );
    assert!(refused.head.contains("retry-after: 5"), "{}", refused.head);
    let page = port.post("/jobs/lynn/runs", &request(1)).await;
    assert_eq!(page.status, 503, "{}", page.body);
    assert!(page.body.contains("The database refused a statement; this call has done nothing"), "{}", page.body);
    assert_eq!(page.hidden(), request(1), "a button sends it again");

    role.change(&world.database, USES_TABLES).await;
    let mut locker = world.database.connect().await;
    let mut lock = locker.begin().await.unwrap();
    sqlx::raw_sql("lock table tidegate.run in access exclusive mode").execute(&mut *lock).await.unwrap();
    let late = port.api("/jobs/lynn/runs", &json!({})).await;
    lock.rollback().await.unwrap();
    let detail = late.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("the database responds, but this took too long"), "{detail}");
    assert!(detail.contains("this call has done nothing"), "{detail}");
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.run").await, 0);
    drop(port);
    pool.close().await;
    drop(world);
    role.remove().await;
}

#[tokio::test]
async fn p7_a_field_that_is_empty_written_twice_or_outside_the_body_never_widens_an_action() {
    let (world, port) = world().await;
    let headers = format!("{BEARER}content-type: application/json\r\n");
    for (query, body, status) in [
        ("", r#"{ "stream": null }"#, 422),
        ("", r#"{ "stream": "" }"#, 422),
        ("", r#"{ "stream": " " }"#, 422),
        ("", r#"{ "stream": "navigation_marks", "stream": "dialog_marks" }"#, 422),
        ("", "", 400),
        ("?stream=navigation_marks", "{}", 422),
    ] {
        let response = port.send("POST", &format!("/api/v1/jobs/lynn/runs{query}"), &headers, body).await;
        assert_eq!(response.status, status, "{query} {body}: {}", response.body);
    }
    let page = port.post("/jobs/lynn/runs?stream=navigation_marks", &request(1)).await;
    assert_eq!(page.status, 422, "{}", page.body);
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.run").await, 0);
    for method in ["PUT", "DELETE", "PATCH"] {
        assert_eq!(port.send(method, "/api/v1/jobs/lynn/runs", BEARER, "").await.status, 405, "{method}");
    }
}
