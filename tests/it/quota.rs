//! Promise 2 on a real Postgres: many tasks and several pools on one ledger never exceed a limit, and use it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use tidegate::quota::{
    CallKind, Calls, Grant, Ledger, LedgerError, LedgerKey, Limit, Request, Reservation, Settlement, Unit, Usage, Uses,
};
use tokio::task::JoinSet;
use url::Url;
use uuid::Uuid;

use crate::support::TestDatabase;
use crate::support::bench::limit;

mod pace;
mod statement;
mod waited;

/// The pool of a separate process.
fn new_pool(database: &TestDatabase) -> PgPool {
    database.another_pool(8)
}

fn calls(amount: u64, per: Duration) -> Limit {
    limit("requests", Calls::Every, Unit::Calls, amount, per)
}

fn bytes(amount: u64, per: Duration) -> Limit {
    limit("bandwidth", Calls::Every, Unit::Bytes, amount, per)
}

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HALF_DAY: Duration = Duration::from_hours(12);

async fn open(pool: &PgPool, limits: Vec<Limit>) -> Ledger {
    open_as(pool, "acme", "secret", limits).await
}

async fn open_as(pool: &PgPool, connection: &str, secret: &str, limits: Vec<Limit>) -> Ledger {
    let base_url = Url::parse("https://vendor.example").unwrap();
    let key = LedgerKey::derive(pool, &base_url, &["tester-4411", secret]).await.unwrap();
    Ledger::open(pool.clone(), "this", &key, connection, limits).await.unwrap()
}

fn request(waiter: u128) -> Request {
    Request {
        kind: CallKind::Data,
        bytes: 0,
        priority: 0,
        due: DateTime::UNIX_EPOCH,
        waiter: Uuid::from_u128(waiter + 1),
    }
}

async fn granted(ledger: &Ledger, request: Request) -> Reservation {
    match ledger.reserve(&request).await.unwrap() {
        Grant::Now(reservation) => reservation,
        Grant::Wait { wait, limit, .. } => panic!("told to wait {wait:?} for {limit}"),
    }
}

async fn refused(ledger: &Ledger, request: Request) -> (DateTime<Utc>, Duration, String) {
    match ledger.reserve(&request).await.unwrap() {
        Grant::Now(reservation) => panic!("granted at {}", reservation.granted_at()),
        Grant::Wait { until, wait, limit } => (until, wait, limit),
    }
}

/// Waits as the ledger demands until the call may be sent.
async fn patient(ledger: &Ledger, request: Request) -> Reservation {
    loop {
        match ledger.reserve(&request).await.unwrap() {
            Grant::Now(reservation) => return reservation,
            Grant::Wait { wait, .. } => tokio::time::sleep(wait).await,
        }
    }
}

#[tokio::test]
async fn higher_priority_goes_first_then_the_older_due_time() {
    let database = TestDatabase::create().await;
    let ledger = open(&new_pool(&database), vec![calls(1, 1_500 * MILLISECOND)]).await;
    let _first = granted(&ledger, request(0)).await;
    let day = |day: i64| DateTime::UNIX_EPOCH + TimeDelta::days(day);
    let ranks = [(0, day(3)), (0, day(2)), (-1, day(1)), (7, day(9))];
    let mut set = JoinSet::new();
    for (index, (priority, due)) in ranks.into_iter().enumerate() {
        let ledger = ledger.clone();
        let asks = Request { priority, due, ..request(10 + index as u128) };
        // All have asked before the first one is granted.
        refused(&ledger, asks).await;
        set.spawn(async move { (patient(&ledger, asks).await.granted_at(), index) });
    }
    let mut order = set.join_all().await;
    order.sort_unstable();
    assert_eq!(order.into_iter().map(|(_, index)| index).collect::<Vec<_>>(), [3, 1, 0, 2]);
}

#[tokio::test]
async fn a_call_that_delays_no_higher_rank_is_not_held_back() {
    let database = TestDatabase::create().await;
    let limits = vec![calls(1, SECOND), limit("bandwidth", Calls::Data, Unit::Bytes, 100, HALF_DAY)];
    let ledger = open(&new_pool(&database), limits).await;
    granted(&ledger, Request { bytes: 60, ..request(0) }).await.settle(&ledger, used(60)).await.unwrap();
    let large = Request { bytes: 50, priority: 5, ..request(1) };
    assert_eq!(refused(&ledger, large).await.2, "bandwidth");
    // Ten bytes would fit, but the large call would lack them later.
    assert_eq!(refused(&ledger, Request { bytes: 10, ..request(2) }).await.2, "bandwidth");
    // A login uses no bandwidth, and the call rate is free again long before the large call can be sent.
    let login = patient(&ledger, Request { kind: CallKind::Login, ..request(3) });
    let _login = tokio::time::timeout(60 * SECOND, login).await.unwrap();
}

#[tokio::test]
async fn a_dead_waiter_delays_others_only_until_it_expires() {
    let database = TestDatabase::create().await;
    let ledger = open(&new_pool(&database), vec![calls(1, 2 * SECOND)]).await;
    let _first = granted(&ledger, request(0)).await;
    let (_, wait, _) = refused(&ledger, Request { priority: 9, ..request(1) }).await;
    let asked = Instant::now();
    let _other = patient(&ledger, request(2)).await;
    let waited = asked.elapsed();
    assert!(waited >= wait + 2 * SECOND, "its turn was kept for {waited:?}");
    // Four seconds, and the delay of a busy machine.
    assert!(waited <= wait + 20 * SECOND, "its turn was kept for {waited:?}");
}

#[tokio::test]
async fn a_cancelled_wait_frees_its_place_at_once() {
    let database = TestDatabase::create().await;
    let ledger = open(&new_pool(&database), vec![calls(1, 2 * SECOND)]).await;
    let _first = granted(&ledger, request(0)).await;
    let (_, wait, _) = refused(&ledger, Request { priority: 9, ..request(1) }).await;
    ledger.cancel_wait(request(1).waiter).await.unwrap();
    tokio::time::sleep(wait).await;
    let _other = granted(&ledger, request(2)).await;
}

#[tokio::test]
async fn a_block_applies_to_all_callers_and_is_never_shortened() {
    let database = TestDatabase::create().await;
    let ledger = open(&new_pool(&database), vec![calls(10, SECOND)]).await;
    let until = ledger.block("requests", Some(3_600 * SECOND)).await.unwrap();
    assert_eq!(ledger.block("requests", Some(SECOND)).await.unwrap(), until);
    assert_eq!(ledger.block("requests", None).await.unwrap(), until);
    let other = open(&new_pool(&database), vec![calls(10, SECOND)]).await;
    let (told, wait, limit) = refused(&other, request(1)).await;
    assert_eq!((told, limit.as_str()), (until, "requests"));
    assert!(wait <= 300 * SECOND, "nobody sleeps for {wait:?} without asking again");
    let usage = other.usage().await.unwrap();
    assert_eq!((usage[0].blocked_until, usage[0].next_free), (Some(until), Some(until)));
    // What pages and metrics read of all ledgers is the same.
    let mut conn = database.connect().await;
    let uses = Uses::read(&mut conn, None).await.unwrap().in_use(&BTreeMap::new());
    let uses: Vec<Usage> = uses.into_iter().map(|one| one.usage).collect();
    assert_eq!(uses, usage);
    let unknown = ledger.block("bandwith", None).await.unwrap_err();
    assert!(matches!(unknown, LedgerError::UnknownLimit { .. }));
}

#[tokio::test]
async fn p12_a_wait_is_at_most_the_limits_period_plus_one_minute() {
    let database = TestDatabase::create().await;
    for (number, per) in [SECOND, 300 * SECOND, HALF_DAY].into_iter().enumerate() {
        let pool = new_pool(&database);
        let ledger = open(&pool, vec![Limit { name: format!("limit-{number}"), ..calls(1, per) }]).await;
        let now = ledger.snapshot().await.unwrap().now;
        let until = ledger.block(&format!("limit-{number}"), Some(Duration::from_secs(9_999_999_999))).await.unwrap();
        let wait = (until - now).to_std().unwrap();
        assert!(wait >= per && wait <= per + 65 * SECOND, "{per:?}: {wait:?}");
    }
}

#[tokio::test]
async fn a_zero_wait_still_waits_and_an_unknown_wait_grows() {
    let database = TestDatabase::create().await;
    let pool = new_pool(&database);
    let ledger = open(&pool, vec![calls(3, 60 * SECOND)]).await;
    let start = ledger.snapshot().await.unwrap().now;
    let until = ledger.block("requests", Some(Duration::ZERO)).await.unwrap();
    assert!(until - start >= TimeDelta::seconds(20), "three a minute means twenty seconds at least");
    let mut steps = Vec::new();
    for _ in 0..12 {
        // The time passes.
        sqlx::query("update tidegate.quota_limit set blocked_until = clock_timestamp() - interval '1 ms'")
            .execute(&pool)
            .await
            .unwrap();
        let now = ledger.snapshot().await.unwrap().now;
        steps.push((ledger.block("requests", None).await.unwrap() - now).num_seconds());
    }
    assert!(steps[..8].windows(2).all(|pair| pair[1] >= pair[0] * 2 - 5), "{steps:?}");
    assert!(steps.iter().all(|step| *step <= 43_210), "{steps:?}");
    assert!(steps[11] >= 43_199, "{steps:?}");
}

fn used(bytes: u64) -> Settlement {
    Settlement { bytes, ..Settlement::default() }
}

#[tokio::test]
async fn real_bytes_replace_the_estimate_upwards_and_downwards() {
    let database = TestDatabase::create().await;
    let ledger = open(&new_pool(&database), vec![bytes(1_000, HALF_DAY)]).await;
    let estimate = |bytes| Request { bytes, ..request(bytes.into()) };
    let first = granted(&ledger, estimate(600)).await;
    assert_eq!(ledger.remaining_bytes().await.unwrap(), Some(400));
    assert_eq!(refused(&ledger, estimate(500)).await.2, "bandwidth");
    first.settle(&ledger, used(100)).await.unwrap();
    assert_eq!(ledger.remaining_bytes().await.unwrap(), Some(900));
    let second = granted(&ledger, estimate(500)).await;
    second.settle(&ledger, used(1_300)).await.unwrap();
    assert_eq!(ledger.usage().await.unwrap()[0].used, 1_400);
    assert_eq!(ledger.remaining_bytes().await.unwrap(), Some(0));
    let (until, ..) = refused(&ledger, estimate(1)).await;
    let now = ledger.snapshot().await.unwrap().now;
    assert!(until - now > TimeDelta::hours(12) && until - now < TimeDelta::minutes(12 * 60 + 8));
}

#[tokio::test]
async fn p2_the_stored_sum_of_a_limit_is_that_of_its_uses_after_every_change_of_them() {
    let database = TestDatabase::create().await;
    let pool = new_pool(&database);
    let ledger = open(&pool, vec![calls(100, HALF_DAY), bytes(10_000, HALF_DAY)]).await;
    let agree = async |uses: i64| {
        let sums = "
            select count(*) filter (
                where (spent.used, spent.first_ends_at, spent.last_ends_at)
                is distinct from (coalesce(uses.used, 0), uses.first_ends_at, uses.last_ends_at)
            )
            from tidegate.quota_spent as spent
            left join (
                select limit_id, sum(used) as used, min(ends_at) as first_ends_at, max(ends_at) as last_ends_at
                from tidegate.quota_use
                group by limit_id
            ) as uses on uses.limit_id = spent.limit_id";
        let different: i64 = sqlx::query_scalar(sums).fetch_one(&pool).await.unwrap();
        let found: i64 = sqlx::query_scalar("select count(*) from tidegate.quota_use").fetch_one(&pool).await.unwrap();
        assert_eq!((different, found > 0), (0, uses > 0));
    };
    for number in 0..3 {
        let reservation = granted(&ledger, Request { bytes: 400, ..request(number) }).await;
        agree(1).await;
        reservation.settle(&ledger, used(if number == 1 { 900 } else { 100 })).await.unwrap();
        agree(1).await;
    }
    for change in [
        "update tidegate.quota_use set ends_at = ends_at + interval '1 hour'",
        "insert into tidegate.quota_use select limit_id, ends_at - interval '2 days', 7 from tidegate.quota_use",
        "update tidegate.quota_use set limit_id = 3 - limit_id where used = 7",
        "delete from tidegate.quota_use where used = 7",
    ] {
        sqlx::query(change).execute(&pool).await.unwrap();
        agree(1).await;
    }
    for change in ["truncate tidegate.quota_use", "delete from tidegate.quota_limit"] {
        let _ = granted(&ledger, Request { bytes: 400, ..request(9) }).await;
        agree(1).await;
        sqlx::query(change).execute(&pool).await.unwrap();
        agree(0).await;
    }
}

#[tokio::test]
async fn a_dropped_reservation_stays_counted_as_estimated() {
    let database = TestDatabase::create().await;
    let ledger = open(&new_pool(&database), vec![bytes(1_000, HALF_DAY)]).await;
    drop(granted(&ledger, Request { bytes: 400, ..request(0) }).await);
    assert_eq!(ledger.remaining_bytes().await.unwrap(), Some(600));
}

#[tokio::test]
async fn an_estimate_beyond_the_whole_limit_runs_when_nothing_else_is_used() {
    let database = TestDatabase::create().await;
    let ledger = open(&new_pool(&database), vec![bytes(1_000, HALF_DAY)]).await;
    let large = granted(&ledger, Request { bytes: u64::MAX, ..request(0) }).await;
    large.settle(&ledger, used(10)).await.unwrap();
    assert_eq!(ledger.remaining_bytes().await.unwrap(), Some(990));
    assert_eq!(refused(&ledger, Request { bytes: u64::MAX, ..request(0) }).await.2, "bandwidth");
}

#[tokio::test]
async fn p2_the_call_after_a_late_request_keeps_its_distance() {
    let database = TestDatabase::create().await;
    let ledger = open(&new_pool(&database), vec![calls(1, 10 * SECOND)]).await;
    let mut first = granted(&ledger, request(0)).await;
    let (until, ..) = refused(&ledger, request(1)).await;
    first.departed(&ledger, 2 * SECOND).await.unwrap();
    let (later, ..) = refused(&ledger, request(1)).await;
    assert!(later > until && later - first.granted_at() >= TimeDelta::seconds(12), "{until} {later}");
    // Settling with an earlier time does not move it back.
    let settlement = Settlement { sent_at_offset: Some(SECOND), ..Settlement::default() };
    first.settle(&ledger, settlement).await.unwrap();
    assert_eq!(refused(&ledger, request(1)).await.0, later);
}

#[tokio::test]
async fn p2_a_slow_database_does_not_shorten_the_distance_between_calls() {
    let database = TestDatabase::create().await;
    let pool = new_pool(&database);
    let ledger = open(&pool, vec![calls(1, 2 * SECOND)]).await;
    // The clock has been read when the row is written.
    for statement in [
        "create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.15); return new; end'",
        "create trigger slow before insert on tidegate.quota_use for each row execute function slow()",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    let reservation = granted(&ledger, request(0)).await;
    let age = reservation.age();
    assert!(age >= 300 * MILLISECOND, "counted late, then moved late");
    let counted_at: DateTime<Utc> = sqlx::query_scalar("select max(ends_at) from tidegate.quota_use where used > 0")
        .fetch_one(&pool)
        .await
        .unwrap();
    let lead = counted_at - (reservation.granted_at() + age);
    assert!(lead > TimeDelta::milliseconds(-100), "it is counted {lead} before it can leave");
}

#[tokio::test]
async fn p2_a_grant_that_arrives_too_late_is_released_and_requested_again() {
    let database = TestDatabase::create().await;
    let pool = new_pool(&database);
    let limits = vec![calls(1, SECOND), limit("bandwidth", Calls::Every, Unit::Bytes, 1_000, HALF_DAY)];
    let ledger = open(&pool, limits).await;
    // The response with the first grant takes longer than the period. A caller that asks then gets the next one.
    for statement in [
        "create sequence asked",
        "create function slow() returns trigger language plpgsql as
            'begin if nextval(''asked'') = 1 then perform pg_sleep(1.5); end if; return new; end'",
        "create trigger slow before insert on tidegate.quota_use for each row execute function slow()",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    let reservation = patient(&ledger, Request { bytes: 600, ..request(0) }).await;
    assert!(reservation.age() < SECOND, "not the first one");
    assert_eq!(ledger.remaining_bytes().await.unwrap(), Some(400), "the first one is not counted");
}

#[tokio::test]
async fn an_isolation_level_stricter_than_the_ledger_needs_is_refused() {
    let database = TestDatabase::create().await;
    let pool = new_pool(&database);
    let ledger = open(&pool, vec![calls(1, SECOND)]).await;
    let mut strict = pool.acquire().await.unwrap();
    sqlx::query("set default_transaction_isolation = 'repeatable read'").execute(&mut *strict).await.unwrap();
    drop(pool);
    let error = sqlx::query("select * from tidegate.quota_reserve(1, array[1], 0, gen_random_uuid(), 0, now())")
        .execute(&mut *strict)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("read committed"), "{error}");
    let _fine = granted(&ledger, request(0)).await;
}

#[tokio::test]
async fn a_vendor_without_limits_never_waits() {
    let database = TestDatabase::create().await;
    let ledger = open(&new_pool(&database), Vec::new()).await;
    for _ in 0..3 {
        granted(&ledger, Request { bytes: 9, ..request(0) }).await.settle(&ledger, used(9)).await.unwrap();
    }
    assert_eq!(ledger.usage().await.unwrap(), []);
}

#[tokio::test]
async fn a_forecast_starts_from_what_is_used() {
    let database = TestDatabase::create().await;
    let ledger = open(&new_pool(&database), vec![calls(1, 4 * SECOND), bytes(100, HALF_DAY)]).await;
    let granted_at = granted(&ledger, Request { bytes: 50, ..request(0) }).await.granted_at();
    let snapshot = ledger.snapshot().await.unwrap();
    let after = |calls, bytes| snapshot.finish(CallKind::Data, calls, bytes) - granted_at;
    assert!(after(1, 10) > TimeDelta::seconds(4) && after(1, 10) < TimeDelta::seconds(7));
    assert!(after(5, 10) > TimeDelta::seconds(20) && after(5, 10) < TimeDelta::seconds(23));
    assert!(after(6, 10) > TimeDelta::hours(12) && after(6, 10) < TimeDelta::minutes(12 * 60 + 8));
}

#[tokio::test]
async fn connections_with_one_credential_share_one_ledger_and_others_do_not() {
    let database = TestDatabase::create().await;
    let pool = new_pool(&database);
    let limits = || vec![calls(1, HALF_DAY)];
    let reporting = open_as(&pool, "acme-lynn", "one", limits()).await;
    let outbound = open_as(&pool, "acme-outbound", "one", limits()).await;
    let stranger = open_as(&pool, "other", "two", limits()).await;
    let _only = granted(&reporting, request(0)).await;
    refused(&outbound, request(1)).await;
    let _other = granted(&stranger, request(2)).await;
    let names: Vec<Vec<String>> =
        sqlx::query_scalar("select connections from tidegate.quota_ledger order by id").fetch_all(&pool).await.unwrap();
    assert_eq!(names, [vec!["acme-lynn", "acme-outbound"], vec!["other"]]);
    let rows: String = sqlx::query_scalar("select string_agg(l::text, '') from tidegate.quota_ledger as l")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(!rows.contains("one") && !rows.contains("tester-4411"), "p7: {rows}");
}

#[tokio::test]
async fn a_changed_limit_takes_effect_and_keeps_the_history() {
    let database = TestDatabase::create().await;
    let pool = new_pool(&database);
    let ledger = open(&pool, vec![calls(2, HALF_DAY)]).await;
    let _used = (granted(&ledger, request(0)).await, granted(&ledger, request(0)).await);
    refused(&ledger, request(0)).await;
    let wider = open(&pool, vec![calls(3, HALF_DAY)]).await;
    let _third = granted(&wider, request(0)).await;
    refused(&wider, request(0)).await;
    // The process that has not been restarted sees it too.
    assert_eq!(ledger.usage().await.unwrap()[0].amount, 3);
    // From exact send times to buckets and back.
    let counted = open(&pool, vec![calls(10_000, HALF_DAY)]).await;
    let _fourth = granted(&counted, request(0)).await;
    assert_eq!(counted.usage().await.unwrap()[0].used, 4);
    let narrow = open(&pool, vec![calls(4, HALF_DAY)]).await;
    refused(&narrow, request(0)).await;
}

#[tokio::test]
async fn logins_and_data_calls_are_counted_separately_and_together() {
    let database = TestDatabase::create().await;
    let limits = vec![
        limit("create_token", Calls::Login, Unit::Calls, 1, HALF_DAY),
        limit("requests", Calls::Data, Unit::Calls, 1, HALF_DAY),
        limit("period_calls", Calls::Every, Unit::Calls, 3, HALF_DAY),
    ];
    let ledger = open(&new_pool(&database), limits).await;
    let login = Request { kind: CallKind::Login, ..request(0) };
    let _calls = (granted(&ledger, login).await, granted(&ledger, request(1)).await);
    assert_eq!(refused(&ledger, login).await.2, "create_token");
    assert_eq!(refused(&ledger, request(1)).await.2, "requests");
    let used: Vec<u64> = ledger.usage().await.unwrap().iter().map(|usage| usage.used).collect();
    assert_eq!(used, [1, 1, 2]);
}

#[tokio::test]
async fn a_limit_of_zero_is_refused() {
    let database = TestDatabase::create().await;
    let pool = new_pool(&database);
    let key = LedgerKey::derive(&pool, &Url::parse("https://vendor.example").unwrap(), &[]).await.unwrap();
    for wrong in [calls(0, SECOND), calls(1, Duration::ZERO), calls(1, Duration::MAX)] {
        let error = Ledger::open(pool.clone(), "this", &key, "acme", vec![wrong]).await.unwrap_err();
        assert!(matches!(error, LedgerError::InvalidLimit { .. }));
    }
}
