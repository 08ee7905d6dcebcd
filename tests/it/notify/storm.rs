//! Everything fails at once.

use std::time::{Duration, Instant};

use tidegate::config::NotifyFormat;
use tidegate::notify::Timing;

use super::{Bench, quick};

#[tokio::test]
async fn a_storm_of_10_000_failing_streams_is_at_most_two_messages() {
    let timing = Timing { pause: Duration::from_mins(5), ..quick() };
    let bench = Bench::with(NotifyFormat::Slack, timing).await;
    bench.accepts().await;
    bench
        .execute(
            "insert into tidegate.stream
                (connection, stream, table_schema, table_name, anchor, timezone, slice, jobs, last_success_at)
            select 'c' || n % 500, 's' || n, 'lynn', 's' || n, '2026-01-01', 'UTC', '1d', '{hourly}', now()
            from generate_series(1, 10000) as n;
            analyze tidegate.stream",
        )
        .await;
    // In waves, as runs end, and with an error of its own for each stream.
    for wave in 1..=10 {
        bench
            .execute(format!(
                "update tidegate.stream set needs_operator = true, last_error = 'no report ' || translate(stream, '0123456789', 'abcdefghij')
                where substr(stream, 2)::integer <= {}",
                wave * 1_000
            ))
            .await;
        let begun = Instant::now();
        bench.check().await;
        assert!(begun.elapsed() < Duration::from_secs(20), "a check took {:?}", begun.elapsed());
        bench.send().await;
    }
    let texts = bench.texts().await;
    assert_eq!(texts.len(), 1, "{texts:?}");
    bench.execute("update tidegate.notification set due_at = now() where state = 'due'").await;
    bench.send().await;
    let texts = bench.texts().await;
    assert_eq!(texts.len(), 2);
    for text in &texts {
        assert!(text.lines().count() <= 12 && text.contains(" more: <https://ops.example/tidegate/|open>"), "{text}");
    }
    assert_eq!(bench.open().await.len(), 500, "one problem for each connection");
}
