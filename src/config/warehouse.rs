//! How the warehouse's tables are divided, and how long their rows are kept.

use chrono::{DateTime, Datelike as _, Months, NaiveDate, NaiveTime, Utc};
use schemars::JsonSchema;
use serde::Deserialize;

/// The section `warehouse`. Every job has a copy, because it decides what the job reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Warehouse {
    pub partition: Partition,
    /// For how many months rows are kept. `None`: forever.
    pub keep_months: Option<u16>,
}

/// How tables of windows are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Partition {
    /// New tables are not; a table that is partitioned stays so.
    #[default]
    None,
    /// By months of `_window_start`, in UTC.
    Month,
}

impl Warehouse {
    /// What is wholly older than this is dropped and not read again: the begin of the month (UTC) that contains the
    /// time `keep` ago. So it moves once a month, rows are kept for at least `keep`, and whole partitions are dropped.
    pub fn kept_from(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let month = NaiveDate::from_ymd_opt(now.year(), now.month(), 1)?;
        let first = month.checked_sub_months(Months::new(self.keep_months?.into()))?;
        Some(first.and_time(NaiveTime::MIN).and_utc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_kept_from_the_first_of_a_month_on() {
        let kept_from = |months: u16, now: &str| {
            let warehouse = Warehouse { partition: Partition::None, keep_months: Some(months) };
            warehouse.kept_from(now.parse().unwrap()).unwrap().to_rfc3339()
        };
        assert_eq!(kept_from(1, "2024-03-31T23:59:59Z"), "2024-02-01T00:00:00+00:00");
        assert_eq!(kept_from(36, "2024-02-29T12:00:00Z"), "2021-02-01T00:00:00+00:00");
        assert_eq!(kept_from(12, "2024-01-01T00:00:00Z"), "2023-01-01T00:00:00+00:00");
        assert_eq!(Warehouse::default().kept_from(Utc::now()), None);
    }
}
