//! The columns with the time of an entity: by it, old rows of tables without windows are dropped (`warehouse.keep`).

use super::{Mode, Stream};

/// By table, the columns that may hold the time, the likeliest first. The columns of Khoros come with the data.
const COLUMNS: &[(&str, &str, &[&str])] = &[
    ("jaicp", "sessions", &["start_time"]),
    ("jaicp", "messages", &["timestamp"]),
    ("jaicp", "clients", &["last_visit_date"]),
    ("khoros", "conversation", &["created_time", "conversation_created_time", "creation_time", "created_at"]),
    ("khoros", "incoming_post", &["post_time", "posted_time", "published_time", "created_time"]),
    ("khoros", "response", &["response_time", "published_time", "sent_time", "created_time"]),
];

/// Of observations.
const OBSERVED: &[&str] = &["observed_at"];

impl Stream {
    /// Columns with the time of a row that belongs to no window. Empty for tables of windows, for lists, and where rows
    /// have no time.
    pub fn time_columns(&self) -> &'static [&'static str] {
        match self.mode {
            Mode::ReplaceWindow | Mode::Snapshot => &[],
            Mode::Observe => OBSERVED,
            Mode::Upsert => COLUMNS
                .iter()
                .find(|(schema, name, _)| (*schema, *name) == (self.schema, &*self.name))
                .map_or(&[], |(_, _, columns)| columns),
        }
    }
}
