//! A complete job over real HTTP, and what the vendor refuses.

use chrono::{DateTime, NaiveTime, TimeDelta};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};

use super::super::{Action, Change, Match, Rows, Simulator};
use super::*;

#[tokio::test]
async fn the_lists_require_both_credentials_and_count_against_the_rate() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let options = Options::default().limit("khoros.requests", 6, Duration::from_hours(1));
    let simulator = super::super::start(options).await.unwrap();
    let (control, account, http) = (simulator.control(), Account::default(), Client::new());
    let get = async |path: &str, key: &str, password: &str| {
        let url = format!("{}/api/public/{path}?companyKey={key}", simulator.base_url());
        let response = http.get(url).basic_auth(&account.username, Some(password)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (key, password) = (&account.company_key[..], &account.password[..]);
    let read = async |path: &str| serde_json::from_str::<Value>(&get(path, key, password).await.1).unwrap();
    assert_eq!(read("teams").await["result"][0]["teamId"], 11);
    assert_eq!(read("config/timezones").await["result"][3]["offsetString"], "+05:45");
    assert_eq!(get("teams", "other", password).await.0, 403);
    assert_eq!(get("teams", key, "other").await.0, 401);
    control.next(Match::endpoint("khoros_teams"), Action::Json { status: 200, body: r#"{"status":"FAIL"}"#.into() });
    assert_eq!(read("teams").await["status"], "FAIL");
    assert_eq!(get("teams", key, password).await.0, 200);
    assert_eq!(get("teams", key, password).await, (429, String::new()));
    let stats = control.stats();
    assert_eq!((stats.violations[0].limit.as_str(), stats.unauthorized), ("khoros.requests", 2));
    assert_eq!((stats.calls["khoros_teams"], stats.limits["requests"].counted), (6, 0), "Lynn's stay untouched");
    let logged = |call: &ReportCall| (call.endpoint.clone(), call.mischief.clone());
    assert_eq!(stats.reports.iter().map(logged).nth(2), Some((TEAMS.into(), Some("json".into()))));
}

struct Caller {
    simulator: Simulator,
    http: Client,
}

impl Caller {
    async fn new(options: Options) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = Client::builder().redirect(Policy::none()).build().unwrap();
        let options = options.limit("khoros.requests", 10_000, Duration::from_secs(1));
        Self { simulator: super::super::start(options).await.unwrap(), http }
    }

    fn url(&self, path: &str) -> String {
        let account = Account::default();
        format!("{}/api/public/reports/report/{path}?companyKey={}", self.simulator.base_url(), account.company_key)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Response {
        let account = Account::default();
        request.basic_auth(account.username, Some(account.password)).send().await.unwrap()
    }

    async fn get(&self, url: &str) -> Response {
        self.send(self.http.get(url)).await
    }

    async fn post(&self, path: &str, query: &str) -> Response {
        self.send(self.http.post(format!("{}&{query}", self.url(path)))).await
    }

    async fn form(&self, path: &str, form: &str) -> Response {
        let request = self.http.post(self.url(path)).header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(form.to_owned())).await
    }

    fn unexpected(&self) -> Vec<String> {
        self.simulator.control().stats().unexpected.into_iter().map(|noted| noted.what).collect()
    }
}

async fn value(response: Response) -> Value {
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

/// 00:00 UTC three days ago, since the vendor's history is only about 18 months long.
fn start() -> DateTime<Utc> {
    (Utc::now() - TimeDelta::days(3)).date_naive().and_time(NaiveTime::MIN).and_utc()
}

/// Parameters of a window between two epoch milliseconds.
fn window(from: i64, to: i64) -> String {
    format!("startTime={from}&endTime={to}&locale=en&timezoneOffset=0")
}

/// Parameters of the day after [`start`].
fn day() -> String {
    let from = start().timestamp_millis();
    window(from, from + DAY_MS - 1)
}

const DAY_MS: i64 = 86_400_000;

fn quick() -> Options {
    Options { khoros: Account { job_time: Duration::ZERO, ..Account::default() }, ..Options::default() }
}

#[tokio::test]
async fn a_job_is_started_polled_and_downloaded_without_credentials() {
    let caller = Caller::new(quick()).await;
    let data = caller.simulator.control().khoros().data();
    let (from, to) = (start(), start() + TimeDelta::days(1));
    data.change(
        Rows::between("incoming_post", from, to).every(5),
        Change::Set { field: "NEW".into(), json: "\"x\"".into() },
    )
    .unwrap();
    for (format, wanted) in [("json", "\"POST_ID\":"), ("csv", "\"Post ID\",\"Conversation ID\",\"Author UUID\"")] {
        let created = value(caller.post("incoming_post", &format!("{}&reportFormat={format}", day())).await).await;
        let status = created["result"]["statusUrl"].as_str().unwrap();
        assert!(status.contains("%2B") && status.contains("%2F") && status.contains("%3D"), "{status}");
        let done = value(caller.get(status).await).await;
        assert_eq!(done["result"]["result"]["detail"], "COMPLETED");
        let download = done["result"]["jobInfo"]["downloadUrl"].as_str().unwrap();
        assert!(download.contains("?analyticsAccessToken="), "{download}");
        let redirect = caller.get(download).await;
        let location = redirect.headers()["location"].to_str().unwrap().to_owned();
        assert_eq!(
            (redirect.status(), location.contains("/exports/incoming_post-")),
            (StatusCode::TEMPORARY_REDIRECT, true)
        );
        assert_eq!(caller.get(&location).await.status(), 400, "no credential belongs there");
        let file = caller.http.get(&location).send().await.unwrap().text().await.unwrap();
        assert!(file.contains(wanted), "{}", &file[..200]);
        if format == "json" {
            let rows: Vec<Value> = serde_json::from_str(&file).unwrap();
            assert_eq!(rows.len() as u64, data.count("incoming_post", from, to).unwrap());
        }
    }
    assert_eq!(caller.unexpected(), ["authorization"; 2]);
    let submitted = caller.simulator.control().khoros().submitted();
    assert_eq!((submitted[1].get("reportFormat"), submitted[1].method), (Some("csv"), "POST"));
}

#[tokio::test]
async fn conversations_are_reported_by_type() {
    let caller = Caller::new(quick()).await;
    let mut counts = Vec::new();
    let (date, next) = (start().date_naive().to_string(), (start() + TimeDelta::days(1)).date_naive().to_string());
    for report in ["CREATED", "CLOSED", "OPEN_AT_END"] {
        let created =
            value(caller.post("conversation", &format!("{}&conversationReportType={report}", day())).await).await;
        let done = value(caller.get(created["result"]["statusUrl"].as_str().unwrap()).await).await;
        let redirect = caller.get(done["result"]["jobInfo"]["downloadUrl"].as_str().unwrap()).await;
        let location = redirect.headers()["location"].to_str().unwrap();
        let file = caller.http.get(location).send().await.unwrap().text().await.unwrap();
        let rows: Vec<Value> = serde_json::from_str(&file).unwrap();
        let fits = |row: &Value| match report {
            "CREATED" => row["CREATED_TIME"].as_str().unwrap().starts_with(&date),
            "CLOSED" => row["CLOSED_TIME"].as_str().unwrap().starts_with(&date),
            _ => row["CLOSED_TIME"].as_str().unwrap().is_empty() || row["CLOSED_TIME"].as_str() > Some(&next),
        };
        assert!(rows.iter().all(fits), "{report}");
        counts.push(rows.len());
    }
    // Those that are closed the next day, and those of the days before that stay open.
    assert!(counts[2] > 20 && counts[1] > 100, "{counts:?}");
}

#[tokio::test]
async fn wrong_requests_are_refused() {
    let caller = Caller::new(quick()).await;
    let day = day();
    let interval = |ms: u64| format!("{day}&timeInterval={ms}");
    let from = start().timestamp_millis();
    let to = from + DAY_MS - 1;
    for (path, query, said) in [
        ("author", window(from - 91 * DAY_MS, to), "90 days"),
        ("author", window(from / 1000, to), "NumberFormat"),
        ("author", window(from, from - 1), "90 days"),
        ("author", window(from - 600 * DAY_MS, to - 600 * DAY_MS), "90 days"),
        ("author", format!("{day}&reportMetrics=author_uuid"), "no metric author_uuid"),
        ("conversation", format!("{day}&conversationReportType=created"), "conversationReportType"),
        ("team_performance_interval", day.clone(), "timeInterval"),
        ("team_performance_interval", interval(7_000_000), "no such interval"),
        ("team_performance_interval", interval(1_800_000), "Too many buckets (48)"),
    ] {
        let response = value(caller.post(path, &query).await).await;
        let result = response["result"].as_str().unwrap_or_default();
        assert!(result.contains(said), "{path}?{query}: {response}");
    }
    assert_eq!(value(caller.post("team_performance_interval", &interval(3_600_000)).await).await["status"], "PASS");
    for (path, query) in [("author", "&locale=it"), ("author", "&reportFormat=CSV"), ("user", "")] {
        assert_eq!(caller.post(path, &format!("{day}{query}")).await.status(), 400, "{path} {query}");
    }
    for (path, status) in [("teams", 404), ("raw_brand_post", 404), ("marketing/author", 404)] {
        assert_eq!(caller.post(path, &day).await.status(), status, "{path}");
    }
    assert_eq!(caller.get(&format!("{}&{day}", caller.url("author"))).await.status(), 405);
    assert_eq!(caller.get(&format!("{}&{day}", caller.url("user"))).await.status(), 200);
    assert_eq!(caller.form("user", &format!("startTime={from}&endTime={to}")).await.status(), 200);
    assert_eq!(caller.form("author", &day).await.status(), 400);
}

#[tokio::test]
async fn jobs_take_time_fail_and_are_forgotten() {
    let account = Account { job_time: Duration::from_secs(40), ..Account::default() };
    let caller = Caller::new(Options { khoros: account, speed: 100.0, ..Options::default() }).await;
    let khoros = caller.simulator.control().khoros();
    khoros.next_job("author", Fate::Failed);
    let created = value(caller.post("author", &day()).await).await;
    let status = created["result"]["statusUrl"].as_str().unwrap();
    let first = value(caller.get(status).await).await;
    assert_eq!(first["result"][0]["result"]["runnerState"], "RUNNING");
    let mut last = first;
    while last["result"][0]["result"]["runnerState"] == "RUNNING" {
        last = value(caller.get(status).await).await;
    }
    assert_eq!(last["result"][0]["result"]["detail"], "FAILED");
    assert_eq!(caller.get(&status.replace("/status", "/download")).await.status(), 404);
    assert_eq!(caller.get(&status.replace("harbour", "other")).await.status(), 403);
    khoros.forget_jobs();
    assert_eq!(caller.get(status).await.status(), 404);
}
