//! A vendor, a database and a configuration for whole runs.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};
use simulator::Rows;
use sqlx::AssertSqlSafe;
use tidegate::app::Foreground;
use tidegate::rows::timestamp;
use tidegate::schedule::{ByHand, enqueue_manual};
use tidegate::store::progress::TaskState;

use super::*;
pub(super) use crate::support::ago;
use crate::support::world::load;

/// The three days before today; today and the moments before them have no rows, so that nothing moves.
pub(super) struct Site {
    pub database: TestDatabase,
    pub simulator: Simulator,
    folder: tempfile::TempDir,
}

impl Site {
    /// `connection` and `job` are further keys, as YAML lines.
    pub(super) async fn new(connection: &str, streams: &str, job: &str) -> Self {
        let options = Options { volume: Volume::Exactly(ROWS), ..Options::default() };
        let options = options.limit("jaicp.requests", 60, SECOND);
        let simulator = simulator::start(options).await.unwrap();
        let data = simulator.control().jaicp().data();
        for section in ["messages", "clients"] {
            data.vanish(Rows::between(section, ago(0), ago(-2))).unwrap();
            data.vanish(Rows::between(section, ago(3) - TimeDelta::seconds(5), ago(3))).unwrap();
        }
        let site = Self { database: TestDatabase::create().await, simulator, folder: tempfile::tempdir().unwrap() };
        site.configure(connection, streams, job);
        site
    }

    /// Writes the configuration again.
    pub(super) fn configure(&self, connection: &str, streams: &str, job: &str) {
        let mut yaml = String::new();
        let url = self.simulator.base_url();
        let files = self.simulator.files_url();
        let _ = writeln!(yaml, "database: {{ url: \"{}\", max_connections: 6 }}", self.database.url());
        let _ = writeln!(yaml, "server: {{ listen: 127.0.0.1:0 }}\nworker: {{ concurrency: 2, lease: 5s }}");
        let _ = writeln!(yaml, "connections:\n  acme:\n    vendor: jaicp_reporter\n    base_url: {url}/api");
        let _ = writeln!(yaml, "    allowed_hosts: [\"{}\"]", files.trim_start_matches("http://"));
        let _ = writeln!(yaml, "    page_size: {PAGE}\n    retry: {{ max_attempts: 3, initial: 20ms, max: 100ms }}");
        let _ = writeln!(yaml, "    polling: {{ initial: 10ms, max: 100ms, deadline: 1m }}");
        let _ = writeln!(yaml, "    quotas: {{ requests: {{ limit: 60, per: 1s }} }}");
        let token = if connection.contains("token:") { String::new() } else { Account::default().token };
        let token = if token.is_empty() { token } else { format!("token: \"{token}\"") };
        for line in [token.as_str()].into_iter().chain(connection.lines()).filter(|line| !line.trim().is_empty()) {
            let _ = writeln!(yaml, "    {}", line.trim());
        }
        let _ = writeln!(yaml, "jobs:\n  jaicp:\n    connection: acme\n    streams: {streams}");
        let _ = writeln!(yaml, "    start: {}", ago(3).date_naive());
        for line in job.lines() {
            let _ = writeln!(yaml, "    {}", line.trim());
        }
        std::fs::write(self.folder.path().join("tidegate.yaml"), yaml).unwrap();
    }

    pub(super) fn config_path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(super) fn control(&self) -> Control {
        self.simulator.control()
    }

    pub(super) fn jaicp(&self) -> Handle {
        self.control().jaicp()
    }

    /// Runs the job once, in this process, to its end.
    pub(super) async fn sync(&self) -> Vec<TaskState> {
        let config = Arc::new(load(self.folder.path()));
        let pool = self.database.pool();
        let job = &config.jobs["jaicp"];
        let streams: Vec<&str> = job.streams.iter().map(|stream| &*stream.stream.name).collect();
        let mut connection = self.database.connect().await;
        let run = enqueue_manual(&mut connection, job, &streams, ByHand::Manual).await.unwrap();
        let foreground = Foreground::start(Arc::clone(&config), pool.clone(), vec![run]);
        let tasks =
            tokio::time::timeout(Duration::from_mins(2), foreground.follow(|_| {})).await.expect("a run ends").unwrap();
        foreground.stop().await;
        tasks
    }

    /// The same, all streams of which succeed.
    pub(super) async fn synced(&self) -> Vec<TaskState> {
        let tasks = self.sync().await;
        for task in &tasks {
            assert_eq!((&*task.state, task.error.as_deref()), ("succeeded", None), "{}", task.stream);
        }
        tasks
    }

    pub(super) async fn scalar<T>(&self, query: &str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(&self.database.pool()).await.unwrap()
    }

    pub(super) async fn count(&self, table: &str) -> i64 {
        self.scalar(&format!("select count(*) from jaicp.{table}")).await
    }

    /// Every row of a table, without what Tidegate adds.
    pub(super) async fn rows(&self, table: &str) -> BTreeSet<String> {
        let query = format!(
            "select to_jsonb(t) - '{{_connection,_window_start,_row_key,_run_id,_loaded_at,cleaned_at}}'::text[]
            from jaicp.{table} t"
        );
        let rows: Vec<Value> = sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&self.database.pool()).await.unwrap();
        rows.into_iter().map(|row| spelled(row.as_object().unwrap().clone())).collect()
    }

    /// Asserts that a table of entities equals the vendor's truth.
    pub(super) async fn assert_rows(&self, name: &str, truth: Vec<Map<String, Value>>) {
        let columns = stream(name).columns;
        let wanted: BTreeSet<String> = truth
            .into_iter()
            .map(|record| {
                let record = Value::Object(record);
                let value = |field: &str| record.pointer(&format!("/{}", field.replace('.', "/"))).cloned();
                let row = columns.iter().map(|column| {
                    let absent = if column.may_be_absent { Value::from("") } else { Value::Null };
                    (column.name.to_string(), value(&column.field).unwrap_or(absent))
                });
                spelled(row.collect())
            })
            .collect();
        let found = self.rows(name).await;
        let extra: Vec<_> = found.difference(&wanted).take(2).collect();
        let lost: Vec<_> = wanted.difference(&found).take(2).collect();
        assert!(extra.is_empty() && lost.is_empty(), "{name}: not the vendor's: {extra:#?}; lost: {lost:#?}");
        assert!(!found.is_empty(), "{name}");
    }

    /// The vendor's rows of the three days.
    pub(super) fn truth(&self, section: &str) -> Vec<Map<String, Value>> {
        match section {
            "sessions" => self.jaicp().sessions(ago(3), ago(0)),
            _ => self.jaicp().data().rows(section, ago(3), ago(0)).unwrap(),
        }
    }

    /// The messages as the bulk list has them.
    pub(super) fn messages(&self) -> Vec<Map<String, Value>> {
        let mut rows = self.truth("messages");
        for row in &mut rows {
            row.remove("status");
        }
        rows
    }

    pub(super) fn assert_proper(&self) {
        let stats = self.control().stats();
        assert!(stats.unexpected.is_empty(), "{:?}", stats.unexpected);
        assert!(stats.violations.is_empty(), "{:?}", stats.violations);
        assert_eq!(stats.unauthorized, 0);
    }
}

/// One spelling for what means the same: no nulls, instants as UTC.
fn spelled(mut row: Map<String, Value>) -> String {
    row.retain(|_, value| !value.is_null());
    for value in row.values_mut() {
        if let Some(instant) = value.as_str().and_then(timestamp::parse) {
            *value = Value::from(instant.at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
        }
    }
    Value::Object(row).to_string()
}
