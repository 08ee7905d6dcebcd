//! The status port of a process without workers.

use std::net::SocketAddr;
use std::sync::Arc;

use sqlx::PgPool;
use tidegate::config::Config;
use tidegate::metrics::Metrics;
use tidegate::server::{Health, StatusSources, bind, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::world;

/// A connection and a job with three streams.
pub const CONFIG: &str = r#"
database: { url: "postgres://u:s3cret@db/x" }
connections:
  acme-lynn:
    vendor: lynn_reporting
    tenant: 4411
    access_token: "7c01d94ab3e2f5"
    access_token_secret: "0b6f2f4e-52a1-4c0e-9d61-3a7a4be0c111"
jobs:
  lynn-hourly:
    connection: acme-lynn
    streams: [survey_result, menu_detail, show_error]
    schedule: "15 * * * *"
    timezone: America/Santiago
    start: 2026-01-01
"#;

pub struct Port {
    pub address: SocketAddr,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    token: CancellationToken,
    server: JoinHandle<()>,
}

/// What the port returned.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// The status line and the headers, in lower case.
    pub head: String,
    pub body: String,
}

impl Reply {
    /// The value of a header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// The configuration of these lines.
pub fn config(yaml: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tidegate.yaml"), yaml).unwrap();
    world::load(folder.path())
}

impl Port {
    pub async fn open(pool: PgPool) -> Self {
        Self::of(pool, config(CONFIG)).await
    }

    /// With this configuration.
    pub async fn of(pool: PgPool, config: Config) -> Self {
        let (health, metrics) = (Arc::new(Health::default()), Arc::new(Metrics::default()));
        let (_sender, config) = watch::channel(Arc::new(config));
        let sources = StatusSources {
            pool,
            metrics: Arc::clone(&metrics),
            health: Arc::clone(&health),
            pulse: Arc::default(),
            outgoing: Arc::default(),
            config,
        };
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let token = CancellationToken::new();
        let server = tokio::spawn(serve(listener, sources.router(), token.clone()));
        Self { address, health, metrics, token, server }
    }

    pub fn started(&self) {
        self.health.config_loaded();
        self.health.migrated();
    }

    pub async fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        // A refusal may arrive as a reset after the response.
        let _end = stream.read_to_end(&mut response).await;
        String::from_utf8(response).unwrap()
    }

    pub async fn get(&self, path: &str) -> (u16, String) {
        let response = self.ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        let status = response.split(' ').nth(1).expect("a status line").parse().unwrap();
        (status, response)
    }

    /// The response to a request with this header, such as `cookie: a=b`; empty for none.
    pub async fn fetch(&self, path: &str, header: &str) -> Reply {
        let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
        let response = self.ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{header}\r\n")).await;
        let (head, body) = response.split_once("\r\n\r\n").expect("a response");
        let status = head.split(' ').nth(1).expect("a status line").parse().unwrap();
        Reply { status, head: head.to_ascii_lowercase().replace('\r', ""), body: body.to_owned() }
    }

    pub async fn close(self) {
        self.token.cancel();
        self.server.await.unwrap();
    }
}
