//! Number of rows per day of a report.

use serde::{Deserialize, Serialize};

/// How many rows a day holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Volume {
    /// About this many on an average day for the vendor's largest report (Lynn's Navigation marks), by the company's
    /// weekdays and hours; other reports have as many as belong to the same contacts.
    Around(u64),
    /// Exactly this many for every report and day, spread evenly over the day, and final from the beginning: for tests
    /// that count.
    Exactly(u64),
}
