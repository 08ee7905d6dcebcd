//! Streams as data: table, key, columns, meanings, write mode.
//!
//! The catalogue drives the merge SQL, `tidegate streams`, the column comments and the check that migrations and
//! catalogue agree. It knows nothing of HTTP, SQL or the configuration.

mod lynn;
mod naming;

use std::borrow::Cow;

pub use lynn::extra_report;
pub use naming::{ColumnNames, column_name};

use crate::vendor::Vendor;

/// Text that is usually compiled in and sometimes comes from the configuration (extra reports).
pub type Text = Cow<'static, str>;

/// One report or list of a vendor; fills one warehouse table.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The vendor that has it.
    pub vendor: Vendor,
    /// Its name in job files; also the table's name.
    pub name: Text,
    /// Warehouse schema, `lynn` for instance.
    pub schema: &'static str,
    /// The vendor's own id of the report, if it has one.
    pub vendor_id: Text,
    /// What one row is, for `streams` and the table comment.
    pub meaning: Text,
    /// How rows are merged.
    pub mode: Mode,
    /// What identifies a row, after `_connection` (and `_window_start` of a windowed stream).
    pub key: Key,
    /// The documented columns, in table order.
    pub columns: Cow<'static, [Column]>,
    /// Whether the vendor documents the columns. Fields without a column go to `_extra` if so, else they get a column.
    pub documented: bool,
    /// The vendor field that says when a row happened, where it is known: rows outside their slice are left out.
    pub time_field: Option<Text>,
    /// Streams that `"*"` leaves out.
    pub off_by_default: bool,
}

/// How a stream's rows are merged into its table (design.md §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A slice ends as the vendor last reported it.
    ReplaceWindow,
    /// Entities by their own key; what is no longer reported stays.
    Upsert,
    /// The full list, with soft delete.
    Snapshot,
    /// One observation per run, appended.
    Observe,
}

/// What identifies a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The vendor documents no key: `_row_key`, a hash of the content and of the place among identical records.
    RowHash,
    /// `_row_key` too, but a hash of these vendor fields only: the job says that they identify a record.
    Fields(Vec<Text>),
    /// Columns of the table, by column name.
    Columns(Cow<'static, [Text]>),
}

/// One column of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The vendor's field name; nested fields are joined with `.`.
    pub field: Text,
    /// The warehouse column, by the naming rule of design.md §5.
    pub name: Text,
    /// Its type.
    pub kind: ColumnType,
    /// Meaning, unit and source, for the column comment.
    pub meaning: Text,
}

/// The types a warehouse column may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    Boolean,
    Bigint,
    Double,
    Numeric,
    Timestamptz,
    Text,
    Jsonb,
}

impl ColumnType {
    /// The type's SQL spelling.
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Bigint => "bigint",
            Self::Double => "double precision",
            Self::Numeric => "numeric",
            Self::Timestamptz => "timestamptz",
            Self::Text => "text",
            Self::Jsonb => "jsonb",
        }
    }

    /// The type of that SQL spelling, as `format_type` prints it; none for a type that Tidegate never makes.
    pub fn from_sql(name: &str) -> Option<Self> {
        Some(match name {
            "boolean" => Self::Boolean,
            "bigint" => Self::Bigint,
            "double precision" => Self::Double,
            "numeric" => Self::Numeric,
            "timestamptz" | "timestamp with time zone" => Self::Timestamptz,
            "text" => Self::Text,
            "jsonb" => Self::Jsonb,
            _ => return None,
        })
    }
}

/// Every stream of `vendor`, in the order of its fact sheet.
pub fn streams(vendor: Vendor) -> Vec<Stream> {
    match vendor {
        Vendor::LynnReporting => lynn::reports(),
    }
}

impl Stream {
    /// Whether the stream is read in time windows.
    pub const fn windowed(&self) -> bool {
        !matches!(self.mode, Mode::Snapshot | Mode::Observe)
    }
}
