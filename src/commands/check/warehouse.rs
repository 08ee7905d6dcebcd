//! What the section `warehouse` means for the tables that are there: which are divided or will be, and what is dropped.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;

use super::super::{old_rows, show};
use crate::app::due_to_drop;
use crate::catalogue::Stream;
use crate::config::{Config, Partition};
use crate::load::divide::{self, Outlook};
use crate::schedule;
use crate::store::keep::due::Due;

/// How long old rows are counted.
const COUNT_WITHIN: Duration = Duration::from_secs(3);
/// Names of tables in a sentence.
const NAMES_MAX: usize = 5;

#[derive(Debug, Serialize)]
pub(super) struct Warehouse {
    /// Whether tables of windows are divided by month from now on.
    by_month: bool,
    /// Tables that are divided.
    divided: Vec<String>,
    /// Tables that have rows and will be divided.
    to_divide: Vec<String>,
    /// Tables that have rows and will not be divided.
    not_divided: Vec<NotDivided>,
    /// From when rows are kept. `null`: everything is kept.
    kept_from: Option<DateTime<Utc>>,
    /// What the next pass of a daemon would drop.
    old_rows: Vec<Due>,
}

#[derive(Debug, Serialize)]
struct NotDivided {
    table: String,
    reason: String,
}

impl Warehouse {
    /// `None` if tables are neither divided nor to be divided, and everything is kept.
    pub(super) async fn read(conn: &mut PgConnection, config: &Config) -> anyhow::Result<Option<Self>> {
        let now = schedule::clock(conn).await?;
        let old_rows = due_to_drop(conn, config, now, COUNT_WITHIN).await?;
        let mut found = Self {
            by_month: config.warehouse.partition == Partition::Month,
            divided: Vec::new(),
            to_divide: Vec::new(),
            not_divided: Vec::new(),
            kept_from: config.warehouse.kept_from(now),
            old_rows,
        };
        for ((schema, name), stream) in tables(config) {
            let table = format!("{schema}.{name}");
            match divide::outlook(conn, stream, config.database.distribution, found.by_month).await? {
                Some(Outlook::Divided) => found.divided.push(table),
                Some(Outlook::ToDivide) => found.to_divide.push(table),
                Some(Outlook::Obstacle(reason)) => found.not_divided.push(NotDivided { table, reason }),
                None => {}
            }
        }
        Ok((found.by_month || found.kept_from.is_some() || !found.divided.is_empty()).then_some(found))
    }

    /// A paragraph for the text of `tidegate check`.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        if self.by_month && self.to_divide.is_empty() {
            let _ = writeln!(text, "warehouse: tables of windows are divided by month; {} are", self.divided.len());
        } else if self.by_month {
            let _ = writeln!(
                text,
                "warehouse: {} with rows will be divided by month, each when the next task of its stream begins, \
                 without copying its rows: {}",
                count(self.to_divide.len()),
                names(&self.to_divide)
            );
        } else if !self.divided.is_empty() {
            let _ = writeln!(
                text,
                "warehouse: `partition` is `none`, but {} divided by month and will stay so; no other table will be \
                 divided: {}",
                if self.divided.len() == 1 {
                    "1 table is".to_owned()
                } else {
                    format!("{} are", count(self.divided.len()))
                },
                names(&self.divided)
            );
        }
        for NotDivided { table, reason } in &self.not_divided {
            let _ = writeln!(text, "warehouse: {table} will not be divided: {reason}");
        }
        let Some(kept_from) = self.kept_from.map(show::time) else { return text };
        if self.old_rows.is_empty() {
            let _ =
                writeln!(text, "warehouse: rows are kept from {kept_from} on; nothing is older that can be dropped");
        } else {
            let _ = writeln!(
                text,
                "warehouse: rows are kept from {kept_from} on; a daemon with this configuration drops for good"
            );
            text.push_str(&old_rows::table(&self.old_rows));
        }
        text
    }
}

fn count(tables: usize) -> String {
    if tables == 1 { "1 table".to_owned() } else { format!("{tables} tables") }
}

/// The first names.
fn names(tables: &[String]) -> String {
    match tables.len().checked_sub(NAMES_MAX) {
        Some(more @ 1..) => format!("{} and {more} more", tables[..NAMES_MAX].join(", ")),
        _ => tables.join(", "),
    }
}

/// The tables that the jobs fill, each with a stream that fills it.
fn tables(config: &Config) -> BTreeMap<(&str, &str), &Stream> {
    let entries = config.jobs.values().flat_map(|job| &job.streams);
    entries.map(|entry| ((entry.stream.schema, &*entry.stream.name), &*entry.stream)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warehouse(by_month: bool, divided: &[&str], to_divide: &[&str]) -> Warehouse {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Warehouse {
            by_month,
            divided: owned(divided),
            to_divide: owned(to_divide),
            not_divided: Vec::new(),
            kept_from: None,
            old_rows: Vec::new(),
        }
    }

    #[test]
    fn the_setting_is_explained_where_it_differs_from_the_tables() {
        let stays = warehouse(false, &["lynn.a"], &[]).text();
        assert!(stays.contains("`none`, but 1 table is divided by month and will stay so"), "{stays}");
        let many = warehouse(false, &["a", "b", "c", "d", "e", "f"], &[]).text();
        assert!(many.contains("6 tables are divided") && many.ends_with("a, b, c, d, e and 1 more\n"), "{many}");
        let will = warehouse(true, &["lynn.a"], &["lynn.b", "lynn.c"]).text();
        assert!(will.contains("2 tables with rows will be divided by month"), "{will}");
        assert_eq!(warehouse(true, &["a"], &[]).text(), "warehouse: tables of windows are divided by month; 1 are\n");
        let kept = Warehouse { kept_from: Some(DateTime::UNIX_EPOCH), ..warehouse(false, &[], &[]) };
        assert!(kept.text().contains("from 1970-01-01T00:00:00Z on; nothing is older"), "{}", kept.text());
    }
}
