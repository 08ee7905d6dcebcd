//! The runs that ended, by job and outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::RunOutcome;
use super::labels::RunLabels;

/// In the order of [`RunOutcome::ALL`].
type Counts = [u64; RunOutcome::ALL.len()];

/// A family of counters with a job and an outcome as labels. Ten thousand jobs have 40,000 of them. A `Family` would
/// have an allocation and a key for each: 4 MB.
#[derive(Debug, Clone, Default)]
pub(super) struct Runs(Arc<Mutex<BTreeMap<Arc<str>, Counts>>>);

impl Runs {
    /// Creates the counters of these jobs with the value 0, and removes those of other jobs.
    pub(super) fn configure(&self, jobs: &BTreeSet<String>) {
        let mut counts = self.counts();
        let mut known = std::mem::take(&mut *counts);
        let entry =
            |job: &String| known.remove_entry(job.as_str()).unwrap_or_else(|| (job.as_str().into(), Counts::default()));
        // Built at once: a map that grows in order stays half empty.
        *counts = jobs.iter().map(entry).collect();
    }

    /// Counts a run of the job.
    pub(super) fn count(&self, job: &str, outcome: RunOutcome) {
        let mut counts = self.counts();
        for (count, counted) in counts.entry(job.into()).or_default().iter_mut().zip(RunOutcome::ALL) {
            *count += u64::from(counted == outcome);
        }
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncodeMetric for Runs {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for (job, counts) in &*self.counts() {
            for (outcome, count) in RunOutcome::ALL.into_iter().zip(counts) {
                let labels = RunLabels { tidegate_job: Arc::clone(job), outcome: outcome.label() };
                ConstCounter::new(*count).encode(encoder.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }

    fn is_empty(&self) -> bool {
        self.counts().is_empty()
    }
}
