//! Number of rows per day of a report.

use serde::{Deserialize, Serialize};

use super::Dice;

/// More would not fit into the milliseconds of a day.
const ROWS_PER_DAY_MAX: u64 = 40_000_000;

/// How many rows a day holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Volume {
    /// About this many for the vendor's largest report (Lynn's Navigation marks), from a quarter to seven quarters of
    /// it; a share of it for other reports.
    Around(u64),
    /// Exactly this many for every report and day.
    Exactly(u64),
}

impl Volume {
    /// `share`: rows per thousand rows of the vendor's largest report.
    pub fn rows_on(self, seed: u64, report: usize, day: i32, share: u64) -> u64 {
        let rows = match self {
            Self::Exactly(rows) => rows,
            Self::Around(rows) => {
                let mut dice = Dice::new(seed, &[report as u64, u64::from(day.cast_unsigned()), 11]);
                rows * share / 1000 * (250 + dice.below(1501)) / 1000
            }
        };
        rows.min(ROWS_PER_DAY_MAX)
    }
}
