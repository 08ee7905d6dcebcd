//! Every shape of refusal that the fact sheets know, and any bytes at all.

use proptest::prelude::*;

use super::*;
use crate::quota::Calls;

fn now() -> DateTime<Utc> {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "compared with what is parsed")]
fn secs(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

fn wait(status: u16, header: Option<&str>, body: &str) -> Option<Duration> {
    parse_wait(status, header, "", body.as_bytes(), now()).wait()
}

#[test]
fn the_documented_messages_are_understood_in_any_form() {
    let cases: &[(&str, Option<Duration>)] = &[
        ("rate limit is Exceeded. Try again in 3 seconds", secs(3)),
        (r#"{ "statusCode": 429, "message": "Rate limit is exceeded. Try again in 3 seconds." }"#, secs(3)),
        ("RATE LIMIT IS EXCEEDED. TRY AGAIN IN 1 SECOND.", secs(1)),
        ("<html><body>Try again in <b>17</b>&nbsp;seconds</body></html>", secs(17)),
        ("Try again in about 2 minutes", secs(120)),
        ("Try again in 90", secs(90)),
        (r#"{"retry_after": 30}"#, secs(30)),
        (r#"{"retryAfter":"00:00:05"}"#, secs(5)),
        ("Quota will be replenished in 03:30:56.", secs(12_656)),
        ("Quota will be replenished in 1.02:00:00", secs(93_600)),
        ("Quota will be replenished in 00:00:03.1200000", secs(4)),
        ("Quota will be replenished in 40000", secs(40_000)),
        ("Try again in 0 seconds", secs(1)),
        ("Try again in 250 ms", secs(1)),
        ("Try again in 99999999999999999999999 seconds", secs(172_800)),
        ("Quota will be replenished in 99999.00:00:00", secs(172_800)),
        ("", None),
        ("Try again later", None),
        ("Introduced in 2026", None),
        (r#"{"timestamp":"2026-11-21T04:57:21Z"}"#, None),
        ("Try again in 1:2:3:4", None),
        ("Try again in -::..", None),
    ];
    for (body, expected) in cases {
        assert_eq!(wait(429, None, body), *expected, "{body}");
    }
}

#[test]
fn the_longer_of_header_and_text_counts() {
    assert_eq!(wait(429, Some("7"), "Try again in 3 seconds"), secs(7));
    assert_eq!(wait(429, Some("2"), "Try again in 3 seconds"), secs(3));
    assert_eq!(wait(429, Some(" 2.5 "), ""), secs(3));
    assert_eq!(wait(429, Some("Sun, 01 Mar 2026 12:10:00 GMT"), ""), secs(600));
    assert_eq!(wait(429, Some("Sun, 01 Mar 2026 11:10:00 GMT"), ""), secs(1));
    assert_eq!(wait(429, Some("0"), ""), secs(1));
    assert_eq!(wait(429, Some("-5"), ""), None);
    assert_eq!(wait(429, Some("NaN"), ""), None);
    assert_eq!(wait(429, Some("1e300"), ""), secs(172_800));
    assert_eq!(wait(429, Some("soon"), ""), None);
}

#[test]
fn a_403_is_a_quota_only_if_it_says_so() {
    let read = |body: &str| parse_wait(403, None, "", body.as_bytes(), now());
    assert_eq!(
        read("Out of bandwidth quota. Quota will be replenished in 11:00:00"),
        Refusal::QuotaSpent { wait: secs(39_600), unit: Some(Unit::Bytes) }
    );
    assert_eq!(
        read(r#"{ "statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 03:30:56." }"#),
        Refusal::QuotaSpent { wait: secs(12_656), unit: Some(Unit::Calls) }
    );
    assert_eq!(read("QUOTA exhausted"), Refusal::QuotaSpent { wait: None, unit: None });
    assert_eq!(read("You lack the permission"), Refusal::Forbidden);
    assert_eq!(read(""), Refusal::Forbidden);
    assert_eq!(
        parse_wait(403, None, "Out of call volume quota", b"", now()),
        Refusal::QuotaSpent { wait: None, unit: Some(Unit::Calls) }
    );
    assert_eq!(parse_wait(503, Some("5"), "", b"Try again in 3 seconds", now()), Refusal::Other);
}

#[test]
fn the_limit_that_was_hit_is_found() {
    let limit = |name: &str, calls, unit, secs| Limit {
        name: name.to_owned(),
        calls,
        unit,
        amount: 1,
        per: Duration::from_secs(secs),
    };
    let limits = [
        limit("create_token", Calls::Login, Unit::Calls, 60),
        limit("requests", Calls::Data, Unit::Calls, 4),
        limit("period_calls", Calls::Every, Unit::Calls, 43_200),
        limit("period_bandwidth", Calls::Every, Unit::Bytes, 43_200),
    ];
    let name = |refusal: Refusal, kind| refusal.limit(kind, &limits).map(|limit| limit.name.as_str());
    assert_eq!(name(Refusal::RateLimited { wait: None }, CallKind::Data), Some("requests"));
    assert_eq!(name(Refusal::RateLimited { wait: None }, CallKind::Login), Some("create_token"));
    let spent = |unit| Refusal::QuotaSpent { wait: None, unit };
    assert_eq!(name(spent(Some(Unit::Calls)), CallKind::Data), Some("period_calls"));
    assert_eq!(name(spent(Some(Unit::Bytes)), CallKind::Data), Some("period_bandwidth"));
    assert!(name(spent(None), CallKind::Data).is_some_and(|name| name.starts_with("period_")));
    assert_eq!(name(Refusal::Forbidden, CallKind::Data), None);
}

#[test]
fn a_rate_refusal_without_a_wait_blocks_the_longest_of_the_short_limits() {
    let limit = |name: &str, secs| Limit {
        name: name.to_owned(),
        calls: Calls::Data,
        unit: Unit::Calls,
        amount: 10,
        per: Duration::from_secs(secs),
    };
    let limits = [limit("burst", 1), limit("requests", 300), limit("day", 86_400)];
    let name = |wait| Refusal::RateLimited { wait }.limit(CallKind::Data, &limits).map(|limit| limit.name.as_str());
    assert_eq!(name(None), Some("requests"));
    assert_eq!(name(Some(Duration::from_secs(1))), Some("burst"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic_and_within_bounds(
        status in prop_oneof![Just(403_u16), Just(429), any::<u16>()],
        header in prop::option::of(".*"),
        reason in ".*",
        body in prop::collection::vec(any::<u8>(), 0..2_000),
    ) {
        let refusal = parse_wait(status, header.as_deref(), &reason, &body, now());
        prop_assert!(refusal.wait().is_none_or(|wait| (WAIT_MIN..=WAIT_MAX).contains(&wait)));
    }

    #[test]
    fn any_near_miss_is_read_without_panic(body in "(in|after|quota|again| |[0-9:.<>&é]|seconds|retry){0,60}") {
        parse_wait(429, Some(&body), &body, body.as_bytes(), now());
    }
}
