//! Promise 2: both limits hold, including polls, and a refusal without a duration is waited for.

use simulator::{Action, Match, WindowKind, Wording};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn p2_neither_limit_is_broken_by_reports_polls_and_lists_of_two_hosts() {
    for window in [WindowKind::Fixed, WindowKind::Sliding] {
        let options = Options { window, ..options() }.limit("lexer.requests", 30, Duration::from_secs(3)).limit(
            "lexer.burst",
            4,
            Duration::from_millis(250),
        );
        let world = world(options, "\"*\"", 2, &[], &["lookback: 0s"]).await;
        world.sync_ok().await;
        let stats = world.control().stats();
        assert!(stats.calls["lexer_status"] > 5 && stats.limits["lexer.requests"].counted > 40, "{:?}", stats.calls);
        let total: u64 =
            stats.calls.iter().filter(|(name, _)| name.starts_with("lexer_")).map(|(_, calls)| calls).sum();
        assert_eq!(stats.limits["lexer.requests"].counted, total, "every call counts");
        for limit in ["lexer.requests", "lexer.burst"] {
            let limit = &stats.limits[limit];
            assert!(limit.refused == 0 && limit.highest_sliding <= limit.amount, "{limit:?}");
        }
        assert_well_behaved(&world);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_refusal_without_a_duration_waits_for_the_long_limit() {
    let options = options().limit("lexer.requests", 1_000, Duration::from_secs(2));
    let world = world(options, "[summary]", 0, &[], &[]).await;
    world
        .control()
        .next(Match::report("summary"), Action::TooMany { seconds: 0, wording: Wording::Empty, header: false });
    world.sync_ok().await;
    let calls: Vec<f64> = world.control().stats().reports.iter().map(|call| call.at_secs).collect();
    assert_eq!(calls.len(), 2);
    assert!(calls[1] - calls[0] >= 2.0, "the period of `requests`, not of `burst`: {calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_limits_are_the_defaults() {
    let world = plain("[summary]", 0).await;
    world.edit_config(|text| {
        let lines = text.lines().filter(|line| !line.contains("quotas") && !line.contains("limit:"));
        lines.collect::<Vec<_>>().join("\n")
    });
    let limits = world.config().connections["acme"].limits.clone();
    let limits: Vec<_> = limits.iter().map(|limit| (limit.name.as_str(), limit.amount, limit.per.as_secs())).collect();
    assert_eq!(limits, [("requests", 100, 300), ("burst", 10, 1)]);
}
