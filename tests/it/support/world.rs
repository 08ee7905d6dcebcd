//! A vendor, a database and a configuration: everything that a run needs, small and fast.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Map, Value};
use simulator::lynn::Volume;
use simulator::{Change, Control, Options, Rows, Simulator, Vendor};
use sqlx::PgPool;
use tidegate::app::Foreground;
use tidegate::catalogue::column_name;
use tidegate::config::Config;
use tidegate::rows::timestamp;
use tidegate::schedule::{ByHand, enqueue_manual};
use tidegate::store::progress::TaskState;

use super::{TestDatabase, ago};

/// Longer than any run takes, even on a busy machine.
const RUN_MAX: Duration = Duration::from_mins(2);
/// A key of a connection.
pub const QUICK_RETRY: &str = "retry: { max_attempts: 3, initial: 20ms, max: 100ms }";

/// How the world is made.
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
    /// Keys of the worker, as YAML.
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

impl Recipe {
    /// A job that reads a report without documented columns, and its last days again.
    pub fn of_undocumented_report() -> Self {
        Self {
            start: ago(2).date_naive(),
            streams: "[current_interactions]",
            job: vec!["lookback: 5d".to_owned()],
            ..Self::default()
        }
    }
}

/// See the module's documentation.
pub struct World {
    pub database: TestDatabase,
    pub simulator: Simulator,
    pub folder: tempfile::TempDir,
    /// The name of the job, and of the schema that it loads.
    name: &'static str,
}

impl World {
    pub async fn new() -> Self {
        Self::with(Recipe::default()).await
    }

    /// With the job `lynn`.
    pub async fn with(recipe: Recipe) -> Self {
        let world = Self::of("lynn", recipe.options.clone()).await;
        let account = &recipe.options.lynn;
        let connection = format!(
            "vendor: lynn_reporting
base_url: {}
tenant: {}
access_token: {}
access_token_secret: {}
page_size: {}
{QUICK_RETRY}
quotas:
",
            world.simulator.base_url(),
            account.tenant,
            account.access_token,
            account.access_token_secret,
            recipe.page_size
        );
        let mut connection = vec![connection];
        for (name, limit) in &recipe.options.limits {
            let (amount, per) = (limit.amount.unwrap(), limit.period.unwrap().div_f64(recipe.options.speed));
            let amount = if name == "period_bandwidth" { format!("{}kB", amount / 1000) } else { amount.to_string() };
            connection.push(format!("  {name}: {{ limit: {amount}, per: {}ms }}", per.as_millis()));
        }
        connection.extend(recipe.connection);
        let mut job = vec![format!("streams: {}\nstart: {}", recipe.streams, recipe.start)];
        job.extend(recipe.job);
        world.configure(recipe.worker, &connection, &job);
        world
    }

    /// Without a configuration.
    pub async fn of(name: &'static str, options: Options) -> Self {
        let (database, simulator) = (TestDatabase::create().await, simulator::start(options).await.unwrap());
        Self { database, simulator, folder: tempfile::tempdir().unwrap(), name }
    }

    /// Writes the configuration: keys of the worker, of the connection `acme`, and of the job. The latter two are YAML
    /// lines.
    pub fn configure(&self, worker: &str, connection: &[String], job: &[String]) {
        let keys = |lines: &[String]| {
            lines.iter().flat_map(|lines| lines.lines()).fold(String::new(), |text, line| format!("{text}    {line}\n"))
        };
        let yaml = format!(
            "database: {{ url: \"{}\", max_connections: 6 }}
server: {{ listen: 127.0.0.1:0 }}
worker: {worker}
connections:
  acme:
{}jobs:
  {}:
    connection: acme
{}",
            self.database.url(),
            keys(connection),
            self.name,
            keys(job)
        );
        std::fs::write(self.folder.path().join("tidegate.yaml"), yaml).unwrap();
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

    /// The same; asserts that every task succeeds.
    pub async fn sync_ok(&self) -> Vec<TaskState> {
        let tasks = self.sync().await;
        assert_succeeded(&tasks);
        tasks
    }

    /// Gives some of yesterday's rows of a report without documented columns a field that it did not have. Returns how
    /// many.
    pub fn give_rows_a_new_field(&self) -> i64 {
        let day = Rows::between("current_interactions", ago(1), ago(0)).first(50);
        let change = Change::Set { field: "newField".to_owned(), json: "\"x\"".to_owned() };
        let changed = self.control().lynn().change(day, change).unwrap();
        assert!(changed > 0);
        i64::try_from(changed).unwrap()
    }

    /// Reads a past range again.
    pub async fn backfill(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<TaskState> {
        self.run(ByHand::Backfill { from, to }).await
    }

    async fn run(&self, by_hand: ByHand) -> Vec<TaskState> {
        let run = self.enqueue(by_hand).await;
        run_to_end(Arc::new(self.config()), self.database.pool(), run).await
    }

    pub async fn enqueue(&self, by_hand: ByHand) -> i64 {
        self.enqueue_job(self.name, by_hand).await
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

    /// The same of a database elsewhere.
    pub async fn rows_in(&self, pool: &PgPool, table: &str) -> Vec<String> {
        self.rows_of(pool, table, "true").await
    }

    async fn rows_of(&self, pool: &PgPool, table: &str, condition: &str) -> Vec<String> {
        let query = format!(
            "select to_jsonb(t) - '{{_connection,_window_start,_row_key,_run_id,_loaded_at}}'::text[]
            from {}.\"{table}\" t where {condition}",
            self.name
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
        assert_equal(report, &self.rows(report).await, &self.truth(report, from, to));
    }

    pub async fn scalar<T>(&self, query: &str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned())).fetch_one(&self.database.pool()).await.unwrap()
    }
}

/// Works on one run, in this process, to its end.
pub async fn run_to_end(config: Arc<Config>, pool: PgPool, run: i64) -> Vec<TaskState> {
    runs_to_end(config, pool, vec![run]).await
}

/// The same for several runs.
pub async fn runs_to_end(config: Arc<Config>, pool: PgPool, runs: Vec<i64>) -> Vec<TaskState> {
    let foreground = Foreground::start(config, pool, runs, Arc::default());
    let tasks = tokio::time::timeout(RUN_MAX, foreground.follow(|_| {})).await;
    foreground.stop().await;
    tasks.expect("a run ends").unwrap()
}

#[track_caller]
pub fn assert_succeeded(tasks: &[TaskState]) {
    for task in tasks {
        let found = (task.state.as_str(), task.run_state.as_str(), task.error.as_deref());
        assert_eq!(found, ("succeeded", "succeeded", None), "{}", task.stream);
    }
}

/// Asserts that a table holds the wanted rows and no others. Both lists are sorted.
#[track_caller]
pub fn assert_equal(table: &str, found: &[String], wanted: &[String]) {
    let extra: Vec<_> = found.iter().filter(|row| !wanted.contains(row)).take(3).collect();
    let lost: Vec<_> = wanted.iter().filter(|row| !found.contains(row)).take(3).collect();
    assert!(
        found == wanted,
        "{table}: {} rows instead of {}; too many: {extra:#?}; missing: {lost:#?}",
        found.len(),
        wanted.len()
    );
}

/// Loads a configuration without any environment.
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
