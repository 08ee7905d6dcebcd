//! A vendor, a database and a configuration for whole runs.

use std::ops::Deref;

use serde_json::{Map, Value};
use simulator::Rows;
use sqlx::AssertSqlSafe;
use tidegate::rows::timestamp;

use super::*;
use crate::support::World;
pub(super) use crate::support::ago;
use crate::support::world::QUICK_RETRY;

/// The three days before today. Today and the time before these days have no rows, so that nothing changes.
pub(super) struct Site(World);

impl Deref for Site {
    type Target = World;

    fn deref(&self) -> &World {
        &self.0
    }
}

impl Site {
    /// `connection` and `job` are further keys, as YAML lines.
    pub(super) async fn new(connection: &str, streams: &str, job: &str) -> Self {
        let options = Options { volume: Volume::Exactly(ROWS), ..Options::default() };
        let site = Self(World::of("jaicp", options.limit("jaicp.requests", 60, SECOND)).await);
        let data = site.jaicp().data();
        for section in ["messages", "clients"] {
            data.vanish(Rows::between(section, ago(0), ago(-2))).unwrap();
            data.vanish(Rows::between(section, ago(3) - TimeDelta::seconds(5), ago(3))).unwrap();
        }
        site.write_config(connection, streams, job);
        site
    }

    /// Writes the configuration again.
    pub(super) fn write_config(&self, connection: &str, streams: &str, job: &str) {
        let trimmed = |lines: &str| lines.lines().map(str::trim).collect::<Vec<_>>().join("\n");
        let mut keys = vec![format!(
            "vendor: jaicp_reporter
base_url: {}/api
allowed_hosts: [\"{}\"]
page_size: {PAGE}
{QUICK_RETRY}
polling: {{ initial: 10ms, max: 100ms, deadline: 1m }}
quotas: {{ requests: {{ limit: 60, per: 1s }} }}",
            self.simulator.base_url(),
            self.simulator.files_url().trim_start_matches("http://"),
        )];
        if !connection.contains("token:") {
            keys.push(format!("token: \"{}\"", Account::default().token));
        }
        keys.push(trimmed(connection));
        let job = [format!("streams: {streams}\nstart: {}", ago(3).date_naive()), trimmed(job)];
        self.configure("{ concurrency: 2, lease: 5s }", &keys, &job);
    }

    pub(super) fn jaicp(&self) -> Handle {
        self.control().jaicp()
    }

    pub(super) async fn count(&self, table: &str) -> i64 {
        self.scalar(&format!("select count(*) from jaicp.{table}")).await
    }

    /// Every row of a table, without the columns that Tidegate adds.
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

    /// The messages as the bulk list returns them.
    pub(super) fn messages(&self) -> Vec<Map<String, Value>> {
        let mut rows = self.truth("messages");
        for row in &mut rows {
            row.remove("status");
        }
        rows
    }

    pub(super) fn assert_well_behaved(&self) {
        assert_well_behaved(&self.control());
        assert_eq!(self.control().stats().unauthorized, 0);
    }
}

/// Normalises equal values: no nulls, instants as UTC.
fn spelled(mut row: Map<String, Value>) -> String {
    row.retain(|_, value| !value.is_null());
    for value in row.values_mut() {
        if let Some(instant) = value.as_str().and_then(timestamp::parse) {
            *value = Value::from(instant.at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
        }
    }
    Value::Object(row).to_string()
}
