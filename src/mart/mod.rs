//! The schema `mart`: one set of views over the tables of all vendors.
//!
//! `views/` has a template for each relation. A template refers to a table with undocumented columns as
//! `{{schema.table}}`; [`resolve`] decides which column of the table feeds which field ([`fields`]) and converts it to
//! the field's type, so a view has the same columns with the same types whatever the vendor sends. [`refresh`] finds
//! the views whose statements differ from those that made them, and `make` replaces them. A view computes its rows
//! when it is queried, or reads the table in which they are [`stored`]. All processes make the views by the same
//! settings, those that are [`applied`].

pub mod applied;
pub mod channels;
pub mod fields;
mod make;
pub mod refresh;
pub mod relations;
pub mod resolve;
pub mod state;
pub mod stored;
pub mod template;
pub mod unread;

use std::collections::BTreeMap;

use chrono_tz::Tz;

pub use self::applied::Role;
pub use self::refresh::{Refresh, Views};

/// The section `mart` of the configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The zone of the column `day`.
    pub timezone: Tz,
    /// By table (`schema.table`) and field: the column that feeds the field, instead of the one that is found.
    pub columns: BTreeMap<(String, String), String>,
    /// By vendor and raw name in lower case: the channel. Added to [`channels::SHIPPED`].
    pub channels: BTreeMap<(String, String), String>,
    /// Whether the rows of the views are stored.
    pub materialize: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { timezone: Tz::UTC, columns: BTreeMap::new(), channels: BTreeMap::new(), materialize: false }
    }
}
