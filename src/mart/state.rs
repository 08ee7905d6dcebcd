//! What the database has: the columns of the source tables, and the views as they are.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{Connection as _, PgConnection};

use super::applied::{Applied, Row};
use super::fields::SOURCES;
use super::relations::RELATIONS;
use super::stored;
use crate::store::migrations;

/// The state of the database, read with one statement.
#[derive(Debug, Default, Deserialize)]
pub struct State {
    /// Whether the server accepts writes; a standby does not.
    pub writable: bool,
    pub newest_migration: Option<i64>,
    applied: Option<Row>,
    pub(super) analyst_reads_texts: bool,
    tables: Vec<Table>,
    views: Vec<View>,
    /// The tables that store rows of views, the oldest first.
    pub stored: Vec<StoredTable>,
}

/// A table and its columns, in the order of the table.
#[derive(Debug, Deserialize)]
struct Table {
    schema: String,
    name: String,
    columns: Vec<Column>,
}

/// A column of a source table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Column {
    pub name: String,
    /// The type, as Postgres prints it.
    pub kind: String,
    /// The vendor's field, if the data brought the column.
    pub field: Option<String>,
    /// Whether it is `not null`.
    #[serde(default)]
    pub is_required: bool,
    /// Empty for the field's own column; else this is a variant, which has the values that the own column does not
    /// hold.
    pub variant: Option<String>,
}

/// A view of the mart.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct View {
    name: String,
    /// Hash of the statements that made it.
    pub(super) made_from: Option<String>,
    /// The settings by which it was made, as in [`Applied`].
    pub(super) revision: Option<i64>,
    /// The version that made it.
    pub(super) version: Option<String>,
    pub(super) is_there: bool,
    /// Whether its definition is the one that those statements gave it.
    pub(super) is_unchanged: bool,
}

/// A table that stores the rows of a view.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct StoredTable {
    /// Its name in the schema `tidegate`.
    #[serde(skip_serializing)]
    pub name: String,
    /// Name of the view in the schema `mart`.
    pub relation: String,
    /// When its rows were computed last.
    pub refreshed_at: DateTime<Utc>,
    /// Seconds since then.
    pub age_seconds: i64,
    /// Whether a view reads it.
    #[serde(skip_serializing)]
    pub is_read: bool,
    /// Whether it is time to compute the rows again.
    #[serde(skip_serializing)]
    pub is_due: bool,
    /// Whether slices were finished since.
    #[serde(skip_serializing)]
    pub is_outdated: bool,
}

impl StoredTable {
    /// Whether the rows were computed on another day in that zone. Some relations end with the day.
    pub(super) fn is_of_another_day(&self, zone: Tz) -> bool {
        let day = |at: DateTime<Utc>| at.with_timezone(&zone).date_naive();
        day(self.refreshed_at) != day(self.refreshed_at + TimeDelta::seconds(self.age_seconds))
    }
}

/// The columns of every source table that exists, by `schema.table`.
pub type Columns = BTreeMap<String, Vec<Column>>;

impl State {
    pub async fn read(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let tables: Vec<String> = SOURCES.iter().map(super::fields::Source::name).collect();
        let views: Vec<&str> = RELATIONS.iter().map(|relation| relation.name).collect();
        let mut transaction = connection.begin().await?;
        // Definitions are compared, and the search path decides which names in them are qualified.
        sqlx::query("set local search_path to pg_catalog").execute(&mut *transaction).await?;
        let read = sqlx::query_scalar(include_str!("state.sql")).bind(tables).bind(views);
        let read = read.bind(stored::AGE_MAX.as_secs_f64()).bind(stored::PAUSE_FACTOR);
        let Json(state) = read.fetch_one(&mut *transaction).await?;
        transaction.rollback().await?;
        Ok(state)
    }

    /// Whether this process may make views: the server accepts writes, and no newer version makes its own.
    pub(super) fn is_ours(&self) -> bool {
        self.writable && self.newest_migration <= migrations::newest()
    }

    /// The settings in force. `None` if there are none yet, or if a newer version wrote them in its own way.
    pub fn applied(&self) -> Option<Applied> {
        self.applied.as_ref().and_then(Row::read)
    }

    pub fn columns(&self) -> Columns {
        self.tables.iter().map(|table| (format!("{}.{}", table.schema, table.name), table.columns.clone())).collect()
    }

    pub(super) fn view(&self, name: &str) -> Option<&View> {
        self.views.iter().find(|view| view.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_of_another_day_by_the_business_zone() {
        let table = |refreshed_at: &str, age_seconds| StoredTable {
            name: "mart_x".to_owned(),
            relation: "x".to_owned(),
            refreshed_at: refreshed_at.parse().unwrap(),
            age_seconds,
            is_read: true,
            is_due: false,
            is_outdated: false,
        };
        let zone = chrono_tz::America::Lima;
        assert!(table("2026-01-02T04:59:59Z", 1).is_of_another_day(zone));
        assert!(!table("2026-01-02T05:00:00Z", 3600).is_of_another_day(zone));
        assert!(table("2026-01-01T23:59:59Z", 1).is_of_another_day(Tz::UTC));
        assert!(!table("2026-01-01T23:59:59Z", 1).is_of_another_day(zone));
    }
}
