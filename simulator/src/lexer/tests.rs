//! The simulator is as strict as the vendor documents.

use chrono::{TimeZone as _, Utc};

use super::super::{Edit, Rows, Simulator, start};
use super::*;

struct Client {
    simulator: Simulator,
    http: reqwest::Client,
    token: String,
}

impl Client {
    async fn new(options: Options) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let token = options.lexer.api_token.clone();
        Self { simulator: start(options).await.unwrap(), http: reqwest::Client::new(), token }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.header("auth-api-token", &self.token).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    async fn get(&self, url: String) -> (u16, Value) {
        self.send(self.http.get(url)).await
    }

    async fn report(&self, body: Value) -> (u16, Value) {
        self.send(self.http.post(format!("{}/v1/activity/reports", self.simulator.base_url())).json(&body)).await
    }

    async fn status(&self, token: &str) -> (u16, Value) {
        let path = "/api/public/v1/activity/reports/status";
        self.get(format!("{}{path}?token={token}", self.simulator.clients_url())).await
    }
}

fn free() -> Options {
    let hour = Duration::from_hours(1);
    Options::default().limit("lexer.burst", 10_000, hour).limit("lexer.requests", 10_000, hour)
}

fn asked(kind: &str, from: &str, to: &str) -> Value {
    json!({ "type": kind, "date_from": from, "date_to": to })
}

fn first_days(kind: &str, days: u32) -> Value {
    asked(kind, "2024-03-01T00:00:00+00:00", &format!("2024-03-{days:02}T23:59:59+00:00"))
}

#[tokio::test]
async fn both_hosts_require_the_token_and_share_the_rate() {
    let options = Options::default().limit("lexer.burst", 5, Duration::from_hours(1));
    let mut client = Client::new(options).await;
    let (api, clients) = (client.simulator.base_url(), client.simulator.clients_url());
    let groups = client.get(format!("{api}/v1/groups")).await;
    assert_eq!(groups.1[0]["id"], 301);
    assert_eq!(client.status("x").await.0, 404);
    assert_eq!(client.get(format!("{clients}/v1/groups")).await.0, 404, "the other host's path");
    let token = std::mem::replace(&mut client.token, "other".to_owned());
    assert_eq!(client.get(format!("{api}/v1/groups")).await.0, 401);
    assert_eq!(client.status("x").await.0, 401);
    client.token = token;
    assert_eq!(client.status("x").await.0, 404);
    assert_eq!(client.status("x").await.0, 429);
    let limits = client.simulator.control().stats().limits;
    assert_eq!((limits["lexer.burst"].highest_fixed, limits["lexer.requests"].counted), (6, 5));
}

#[tokio::test]
async fn its_truth_is_separate_from_other_vendors() {
    let simulator = start(Options::default()).await.unwrap();
    let (control, report) = (simulator.control(), "mention_sla_export");
    let data = control.lexer().data();
    let day = |day| Utc.with_ymd_and_hms(2024, 3, day, 0, 0, 0).unwrap();
    let rows = data.rows(report, day(1), day(2)).unwrap();
    assert!(rows.len() > 50 && rows[0].contains_key("Customer Message"));
    data.edit(Edit::Vanish { rows: Rows::between(report, day(1), day(2)).first(10) }).unwrap();
    data.late(Rows::between(report, day(1), day(2))).unwrap();
    assert_eq!(data.count(report, day(1), day(2)), Ok(0));
    data.release_late();
    assert_eq!(data.count(report, day(1), day(2)), Ok(rows.len() as u64 - 10));
    assert!(control.lynn().count(report, day(1), day(2)).is_err(), "Lynn has no such report");
}

#[tokio::test]
async fn invalid_requests_are_refused_as_documented() {
    let client = Client::new(free()).await;
    let (from, to) = ("2024-03-01T00:00:00+00:00", "2024-03-01T23:59:59+00:00");
    for (body, status, said) in [
        (asked("unknown", from, to), 400, "invalid type"),
        (asked("summary", from, "2025-03-01T00:00:00+00:00"), 400, "too long"),
        (asked("summary", from, "2025-02-28T23:59:59+00:00"), 200, ""),
        (asked("summary", "2999-03-01T00:00:00+00:00", "2999-03-02T00:00:00+00:00"), 400, "future"),
        (asked("summary", to, from), 404, ""),
        (asked("summary", "2024-03-01T00:00:00Z", to), 404, ""),
        (asked("summary", "2024-03-01 00:00:00", to), 404, ""),
        (asked("nps_summary", from, to), 404, ""),
        (
            json!({ "type": "nps_summary", "date_from": from, "date_to": to, "form": 501, "nps_category": "all" }),
            404,
            "",
        ),
        (
            json!({ "type": "nps_summary", "date_from": from, "date_to": to, "form": 502, "nps_category": "all" }),
            200,
            "",
        ),
        (json!([]), 404, ""),
    ] {
        let response = client.report(body.clone()).await;
        assert_eq!(response.0, status, "{body}");
        assert!(response.1["error"].as_str().unwrap_or_default().contains(said), "{response:?}");
    }
    assert_eq!(client.simulator.control().stats().unexpected, []);
    client.report(json!({ "type": "summary", "date_from": from, "date_to": to, "users": [1] })).await;
    assert_eq!(client.simulator.control().stats().unexpected.len(), 1);
}

#[tokio::test]
async fn short_ranges_have_hourly_intervals_by_the_rule_of_each_report() {
    let client = Client::new(free()).await;
    let hourly = async |kind: &str, days: u32, to: &str| {
        let body = asked(kind, "2024-03-01T00:00:00+11:00", &format!("2024-03-{days:02}T{to}+11:00"));
        let response = client.report(body).await.1;
        let series = response.as_object().unwrap().values().next().unwrap().as_array().unwrap().clone();
        series.iter().any(|element| !element["date_range"]["date_from"].as_str().unwrap().ends_with(" 00:00"))
    };
    assert!(hourly("states_volume", 4, "23:59:59").await);
    assert!(!hourly("states_volume", 5, "00:00:00").await);
    assert!(hourly("response_volume", 4, "00:00:00").await);
    assert!(!hourly("response_volume", 4, "00:00:01").await);
    assert!(!hourly("case_volume", 5, "23:59:59").await);
}

#[tokio::test]
async fn figures_agree_with_each_other() {
    let client = Client::new(free()).await;
    let sum = |rows: &Value, field: &str, holds: &dyn Fn(&Value) -> bool| {
        rows.as_array().unwrap().iter().filter(|row| holds(row)).map(|row| row[field].as_u64().unwrap()).sum::<u64>()
    };
    let of = async |kind: &str| client.report(first_days(kind, 7)).await.1;
    let total = of("summary").await["total_volume"].as_u64().unwrap();
    assert!(total > 1000);
    let states = of("states_volume").await;
    let by_state = states.as_object().unwrap().values().map(|series| sum(series, "value", &|_| true)).sum::<u64>();
    let agents: Value = of("user_volume").await;
    let by_agent: u64 =
        agents.as_array().unwrap().iter().map(|agent| agent["states"]["all_states"].as_u64().unwrap()).sum();
    let workflow = sum(&of("workflow_volume").await, "volume", &|_| true);
    assert_eq!((by_state, by_agent, workflow), (total, total, total));
    assert_eq!(sum(&of("user_summary").await, "mentions_assigned", &|_| true), total);
    let rows = of("classifications").await;
    let is_total = |row: &Value| row["state"] == "all_states";
    assert_eq!(sum(&rows, "volume", &is_total), sum(&rows, "volume", &|row| !is_total(row)));
    let mut nps = first_days("nps_volume", 7);
    nps["form"] = 502.into();
    nps["nps_category"] = "all".into();
    let buckets = client.report(nps).await.1;
    assert_eq!((buckets.as_array().unwrap().len(), &buckets[0]["timestamp"]), (6, &json!(1_709_337_600)));
}

#[tokio::test]
async fn a_job_needs_time_and_its_file_needs_no_credential() {
    let account = Account { job_takes: Duration::from_millis(300), ..Account::default() };
    let client = Client::new(Options { lexer: account, ..free() }).await;
    let (status, job) = client.report(first_days("mention_sla_export", 1)).await;
    assert_eq!((status, &job["status"], &job["url"]), (200, &json!("pending"), &Value::Null));
    let token = job["token"].as_str().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let done = loop {
        let (_, job) = client.status(token).await;
        if job["status"] == "complete" {
            break job;
        }
        assert!(std::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let url = done["url"].as_str().unwrap();
    let csv = client.http.get(url).send().await.unwrap().text().await.unwrap();
    assert!(csv.starts_with("Account Name,Source Type,") && csv.contains("=HYPERLINK"), "{}", &csv[..200]);
    assert_eq!(client.simulator.control().stats().unexpected, []);
    client.http.get(url).header("auth-api-token", "x").send().await.unwrap();
    assert_eq!(client.simulator.control().stats().unexpected.len(), 1);
    client.simulator.control().lexer().forget_jobs();
    assert_eq!(client.status(token).await.0, 404);
}
