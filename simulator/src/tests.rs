//! The simulator as a client sees it, over real HTTP.

use std::time::Duration;

use chrono::{DateTime, TimeZone as _, Utc};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::lynn::{Account, CursorShape, LastCursor, PageCount, Product, Volume};
use super::*;

const MARKS: &str = "A45EC705-6A38-426A-8D1F-9CAE4D311497";

struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

struct Reply {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Limits that do not interfere, and 50 rows a day.
fn free() -> Options {
    let options = Options { volume: Volume::Exactly(50), ..Options::default() };
    let limits = ["create_token", "requests", "period_calls", "period_bandwidth"];
    limits.into_iter().fold(options, |options, name| options.limit(name, u64::MAX, Duration::from_secs(1)))
}

async fn started(options: Options) -> (Simulator, Control, Client) {
    rustls::crypto::ring::default_provider().install_default().ok();
    let simulator = start(options).await.unwrap();
    let (control, base) = (simulator.control(), simulator.base_url());
    let mut client = Client { http: reqwest::Client::new(), base, token: String::new() };
    client.token = client.login().await.unwrap().json()["token"].as_str().unwrap().to_owned();
    (simulator, control, client)
}

impl Client {
    async fn post(&self, path: &str, body: String, bearer: bool) -> reqwest::Result<Reply> {
        let mut request = self.http.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        if bearer {
            request = request.header("authorization", format!("bearer {}", self.token));
        }
        let response = request.body(body).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Reply { status, headers, body: response.text().await? })
    }

    async fn login(&self) -> reqwest::Result<Reply> {
        let account = Account::default();
        let body = json!({ "accessToken": account.access_token, "accessTokenSecret": account.access_token_secret,
            "tenant": account.tenant });
        self.post("/api/LynnReporting/CreateToken", body.to_string(), false).await
    }

    /// The marks of 1 March, 20 rows per page.
    async fn page(&self, last: Option<&str>) -> reqwest::Result<Reply> {
        let last = last.map(|last| format!(",\"lastDocument\":{last}")).unwrap_or_default();
        let body = format!(r#"{{"startDate":"2024-03-01 00:00:00","endDate":"2024-03-01 23:59:59","size":20{last}}}"#);
        self.post(&format!("/api/LynnReporting/ExecuteReport/4411/{}", MARKS.to_lowercase()), body, true).await
    }

    async fn control(&self, path: &str, body: Value) -> Value {
        let reply = self.post(&format!("/_sim/{path}"), body.to_string(), false).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
        serde_json::from_str(&reply.body).unwrap_or_default()
    }
}

#[derive(serde::Deserialize)]
struct Raw<'a> {
    #[serde(borrow, rename = "lastDocument")]
    last: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Vec<&'a RawValue>,
    #[serde(rename = "pageCount")]
    page_count: Option<u64>,
}

fn raw(reply: &Reply) -> Raw<'_> {
    assert_eq!(reply.status, 200, "{}", reply.body);
    serde_json::from_str(&reply.body).unwrap()
}

fn day(day: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2024, 3, day, 0, 0, 0).unwrap()
}

/// Reads as documented: as many more pages as the first response's `pageCount`.
async fn read_all(client: &Client) -> (Vec<String>, Vec<Option<u64>>) {
    let (mut rows, mut counts, mut last) = (Vec::new(), Vec::new(), None::<String>);
    let mut planned = 0;
    for page in 0.. {
        if page > planned {
            break;
        }
        let reply = client.page(last.as_deref()).await.unwrap();
        let read = raw(&reply);
        rows.extend(read.result.iter().map(|row| row.get().to_owned()));
        counts.push(read.page_count);
        last = read.last.map(|last| last.get().to_owned());
        planned = counts[0].unwrap();
    }
    (rows, counts)
}

#[tokio::test]
async fn a_window_reads_as_the_truth_in_every_shape() {
    let (simulator, control, client) = started(free()).await;
    let truth = control.lynn().text("navigation_marks", day(1), day(2)).unwrap();
    assert_eq!(truth.len(), 50);
    let columns: Vec<String> = control.lynn().rows(MARKS, day(1), day(2)).unwrap()[0].keys().cloned().collect();
    let mut documented =
        ["timestamp", "session", "division", "channel_id", "reportEnvironment", "intent", "markName", "markValue"];
    documented.sort_unstable();
    assert_eq!(columns, documented);
    for cursor in [CursorShape::Array, CursorShape::Number, CursorShape::Text, CursorShape::Object] {
        control.shape(|shape| shape.cursor = cursor);
        assert_eq!(read_all(&client).await.0, truth, "{cursor:?}");
    }
    let expected = [
        (PageCount::Decreasing, [Some(2), Some(1), Some(0)]),
        (PageCount::Constant, [Some(2); 3]),
        (PageCount::FirstOnly, [Some(2), None, None]),
    ];
    for (page_count, counts) in expected {
        control.shape(|shape| shape.page_count = page_count);
        assert_eq!(read_all(&client).await.1, counts);
    }
    control.shape(|shape| shape.gzip = true);
    assert_eq!(read_all(&client).await.0, truth);
    let stats = control.stats();
    assert_eq!(stats.reports.len(), 8 * 3);
    assert_eq!((stats.reports[1].page, stats.reports[1].last_document, stats.reports[1].rows), (2, true, 20));
    assert_eq!((stats.calls["create_token"], stats.tokens_minted, stats.violation_count), (1, 1, 0));
    assert!(stats.unexpected.is_empty());
    simulator.stop().await;
}

#[tokio::test]
async fn every_report_has_its_own_rows() {
    let mut options = Options::default();
    let guid = "00000000-0000-0000-0000-0000000000aa";
    options.lynn.extra_reports.insert("my_report".into(), guid.into());
    let simulator = start(options).await.unwrap();
    let control = simulator.control();
    let names = ["show_dialogs", "menu_detail", "show_error", "detail_performance", "productivity_detail"];
    for report in names.into_iter().chain(["survey_result", "current_interactions", "my_report"]) {
        let rows = control.lynn().rows(report, day(1), day(8)).unwrap();
        assert!(rows.len() > 50, "{report}: {}", rows.len());
        assert_eq!(rows.len() as u64, control.lynn().count(report, day(1), day(8)).unwrap(), "every row is an object");
        assert!(rows[0]["date"].as_str().unwrap().starts_with("2024-03-01T"));
    }
    for date in 1..8 {
        let marks = control.lynn().count("navigation_marks", day(date), day(date + 1)).unwrap();
        assert!((200..1500).contains(&marks), "{marks}");
    }
    assert_eq!(control.lynn().count("none", day(1), day(2)), Err(UnknownReport("none".into())));
}

#[tokio::test]
async fn ten_million_rows_are_served_by_position() {
    let (_simulator, control, client) = started(Options { volume: Volume::Exactly(10_000_000), ..free() }).await;
    assert_eq!(control.lynn().count(MARKS, day(1), day(2)).unwrap(), 10_000_000);
    let reply = client.page(None).await.unwrap();
    assert_eq!(raw(&reply).page_count, Some(499_999));
    let next = client.page(Some(raw(&reply).last.unwrap().get())).await.unwrap();
    assert_eq!(raw(&next).result.len(), 20);
}

#[tokio::test]
async fn wrong_requests_are_refused() {
    let (_simulator, control, mut client) = started(free()).await;
    let first = client.page(None).await.unwrap();
    let last = raw(&first).last.unwrap().get().to_owned();
    assert_eq!(client.page(Some(&last.replace(", ", ","))).await.unwrap().status, 400, "re-typed");
    assert_eq!(client.page(Some("null")).await.unwrap().status, 400);
    let run = |path: &'static str, body: &'static str| client.post(path, body.into(), true);
    let marks = "/api/LynnReporting/ExecuteReport/4411/A45EC705-6A38-426A-8D1F-9CAE4D311497";
    for body in [
        r#"{"startDate":"2024-03-01 00:00:00","endDate":"2024-03-02 00:00:00","size":10001}"#,
        r#"{"startDate":"2024-03-01 00:00:00","endDate":"2024-03-02 00:00:00","size":0}"#,
        r#"{"startDate":"2024-03-01 00:00","endDate":"2024-03-02 00:00:00","size":1}"#,
        r#"{"startDate":"2024-03-03 00:00:00","endDate":"2024-03-02 00:00:00","size":1}"#,
        r#"{"endDate":"2024-03-02 00:00:00","size":1}"#,
        "nonsense",
    ] {
        assert_eq!(run(marks, body).await.unwrap().status, 400, "{body}");
    }
    let good = r#"{"startDate":"2024-03-01 00:00:00","endDate":"2024-03-02 00:00:00","size":1}"#;
    assert_eq!(run("/api/LynnReporting/ExecuteReport/4411/none", good).await.unwrap().status, 404);
    let other_tenant = "/api/LynnReporting/ExecuteReport/1/A45EC705-6A38-426A-8D1F-9CAE4D311497";
    assert_eq!(run(other_tenant, good).await.unwrap().status, 403);
    let login = r#"{"accessToken":"x","accessTokenSecret":"y","tenant":4411}"#;
    let refused = client.post("/api/LynnReporting/CreateToken", login.into(), true).await.unwrap();
    assert_eq!((refused.status, refused.body.as_str()), (401, ""));
    assert_eq!(control.stats().unexpected[0].what, "authorization");
    control.expire_tokens();
    assert_eq!(client.page(None).await.unwrap().status, 401);
    client.token = client.login().await.unwrap().json()["token"].as_str().unwrap().to_owned();
    assert_eq!(client.page(None).await.unwrap().status, 200);
    let info = client.post("/api/LynnReporting/CreateToken?info", login.into(), false).await.unwrap();
    assert_eq!(info.status, 401);
}

#[tokio::test]
async fn premium_requires_its_key_and_basic_does_not() {
    let account = Account { product: Product::Premium, subscription_key: Some("the-key".into()), ..Account::default() };
    let (_simulator, control, client) = started(Options { lynn: account, ..free() }).await;
    assert_eq!(control.stats().limits["period_calls"].amount, u64::MAX);
    let missing = client.page(None).await.unwrap();
    assert!(missing.status == 401 && missing.body.contains("missing subscription key"));
    let url = format!("{}/api/LynnReporting/ExecuteReport/4411/{MARKS}", client.base);
    let with_key = async |key: &str| {
        let request = client.http.post(&url).header("ocp-apim-subscription-key", key).body("{}");
        request.bearer_auth(&client.token).send().await.unwrap().status().as_u16()
    };
    assert_eq!((with_key("the-key").await, with_key("other").await), (400, 401));

    let (_simulator, control, client) = started(free()).await;
    let url = format!("{}/api/LynnReporting/CreateToken", client.base);
    client.http.post(url).header("ocp-apim-subscription-key", "").body("{}").send().await.unwrap();
    let what: Vec<String> = control.stats().unexpected.into_iter().map(|unexpected| unexpected.what).collect();
    assert_eq!(what[0], "empty Ocp-Apim-Subscription-Key");
}

#[tokio::test]
async fn limits_are_enforced_and_reported() {
    let options = Options { speed: 1000.0, ..free() }.limit("requests", 2, Duration::from_hours(1000)).limit(
        "create_token",
        1,
        Duration::from_hours(1000),
    );
    let (_simulator, control, client) = started(options.clone()).await;
    let login = client.login().await.unwrap();
    assert_eq!(login.status, 429);
    assert!(login.json()["message"].as_str().unwrap().starts_with("Rate limit is exceeded. Try again in 3"));
    assert!(login.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() <= 3600);
    for status in [200, 200, 429] {
        assert_eq!(client.page(None).await.unwrap().status, status);
    }
    let stats = control.stats();
    assert_eq!((stats.violation_count, stats.violations[1].limit.as_str()), (2, "requests"));
    assert_eq!((stats.limits["requests"].highest_fixed, stats.limits["requests"].counted), (3, 2));

    let bandwidth = options.limit("requests", 9, Duration::from_secs(1)).limit(
        "period_bandwidth",
        5000,
        Duration::from_hours(1000),
    );
    let (_simulator, control, client) = started(Options { window: WindowKind::Sliding, ..bandwidth }).await;
    assert_eq!(client.page(None).await.unwrap().status, 200, "one response may exceed what is left");
    let refused = client.page(None).await.unwrap();
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("Out of bandwidth quota. Quota will be replenished in 0"), "{}", refused.body);
    let stats = control.stats();
    assert!(stats.limits["period_bandwidth"].highest_sliding > 5000);
    assert_eq!(stats.reports.len(), 1, "refused calls are not report calls");
    assert!(stats.limits["period_bandwidth"].counted > stats.reports[0].bytes, "the login counts too");
}

#[tokio::test]
async fn responses_can_be_replaced() {
    let (_simulator, control, client) = started(free()).await;
    let too_many = |wording, header| Action::TooMany { seconds: 7, wording, header };
    let quota = |quota, text: &str| Action::OutOfQuota { quota, replenished_in: text.into(), retry_after: None };
    let cases: Vec<(Action, u16, &str)> = vec![
        (Action::Status { status: 500 }, 500, "statusCode"),
        (Action::Status { status: 408 }, 408, "statusCode"),
        (too_many(Wording::Json, false), 429, r#"{ "statusCode": 429, "message""#),
        (too_many(Wording::Text, true), 429, "rate limit is Exceeded. Try again in 7 seconds"),
        (too_many(Wording::Html, false), 429, "<p>Rate limit"),
        (too_many(Wording::Empty, true), 429, ""),
        (quota(Quota::Bandwidth, "03:30:56"), 403, "Out of bandwidth quota. Quota will be replenished in 03:30:56."),
        (quota(Quota::Calls, "1.02:03:04"), 403, "Out of call volume quota. Quota will be replenished in 1.02:03:04."),
        (Action::Forbidden, 403, "permission"),
        (Action::Unauthorized, 401, ""),
        (Action::SubscriptionKey, 401, "subscription key"),
        (Action::HtmlWith200, 200, "<!DOCTYPE html>"),
        (Action::EmptyBody, 200, ""),
        (Action::NoContent, 204, ""),
        (Action::Invalid { errors_json: r#"["boom"]"#.into() }, 200, r#""isValid":false"#),
        (Action::Errors { errors_json: r#"{"a":1}"#.into() }, 200, r#""errors":{"a":1}"#),
        (Action::ResultNull, 200, r#""result":null"#),
        (Action::ResultMissing, 200, r#"2,"errors""#),
        (Action::MalformedResult, 200, r#""broken": tru,"#),
        (Action::Delay { ms: 1 }, 200, "result"),
        (Action::Drip { bytes: 1000, every_ms: 1 }, 200, "lastDocument"),
    ];
    for (action, status, text) in cases {
        control.next(Match::report("navigation_marks"), action.clone());
        let reply = client.page(None).await.unwrap();
        assert_eq!(reply.status, status, "{action:?}");
        assert!(reply.body.contains(text), "{action:?}: {}", reply.body);
        assert!(!text.is_empty() || reply.body.is_empty());
        assert_eq!(reply.headers.contains_key("retry-after"), matches!(action, Action::TooMany { header: true, .. }));
    }
    control.next(Match::default(), Action::ContentType { value: "text/plain".into() });
    assert_eq!(client.page(None).await.unwrap().headers["content-type"], "text/plain");
    assert_eq!((control.pending(), control.stats().violation_count), (0, 0), "scripted refusals are not violations");
    for action in [Action::Reset, Action::Cut] {
        control.next(Match::default(), action);
        assert!(client.page(None).await.is_err());
    }
    control.next(Match::default(), Action::TokenExpired);
    assert_eq!(client.page(None).await.unwrap().status, 401);
    assert_eq!(client.page(None).await.unwrap().status, 401, "until a new token is minted");
    let mischief: Vec<Option<String>> = control.stats().reports.into_iter().map(|call| call.mischief).collect();
    assert_eq!((mischief[0].as_deref(), mischief.last()), (Some("status"), Some(&None)));
}

#[tokio::test]
async fn paging_can_go_wrong() {
    let (_simulator, control, client) = started(free()).await;
    let truth = control.lynn().text(MARKS, day(1), day(2)).unwrap();
    let page = Match::report("navigation_marks");

    control.next(page.clone().page(1), Action::HiddenPage);
    let (rows, counts) = read_all(&client).await;
    assert_eq!((rows.len(), counts[0]), (40, Some(1)), "the last planned page is full, and more follows");

    control.next(page.clone().page(2), Action::Overlap { rows: 5 });
    let (rows, _) = read_all(&client).await;
    assert_eq!(rows[20..40], truth[15..35]);
    assert_eq!(rows[40..], truth[35..], "nothing is lost");

    control.next(page.clone().page(2), Action::StuckCursor);
    let first = client.page(None).await.unwrap();
    let sent = raw(&first).last.unwrap().get();
    let second = client.page(Some(sent)).await.unwrap();
    assert_eq!((raw(&second).last.unwrap().get(), raw(&second).result.len()), (sent, 20));

    control.mischief(Fault::new(page, Action::Endless).times(9));
    let mut last: Option<String> = None;
    for _ in 0..9 {
        let reply = client.page(last.as_deref()).await.unwrap();
        assert_eq!(raw(&reply).result.len(), 20);
        assert!(raw(&reply).page_count.unwrap() >= 1);
        let next = raw(&reply).last.unwrap().get().to_owned();
        assert_ne!(Some(&next), last.as_ref());
        last = Some(next);
    }
    for (wanted, text) in [(LastCursor::Null, r#""lastDocument":null}"#), (LastCursor::Absent, r#""errors":null}"#)] {
        control.shape(|shape| shape.last_cursor = wanted);
        let first = client.page(None).await.unwrap();
        let second = client.page(Some(raw(&first).last.unwrap().get())).await.unwrap();
        let third = client.page(Some(raw(&second).last.unwrap().get())).await.unwrap();
        assert!(third.body.ends_with(text), "{}", third.body);
    }
}

#[tokio::test]
async fn a_held_call_stays_held_when_its_client_disconnects() {
    let (_simulator, control, client) = started(free()).await;
    for point in [Point::BeforeResponse, Point::MidBody] {
        let hold = control.hold(Match::default(), point);
        let (http, base, token) = (reqwest::Client::new(), client.base.clone(), client.token.clone());
        let held = tokio::spawn(async move { Client { http, base, token }.page(None).await.map(|reply| reply.status) });
        hold.reached().await;
        assert!(!held.is_finished());
        held.abort();
        assert!(held.await.unwrap_err().is_cancelled());
        assert_eq!(client.page(None).await.unwrap().status, 200, "others are served");
        hold.release();
    }
    let hold = control.hold_after(Match::default(), 1, Point::MidBody);
    assert_eq!(client.page(None).await.unwrap().status, 200);
    let (reply, ()) = tokio::join!(client.page(None), async {
        hold.reached().await;
        hold.release();
    });
    assert_eq!(raw(&reply.unwrap()).result.len(), 20);
    while control.stats().reports.len() < 6 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_end_of_a_window_is_inclusive_in_its_zone() {
    let zone = Tz::America__Santiago;
    let options = Options { filter_timezone: zone, ..free() };
    for (end_inclusive, expected) in [(true, 1), (false, 0)] {
        let (_simulator, control, client) = started(Options { end_inclusive, ..options.clone() }).await;
        let midnight = zone.with_ymd_and_hms(2024, 3, 2, 0, 0, 0).unwrap().with_timezone(&Utc);
        control.lynn().insert("navigation_marks", midnight).unwrap();
        let body = r#"{"startDate":"2024-03-01 00:00:00","endDate":"2024-03-02 00:00:00","size":1000}"#;
        let path = format!("/api/LynnReporting/ExecuteReport/4411/{MARKS}");
        let reply = client.post(&path, body.into(), true).await.unwrap();
        let from = zone.with_ymd_and_hms(2024, 3, 1, 0, 0, 0).unwrap().with_timezone(&Utc);
        let inside = control.lynn().count(MARKS, from, midnight).unwrap();
        assert_eq!(raw(&reply).result.len() as u64, inside + expected);
    }
}

#[tokio::test]
async fn the_future_can_be_hidden() {
    let now = Utc::now();
    let (from, to) = (now - chrono::TimeDelta::days(2), now + chrono::TimeDelta::days(2));
    let (_simulator, control, _) = started(Options { hide_future: true, ..free() }).await;
    assert!((90..=110).contains(&control.lynn().count(MARKS, from, to).unwrap()));
    assert_eq!(control.lynn().count(MARKS, to, to + chrono::TimeDelta::days(1)).unwrap(), 0);
}

#[tokio::test]
async fn another_process_controls_it_over_http() {
    let (_simulator, control, client) = started(free()).await;
    let on = json!({ "endpoint": "execute_report", "report": MARKS, "page": 1 });
    client.control("mischief", json!({ "on": on, "times": 2, "do": { "kind": "status", "status": 503 } })).await;
    assert_eq!(client.page(None).await.unwrap().status, 503);
    client.control("quiet", Value::Null).await;
    assert_eq!(client.page(None).await.unwrap().status, 200);
    let rows = json!({ "report": "navigation_marks", "from": "2024-03-01T00:00:00Z", "to": "2024-03-02T00:00:00Z" });
    let edit = json!({ "kind": "late", "rows": rows });
    assert_eq!(client.control("data", edit).await, 50);
    assert_eq!(control.lynn().count(MARKS, day(1), day(2)).unwrap(), 0);
    client.control("data/release", Value::Null).await;
    let change = json!({ "kind": "change", "rows": rows, "change": { "kind": "lone_surrogate", "field": "intent" } });
    client.control("data", change).await;
    client.control("shape", json!({ "cursor": "number", "page_count": "constant" })).await;
    let get = async |path: &str| client.http.get(format!("{}/_sim/{path}", client.base)).send().await.unwrap();
    let window = "report=navigation_marks&from=2024-03-01T00:00:00Z&to=2024-03-02T00:00:00Z";
    let truth = get(&format!("truth?{window}")).await.text().await.unwrap();
    assert_eq!(truth, format!("[{}]", read_all(&client).await.0.join(",\n")));
    assert!(control.lynn().rows(MARKS, day(1), day(2)).unwrap().is_empty(), "serde_json does not read lone surrogates");
    let stats: Stats = serde_json::from_str(&get("stats").await.text().await.unwrap()).unwrap();
    assert_eq!(stats.reports.len(), 5);
    let hold = client.control("hold", json!({ "point": "before_response" })).await;
    assert_eq!(get(&format!("hold/{}", hold["id"])).await.text().await.unwrap(), r#"{"reached":false}"#);
    client.control(&format!("hold/{}/release", hold["id"]), Value::Null).await;
    assert_eq!(client.page(None).await.unwrap().status, 200);
}

#[tokio::test]
async fn another_process_selects_the_vendor_by_name() {
    let (_simulator, control, client) = started(free()).await;
    let rows = json!({ "report": "conversation", "from": "2024-03-01T00:00:00Z", "to": "2024-03-02T00:00:00Z" });
    let vanish = json!({ "kind": "vanish", "rows": rows });
    assert_eq!(client.control("data?vendor=khoros", vanish.clone()).await, 50);
    assert_eq!(
        client.post("/_sim/data", vanish.to_string(), false).await.unwrap().status,
        404,
        "Lynn has no such report"
    );
    let get = async |path: &str| client.http.get(format!("{}/_sim/{path}", client.base)).send().await.unwrap();
    let window = "from=2024-03-01T00:00:00Z&to=2024-03-03T00:00:00Z";
    let truth = get(&format!("truth?vendor=khoros&report=conversation&{window}")).await.text().await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&truth).unwrap().as_array().unwrap().len(), 50, "of two days");
    let sessions = get(&format!("count?vendor=jaicp&report=messages&{window}")).await.text().await.unwrap();
    assert_eq!(sessions, "100");
    assert_eq!(control.jaicp().data().count("messages", day(1), day(3)), Ok(100));
    client.control("data/release?vendor=lexer", Value::Null).await;
    let stats: Stats = serde_json::from_str(&get("stats").await.text().await.unwrap()).unwrap();
    let names: Vec<&str> = stats.limits.keys().map(String::as_str).filter(|name| name.contains('.')).collect();
    assert_eq!(names, ["khoros.requests", "lexer.burst", "lexer.requests"]);
}
