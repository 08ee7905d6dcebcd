//! Actions on the pages and in the API, over real HTTP and with a real Postgres.

mod attacks;
mod outcome;
mod requests;
mod test_message;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgPool;
use tidegate::config::{Auth, Config};
use tidegate::metrics::Metrics;
use tidegate::notify::Outgoing;
use tidegate::secret::Secret;
use tidegate::server::{Health, StatusSources, bind, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::world::{Recipe, assert_succeeded, run_to_end};
use crate::support::{World, ago, eventually};

const BASIC: &str = "authorization: Basic b3BlcmF0b3I6Y29ycmVjdCBob3JzZQ==\r\n";
const BEARER: &str = "authorization: Bearer t0ken-of-scripts\r\n";
const SAME_ORIGIN: &str = "sec-fetch-site: same-origin\r\n";
/// A target that nobody sends to: no daemon runs.
const TARGET: &str = "notify: [{ name: oncall, url: \"https://hooks.example.com/x\", format: slack }]\n";
const JOB: &str = "/jobs/lynn";
const STREAM: &str = "/streams/acme/navigation_marks";

/// The status port of one process.
struct Port {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    config: watch::Sender<Arc<Config>>,
    health: Arc<Health>,
    stop: CancellationToken,
    server: JoinHandle<()>,
    _stop: DropGuard,
}

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    /// Where it leads.
    fn place(&self) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix("location: "));
        line.unwrap_or_else(|| panic!("no location: {} {}", self.head, self.body))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Port {
    async fn open(pool: PgPool, config: Config, with_auth: bool) -> Self {
        Self::with(pool, config, with_auth, Arc::default()).await
    }

    /// Of a process with this outbox.
    async fn with(pool: PgPool, mut config: Config, with_auth: bool, outgoing: Arc<Outgoing>) -> Self {
        let token = Some(Secret::new("t0ken-of-scripts"));
        let auth = Auth { user: "operator".to_owned(), password: Secret::new("correct horse"), token };
        config.server.auth = with_auth.then_some(auth);
        let metrics = Arc::new(Metrics::default());
        let (sender, config) = watch::channel(Arc::new(config));
        let (health, pulse) = (Arc::new(Health::default()), Arc::default());
        let sources =
            StatusSources { pool, metrics: Arc::clone(&metrics), health: Arc::clone(&health), pulse, outgoing, config };
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, sources.router(), stop.clone()));
        Self { address, metrics, config: sender, health, stop: stop.clone(), server, _stop: stop.drop_guard() }
    }

    async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Response {
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {length}\r\n\r\n{body}");
        self.raw(request.as_bytes()).await
    }

    async fn raw(&self, request: &[u8]) -> Response {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A refusal may arrive before the body is sent.
        let _refused = stream.write_all(request).await;
        let mut response = Vec::new();
        let _reset = stream.read_to_end(&mut response).await;
        let text = String::from_utf8(response).unwrap();
        let request = || String::from_utf8_lossy(request).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{}: {text}", request()));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// As the process does when it is asked to stop.
    fn stops(&self) {
        self.health.stopping();
        self.stop.cancel();
    }

    async fn get(&self, path: &str) -> Response {
        self.send("GET", path, BASIC, "").await
    }

    /// Sends a form as a browser does that shows a page of this server.
    async fn post(&self, path: &str, form: &str) -> Response {
        let headers = format!("{BASIC}{SAME_ORIGIN}content-type: application/x-www-form-urlencoded\r\n");
        self.send("POST", path, &headers, form).await
    }

    /// Loads the page of an action and sends its form with these further fields.
    async fn act(&self, path: &str, fields: &str) -> Response {
        let page = self.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.body);
        let form = page.body.split("method=\"post\"").nth(1).unwrap_or_else(|| panic!("no form: {}", page.body));
        let mut sent = url::form_urlencoded::Serializer::new(String::new());
        for hidden in form.split("<input type=\"hidden\" name=\"").skip(1) {
            let (name, rest) = hidden.split_once("\" value=\"").unwrap();
            sent.append_pair(name, rest.split('"').next().unwrap());
        }
        let sent = format!("{}&{fields}", sent.finish());
        self.post(path.split('?').next().unwrap(), &sent).await
    }

    async fn api(&self, path: &str, body: &Value) -> Response {
        let headers = format!("{BEARER}content-type: application/json\r\n");
        self.send("POST", &format!("/api/v1{path}"), &headers, &body.to_string()).await
    }
}

async fn world() -> (World, Port) {
    let world = World::new().await;
    world.edit_config(|text| text + TARGET);
    let port = Port::open(world.database.pool(), world.config(), true).await;
    (world, port)
}

fn request(id: u128) -> String {
    format!("request={}", uuid::Uuid::from_u128(id))
}

#[tokio::test]
async fn p7_without_a_login_nothing_can_be_changed() {
    let world = World::new().await;
    let port = Port::open(world.database.pool(), world.config(), false).await;
    for page in ["/", JOB, "/system", "/quotas", "/connections/acme"] {
        let page = port.get(page).await;
        assert_eq!(page.status, 200);
        assert!(!page.body.contains("class=\"act\"") && !page.body.contains("method=\"post\""), "{}", page.body);
    }
    for path in ["/jobs/lynn/runs", "/jobs/lynn/pause", "/system/pause", "/problems/1/mute", "/runs/1/cancel"] {
        for method in ["GET", "POST"] {
            let headers = format!("{SAME_ORIGIN}content-type: application/x-www-form-urlencoded\r\n");
            let page = port.send(method, path, &headers, &request(1)).await;
            assert_eq!(page.status, 403, "{method} {path}: {}", page.body);
            assert!(page.body.contains("server.auth"), "{}", page.body);
            let document = port.send(method, &format!("/api/v1{path}"), BEARER, "{}").await;
            assert_eq!((document.status, document.json()["status"].as_u64()), (403, Some(403)), "{method} {path}");
        }
    }
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.run").await, 0);
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.event").await, 0);
}

#[tokio::test]
async fn p7_wrong_credentials_are_slow_counted_and_not_logged() {
    let (_world, port) = world().await;
    let begun = Instant::now();
    let wrong = port.send("GET", "/", "authorization: Basic b3BlcmF0b3I6aHVudGVyMg==\r\n", "").await;
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_eq!(wrong.status, 401);
    assert!(wrong.head.contains("www-authenticate: Basic realm=\"Tidegate\""), "{}", wrong.head);
    assert!(!wrong.body.contains("hunter2") && !wrong.body.contains("b3BlcmF0b3I6"), "{}", wrong.body);
    assert_eq!(port.send("GET", "/", "", "").await.status, 401);
    assert_eq!(port.send("GET", "/healthz", "", "").await.status, 200);
    assert_eq!(port.send("GET", "/metrics", "", "").await.status, 401);
    let metrics = port.send("GET", "/metrics", BEARER, "").await;
    assert!(metrics.body.contains("tidegate_auth_failures_total 1\n"), "only the wrong one counts: {}", metrics.body);
    assert_eq!(port.send("GET", "/api/v1/overview", BEARER, "").await.status, 200);
    assert_eq!(port.get("/").await.status, 200);
    let _ = &port.metrics;
}

#[tokio::test]
async fn p7_many_wrong_credentials_hold_up_neither_probes_nor_those_who_may_log_in() {
    let (_world, port) = world().await;
    let wrong = (0..30).map(|_| port.send("GET", "/", "authorization: Bearer wrong-token-of-another\r\n", ""));
    let right = async {
        let begun = Instant::now();
        assert_eq!(port.send("GET", "/healthz", "", "").await.status, 200);
        assert_eq!(port.send("GET", "/api/v1/jobs", BEARER, "").await.status, 200);
        begun.elapsed()
    };
    let (replies, _took) = tokio::join!(futures_util::future::join_all(wrong), right);
    let count = |status| replies.iter().filter(|reply| reply.status == status).count();
    assert_eq!(count(401) + count(429), 30);
    assert!(count(429) >= 10, "{}", count(429));
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_probes_and_right_logins_are_served_during_100_wrong_logins_at_once() {
    let (_world, port) = world().await;
    let is_over = AtomicBool::new(false);
    let wrong = (0..100).map(|_| async {
        while !is_over.load(Ordering::Relaxed) {
            let reply = port.send("GET", "/", "authorization: Bearer wrong-token-of-another\r\n", "").await;
            assert!(matches!(reply.status, 401 | 429), "{}", reply.status);
        }
    });
    let right = async {
        for _ in 0..30 {
            for (path, login) in [("/healthz", ""), ("/api/v1/jobs", BEARER), ("/", BASIC)] {
                let reply = tokio::time::timeout(Duration::from_secs(3), port.send("GET", path, login, "")).await;
                assert_eq!(reply.expect(path).status, 200, "{path}");
            }
        }
        is_over.store(true, Ordering::Relaxed);
    };
    tokio::join!(futures_util::future::join_all(wrong), right);
}

#[tokio::test]
async fn p7_a_large_body_is_refused() {
    let (world, port) = world().await;
    let large = format!("{}&stream={}", request(1), "x".repeat(9_000));
    let response = port.post("/jobs/lynn/runs", &large).await;
    assert_eq!(response.status, 413, "{}", response.body);
    let response = port.api("/jobs/lynn/runs", &json!({ "stream": "x".repeat(9_000) })).await;
    assert_eq!(response.status, 413, "{}", response.body);
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.run").await, 0);
}

#[tokio::test]
async fn p7_a_broken_body_is_not_called_large_and_one_that_does_not_arrive_is_given_up() {
    let (world, port) = world().await;
    let form =
        format!("/jobs/lynn/runs HTTP/1.1\r\n{BASIC}{SAME_ORIGIN}content-type: application/x-www-form-urlencoded");
    let json = format!("/api/v1/jobs/lynn/runs HTTP/1.1\r\n{BEARER}content-type: application/json");
    let bodies = [
        ("transfer-encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n", 400),
        ("transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{", 408),
        ("content-length: 100\r\n\r\n{", 408),
    ];
    let all = [&form, &json].into_iter().flat_map(|head| bodies.map(|(body, status)| (head, body, status)));
    let begun = Instant::now();
    let port = &port;
    let replies = futures_util::future::join_all(all.map(|(head, body, status)| async move {
        let request = format!("POST {head}\r\nhost: localhost\r\n{body}");
        (port.raw(request.as_bytes()).await, request, status)
    }));
    for (response, request, status) in replies.await {
        assert_eq!(response.status, status, "{request}: {}", response.body);
        assert!(!response.body.contains("larger"), "{}", response.body);
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.run").await, 0);
}

#[tokio::test]
async fn p7_a_stated_length_that_is_too_large_is_refused_at_once() {
    let (world, port) = world().await;
    for length in [8 * 1024 + 1, 10_000_000_000_u64] {
        let request = format!(
            "POST /jobs/lynn/runs HTTP/1.1\r\nhost: localhost\r\n{BASIC}{SAME_ORIGIN}content-type: \
             application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\nreq"
        );
        let begun = Instant::now();
        let response = port.raw(request.as_bytes()).await;
        assert_eq!(response.status, 413, "{length}: {}", response.body);
        // A body that is waited for is given up after 5 s.
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.run").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_clients_that_do_not_send_their_body_keep_out_no_other() {
    let (_world, port) = world().await;
    let head = format!(
        "POST /jobs/lynn/runs HTTP/1.1\r\nhost: localhost\r\n{BASIC}{SAME_ORIGIN}content-type: \
         application/x-www-form-urlencoded\r\ncontent-length: 500\r\n\r\nreq"
    );
    // More than are served at the same time, from several addresses.
    let mut clients = Vec::new();
    for number in 0_u8..64 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 2 + number % 4], 0))).unwrap();
        let mut client = socket.connect(port.address).await.unwrap();
        client.write_all(head.as_bytes()).await.unwrap();
        clients.push(client);
    }
    for _ in 0..10 {
        for path in ["/", "/metrics", "/healthz"] {
            let reply = port.get(path).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        }
    }
    let mut begin = [0; 12];
    clients[0].read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 408", "it had its place until then");
}

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
async fn p7_every_action_is_recorded_with_its_operator() {
    let (world, port) = world().await;
    let run = port.act("/jobs/lynn/runs", "").await;
    assert_eq!(run.status, 303, "{}", run.body);
    let cancelled = port.act(&format!("{}/cancel", run.place()), "").await;
    assert_eq!(cancelled.place(), run.place());
    let state: String = world.scalar("select state || ': ' || error from tidegate.run").await;
    assert_eq!(state, "cancelled: cancelled by operator from 127.0.0.1");
    let ended = port.get(&format!("{}/cancel", run.place())).await;
    assert_eq!(ended.status, 409, "it has ended");
    let back = format!("href=\"{}\">Show the present state", run.place());
    assert!(ended.body.contains(&back) && !ended.body.contains("Back to the form"), "{}", ended.body);
    let until = (chrono::Utc::now() + chrono::TimeDelta::days(1)).format("%Y-%m-%dT%H:%M").to_string();
    let fields = format!("until={until}&reason=maintenance <b>of</b> the vendor");
    assert_eq!(port.act("/jobs/lynn/pause", &fields).await.place(), JOB);
    assert_eq!(port.act("/system/pause", &fields).await.place(), "/system");
    for (page, expected) in [
        ("/jobs/lynn/pause", "It replaces the pause of lynn until"),
        ("/jobs/lynn/runs", "This run is made despite the pause of"),
        ("/jobs/lynn/resume", "It ends the pause of lynn until"),
    ] {
        let body = port.get(page).await.body;
        assert!(body.contains(expected) && body.contains("set by operator from 127.0.0.1"), "{page}: {body}");
    }
    for page in ["/", "/streams", JOB, "/events", "/system"] {
        let page = port.get(page).await.body;
        assert!(
            page.contains("Every job is paused until") && page.contains("maintenance &lt;b&gt;of&lt;/b&gt;"),
            "{page}"
        );
    }
    assert_eq!(port.act("/system/resume", "").await.status, 303);
    assert_eq!(port.act("/jobs/lynn/resume", "").await.status, 303);
    assert_eq!(port.get("/jobs/lynn/resume").await.status, 409);
    assert_eq!(port.get("/connections/acme/unblock").await.status, 409, "nothing is blocked");
    assert_eq!(port.get("/streams/acme/navigation_marks/release").await.status, 409, "nothing is held");
    assert_eq!(port.get("/streams/acme/nothing/release").await.status, 404);
    sqlx::raw_sql(
        "insert into tidegate.problem (kind, scope, connection, opened_at, summary)
         values ('failed', 'acme', 'acme', now(), 'credential refused')",
    )
    .execute(&world.database.pool())
    .await
    .unwrap();
    assert_eq!(port.act("/problems/1/mute", "days=7").await.place(), "/problems");
    let muted = port.get("/problems/1/mute").await.body;
    let already = muted.contains("It is muted already, until ") && muted.contains("by operator from 127.0.0.1");
    assert!(already, "{muted}");
    assert_eq!(port.post("/problems/1/mute", &format!("{}&days=8", request(1))).await.status, 422);
    assert_eq!(port.act("/system/notify/oncall/test", "").await.place(), "/system");
    let due: i64 = world.scalar("select count(*) from tidegate.notification where kind = 'test'").await;
    assert_eq!(due, 1);
    let muted: bool = world.scalar("select muted_until > now() + interval '6 days' from tidegate.problem").await;
    assert!(muted);
    let events: Vec<String> =
        sqlx::query_scalar("select kind || ' ' || actor || ': ' || summary from tidegate.event order by id")
            .fetch_all(&world.database.pool())
            .await
            .unwrap();
    let by = "action operator from 127.0.0.1: ";
    let done: Vec<&str> = events.iter().map(|event| event.strip_prefix(by).unwrap()).collect();
    assert_eq!(done.len(), 8, "{events:?}");
    assert!(done[0].starts_with("run 1 of lynn was requested"), "{done:?}");
    assert_eq!(done[1], "run 1 was cancelled");
    assert!(done[2].starts_with("lynn is paused until") && done[3].starts_with("everything is paused"), "{done:?}");
    assert!(done[6].starts_with("failed of acme was muted until"), "{done:?}");
    assert!(port.get(run.place()).await.body.contains("run 1 was cancelled"), "the page of the run has its events");
}

#[tokio::test]
async fn a_pause_has_an_end_within_30_days_and_a_reason() {
    let (world, port) = world().await;
    let now = chrono::Utc::now();
    let at = |days: i64| (now + chrono::TimeDelta::days(days)).format("%Y-%m-%dT%H:%M").to_string();
    for (until, reason) in [
        (at(31), "x"),
        (at(-1), "x"),
        ("2026-13-01".to_owned(), "x"),
        (format!("{}:60Z", at(1)), "x"),
        (String::new(), "x"),
        (at(1), ""),
        // Only invisible characters, and blank ones.
        (at(1), "%E2%80%8B%20%E2%81%A0"),
        (at(1), "%E2%A0%80"),
        (at(1), "%E3%85%A4"),
        (at(1), "%E2%80%94"),
        (at(1), &*"x".repeat(201)),
    ] {
        let response = port.post("/jobs/lynn/pause", &format!("{}&until={until}&reason={reason}", request(1))).await;
        assert_eq!(response.status, 422, "{until} {reason}: {}", response.body);
        let leads = ["href=\"/jobs/lynn/pause\">Back to the form", "href=\"/jobs/lynn\">Show the present state"];
        assert!(leads.iter().all(|link| response.body.contains(link)), "{}", response.body);
    }
    assert_eq!(port.get("/jobs/nothing/pause").await.status, 404);
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.pause").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_from_the_page_shows_its_cost_and_really_runs() {
    let (world, port) = world().await;
    world.sync_ok().await;
    let (from, to) = (ago(1).date_naive(), ago(0).date_naive());
    let path = format!("/jobs/lynn/backfills?from={from}&to={to}&stream=navigation_marks");
    let page = port.get(&path).await;
    assert!(page.body.contains("What it would read; the quotas allow all of it by"), "{}", page.body);
    let plan = port.send("GET", &format!("/api/v1{path}"), BEARER, "").await.json();
    assert_eq!((&plan["plan"][0]["slices"], &plan["plan"][0]["again"]), (&json!(1), &json!(1)), "{plan}");
    let before = port.get("/jobs/lynn/backfills").await.body;
    assert!(!before.contains("method=\"post\""), "first the days are chosen: {before}");
    let made = port.act(&path, "").await;
    let run: i64 = made.place().strip_prefix("/runs/").unwrap().parse().unwrap();
    let read: String = world.scalar(&format!("select kind from tidegate.run where id = {run}")).await;
    assert_eq!(read, "backfill");
    let tasks = run_to_end(Arc::new(world.config()), world.database.pool(), run).await;
    assert_succeeded(&tasks);
    assert_eq!((tasks.len(), tasks[0].slices_done), (1, 1));
    for wrong in [
        format!("from={to}&to={from}"),
        format!("from={from}"),
        "from=2999-01-01&to=2999-01-02".to_owned(),
        format!("from=-200000-01-01&to={to}"),
        format!("from=1990-01-01&to={to}"),
        format!("from={from}&to=9999-01-01"),
        format!("from={from}&to={to}&stream=nothing"),
    ] {
        let response = port.post("/jobs/lynn/backfills", &format!("{}&{wrong}", request(1))).await;
        assert_eq!(response.status, 422, "{wrong}: {}", response.body);
    }
    let wrong = port.get(&format!("/jobs/lynn/backfills?from=1990-01-01&to={to}")).await;
    assert!(wrong.status == 422 && wrong.body.contains("before the year 2000"), "{}", wrong.body);
    let early = port.get(&format!("/jobs/lynn/backfills?from=2001-01-01&to={to}")).await.body;
    assert!(early.contains("the <code>start</code> of the job: the job does not want older days"), "{early}");
    assert!(!page.body.contains("does not want older days"), "{}", page.body);
    sqlx::raw_sql("update tidegate.stream set jobs = '{lynn}', wanted_from = now()")
        .execute(&world.database.pool())
        .await
        .unwrap();
    assert!(port.get(STREAM).await.body.contains("/jobs/lynn/backfills?stream=navigation_marks"));
}

#[tokio::test]
async fn a_backfill_shows_which_whole_slices_contain_other_days() {
    let recipe = Recipe { job: vec!["slice: 7d".to_owned()], ..Recipe::default() };
    let start = recipe.start;
    let world = World::with(recipe).await;
    let port = Port::open(world.database.pool(), world.config(), true).await;
    // The 39th slice, which is still open.
    let (from, to) = (start + chrono::TimeDelta::days(268), start + chrono::TimeDelta::days(269));
    let first = start + chrono::TimeDelta::days(266);
    let page = port.get(&format!("/jobs/lynn/backfills?from={from}&to={to}")).await.body;
    let wider = format!("So it reads <code>navigation_marks</code> in slices of 7d from {first} 00:00 to ");
    assert!(page.contains(&wider), "{page}");
    // Whole slices contain no other days.
    let (from, to) = (start + chrono::TimeDelta::days(7), start + chrono::TimeDelta::days(21));
    let page = port.get(&format!("/jobs/lynn/backfills?from={from}&to={to}")).await.body;
    assert!(page.contains("Slices are read whole") && !page.contains("So it reads"), "{page}");
    let before = port.get("/jobs/lynn/backfills").await.body;
    assert!(before.contains("Slices are read whole") && !before.contains("So it reads"), "{before}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_cancels_at_once_one_is_done_and_the_others_name_the_state() {
    let (world, one) = world().await;
    let two = Port::open(world.database.pool(), world.config(), true).await;
    for _ in 0..5 {
        let run = one.act("/jobs/lynn/runs", "").await;
        let (path, body) = (format!("{}/cancel", run.place()), json!({}));
        let calls = (0..10).map(|n| if n % 2 == 0 { one.api(&path, &body) } else { two.api(&path, &body) });
        let replies = futures_util::future::join_all(calls).await;
        let (done, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 200);
        assert_eq!((done.len(), refused.len()), (1, 9));
        for reply in refused {
            let detail = reply.json()["detail"].as_str().unwrap().to_owned();
            assert!(reply.status == 409 && detail.ends_with("has ended: cancelled"), "{} {detail}", reply.status);
        }
    }
}

#[tokio::test]
async fn p7_a_release_needs_the_name_of_the_stream() {
    let (world, port) = world().await;
    assert_eq!(port.get(&format!("{STREAM}/release")).await.status, 409, "nothing is held");
    sqlx::raw_sql(
        "insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice)
         values ('acme', 'navigation_marks', 'lynn', 'navigation_marks', '2026-01-01', 'UTC', '1d');
         insert into tidegate.slice
            (connection, stream, window_start, window_end, read_until, finished_at, held_since, held_reason,
             held_rows_there, held_rows_reported)
         values ('acme', 'navigation_marks', '2026-01-01', '2026-01-02', '2026-01-02', now(), now(), 'few rows', 1234, 5);
         insert into tidegate.run (job, connection, kind, state, started_at, finished_at)
         values ('lynn', 'acme', 'schedule', 'held', now(), now());
         insert into tidegate.task (run_id, stream, state, started_at, finished_at)
         select id, 'navigation_marks', 'held', now(), now() from tidegate.run;
         update tidegate.task set error = '1 slice is held: few rows', hint = 'run `tidegate held release lynn`';
         update tidegate.run set error = '1 slice is held: few rows', hint = 'run `tidegate held release lynn`';
         update tidegate.stream set last_error = '1 slice is held: few rows', last_error_at = now()",
    )
    .execute(&world.database.pool())
    .await
    .unwrap();
    let page = port.get(STREAM).await.body;
    assert!(page.contains("<code>tidegate held release lynn</code>"), "{page}");
    let run = format!("/runs/{}", world.scalar::<i64>("select id from tidegate.run").await);
    let offer = format!("{STREAM}/release\">Release navigation_marks…</a>");
    let page = port.get(&run).await.body;
    assert!(page.contains(&offer), "the page of the held run leads there: {page}");
    let page = port.get(&format!("{STREAM}/release")).await.body;
    assert!(page.contains("<td>1,234</td><td>5</td>") && page.contains("few rows"), "{page}");
    for name in ["", "name=navigation_mark", "name=NAVIGATION_MARKS"] {
        let refused = port.act(&format!("{STREAM}/release"), name).await;
        assert_eq!(refused.status, 422, "{name}: {}", refused.body);
        assert!(!world.scalar::<bool>("select released from tidegate.slice").await);
    }
    assert_eq!(port.act(&format!("{STREAM}/release"), "name=navigation_marks").await.place(), STREAM);
    assert!(world.scalar::<bool>("select released from tidegate.slice").await);
    // Until the next reading, the page says who released it and what follows.
    let page = port.get(STREAM).await.body;
    assert!(page.contains("1 of 1 held slice released by operator from 127.0.0.1, <time"), "{page}");
    assert!(page.contains("The next reading deletes the rows of it") && !page.contains("/release\""), "{page}");
    let asks = page.contains("waits for a decision") || page.contains("<code>tidegate held release");
    assert!(!asks, "nothing asks for what was done: {page}");
    let document = port.send("GET", &format!("/api/v1{STREAM}"), BEARER, "").await.json();
    assert_eq!(document["release"]["slices"], 1, "{document}");
    assert_eq!(document["release"]["by"], "operator from 127.0.0.1");
    let kept = Duration::from_secs(20);
    eventually(kept, async || (!port.get(&run).await.body.contains("/release\"")).then_some(())).await;
    let page = port.get(&run).await.body;
    assert!(page.contains("1 slice is held") && !page.contains("tidegate held release"), "{page}");
    let again = port.get(&format!("{STREAM}/release")).await;
    assert!(again.status == 409 && again.body.contains("is released already"), "{}", again.body);
    let again = port.post(&format!("{STREAM}/release"), &format!("{}&name=navigation_marks", request(9))).await;
    assert_eq!(again.status, 409, "{}", again.body);
    let by: String = world.scalar("select released_by from tidegate.slice").await;
    assert_eq!(by, "operator from 127.0.0.1");
}

#[tokio::test]
async fn the_overview_offers_the_release_of_a_held_slice_during_a_pause() {
    let (world, port) = world().await;
    let (pool, config) = (world.database.pool(), world.config());
    sqlx::raw_sql(
        "insert into tidegate.stream
            (connection, stream, table_schema, table_name, anchor, timezone, slice, jobs, active_jobs)
         values ('acme', 'navigation_marks', 'lynn', 'navigation_marks', '2026-01-01', 'UTC', '1d', '{lynn}', '{lynn}');
         insert into tidegate.slice
            (connection, stream, window_start, window_end, read_until, finished_at, held_since, held_reason,
             held_rows_there, held_rows_reported)
         values ('acme', 'navigation_marks', '2026-01-01', '2026-01-02', '2026-01-02', now(), now(), 'few rows', 1234, 5)",
    )
    .execute(&pool)
    .await
    .unwrap();
    let notifier = crate::notify::notifier(crate::notify::quick());
    assert!(notifier.check(&pool, &config).await.unwrap());
    let until = (chrono::Utc::now() + chrono::TimeDelta::days(1)).format("%Y-%m-%dT%H:%M").to_string();
    let paused = port.act("/system/pause", &format!("until={until}&reason=maintenance")).await;
    assert_eq!(paused.status, 303, "{}", paused.body);
    for _ in 0..2 {
        assert!(notifier.check(&pool, &config).await.unwrap());
    }
    let page = port.get("/").await.body;
    assert!(page.contains("1 thing needs you") && page.contains(&format!("{STREAM}/release\"")), "{page}");
    assert_eq!(port.act(&format!("{STREAM}/release"), "name=navigation_marks").await.place(), STREAM);
    assert!(notifier.check(&pool, &config).await.unwrap());
    let page = port.get("/").await.body;
    assert!(page.contains("To do: no action is needed: they are released"), "{page}");
}

#[tokio::test]
async fn the_api_acts_with_the_token_and_names_what_is_wrong() {
    let (world, port) = world().await;
    let id = uuid::Uuid::from_u128(5).to_string();
    let body = json!({ "stream": "navigation_marks", "request": id });
    let first = port.api("/jobs/lynn/runs", &body).await.json();
    assert_eq!((&first["repeated"], &first["place"]), (&json!(false), &json!("/runs/1")), "{first}");
    let again = port.api("/jobs/lynn/runs", &body).await.json();
    assert_eq!((&again["repeated"], &again["run_id"]), (&json!(true), &json!(1)), "{again}");
    let actor: String = world.scalar("select actor from tidegate.event").await;
    assert_eq!(actor, "operator with the token from 127.0.0.1");
    for (path, body, status) in [
        ("/jobs/lynn/runs", json!([]), 400),
        ("/jobs/lynn/runs", json!({ "stream": ["a"] }), 400),
        ("/jobs/lynn/runs", json!({ "stream": "a" }), 422),
        ("/jobs/lynn/runs", json!({ "strem": "navigation_marks" }), 422),
        ("/jobs/lynn/runs", json!({ "request": "a" }), 422),
        ("/jobs/none/runs", json!({}), 404),
        ("/runs/99/cancel", json!({}), 404),
        ("/runs/x/cancel", json!({}), 404),
        ("/problems/1/mute", json!({ "days": 1 }), 404),
        ("/connections/acme/unblock", json!({}), 409),
        ("/connections/none/unblock", json!({}), 404),
        ("/system/notify/none/test", json!({}), 404),
    ] {
        let response = port.api(path, &body).await;
        assert_eq!(response.status, status, "{path} {body}: {}", response.body);
        assert!(response.head.contains("content-type: application/problem+json"), "{}", response.head);
        assert_eq!(response.json()["status"], json!(status));
    }
    let (from, to) = (ago(2).date_naive(), ago(1).date_naive());
    let until = (chrono::Utc::now() + chrono::TimeDelta::days(1)).to_rfc3339();
    let streams = json!(["navigation_marks"]);
    for (path, body, parameter, allowed) in [
        ("/jobs/lynn/runs", json!({ "stream": "navigation_mark" }), "stream", Some(&streams)),
        ("/jobs/lynn/backfills", json!({ "from": from, "to": to, "stream": "nothing" }), "stream", Some(&streams)),
        ("/jobs/lynn/backfills", json!({ "to": to }), "from", None),
        ("/jobs/lynn/backfills", json!({ "from": from }), "to", None),
        ("/jobs/lynn/backfills", json!({}), "from", None),
        ("/jobs/lynn/backfills", json!({ "from": to, "to": from }), "from", None),
        ("/jobs/lynn/backfills", json!({ "from": from, "to": "2999-01-01" }), "to", None),
        ("/jobs/lynn/pause", json!({ "reason": "x" }), "until", None),
        ("/jobs/lynn/pause", json!({ "until": "2999-01-01", "reason": "x" }), "until", None),
        ("/jobs/lynn/pause", json!({ "until": until }), "reason", None),
        ("/jobs/lynn/pause", json!({ "until": until, "reason": "…" }), "reason", None),
        ("/streams/acme/navigation_marks/release", json!({ "name": "x" }), "name", None),
        ("/jobs/lynn/runs", json!({ "request": "a" }), "request", None),
    ] {
        let response = port.api(path, &body).await;
        let problem = response.json();
        assert_eq!((response.status, &problem["parameter"]), (422, &json!(parameter)), "{path} {body}: {problem}");
        assert_eq!(problem.get("allowed"), allowed, "{path} {body}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backfills_of_one_range_at_once_on_two_replicas_share_a_run() {
    const PATH: &str = "/jobs/lynn/backfills";
    let (world, one) = world().await;
    let two = Port::open(world.database.pool(), world.config(), true).await;
    let (from, to) = (ago(3).date_naive(), ago(1).date_naive());
    for round in 1..=5_i64 {
        let to = to - chrono::TimeDelta::days(round);
        let from = from - chrono::TimeDelta::days(round);
        let body = json!({ "from": from, "to": to });
        let calls = (0..10).map(|n| if n % 2 == 0 { one.api(PATH, &body) } else { two.api(PATH, &body) });
        let replies = futures_util::future::join_all(calls).await;
        let runs: BTreeSet<String> = replies
            .iter()
            .map(|reply| {
                assert_eq!(reply.status, 200, "{}", reply.body);
                reply.json()["run_id"].to_string()
            })
            .collect();
        assert_eq!(runs.len(), 1, "{runs:?}");
        assert_eq!(world.scalar::<i64>("select count(*) from tidegate.run").await, round);
        assert_eq!(world.scalar::<i64>("select count(*) from tidegate.event").await, 10 * round);
    }
    // Runs by hand are independent of each other, at once as one after another.
    let run = json!({});
    let (first, second) = tokio::join!(one.api("/jobs/lynn/runs", &run), two.api("/jobs/lynn/runs", &run));
    assert_ne!(first.json()["run_id"], second.json()["run_id"], "{} {}", first.body, second.body);
}

#[tokio::test]
async fn p7_hostile_names_are_names_of_nothing() {
    let (world, port) = world().await;
    for name in ["%3Cscript%3E", "..%2F..%2Fetc", "a%22b", "%00", "%FF", "lynn%0d%0aset-cookie:x", "'%3B--"] {
        let expected = if matches!(name, "%00" | "%FF") { 400 } else { 404 };
        for path in
            [format!("/jobs/{name}/runs"), format!("/jobs/{name}/pause"), format!("/connections/{name}/unblock")]
        {
            let page = port.get(&path).await;
            assert_eq!(page.status, expected, "{path}");
            assert!(!page.body.contains("<script>") && !page.head.contains("set-cookie"), "{path}: {}", page.body);
            let response = port.post(&path, &request(1)).await;
            assert_eq!(response.status, expected, "{path}");
        }
        let release = port.post(&format!("/streams/acme/{name}/release"), &format!("{}&name={name}", request(1))).await;
        assert!(matches!(release.status, 400 | 404 | 409 | 422), "{name}: {}", release.status);
        assert!(!release.body.contains("<script>"), "{}", release.body);
    }
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.event").await, 0);
}
