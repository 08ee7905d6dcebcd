//! Retries of one idempotent call within seconds; longer waits are due times in Postgres.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

use super::HttpError;
use crate::clock;

/// A run that has to wait longer for a quota releases its worker.
pub(super) const WORKER_WAIT_MAX: Duration = Duration::from_mins(1);

/// The configured retries of one idempotent request within seconds.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Number of attempts, including the first.
    pub attempts_max: u32,
    pub initial: Duration,
    pub max: Duration,
}

/// Counts the attempts of one call.
#[derive(Debug)]
pub struct RetryState {
    delays: ExponentialBackoff,
    pause_max: Duration,
    /// Refusals for a quota are waited for by the ledger, but they are bounded too.
    refusals_left: u32,
}

impl RetryState {
    /// `pause_min`: for vendors that require longer pauses than the configured backoff.
    pub fn new(retry: &Retry, pause_min: Duration) -> Self {
        let initial = retry.initial.max(pause_min);
        let delays = ExponentialBuilder::default()
            .with_min_delay(initial)
            .with_max_delay(retry.max.max(initial))
            .with_max_times(retry.attempts_max.saturating_sub(1) as usize)
            .with_jitter()
            .build();
        Self { delays, pause_max: retry.max.max(initial), refusals_left: retry.attempts_max.saturating_sub(1) }
    }

    /// Whether the call that failed with `error` should be sent again. Waits before it returns `true`.
    pub async fn again(&mut self, error: &HttpError) -> bool {
        if let HttpError::RefusedForQuota { until, .. } = error {
            let soon = (*until - clock::now()).to_std().is_ok_and(|wait| wait <= WORKER_WAIT_MAX);
            let left = self.refusals_left > 0;
            self.refusals_left = self.refusals_left.saturating_sub(1);
            return soon && left;
        }
        if !error.is_transient() {
            return false;
        }
        let Some(delay) = self.delays.next() else { return false };
        tokio::time::sleep(self.pause(delay, error)).await;
        true
    }

    /// At least the wait that the server requests, within the configured bound.
    fn pause(&self, delay: Duration, error: &HttpError) -> Duration {
        let asked = match error {
            HttpError::Status { excerpt, .. } => excerpt.retry_after(),
            _ => None,
        };
        delay.max(asked.unwrap_or_default().min(self.pause_max))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Excerpt;
    use super::*;

    #[test]
    fn the_wait_requested_by_a_server_is_bounded() {
        let retry = Retry { attempts_max: 3, initial: Duration::from_secs(1), max: Duration::from_mins(1) };
        let state = RetryState::new(&retry, Duration::ZERO);
        for (asked, waited) in [(None, 2), (Some(1), 2), (Some(7), 7), (Some(9_999_999_999), 60)] {
            let excerpt = Excerpt::new(b"").after(asked.map(Duration::from_secs));
            let pause = state.pause(Duration::from_secs(2), &HttpError::Status { status: 503, excerpt });
            assert_eq!(pause, Duration::from_secs(waited), "{asked:?}");
        }
    }
}
