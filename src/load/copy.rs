//! Sends rows with COPY in binary format, to the staging table or directly to their table.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgConnection;

use super::number_column::{conversion, split};
use super::table::{Table, TableColumn};
use crate::catalogue::{ColumnType, Mode};
use crate::rows::binary;
use crate::rows::layout::Layout;
use crate::store::ident::{quote, table as qualified};

/// Limit for one piece: a connection's write buffer grows to the largest piece and does not shrink again.
const COPY_PART_BYTES: usize = 32 << 10;

/// The values that all rows of a page share when they are copied directly to their table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Common<'a> {
    pub(super) connection: &'a str,
    pub(super) window_start: DateTime<Utc>,
    pub(super) run: i64,
    pub(super) loaded_at: DateTime<Utc>,
}

/// A COPY statement, and how its rows are made from the rows of a chunk.
#[derive(Debug)]
pub(super) struct Copy {
    statement: String,
    /// The number of fields in each row, and the fields before the chunk's.
    head: Vec<u8>,
    /// Bytes at the beginning of a chunk's row that are left out.
    skipped: usize,
    /// If set, each row ends with its number, and this is the first.
    numbered_from: Option<i32>,
}

impl Copy {
    /// To the staging table. Rows are numbered, because the later of two with one key may count.
    pub(super) fn to_stage(stage: &str, columns: &[&TableColumn], numbered_from: i32) -> Self {
        Self {
            statement: format!("copy {stage} (_row_key{}, _extra, _place) from stdin (format binary)", list(columns)),
            head: fields(columns.len() + 3),
            skipped: 0,
            numbered_from: Some(numbered_from),
        }
    }

    /// To the table itself.
    pub(super) fn into_table(table: &Table, columns: &[&TableColumn], common: Common<'_>) -> Self {
        let windowed = table.mode == Mode::ReplaceWindow;
        let (window, key) =
            (if windowed { ", _window_start" } else { "" }, if table.by_hash() { ", _row_key" } else { "" });
        let statement = format!(
            "copy {} (_connection, _run_id, _loaded_at{window}{key}{}, _extra) from stdin (format binary)",
            qualified(&table.schema, &table.name),
            list(columns),
        );
        let mut head = fields(columns.len() + 4 + usize::from(windowed) + usize::from(table.by_hash()));
        binary::bytes(common.connection.as_bytes(), &mut head);
        binary::bigint(common.run, &mut head);
        binary::instant(common.loaded_at, &mut head);
        if windowed {
            binary::instant(common.window_start, &mut head);
        }
        // The key is null if the table has no column for it.
        let skipped = if table.by_hash() { 0 } else { binary::NULL.len() };
        Self { statement, head, skipped, numbered_from: None }
    }

    /// To a table whose columns are those of the rows, in their order.
    pub(super) fn of_all(table: &str, columns: usize) -> Self {
        let statement = format!("copy {table} from stdin (format binary)");
        Self { statement, head: fields(columns), skipped: 0, numbered_from: None }
    }

    /// Sends rows; returns their number.
    pub(super) async fn send(&self, connection: &mut PgConnection, rows: &[&[u8]]) -> Result<i32, sqlx::Error> {
        let mut copy = connection.copy_in_raw(&self.statement).await?;
        let mut part = Vec::with_capacity(COPY_PART_BYTES + (COPY_PART_BYTES >> 3));
        part.extend_from_slice(binary::HEADER);
        let mut count = 0;
        for row in rows {
            part.extend_from_slice(&self.head);
            part.extend_from_slice(&row[self.skipped..]);
            if let Some(from) = self.numbered_from {
                binary::integer(from + count, &mut part);
            }
            count += 1;
            if part.len() >= COPY_PART_BYTES {
                for piece in part.chunks(COPY_PART_BYTES) {
                    copy.send(piece).await?;
                }
                part.clear();
            }
        }
        part.extend_from_slice(&binary::TRAILER);
        copy.send(part).await?;
        copy.finish().await?;
        Ok(count)
    }
}

/// A staging table for rows that were encoded when a column of numbers had, or was expected to have, another type.
#[derive(Debug)]
pub(super) struct Narrow {
    pub(super) stage: String,
    pub(super) create: String,
    pub(super) columns: Vec<TableColumn>,
    /// Moves its rows to the actual staging table.
    pub(super) widen: [String; 2],
}

impl Narrow {
    /// Returns `None` if the table has no column for a field, or a column that its numbers cannot be converted to.
    pub(super) fn of(stage: &str, table: &Table, layout: &Layout) -> Option<Self> {
        let theirs = columns(table, layout)?;
        let own = |(column, field): (&&TableColumn, &crate::rows::layout::Field)| TableColumn {
            kind: field.kind,
            ..(*column).clone()
        };
        let columns: Vec<TableColumn> = theirs.iter().zip(layout.fields()).map(own).collect();
        let mut filled: Vec<(String, String)> = Vec::new();
        for (column, theirs) in columns.iter().zip(&theirs) {
            let name = quote(&column.name);
            if column.kind == theirs.kind {
                filled.push((name.clone(), name));
            } else if column.kind == ColumnType::Bigint && theirs.kind == ColumnType::Text {
                filled.push((name.clone(), format!("{name}::text")));
            } else if !column.kind.is_number() || !theirs.kind.is_number() {
                return None;
            } else if theirs.kind == ColumnType::Numeric {
                filled.push((name.clone(), conversion(&name, column.kind)));
            } else {
                let variant = table.column(&column.field, Some(ColumnType::Numeric))?;
                let [narrow, numeric] = split(&name, column.kind, theirs.kind);
                filled.extend([(name, narrow), (quote(&variant.name), numeric)]);
            }
        }
        let mut names: Vec<&str> = filled.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return None;
        }
        let narrow = "pg_temp.stage_narrow".to_owned();
        let definitions: Vec<String> =
            columns.iter().map(|column| format!(", {} {}", quote(&column.name), column.kind.sql())).collect();
        let names: Vec<String> = filled.iter().map(|(name, _)| format!(", {name}")).collect();
        let values: Vec<String> = filled.iter().map(|(_, value)| format!(", {value}")).collect();
        Some(Self {
            create: format!(
                "create temporary table stage_narrow (_row_key uuid{}, _extra {}, _place integer) on commit drop",
                definitions.concat(),
                ColumnType::Jsonb.sql()
            ),
            widen: [
                format!(
                    "insert into {stage} (_row_key{}, _extra, _place) select _row_key{}, _extra, _place from {narrow}",
                    names.concat(),
                    values.concat()
                ),
                format!("drop table {narrow}"),
            ],
            stage: narrow,
            columns,
        })
    }
}

/// The columns that the layout's fields fill. Returns `None` if the table lacks one.
pub(super) fn columns<'t>(table: &'t Table, layout: &Layout) -> Option<Vec<&'t TableColumn>> {
    layout.fields().iter().map(|field| table.column(&field.path, field.variant)).collect()
}

/// Whether each field was encoded in its column's type.
pub(super) fn fits(columns: &[&TableColumn], layout: &Layout) -> bool {
    columns.iter().zip(layout.fields()).all(|(column, field)| column.kind == field.kind)
}

fn list(columns: &[&TableColumn]) -> String {
    let names: Vec<String> = columns.iter().map(|column| format!(", {}", quote(&column.name))).collect();
    names.concat()
}

/// The beginning of a row of `count` fields. A table has at most 1,600 columns.
fn fields(count: usize) -> Vec<u8> {
    i16::try_from(count).unwrap_or(i16::MAX).to_be_bytes().to_vec()
}
