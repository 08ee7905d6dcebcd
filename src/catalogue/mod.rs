//! Streams as data: table, key, columns, meanings, write mode.
//!
//! The catalogue drives the merge SQL, `tidegate streams`, the column comments and the check that migrations and
//! catalogue agree. It does not know HTTP, SQL or the configuration.

mod naming;
mod shared;
pub mod times;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

pub use naming::{ColumnNames, column_name};
pub use shared::Streams;

use crate::text::show_duration;

/// A vendor system, identified by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Vendor(&'static str);

impl Vendor {
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// The vendor's name in configuration and tables.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// Text that is usually compiled in and sometimes comes from the configuration (extra reports).
pub type Text = Cow<'static, str>;

/// One report or list of a vendor, which fills one warehouse table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stream {
    /// The vendor that provides it.
    pub vendor: Vendor,
    /// The name in job files and of the table.
    pub name: Text,
    /// The warehouse schema, such as `lynn`.
    pub schema: &'static str,
    /// The vendor's own id of the report, if any.
    pub vendor_id: Text,
    /// The label before the vendor's id in the table comment. `None` omits the id from the comment.
    pub id_label: Option<&'static str>,
    /// What one row is, for `streams` and the table comment.
    pub meaning: Text,
    /// How rows are merged.
    pub mode: Mode,
    /// What identifies a row, in addition to `_connection` (and `_window_start` for a windowed stream).
    pub key: Key,
    /// The documented columns, in table order.
    pub columns: Cow<'static, [Column]>,
    /// Whether the vendor documents the columns. If so, fields without a column go to `_extra`; otherwise they get a
    /// column.
    pub documented: bool,
    /// The vendor field with the time of a row, if known. Rows outside their slice are left out.
    pub time_field: Option<Text>,
    /// The vendor field whose time `_row_key` begins with, if records have it: the time that the stream's windows
    /// follow. Only for [`Key::RowHash`]. `load::key` replaces it with what is chosen for the table.
    pub row_time: Option<Text>,
    /// Columns that may hold the business time of a row, that is when it happened, the most likely first. The first of
    /// them that the table has as `timestamptz` is indexed. Empty if rows describe no event.
    pub business_time: &'static [&'static str],
    /// Whether `"*"` leaves the stream out.
    pub off_by_default: bool,
    /// Tables that are filled together with this one. Only streams with [`Key::Columns`] have any.
    pub children: Cow<'static, [Child]>,
    /// The time windows in which it is read. Not used for a list.
    pub windows: Windows,
    /// Whether it is read through export jobs: submit, poll, download.
    pub exported: bool,
}

/// The time windows in which a stream is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Windows {
    /// Default length of a slice.
    pub days: u32,
    /// The longest slice that the vendor serves.
    pub days_max: u32,
    /// Whether adjacent windows share their boundary second because the vendor's filter has no finer precision. Rows in
    /// that second are then distinguished by content.
    pub shared_second: bool,
}

/// The length of a slice: whole calendar days in the job's time zone, or a duration below a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SliceLength {
    Days(u32),
    Time(Duration),
}

impl SliceLength {
    /// Seconds; a day counts as 24 hours.
    pub fn seconds(self) -> u64 {
        match self {
            Self::Days(days) => u64::from(days) * 86_400,
            Self::Time(length) => length.as_secs(),
        }
    }
}

impl fmt::Display for SliceLength {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Days(days) => write!(formatter, "{days}d"),
            Self::Time(length) => formatter.write_str(&show_duration(*length)),
        }
    }
}

impl Windows {
    /// One-day slices with exact bounds, up to `days_max` days.
    pub const fn daily(days_max: u32) -> Self {
        Self { days: 1, days_max, shared_second: false }
    }
}

/// A table filled with its parent: one row per element of an array in the parent's record. Reading a parent replaces
/// its child rows; deleting a parent deletes them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Child {
    /// The table's name, in the parent's schema.
    pub name: Text,
    /// What one row is, for the table comment.
    pub meaning: Text,
    /// The vendor field that holds the array; nested fields are joined with `.`. It has no column of its own in the
    /// parent.
    pub field: Text,
    /// The parent's key columns and their names in this table.
    pub parent: Cow<'static, [(Text, Text)]>,
    /// The table's own columns; the first completes the key. `field` names a member of an element, or is empty if the
    /// elements are plain values.
    pub columns: Cow<'static, [Column]>,
}

/// How a stream's rows are merged into its table (docs/warehouse.md#modes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A slice is replaced by its latest reading.
    ReplaceWindow,
    /// Entities by their own key. Entities that are no longer reported stay.
    Upsert,
    /// The full list, with soft delete.
    Snapshot,
    /// One observation per run, appended to the table.
    Observe,
}

/// What identifies a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// The vendor documents no key. The key is `_row_key`, a hash of the content and of the position among identical
    /// records.
    RowHash,
    /// These vendor fields; the job states that they identify a record. In a table that had rows before its key was
    /// chosen, and for fields of types that suit no index, `_row_key` is a hash of them; otherwise see
    /// [`Key::Chosen`].
    Fields(Vec<Text>),
    /// `_row_key` as a hash of the first of these vendor fields that a record has, matched by column name, or of the
    /// whole record if it has none. For entities whose id exists but whose field name is not known.
    AnyOf(Cow<'static, [Text]>),
    /// Columns of the table, by column name.
    Columns(Cow<'static, [Text]>),
    /// The columns of [`Key::Fields`], by column name: the table has, or gets with its first rows, this key.
    Chosen(Vec<Text>),
}

/// Where the type of a column comes from that a job's `key` adds to the documented ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// The job's `types`.
    Stated,
    /// The values of the table's first page: `bigint` if all are whole numbers, else `text`.
    Found,
}

/// One column of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    /// The vendor's field name; nested fields are joined with `.`.
    pub field: Text,
    /// The warehouse column, by the naming rule (docs/warehouse.md#names).
    pub name: Text,
    /// Its type.
    pub kind: ColumnType,
    /// Meaning, unit and source; used as the column comment.
    pub meaning: Text,
    /// How the stored value is treated when a row is written again.
    pub keep: Keep,
    /// Whether records may lack this key column. It then holds an empty string.
    pub may_be_absent: bool,
    /// Whether the value describes the request, not the record. Such values do not distinguish records.
    pub is_ours: bool,
    /// Set if the vendor does not document the column, and a job's `key` adds it.
    pub key_type: Option<KeyType>,
}

/// Which value a column holds after its row is written again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Keep {
    /// The new value.
    #[default]
    Latest,
    /// The greater value, because the vendor may count only within the requested window.
    Greatest,
    /// The first value ever stored.
    First,
    /// The stored value, unless the response contains a new one.
    Known,
}

impl Column {
    /// A compiled-in column that takes the new value.
    pub const fn new(field: &'static str, name: &'static str, kind: ColumnType, meaning: &'static str) -> Self {
        Self {
            field: Cow::Borrowed(field),
            name: Cow::Borrowed(name),
            kind,
            meaning: Cow::Borrowed(meaning),
            keep: Keep::Latest,
            may_be_absent: false,
            is_ours: false,
            key_type: None,
        }
    }

    /// The same column with another rule for rows that are written again.
    #[must_use]
    pub const fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// The same column, marked as describing the request.
    #[must_use]
    pub const fn ours(mut self) -> Self {
        self.is_ours = true;
        self
    }

    /// The same column as a part of the key that records may lack.
    #[must_use]
    pub const fn or_empty(mut self) -> Self {
        self.may_be_absent = true;
        self
    }
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
    /// All types.
    pub const ALL: [Self; 7] =
        [Self::Boolean, Self::Bigint, Self::Double, Self::Numeric, Self::Timestamptz, Self::Text, Self::Jsonb];

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

    /// The type as one word, used in variant column names and in the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Double => "double",
            _ => self.sql(),
        }
    }

    /// The type with this [`Self::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Whether its values are numbers.
    pub const fn is_number(self) -> bool {
        matches!(self, Self::Bigint | Self::Double | Self::Numeric)
    }

    /// The type with this SQL spelling, as `format_type` prints it. `None` for a type that Tidegate never creates.
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

impl Stream {
    /// Whether the stream is read in time windows.
    pub const fn windowed(&self) -> bool {
        !matches!(self.mode, Mode::Snapshot | Mode::Observe)
    }

    /// What one row is, for the table comment, with the vendor's id if the stream shows it.
    pub fn comment(&self) -> String {
        match self.id_label {
            Some(label) if !self.meaning.contains(&*self.vendor_id) => {
                format!("{} ({label}{})", self.meaning, self.vendor_id)
            }
            _ => self.meaning.to_string(),
        }
    }

    /// Columns that may hold the time of a row that belongs to no window; by it, old rows are dropped
    /// (`warehouse.keep`). Empty for tables of windows, for lists, and where rows have no time.
    pub fn time_columns(&self) -> &'static [&'static str] {
        match self.mode {
            Mode::ReplaceWindow | Mode::Snapshot => &[],
            Mode::Upsert | Mode::Observe => self.business_time,
        }
    }

    /// The documented column with the business time, if there is one.
    pub fn documented_time(&self) -> Option<&Column> {
        let is_time = |column: &&Column, name: &str| column.name == *name && column.kind == ColumnType::Timestamptz;
        self.business_time.iter().find_map(|name| self.columns.iter().find(|column| is_time(column, name)))
    }

    /// The columns of the primary key, in order.
    pub fn primary_key(&self) -> Vec<&str> {
        let window = (self.mode == Mode::ReplaceWindow).then_some("_window_start");
        let own: Vec<&str> = match &self.key {
            Key::RowHash | Key::Fields(_) | Key::AnyOf(_) => vec!["_row_key"],
            Key::Columns(columns) => columns.iter().map(AsRef::as_ref).collect(),
            Key::Chosen(columns) => columns.iter().map(AsRef::as_ref).collect(),
        };
        ["_connection"].into_iter().chain(window).chain(own).collect()
    }
}
