//! Waiting for something that another task or process does.

use std::panic::Location;
use std::time::{Duration, Instant};

/// Asks `probe` until it has a value, and fails the test, at the caller's place, when `deadline` passes first.
#[track_caller]
pub fn eventually<T, F>(deadline: Duration, mut probe: F) -> impl Future<Output = T>
where
    F: AsyncFnMut() -> Option<T>,
{
    let place = Location::caller();
    async move {
        let begun = Instant::now();
        loop {
            if let Some(value) = probe().await {
                return value;
            }
            assert!(begun.elapsed() < deadline, "{place}: this did not come true within {deadline:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
