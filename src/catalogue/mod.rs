//! Streams as data: table, key, columns, meanings, write mode.
//!
//! The catalogue drives the merge SQL, `tidegate streams`, the column comments and the check that migrations and
//! catalogue agree. It knows nothing of HTTP, SQL or the configuration.

mod naming;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

pub use naming::{ColumnNames, column_name};

use crate::text::show_duration;

/// A vendor system, known by its name.
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
    /// What stands before the vendor's id in the table's comment; none where the comment does not have it.
    pub id_label: Option<&'static str>,
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
    /// Tables that are filled with this one; only streams with [`Key::Columns`] have any.
    pub children: Cow<'static, [Child]>,
    /// The windows that it is read in; of no account for a list.
    pub windows: Windows,
    /// Whether it is read through export jobs: submitted, polled, downloaded.
    pub exported: bool,
}

/// The windows that a stream is read in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Length of a slice unless the job says otherwise.
    pub days: u32,
    /// The longest slice that the vendor serves.
    pub days_max: u32,
    /// Whether neighbouring windows share their boundary second because the vendor's filter has no finer precision:
    /// rows in it are then told apart by content.
    pub shared_second: bool,
}

/// The length of a slice: whole calendar days of the job's zone, or a plain duration below a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SliceLength {
    Days(u32),
    Time(Duration),
}

impl SliceLength {
    /// Seconds, a day taken for 24 hours.
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
    /// One-day slices with exact bounds, of up to `days_max` days.
    pub const fn daily(days_max: u32) -> Self {
        Self { days: 1, days_max, shared_second: false }
    }
}

/// A table that is filled with its parent: one row per element of an array in the parent's record. The rows of a parent
/// that was read are replaced; those of a parent that is gone go with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The table's name, in the parent's schema.
    pub name: Text,
    /// What one row is, for the table comment.
    pub meaning: Text,
    /// The vendor field that holds the array; nested fields are joined with `.`. It has no column of its own.
    pub field: Text,
    /// The parent's key columns, and what they are called here.
    pub parent: Cow<'static, [(Text, Text)]>,
    /// Its own columns; the first completes the key. `field` names an element's member, or is empty where the elements
    /// are plain values.
    pub columns: Cow<'static, [Column]>,
}

/// How a stream's rows are merged into its table (docs/warehouse.md#modes).
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
    /// `_row_key`, a hash of the first of these vendor fields that a record has, in any case and spelling that gives the
    /// same column name; of the whole record where it has none. For entities whose id is known to exist but not by name.
    AnyOf(Cow<'static, [Text]>),
    /// Columns of the table, by column name.
    Columns(Cow<'static, [Text]>),
}

/// One column of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The vendor's field name; nested fields are joined with `.`.
    pub field: Text,
    /// The warehouse column, by the naming rule (docs/warehouse.md#names).
    pub name: Text,
    /// Its type.
    pub kind: ColumnType,
    /// Meaning, unit and source, for the column comment.
    pub meaning: Text,
    /// What becomes of the value that is there when a row is written again.
    pub keep: Keep,
    /// A key column that a record may lack holds an empty string then.
    pub may_be_absent: bool,
    /// Says how a record was asked for, not what the vendor says of it: no part of what tells records apart.
    pub is_ours: bool,
}

/// What a row keeps of a column when it is written again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: the last word of the vendor counts.
    #[default]
    Latest,
    /// The greater value: the vendor may count within the window that was asked for.
    Greatest,
    /// The first value that was ever there.
    First,
    /// The value, unless there is a new one: not every answer has the field.
    Known,
}

impl Column {
    /// A compiled-in column whose last value counts.
    pub const fn new(field: &'static str, name: &'static str, kind: ColumnType, meaning: &'static str) -> Self {
        Self {
            field: Cow::Borrowed(field),
            name: Cow::Borrowed(name),
            kind,
            meaning: Cow::Borrowed(meaning),
            keep: Keep::Latest,
            may_be_absent: false,
            is_ours: false,
        }
    }

    /// The same with another rule for rows that are written again.
    #[must_use]
    pub const fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// The same as something that says how a record was asked for.
    #[must_use]
    pub const fn ours(mut self) -> Self {
        self.is_ours = true;
        self
    }

    /// The same as a part of the key that records may lack.
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
    /// All of them.
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

    /// The type's name in the name of a variant and in the configuration: one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Double => "double",
            _ => self.sql(),
        }
    }

    /// The type of that [`Self::word`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// Whether its values are numbers.
    pub const fn is_number(self) -> bool {
        matches!(self, Self::Bigint | Self::Double | Self::Numeric)
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

impl Stream {
    /// Whether the stream is read in time windows.
    pub const fn windowed(&self) -> bool {
        !matches!(self.mode, Mode::Snapshot | Mode::Observe)
    }

    /// What one row is, for the table's comment: with the vendor's id where the stream says so.
    pub fn comment(&self) -> String {
        match self.id_label {
            Some(label) if !self.meaning.contains(&*self.vendor_id) => {
                format!("{} ({label}{})", self.meaning, self.vendor_id)
            }
            _ => self.meaning.to_string(),
        }
    }

    /// The columns of the primary key, in order.
    pub fn primary_key(&self) -> Vec<&str> {
        let window = (self.mode == Mode::ReplaceWindow).then_some("_window_start");
        let own: Vec<&str> = match &self.key {
            Key::RowHash | Key::Fields(_) | Key::AnyOf(_) => vec!["_row_key"],
            Key::Columns(columns) => columns.iter().map(AsRef::as_ref).collect(),
        };
        ["_connection"].into_iter().chain(window).chain(own).collect()
    }
}
