//! The section `warehouse`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::{Job, JobStream, Warehouse, raw};
use crate::settings::{KeyPath, Months, Report, secs};
use crate::text::show_duration;

/// The shortest month has 28 days.
const MONTH_SECS: u64 = 28 * 86_400;

pub(super) fn check(raw: &raw::Warehouse) -> Warehouse {
    let keep_months = raw.keep.and_then(|Months(months)| (months > 0).then_some(months));
    Warehouse { partition: raw.partition.unwrap_or_default(), keep_months }
}

/// Refuses a `keep` that would drop slices which a job still reads again.
pub(super) fn check_lookback(warehouse: Warehouse, jobs: &BTreeMap<String, Job>, report: &mut Report<'_>) {
    let Some(months) = warehouse.keep_months else { return };
    let again = |job: &Job, entry: &JobStream| entry.lookback + secs(entry.slice.seconds()) + job.settle;
    let windowed = |job| Job::windowed_streams(job).map(move |entry| (job, entry));
    let longest = jobs.values().flat_map(windowed).max_by_key(|(job, entry)| again(job, entry));
    let Some((job, entry)) = longest else { return };
    let needed = again(job, entry);
    if needed <= Duration::from_secs(u64::from(months) * MONTH_SECS) {
        return;
    }
    let least = needed.as_secs().div_ceil(MONTH_SECS);
    let problem = format!(
        "is too short: the job `{}` reads slices of `{}` again that began up to {} ago (`slice`, `lookback` and \
         `settle`), and rows must not be dropped before; write at least `{least} months`",
        job.name,
        entry.stream.name,
        show_duration(needed),
    );
    report.refuse(&KeyPath::default().key("warehouse").key("keep"), problem);
}
