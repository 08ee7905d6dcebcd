//! Waiting for an effect of another task or process.

use std::panic::Location;
use std::time::{Duration, Instant};

/// Calls `probe` until it returns a value. Fails the test, at the caller's location, after `deadline`.
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
