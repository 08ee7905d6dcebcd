//! Actions on the pages and in the API, over real HTTP and with a real Postgres.

mod attacks;
mod backfill;
mod bodies;
mod effects;
mod login;
mod outcome;
mod release;
mod requests;
mod test_message;

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value;
use sqlx::PgPool;
use tidegate::config::{Auth, Config};
use tidegate::notify::Outgoing;
use tidegate::secret::Secret;
use tidegate::server::{Health, StatusSources, bind, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::World;

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

    /// The hidden fields of the page's form, as a browser sends them.
    fn hidden(&self) -> String {
        let form = self.body.split("method=\"post\"").nth(1).unwrap_or_else(|| panic!("no form: {}", self.body));
        let mut sent = url::form_urlencoded::Serializer::new(String::new());
        for hidden in form.split("<input type=\"hidden\" name=\"").skip(1) {
            let (name, rest) = hidden.split_once("\" value=\"").unwrap();
            sent.append_pair(name, rest.split('"').next().unwrap());
        }
        sent.finish()
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
        let (sender, config) = watch::channel(Arc::new(config));
        let (health, metrics, pulse) = (Arc::new(Health::default()), Arc::default(), Arc::default());
        let sources = StatusSources { pool, metrics, health: Arc::clone(&health), pulse, outgoing, config };
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, sources.router(), stop.clone()));
        Self { address, config: sender, health, stop: stop.clone(), server, _stop: stop.drop_guard() }
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
        let sent = format!("{}&{fields}", page.hidden());
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
