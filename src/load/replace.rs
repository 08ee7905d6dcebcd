//! Rows that changed, copied directly: the old versions are deleted by their keys, then the new ones are copied like
//! new rows. This writes less than an update, which locks each row first, and needs no staging.
//!
//! Only for a table all of whose columns Tidegate fills, so that no value of a column that somebody added is lost.

use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::query::Query;
use uuid::Uuid;

use super::LoadError;
use super::copy::Common;
use super::sql::{MergeSql, ReplaceSql};
use super::statement::{planned_each_time, signed};
use super::table::{Table, TableColumn};
use crate::catalogue::ColumnType;
use crate::rows::binary;

/// How the rows of one layout are replaced in their table.
#[derive(Debug)]
pub(super) struct Replace {
    sql: ReplaceSql,
    /// Where the columns of the key are among a row's fields, and their types; `None` for `_row_key`.
    key: Vec<(usize, Option<ColumnType>)>,
    /// Positions of fields whose values may be equal although their bytes differ.
    unclear: Vec<usize>,
}

impl Replace {
    /// Returns `None` if rows of the table cannot be replaced. `columns`: those that the fields of the layout fill.
    pub(super) fn of(sql: &MergeSql, table: &Table, columns: &[&TableColumn]) -> Option<Self> {
        let statements = sql.replace.clone()?;
        let place = |name: &String| {
            if table.by_hash() {
                return Some((0, None));
            }
            let at = columns.iter().position(|column| column.name == *name)?;
            Some((at + 1, Some(columns[at].kind)))
        };
        let key = table.key.iter().map(place).collect::<Option<Vec<_>>>()?;
        let is_unclear = |column: &TableColumn| matches!(column.kind, ColumnType::Numeric | ColumnType::Jsonb);
        let unclear = columns.iter().enumerate().filter(|(_, column)| is_unclear(column)).map(|(at, _)| at + 1);
        // `_extra` is the last field.
        let unclear = unclear.chain([columns.len() + 1]).collect();
        Some(Self { sql: statements, key, unclear })
    }

    /// Whether a row whose bytes changed has other values than before.
    pub(super) fn takes(&self, row: &[u8]) -> bool {
        let mut unclear = self.unclear.iter().peekable();
        binary::fields(row).enumerate().all(|(at, value)| {
            let is_unclear = unclear.next_if(|next| **next == at).is_some();
            !is_unclear || value.is_none()
        })
    }

    /// Deletes the rows with the keys of `rows`. Returns how many there were. `in_order`: whether they are expected to
    /// follow each other in the order of the key; false afterwards if they do not.
    pub(super) async fn delete(
        &self,
        connection: &mut PgConnection,
        common: Common<'_>,
        rows: &[&[u8]],
        in_order: &mut bool,
    ) -> Result<u64, LoadError> {
        let mut gone = 0;
        if *in_order {
            let at_most = signed(rows.len() as u64) * 5 / 4;
            let delete = self.of_keys(&self.sql.in_order, common, rows).bind(at_most);
            gone = delete.execute(&mut *connection).await?.rows_affected();
            *in_order = gone == rows.len() as u64;
        }
        if gone < rows.len() as u64 {
            gone += self.of_keys(&self.sql.each, common, rows).execute(connection).await?.rows_affected();
        }
        Ok(gone)
    }

    /// The statement with the keys of `rows`.
    fn of_keys<'q>(&self, statement: &str, common: Common<'q>, rows: &[&'q [u8]]) -> Query<'q, Postgres, PgArguments> {
        let mut delete = planned_each_time(statement).bind(common.connection).bind(common.window_start);
        for &(at, kind) in &self.key {
            let values = || rows.iter().filter_map(|row| binary::fields(row).nth(at).flatten());
            delete = match kind {
                None => delete.bind(values().filter_map(|value| Uuid::from_slice(value).ok()).collect::<Vec<_>>()),
                Some(ColumnType::Bigint) => {
                    let number = |value: &[u8]| value.try_into().ok().map(i64::from_be_bytes);
                    delete.bind(values().filter_map(number).collect::<Vec<_>>())
                }
                Some(ColumnType::Boolean) => delete.bind(values().map(|value| value == [1]).collect::<Vec<_>>()),
                Some(ColumnType::Timestamptz) => {
                    delete.bind(values().filter_map(binary::read_instant).collect::<Vec<_>>())
                }
                // Fingerprinted tables have no key of other types.
                Some(_) => {
                    let text = |value| std::str::from_utf8(value).ok();
                    delete.bind(values().filter_map(text).collect::<Vec<_>>())
                }
            };
        }
        delete
    }
}
