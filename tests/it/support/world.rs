//! A vendor, a database and a configuration: everything that a run needs, small and fast.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Map, Value};
use simulator::lynn::Volume;
use simulator::{Control, Options, Simulator, Vendor};
use tidegate::app::Foreground;
use tidegate::catalogue::column_name;
use tidegate::config::Config;
use tidegate::rows::timestamp;
use tidegate::schedule::{ByHand, enqueue_manual};
use tidegate::store::progress::TaskState;

use super::{TestDatabase, ago};

/// Options of a world.
pub struct Recipe {
    pub options: Options,
    /// Rows per page; small, so that a day has several.
    pub page_size: u32,
    /// Additional keys of the connection, as YAML lines.
    pub connection: Vec<String>,
    /// Keys of the job `lynn`, as YAML lines.
    pub job: Vec<String>,
    pub streams: &'static str,
    pub start: NaiveDate,
    /// Additional configuration files.
    pub worker: &'static str,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            options: Options { volume: Volume::Exactly(250), ..Options::default() }
                .limit("create_token", 1000, Duration::from_mins(1))
                .limit("requests", 10_000, Duration::from_secs(10))
                .limit("period_calls", 1_000_000, Duration::from_hours(12))
                .limit("period_bandwidth", 100_000_000_000, Duration::from_hours(12)),
            page_size: 100,
            connection: Vec::new(),
            job: Vec::new(),
            streams: "[navigation_marks]",
            start: ago(270).date_naive(),
            worker: "{ concurrency: 2, lease: 5s }",
        }
    }
}

/// See the module's documentation.
pub struct World {
    pub database: TestDatabase,
    pub simulator: Simulator,
    pub folder: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        Self::with(Recipe::default()).await
    }

    pub async fn with(recipe: Recipe) -> Self {
        let database = TestDatabase::create().await;
        let limits: Vec<(String, u64, Duration)> = recipe
            .options
            .limits
            .iter()
            .map(|(name, limit)| {
                (name.clone(), limit.amount.unwrap(), limit.period.unwrap().div_f64(recipe.options.speed))
            })
            .collect();
        let account = recipe.options.lynn.clone();
        let simulator = simulator::start(recipe.options.clone()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut yaml = String::new();
        let _ = writeln!(yaml, "database: {{ url: \"{}\", max_connections: 6 }}", database.url());
        let _ = writeln!(yaml, "server: {{ listen: 127.0.0.1:0 }}\nworker: {}", recipe.worker);
        let _ = writeln!(yaml, "connections:\n  acme:\n    vendor: lynn_reporting");
        let _ = writeln!(yaml, "    base_url: {}\n    tenant: {}", simulator.base_url(), account.tenant);
        let _ = writeln!(
            yaml,
            "    access_token: {}\n    access_token_secret: {}",
            account.access_token, account.access_token_secret
        );
        let _ = writeln!(
            yaml,
            "    page_size: {}\n    retry: {{ max_attempts: 3, initial: 20ms, max: 100ms }}",
            recipe.page_size
        );
        let _ = writeln!(yaml, "    quotas:");
        for (name, amount, per) in limits {
            let amount = if name == "period_bandwidth" { format!("{}kB", amount / 1000) } else { amount.to_string() };
            let _ = writeln!(yaml, "      {name}: {{ limit: {amount}, per: {}ms }}", per.as_millis());
        }
        for line in &recipe.connection {
            let _ = writeln!(yaml, "    {line}");
        }
        let _ = writeln!(
            yaml,
            "jobs:\n  lynn:\n    connection: acme\n    streams: {}\n    start: {}",
            recipe.streams, recipe.start
        );
        for line in &recipe.job {
            let _ = writeln!(yaml, "    {line}");
        }
        std::fs::write(folder.path().join("tidegate.yaml"), yaml).unwrap();
        Self { database, simulator, folder }
    }

    pub fn control(&self) -> Control {
        self.simulator.control()
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub fn config(&self) -> Config {
        load(self.folder.path())
    }

    /// Changes the configuration's text.
    pub fn edit_config(&self, edit: impl FnOnce(String) -> String) {
        let path = self.folder.path().join("tidegate.yaml");
        let text = edit(std::fs::read_to_string(&path).unwrap());
        std::fs::write(path, text).unwrap();
    }

    /// Runs the job once, to its end, in this process.
    pub async fn sync(&self) -> Vec<TaskState> {
        self.run(ByHand::Manual).await
    }

    /// Reads a past range again.
    pub async fn backfill(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<TaskState> {
        self.run(ByHand::Backfill { from, to }).await
    }

    async fn run(&self, by_hand: ByHand) -> Vec<TaskState> {
        let config = Arc::new(self.config());
        let pool = self.database.pool();
        let run = self.enqueue(by_hand).await;
        let foreground = Foreground::start(config, pool.clone(), vec![run]);
        let tasks =
            tokio::time::timeout(Duration::from_mins(1), foreground.follow(|_| {})).await.expect("a run ends").unwrap();
        foreground.stop().await;
        tasks
    }

    pub async fn enqueue(&self, by_hand: ByHand) -> i64 {
        self.enqueue_job("lynn", by_hand).await
    }

    pub async fn enqueue_job(&self, job: &str, by_hand: ByHand) -> i64 {
        let config = self.config();
        let job = &config.jobs[job];
        let streams: Vec<&str> = job.streams.iter().map(|stream| &*stream.stream.name).collect();
        let mut connection = self.database.connect().await;
        enqueue_manual(&mut connection, job, &streams, by_hand).await.unwrap()
    }

    /// Every row of a table as a JSON object without Tidegate's own columns, sorted.
    pub async fn rows(&self, table: &str) -> Vec<String> {
        self.rows_of(&self.database.pool(), table, "true").await
    }

    /// The rows that satisfy `condition`.
    pub async fn rows_where(&self, table: &str, condition: &str) -> Vec<String> {
        self.rows_of(&self.database.pool(), table, condition).await
    }

    /// The same for another database.
    pub async fn rows_in(&self, pool: &sqlx::PgPool, table: &str) -> Vec<String> {
        self.rows_of(pool, table, "true").await
    }

    async fn rows_of(&self, pool: &sqlx::PgPool, table: &str, condition: &str) -> Vec<String> {
        let query = format!(
            "select to_jsonb(t) - '{{_connection,_window_start,_row_key,_run_id,_loaded_at}}'::text[] from lynn.{table} t
            where {condition}"
        );
        let rows: Vec<Value> = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_all(pool).await.unwrap();
        let mut rows: Vec<String> = rows.into_iter().map(|row| canonical(row.as_object().unwrap().clone())).collect();
        rows.sort();
        rows
    }

    /// The expected rows of the table: the vendor's truth of `[from, to)`, sorted.
    pub fn truth(&self, report: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<String> {
        self.truth_of(Vendor::Lynn, report, (from, to))
    }

    /// The same for another vendor's report.
    pub fn truth_of(&self, vendor: Vendor, report: &str, (from, to): (DateTime<Utc>, DateTime<Utc>)) -> Vec<String> {
        let rows = self.control().data(vendor).rows(report, from, to).unwrap();
        let mut rows: Vec<String> = rows.into_iter().map(|row| canonical(columns(&row))).collect();
        rows.sort();
        rows
    }

    /// Asserts that the table equals the vendor's truth as a multiset.
    pub async fn assert_truth(&self, report: &str, from: DateTime<Utc>, to: DateTime<Utc>) {
        let (found, truth) = (self.rows(report).await, self.truth(report, from, to));
        if found != truth {
            let extra: Vec<_> = found.iter().filter(|row| !truth.contains(row)).take(3).collect();
            let lost: Vec<_> = truth.iter().filter(|row| !found.contains(row)).take(3).collect();
            panic!(
                "{report}: {} rows, the vendor has {}; not the vendor's: {extra:#?}; lost: {lost:#?}",
                found.len(),
                truth.len()
            );
        }
    }

    pub async fn scalar<T>(&self, query: &str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned())).fetch_one(&self.database.pool()).await.unwrap()
    }
}

/// Loads a configuration without any environment variables.
pub fn load(path: &Path) -> Config {
    Config::load(path, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults}"))
}

/// A vendor record as columns: nested objects flattened, names by the naming rule.
pub fn columns(record: &Map<String, Value>) -> Map<String, Value> {
    fn flatten(prefix: &str, value: &Value, out: &mut Map<String, Value>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (name, value) in members {
                    flatten(&format!("{prefix}.{name}"), value, out);
                }
            }
            _ => {
                out.insert(column_name(prefix), value.clone());
            }
        }
    }
    let mut out = Map::new();
    for (name, value) in record {
        flatten(name, value, &mut out);
    }
    out
}

/// Normalises equal values: no nulls or empty texts (values that came before their field had a column are null), times
/// as UTC with microseconds, 1.0 as 1.
pub fn canonical(mut row: Map<String, Value>) -> String {
    row.retain(|_, value| !value.is_null() && value != "");
    for value in row.values_mut() {
        if let Some(instant) = value.as_str().and_then(timestamp::parse) {
            *value = Value::from(instant.at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
        } else if value.is_f64() {
            let number = value.as_f64().unwrap().to_string();
            *value = number.parse::<i64>().map_or_else(|_| value.clone(), Value::from);
        }
    }
    // The map is a BTreeMap, so keys are sorted.
    Value::Object(row).to_string()
}
