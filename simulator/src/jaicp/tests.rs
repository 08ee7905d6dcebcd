use super::super::{Change, Rows, Simulator, start};
use super::*;

struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    fn of(simulator: &Simulator) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let base = format!("{}/api/reporter/p/{}", simulator.base_url(), Account::default().token);
        Self { http: reqwest::Client::new(), base }
    }

    async fn call(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let url = format!("{}/{path}", self.base);
        let response = self.http.request(method, url).body(body.to_owned()).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
    }

    async fn page(&self, what: &str, key: &str, query: &str) -> (u16, Value) {
        self.call(Method::POST, &format!("{what}/filter?{query}"), &day(key)).await
    }
}

fn day(key: &str) -> String {
    json!({ "filters": [{ "key": key, "type": "DATE_TIME_RANGE", "from": "2024-03-05T00:00:00.000Z",
        "to": "2024-03-05T23:59:59.999Z" }] })
    .to_string()
}

fn at(day: u32) -> DateTime<Utc> {
    format!("2024-03-{day:02}T00:00:00Z").parse().unwrap()
}

async fn started() -> (Simulator, Control, Client) {
    let options = Options { volume: crate::lynn::Volume::Exactly(60), ..Options::default() };
    let simulator = start(options).await.unwrap();
    let (control, client) = (simulator.control(), Client::of(&simulator));
    (simulator, control, client)
}

#[tokio::test]
async fn the_filters_require_the_token_in_the_path_and_have_no_limit() {
    let simulator = start(Options::default()).await.unwrap();
    let (token, http) = (Account::default().token, Client::of(&simulator).http);
    let get = async |token: &str, query: &str| {
        let url = format!("{}/api/reporter/p/{token}/filters{query}", simulator.base_url());
        let response = http.get(url).send().await.unwrap();
        (response.status().as_u16(), serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap())
    };
    assert_eq!(get(&token, "?analyticsSection=SESSIONS").await.1[0]["key"], "SESSION_START_TIME");
    assert_eq!(get(&token.replace(':', "%3A"), "?analyticsSection=CLIENTS").await.0, 200);
    assert_eq!(get(&token, "").await.0, 400);
    assert_eq!(get("other", "?analyticsSection=SESSIONS").await.0, 401);
    let stats = simulator.control().stats();
    assert_eq!((stats.calls["jaicp_filters"], stats.limits.contains_key("jaicp.requests")), (4, false));
    let limited = Options::default().limit("jaicp.requests", 1, Duration::from_secs(1));
    assert!(start(limited).await.unwrap().control().stats().limits.contains_key("jaicp.requests"));
}

#[tokio::test]
async fn pages_add_up_to_the_truth_and_sessions_are_computed_from_turns() {
    let (_simulator, control, client) = started().await;
    let jaicp = control.jaicp();
    let mut rows = Vec::new();
    for page in 0..4 {
        let (status, response) = client.page("messages", "MESSAGE_TIME", &format!("page={page}&size=20")).await;
        assert_eq!((status, &response["paging"]["totalCount"]), (200, &json!(60)));
        rows.extend(response["messages"].as_array().unwrap().clone());
    }
    let mut truth = jaicp.data().rows("messages", at(5), at(6)).unwrap();
    for row in &mut truth {
        row.remove("status");
    }
    truth.reverse();
    assert_eq!(rows, truth.into_iter().map(Value::Object).collect::<Vec<_>>());

    let (_, response) = client.page("sessions", "MESSAGE_TIME", "size=100&needToReturnSessionLabels=true").await;
    let mut truth: Vec<Value> = jaicp.sessions(at(5), at(6)).into_iter().map(Value::Object).collect();
    truth.reverse();
    assert_eq!(response["sessions"].as_array().unwrap(), &truth);
    assert!(truth.len() > 15, "some continue from the day before: {}", truth.len());
    let session = truth[3]["sessionId"].as_str().unwrap();
    let (_, response) = client.call(Method::GET, &format!("messages/by-session?sessionId={session}&size=50"), "").await;
    assert_eq!(response["paging"]["totalCount"], truth[3]["questionCount"]);
    assert!(response["messages"][0].get("projectShortName").is_none());

    let gone = Rows::between("messages", at(4), at(7));
    jaicp.data().vanish(gone.clone()).unwrap();
    assert!(jaicp.sessions(at(5), at(6)).is_empty());
    assert_eq!(client.page("sessions", "MESSAGE_TIME", "").await.1["paging"]["totalCount"], 0);
    jaicp.data().change(gone, Change::EmptyKey).unwrap();
}

#[tokio::test]
async fn undocumented_requests_are_refused_and_writing_ones_are_recorded() {
    let (_simulator, control, client) = started().await;
    for (query, status) in [("page=-1", 400), ("size=0", 400), ("size=x", 400), ("size=10000", 200), ("", 200)] {
        assert_eq!(client.page("messages", "MESSAGE_TIME", query).await.0, status, "{query}");
    }
    assert_eq!(client.page("messages", "MESSAGE_TIME", "size=10000").await.1["paging"]["pageSize"], 500);
    assert_eq!(client.page("messages", "SESSION_LABELS", "").await.0, 400);
    assert_eq!(client.call(Method::POST, "messages/filter", "{}").await.0, 400);
    assert_eq!(client.call(Method::POST, "messages/by-session?sessionId=x-1-2", "{}").await.0, 405);
    assert_eq!(client.call(Method::GET, "nothing/here", "").await.0, 404);
    assert!(control.stats().unexpected.is_empty());
    for (method, path) in [
        (Method::DELETE, "reports/all"),
        (Method::DELETE, "reports"),
        (Method::PUT, "clients/block?botId=b&clientId=c"),
        (Method::POST, "scenario-exeperiments/stop?experimentKey=greeting"),
        (Method::POST, "message/labels/logs?questionId=q"),
    ] {
        assert_eq!(client.call(method, path, "{}").await.0, 200);
    }
    assert_eq!(control.stats().unexpected.len(), 5);
}

#[tokio::test]
async fn a_report_is_created_polled_and_downloaded() {
    let (simulator, control, client) = started().await;
    let body = day("MESSAGE_TIME").replace("{\"filters\"", "{\"settings\":{\"fileType\":\"CSV\"},\"filters\"");
    let (status, task) = client.call(Method::POST, "reports/messages", &body).await;
    assert_eq!((status, &task["status"], &task["reportType"]), (200, &json!("CREATED"), &json!("MESSAGES")));
    let path = format!("reports/tasks/{}", task["taskId"].as_str().unwrap());
    assert_eq!(client.call(Method::GET, &path, "").await.1["status"], "STARTED");
    let done = client.call(Method::GET, &path, "").await.1;
    assert_eq!(done["status"], "COMPLETED");
    let url = format!("{}{}", simulator.base_url(), done["fileUrl"].as_str().unwrap());
    let csv = client.http.get(url).send().await.unwrap().text().await.unwrap();
    assert!(csv.starts_with("\"Project\",\"Session ID\",\"Time\",\"Phrase\",\"Answer\"\n"), "{csv}");
    assert_eq!(control.jaicp().report("messages", at(5), at(6)).len(), 60);
    assert_eq!(client.call(Method::GET, "reports/tasks/t-1", "").await.0, 404);
}

#[tokio::test]
async fn an_inserted_message_belongs_to_a_session_of_its_day() {
    let (_simulator, control, client) = started().await;
    let noon = at(5) + chrono::TimeDelta::hours(12);
    for _ in 0..3 {
        control.data(Vendor::Jaicp).insert("messages", noon).unwrap();
    }
    let (status, page) = client.page("messages", "MESSAGE_TIME", "page=0&size=100").await;
    assert_eq!(status, 200, "{page}");
    let is_inserted = |message: &&Value| message["timestamp"].as_str().is_some_and(|at| at.contains("T12:00:00"));
    let messages = page["messages"].as_array().unwrap();
    let inserted: Vec<&Value> = messages.iter().filter(is_inserted).collect();
    assert_eq!((messages.len(), inserted.len()), (63, 3), "{page}");
    for message in inserted {
        assert!(message["sessionStartTime"].as_str().unwrap().starts_with("2024-03-0"), "{message}");
    }
}

#[tokio::test]
async fn v1_accepts_only_declared_parameters_of_their_types() {
    let (simulator, control, client) = started().await;
    let account = Account::default();
    let call = async |method: Method, path: &str, body: &str| {
        let url = format!("{}/api/v1/{path}", simulator.base_url());
        let request = client.http.request(method, url).bearer_auth(&account.unified_token);
        let response = request.header("language", "en").body(body.to_owned()).send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap_or_default())
    };
    let project = format!("projectShortName={}", account.project);
    let body = day("MESSAGE_TIME").replace("{\"filters\"", "{\"settings\":{\"fileType\":\"CSV\"},\"filters\"");
    let (status, made) = call(Method::POST, &format!("async/reporter/reports/messages?{project}"), &body).await;
    let (id, time) = (made["requestId"].as_str().unwrap(), made["requestTime"].as_str().unwrap());
    assert_eq!(status, 200);
    let millis = time.parse::<DateTime<Utc>>().unwrap().timestamp_millis();
    for (query, status) in [
        (format!("startTime={time}"), 400),
        ("startTime=now".to_owned(), 400),
        ("timeout=1s".to_owned(), 400),
        (project.clone(), 400),
        (format!("timeout=1&startTime={}", millis + 1), 200),
        (format!("timeout=1&startTime={millis}"), 200),
    ] {
        assert_eq!(call(Method::GET, &format!("async/events?requestId={id}&{query}"), "").await.0, status, "{query}");
    }
    let done = call(Method::GET, &format!("async/events?requestId={id}&startTime={millis}"), "").await.1;
    assert_eq!((&done["response"][0]["isOk"], &done["response"][0]["requestId"]), (&json!(true), &json!(id)));
    let late = call(Method::GET, &format!("async/events?requestId={id}&startTime={}", millis + 1), "").await.1;
    assert_eq!(late, json!({ "response": [] }));
    // The account's tasks, including that of the request, under their own ids.
    let tasks = call(Method::GET, "reporter/reports", "").await.1;
    let task = tasks["tasks"][0]["taskId"].as_str().unwrap();
    assert!(task != id);
    assert_eq!(call(Method::GET, &format!("reporter/reports/tasks/{task}"), "").await.1["status"], "COMPLETED");

    let sessions = |query: &str| format!("reporter/sessions/filter?{project}&{query}");
    for (query, status) in [
        ("needToReturnSessionData=yes", 400),
        ("needToReturnSessionLabels=1", 400),
        ("needToReturnsessionData=true", 400),
        ("page=1.0", 400),
        ("needToReturnSessionData=true", 200),
    ] {
        assert_eq!(call(Method::POST, &sessions(query), &day("MESSAGE_TIME")).await.0, status, "{query}");
    }
    let with = call(Method::POST, &sessions("needToReturnSessionData=true"), &day("MESSAGE_TIME")).await.1;
    let without = call(Method::POST, &sessions(""), &day("MESSAGE_TIME")).await.1;
    assert!(with["sessions"][0]["sessionData"].is_object() && without["sessions"][0].get("sessionData").is_none());
    assert_eq!(call(Method::GET, "reporter/scenario-exeperiments", "").await.0, 400, "the project is required");
    let stats = |query: &str| format!("reporter/stats/messages/with-advanced-filters?{project}&{query}");
    for (query, status) in [("intervalType=day", 400), ("intervalType=MONTH&step=x", 400), ("intervalType=MONTH", 200)]
    {
        assert_eq!(call(Method::POST, &stats(query), &day("MESSAGE_TIME")).await.0, status, "{query}");
    }
    assert!(control.stats().unexpected.is_empty(), "{:?}", control.stats().unexpected);
    // The legacy API has no such parameter.
    assert_eq!(client.page("sessions", "MESSAGE_TIME", "needToReturnSessionData=true").await.0, 400);
}
