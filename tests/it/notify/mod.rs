//! Notifications: problems and their ends reach the targets, once, in order, and without secrets.

mod activity;
mod commands;
mod delivery;
mod killed;
mod kinds;
mod messages;
mod processes;
mod stalled;
mod storm;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use tidegate::config::{Config, NotifyFormat};
use tidegate::metrics::Metrics;
use tidegate::notify::{Notifier, Outcome, Timing};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::support::TestDatabase;

/// A part of the target's URL.
pub const SECRET: &str = "T0-hook-s3cret-value";

/// Everything at once, and nothing waits.
pub fn quick() -> Timing {
    let mut timing = Timing {
        check_every: Duration::ZERO,
        first: Duration::ZERO,
        pause: Duration::ZERO,
        spacing: Duration::ZERO,
        lag: Duration::ZERO,
        timeout: Duration::from_secs(2),
        lease: Duration::from_secs(3),
        target_pause: Duration::ZERO,
        backoff: vec![Duration::ZERO; 7],
        ..Timing::default()
    };
    for patience in &mut timing.patience {
        patience.delay = Duration::ZERO;
    }
    timing
}

/// A target, the database, and the configuration of a process.
pub struct Bench {
    /// Dropped last.
    _database: TestDatabase,
    pub pool: PgPool,
    pub target: MockServer,
    pub config: Arc<Config>,
    pub notifier: Arc<Notifier>,
}

impl Bench {
    pub async fn new(format: NotifyFormat) -> Self {
        Self::with(format, quick()).await
    }

    pub async fn with(format: NotifyFormat, timing: Timing) -> Self {
        let (database, target) = (TestDatabase::create().await, MockServer::start().await);
        let config = Arc::new(config(&target.uri(), format));
        let pool = database.pool();
        Self { _database: database, pool, target, config, notifier: notifier(timing) }
    }

    /// Lets the target respond.
    pub async fn responds(&self, response: ResponseTemplate) {
        self.target.reset().await;
        Mock::given(any()).respond_with(response).mount(&self.target).await;
    }

    pub async fn accepts(&self) {
        self.responds(ResponseTemplate::new(200)).await;
    }

    /// Changes the configuration of the target.
    pub fn configure(&mut self, change: impl FnOnce(&mut tidegate::config::Target)) {
        let mut config = (*self.config).clone();
        change(&mut config.notify[0]);
        self.config = Arc::new(config);
    }

    /// Adds a target like the first one.
    pub fn add_target(&mut self, name: &str, url: &str) {
        let mut config = (*self.config).clone();
        let mut target = config.notify[0].clone();
        (target.name, target.url) = (name.to_owned(), url.into());
        config.notify.push(target);
        self.config = Arc::new(config);
    }

    pub async fn check(&self) {
        assert!(self.notifier.check(&self.pool, &self.config).await.unwrap());
    }

    /// Sends everything that is due. Returns how many attempts it made.
    pub async fn send(&self) -> usize {
        let mut attempts = 0;
        while let sent @ 1.. = round(&self.notifier, &self.pool, &self.config).await {
            attempts += sent;
            assert!(attempts < 50_000, "it sends without end");
        }
        attempts
    }

    /// Sends the next message. Returns its outcome.
    pub async fn send_one(&self) -> Option<Outcome> {
        self.notifier.send_next(&self.pool, &self.config, &self.config.notify[0], None).await.unwrap()
    }

    /// What the target received.
    pub async fn received(&self) -> Vec<Request> {
        self.target.received_requests().await.unwrap()
    }

    /// The texts for Slack that the target received.
    pub async fn texts(&self) -> Vec<String> {
        let requests = self.received().await;
        requests.iter().map(|request| body(request)["text"].as_str().unwrap().to_owned()).collect()
    }

    pub async fn execute(&self, sql: impl Into<String>) {
        sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(&self.pool).await.unwrap();
    }

    /// The values of a query with one column of texts.
    pub async fn all(&self, sql: impl Into<String>) -> Vec<String> {
        sqlx::query_scalar(AssertSqlSafe(sql.into())).fetch_all(&self.pool).await.unwrap()
    }

    /// Streams that fail with this error.
    pub async fn fail(&self, streams: &[&str], error: &str) {
        for stream in streams {
            self.execute(stream_row("acme", stream)).await;
            self.execute(format!(
                "update tidegate.stream set needs_operator = true, last_error = '{error}' where stream = '{stream}'"
            ))
            .await;
        }
    }

    /// They succeed.
    pub async fn mend(&self, streams: &[&str]) {
        for stream in streams {
            self.execute(format!(
                "update tidegate.stream
                set needs_operator = false, failures = 0, last_error = null, last_success_at = now(), expected_by = null
                where stream = '{stream}'"
            ))
            .await;
        }
    }

    /// What is open, as `kind scope`.
    pub async fn open(&self) -> Vec<String> {
        self.all(
            "select kind || ' ' || scope from tidegate.problem
            where opened_at is not null and closed_at is null order by kind, scope",
        )
        .await
    }
}

/// Sends the next message to each target. Returns how many attempts it made.
pub async fn round(notifier: &Arc<Notifier>, pool: &PgPool, config: &Arc<Config>) -> usize {
    let before = notifier.send(pool, config).await.unwrap();
    assert_eq!(before, 0, "the attempts of the last round have ended");
    notifier.settle().await.unwrap()
}

pub fn notifier(timing: Timing) -> Arc<Notifier> {
    let owner = format!("test/{:08x}", rand::random::<u32>());
    Arc::new(Notifier::new(timing, Arc::new(Metrics::default()), owner).unwrap())
}

/// A configuration with one target.
pub fn config(base: &str, format: NotifyFormat) -> Config {
    let format = match format {
        NotifyFormat::Slack => "slack",
        NotifyFormat::Cloudevents => "cloudevents\n    secret: whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
    };
    let yaml = format!(
        "server: {{ url: \"https://ops.example/tidegate\", title: prod }}
notify:
  - name: oncall
    url: {base}/{SECRET}
    format: {format}
    headers: {{ X-Token: header-s3cret-value }}
"
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tidegate.yaml"), yaml).unwrap();
    crate::support::world::load(folder.path())
}

pub fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// A stream of the job `hourly` that is on time.
pub fn stream_row(connection: &str, stream: &str) -> String {
    format!(
        "insert into tidegate.stream
            (connection, stream, table_schema, table_name, anchor, timezone, slice, jobs, last_success_at)
        values ('{connection}', '{stream}', 'lynn', '{stream}', '2026-01-01', 'UTC', '1d', '{{hourly}}', now())
        on conflict do nothing;"
    )
}
