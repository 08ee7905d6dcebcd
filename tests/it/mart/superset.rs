//! The Superset export in `deploy/bi/superset`: whatever a dataset, chart or filter names exists in the mart.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, Column as _, Executor as _, PgConnection, SqlSafeStr as _, Statement as _, TypeInfo as _};

use super::Mart;

/// What stands in the export in place of a login, a host and a database. Superset asks for the masked password.
const PLACEHOLDER: &str = "BI_LOGIN:XXXXXXXXXX@DATABASE_HOST:5432/DATABASE_NAME?sslmode=prefer";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/bi/superset")
}

/// The YAML files in `kind` of the export and below, by path.
fn texts(kind: &str) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder().join(kind)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.insert(path.clone(), fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}

/// The files in `kind`, parsed, by uuid.
fn read(kind: &str) -> BTreeMap<String, Value> {
    let texts = texts(kind);
    let found: BTreeMap<_, _> = texts
        .values()
        .map(|text| yaml(text))
        .map(|value| (value["uuid"].as_str().unwrap().to_owned(), value))
        .collect();
    assert_eq!(found.len(), texts.len(), "a uuid of {kind} is there twice");
    found
}

/// A document without anchors. Plain scalars become null, booleans and numbers as JSON writes them.
fn yaml(text: &str) -> Value {
    let mut stack: Vec<(Value, Option<String>)> = vec![(Value::Array(Vec::new()), None)];
    for event in Parser::new_from_str(text) {
        let value = match event.unwrap().0 {
            Event::SequenceStart(..) => {
                stack.push((Value::Array(Vec::new()), None));
                continue;
            }
            Event::MappingStart(..) => {
                stack.push((Value::Object(Map::new()), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => stack.pop().unwrap().0,
            Event::Scalar(text, ScalarStyle::Plain, ..) => {
                serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.into_owned()))
            }
            Event::Scalar(text, ..) => Value::String(text.into_owned()),
            _ => continue,
        };
        match stack.last_mut().unwrap() {
            (Value::Array(values), _) => values.push(value),
            (Value::Object(entries), key) => match key.take() {
                Some(name) => _ = entries.insert(name, value),
                None => *key = Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
            },
            _ => unreachable!(),
        }
    }
    stack[0].0[0].take()
}

/// The entries of a list; none if there is no list.
fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The columns and metrics that a chart or a query of it names.
#[derive(Default)]
struct Used {
    columns: BTreeSet<String>,
    metrics: BTreeSet<String>,
    conditions: BTreeSet<String>,
}

impl Used {
    fn column(&mut self, value: &Value) {
        match value {
            Value::String(name) => _ = self.columns.insert(name.clone()),
            Value::Array(values) => values.iter().for_each(|value| self.column(value)),
            Value::Object(_) => _ = self.columns.insert(text(value, "sqlExpression").to_owned()),
            _ => {}
        }
    }

    fn metric(&mut self, value: &Value) {
        match value {
            Value::String(name) => _ = self.metrics.insert(name.clone()),
            Value::Array(values) => values.iter().for_each(|value| self.metric(value)),
            _ => {}
        }
    }

    /// A pair of a column or metric and a direction.
    fn order(&mut self, pair: &Value, metrics: &BTreeSet<String>) {
        let name = pair[0].as_str().unwrap();
        if metrics.contains(name) { &mut self.metrics } else { &mut self.columns }.insert(name.to_owned());
    }

    fn of(chart: &Value, metrics: &BTreeSet<String>) -> Self {
        let mut used = Self::default();
        let params = &chart["params"];
        for key in ["x_axis", "groupby", "groupby_b", "all_columns"] {
            used.column(&params[key]);
        }
        for key in ["metric", "metrics", "metrics_b", "timeseries_limit_metric"] {
            used.metric(&params[key]);
        }
        for pair in list(params, "order_by_cols") {
            used.order(&serde_json::from_str(pair.as_str().unwrap()).unwrap(), metrics);
        }
        for filter in list(params, "adhoc_filters").iter().chain(list(params, "adhoc_filters_b")) {
            match text(filter, "expressionType") {
                "SIMPLE" => used.column(&filter["subject"]),
                _ => _ = used.conditions.insert(text(filter, "sqlExpression").to_owned()),
            }
        }
        let context: Value = serde_json::from_str(text(chart, "query_context")).unwrap();
        for query in list(&context, "queries") {
            used.column(&query["columns"]);
            used.metric(&query["metrics"]);
            for filter in list(query, "filters") {
                used.column(&filter["col"]);
            }
            for pair in list(query, "orderby") {
                used.order(pair, metrics);
            }
            used.conditions.insert(text(&query["extras"], "having").to_owned());
        }
        used.conditions.remove("");
        used
    }
}

/// What the export names and an analyst does not find in the mart.
async fn faults(mart: &Mart) -> Vec<String> {
    // Another session for each check, since a session keeps the columns of the statements that it prepared.
    let mut analyst = mart.session_as("tidegate_analyst").await;
    let session = &mut analyst;
    let mut faults = Vec::new();
    let datasets = read("datasets");
    for dataset in datasets.values() {
        check_dataset(dataset, session, &mut faults).await;
    }
    let names = |dataset: &Value, list_name: &str, key: &str| -> BTreeSet<String> {
        list(dataset, list_name).iter().map(|entry| text(entry, key).to_owned()).collect()
    };
    let charts = read("charts");
    for chart in charts.values() {
        let title = text(chart, "slice_name");
        let dataset = &datasets[text(chart, "dataset_uuid")];
        let metrics = names(dataset, "metrics", "metric_name");
        let used = Used::of(chart, &metrics);
        let unknown = used.columns.difference(&names(dataset, "columns", "column_name")).cloned().collect::<Vec<_>>();
        faults.extend(unknown.iter().map(|name| format!("chart {title}: column {name}")));
        faults.extend(used.metrics.difference(&metrics).map(|name| format!("chart {title}: metric {name}")));
        for condition in used.conditions {
            let sql = format!("select 1 from {} having {condition}", source(dataset));
            let prepared = (&mut *session).prepare(AssertSqlSafe(sql).into_sql_str()).await;
            faults.extend(prepared.err().map(|error| format!("chart {title}: {condition}: {error}")));
        }
    }
    let mut placed = BTreeSet::new();
    for dashboard in read("dashboards").values() {
        let title = text(dashboard, "dashboard_title");
        let places = dashboard["position"].as_object().unwrap().values().filter(|place| place["type"] == "CHART");
        let metas: Vec<&Value> = places.map(|place| &place["meta"]).collect();
        for filter in list(&dashboard["metadata"], "native_filter_configuration") {
            for target in list(filter, "targets").iter().filter(|target| target["datasetUuid"].is_string()) {
                let column = text(&target["column"], "name");
                if !names(&datasets[text(target, "datasetUuid")], "columns", "column_name").contains(column) {
                    faults.push(format!("{title}: filter {column}"));
                }
            }
            for excluded in list(&filter["scope"], "excluded") {
                assert!(metas.iter().any(|meta| meta["chartId"] == *excluded), "{title}: {excluded}");
            }
        }
        placed.extend(metas.iter().map(|meta| text(meta, "uuid").to_owned()));
    }
    assert_eq!(placed, charts.keys().cloned().collect(), "each chart is on a dashboard");
    faults
}

/// The relation or the statement of a dataset, as it stands after `from`.
fn source(dataset: &Value) -> String {
    match dataset["sql"].as_str() {
        Some(sql) => format!("({sql}) virtual_table"),
        None => format!("{}.{}", text(dataset, "schema"), text(dataset, "table_name")),
    }
}

async fn check_dataset(dataset: &Value, session: &mut PgConnection, faults: &mut Vec<String>) {
    let (name, source) = (text(dataset, "table_name"), source(dataset));
    // In contrast to preparing, this also asks for the rights.
    if let Err(error) = (&mut *session).execute(AssertSqlSafe(format!("explain select * from {source}"))).await {
        return faults.push(format!("dataset {name}: {error}"));
    }
    let all = (&mut *session).prepare(AssertSqlSafe(format!("select * from {source}")).into_sql_str()).await.unwrap();
    let real: BTreeMap<String, bool> = all
        .columns()
        .iter()
        .map(|column| {
            (column.name().to_owned(), matches!(column.type_info().name(), "DATE" | "TIMESTAMP" | "TIMESTAMPTZ"))
        })
        .collect();
    let (computed, plain): (Vec<_>, Vec<_>) =
        list(dataset, "columns").iter().partition(|column| column["expression"].is_string());
    let plain: BTreeMap<String, bool> = plain
        .into_iter()
        .map(|column| (text(column, "column_name").to_owned(), column["is_dttm"] == Value::Bool(true)))
        .collect();
    for column in real.keys().chain(plain.keys()).collect::<BTreeSet<_>>() {
        if real.get(column) != plain.get(column) {
            faults.push(format!(
                "dataset {name}: column {column}: is a time: {:?}, in the export: {:?}",
                real.get(column),
                plain.get(column)
            ));
        }
    }
    if dataset["main_dttm_col"].as_str().is_some_and(|column| real.get(column) != Some(&true)) {
        faults.push(format!("dataset {name}: main_dttm_col"));
    }
    for expression in computed.into_iter().chain(list(dataset, "metrics")).map(|entry| text(entry, "expression")) {
        let sql = format!("select {expression} from {source}");
        let prepared = (&mut *session).prepare(AssertSqlSafe(sql).into_sql_str()).await;
        faults.extend(prepared.err().map(|error| format!("dataset {name}: {expression}: {error}")));
    }
}

#[tokio::test]
async fn the_superset_export_names_only_what_an_analyst_finds_in_the_mart() {
    let mart = Mart::new().await;
    let found = faults(&mart).await;
    assert!(found.is_empty(), "{}", found.join("\n"));
    for (relation, column, uses) in [
        ("conversations", "channel", 1),
        ("agent_days", "waits", 3),
        ("calendar", "days_ago", 2),
        ("service_levels", "breached", 3),
        ("bot_turns", "turn_key", 2),
        ("customers", "person_key", 2),
        ("nps_days", "promoters", 1),
    ] {
        mart.run(format!("alter view mart.{relation} rename column {column} to renamed")).await;
        let found = faults(&mart).await;
        assert!(found.len() >= uses && found.iter().any(|fault| fault.contains(column)), "{column}: {found:?}");
        mart.run(format!("alter view mart.{relation} rename column renamed to {column}")).await;
    }
    assert!(faults(&mart).await.is_empty());
}

#[test]
fn the_superset_export_has_no_password_and_no_host() {
    let texts = texts("");
    assert!(texts.len() > 60);
    let databases = read("databases");
    let uri = text(databases.values().next().unwrap(), "sqlalchemy_uri");
    assert_eq!(uri, format!("postgresql+psycopg2://{PLACEHOLDER}"));
    let program = fs::read_to_string(folder().join("load.py")).unwrap();
    assert!(program.contains(&format!("\"{PLACEHOLDER}\"")), "load.py replaces it");
    for (path, text) in texts {
        let rest = text.replace(uri, "").to_lowercase();
        for word in ["://", "localhost", "127.0.0.1", "password", "/home/", "/tmp/", "/root/"] {
            assert!(!rest.contains(word), "{}: {word}", path.display());
        }
    }
}
