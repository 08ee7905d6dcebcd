//! Processes that state different quotas for one credential.

use std::time::Duration;

use sqlx::PgPool;
use tidegate::quota::{Dispute, Ledger, LedgerKey, Limit, Stated, renew};
use tidegate::store::instance::{self, About};
use url::Url;

use super::{HALF_DAY, SECOND, bytes, calls, granted, new_pool, refused, request};
use crate::support::TestDatabase;

async fn open(pool: &PgPool, (owner, connection): (&str, &str), limits: Vec<Limit>) -> Ledger {
    let key = LedgerKey::derive(pool, &Url::parse("https://vendor.example").unwrap(), &["secret"]).await.unwrap();
    Ledger::open(pool.clone(), owner, &key, connection, limits).await.unwrap()
}

/// The limits of the ledger.
async fn in_force(ledger: &Ledger) -> Vec<(u64, Duration)> {
    ledger.usage().await.unwrap().iter().map(|usage| (usage.amount, usage.per)).collect()
}

/// Renews the process's entry, with the connection `acme`.
async fn beat(pool: &PgPool, owner: &str) -> Vec<Dispute> {
    instance::beat(pool, owner, &[], &About::default()).await.unwrap();
    renew(pool, owner, &["acme".to_owned()]).await.unwrap()
}

#[tokio::test]
async fn p2_if_two_processes_state_different_quotas_the_tighter_one_counts() {
    let database = TestDatabase::create().await;
    let pool = new_pool(&database);
    let wide = open(&pool, ("one", "acme"), vec![calls(3, HALF_DAY)]).await;
    let tight = open(&pool, ("two", "acme"), vec![calls(2, HALF_DAY)]).await;
    let again = open(&pool, ("one", "acme"), vec![calls(3, HALF_DAY)]).await;
    let _used = (granted(&wide, request(0)).await, granted(&again, request(1)).await);
    for ledger in [wide, tight, again] {
        assert_eq!(in_force(&ledger).await, [(2, HALF_DAY)]);
        refused(&ledger, request(2)).await;
    }
}

#[tokio::test]
async fn p2_a_statement_counts_as_long_as_its_process_is_running() {
    let database = TestDatabase::create().await;
    let pool = new_pool(&database);
    let ledger = open(&pool, ("one", "acme"), vec![calls(3, HALF_DAY)]).await;
    assert_eq!(beat(&pool, "one").await, []);
    for ended in [
        "delete from tidegate.instance where owner = 'two'",
        "update tidegate.instance set seen_at = now() - interval '2 minutes' where owner = 'two'",
    ] {
        let _other = open(&pool, ("two", "acme"), vec![calls(2, HALF_DAY)]).await;
        assert_eq!(beat(&pool, "one").await.len(), 1);
        assert_eq!(in_force(&ledger).await, [(2, HALF_DAY)]);
        sqlx::query(ended).execute(&pool).await.unwrap();
        assert_eq!(beat(&pool, "one").await, [], "{ended}");
        assert_eq!(in_force(&ledger).await, [(3, HALF_DAY)], "{ended}");
    }
}

#[tokio::test]
async fn p2_neither_of_two_quotas_with_different_periods_is_exceeded() {
    let database = TestDatabase::create().await;
    let pool = new_pool(&database);
    let one = open(&pool, ("one", "acme"), vec![calls(20, 60 * SECOND), bytes(1_000, SECOND)]).await;
    let _two = open(&pool, ("two", "acme"), vec![calls(1, SECOND), bytes(500, 60 * SECOND)]).await;
    assert_eq!(in_force(&one).await, [(1, 60 * SECOND), (500, 60 * SECOND)]);
    let spans = "select reach > per and (width = interval '0') = (unit = 'calls') from tidegate.quota_limit";
    let sound: Vec<bool> = sqlx::query_scalar(spans).fetch_all(&pool).await.unwrap();
    assert_eq!(sound, [true, true]);
}

#[tokio::test]
async fn p2_two_connections_of_one_process_count_like_two_processes() {
    let database = TestDatabase::create().await;
    let pool = new_pool(&database);
    let ledger = open(&pool, ("one", "acme"), vec![calls(3, HALF_DAY)]).await;
    let _other = open(&pool, ("one", "outbound"), vec![calls(2, HALF_DAY)]).await;
    assert_eq!(in_force(&ledger).await, [(2, HALF_DAY)]);
    let both = ["acme".to_owned(), "outbound".to_owned()];
    let stated = |amount| Stated { amount, per: HALF_DAY };
    let dispute = Dispute {
        limit: "requests".to_owned(),
        connection: "acme".to_owned(),
        here: stated(3),
        other_owner: "one".to_owned(),
        other_connection: "outbound".to_owned(),
        there: stated(2),
        in_force: stated(2),
    };
    assert_eq!(renew(&pool, "one", &both).await.unwrap(), [dispute]);
    // The connection is removed from the configuration.
    assert_eq!(beat(&pool, "one").await, []);
    assert_eq!(in_force(&ledger).await, [(3, HALF_DAY)]);
}

/// A run of `acme` that has waited for `requests` and for an export, and one of another connection. Limits have changed
/// long ago.
const WAITING: &str = "
    delete from tidegate.run;
    update tidegate.quota_limit set changed_at = now() - interval '1 hour';
    with run as (
        insert into tidegate.run (job, connection, kind, state, due_at)
        values
            ('read', 'acme', 'schedule', 'waiting', now() + interval '6 hours'),
            ('other', 'other', 'schedule', 'waiting', now() + interval '6 hours')
        returning id
    )

    insert into tidegate.task (run_id, stream, state, waiting_for, waiting_until, waiting_since)
    select run.id, wait.stream, 'waiting', wait.waiting_for, now() + interval '6 hours', now() - interval '1 minute'
    from run
    cross join (values ('calls', 'quota requests'), ('file', 'export')) as wait (stream, waiting_for);
";

/// The streams that can be worked on now.
async fn due(pool: &PgPool) -> Vec<String> {
    let due = "select run.connection || '/' || task.stream
        from tidegate.run
        inner join tidegate.task on task.run_id = run.id
        where run.due_at <= clock_timestamp() and task.waiting_until <= clock_timestamp()
        order by 1";
    sqlx::query_scalar(due).fetch_all(pool).await.unwrap()
}

#[tokio::test]
async fn tasks_that_wait_for_a_limit_are_due_when_it_changes() {
    let database = TestDatabase::create().await;
    let pool = new_pool(&database);
    let wait = async || sqlx::raw_sql(WAITING).execute(&pool).await.unwrap();
    let _own = open(&pool, ("one", "acme"), vec![calls(3, HALF_DAY)]).await;
    let _tighter = open(&pool, ("two", "acme"), vec![calls(2, HALF_DAY)]).await;
    wait().await;
    beat(&pool, "one").await;
    let _same = open(&pool, ("one", "acme"), vec![calls(3, HALF_DAY)]).await;
    assert_eq!(due(&pool).await, [""; 0], "nothing has changed");

    sqlx::query("delete from tidegate.instance where owner = 'two'").execute(&pool).await.unwrap();
    beat(&pool, "one").await;
    assert_eq!(due(&pool).await, ["acme/calls"], "the process with the smaller limit has ended");

    wait().await;
    let raised = open(&pool, ("one", "acme"), vec![calls(30, HALF_DAY)]).await;
    assert_eq!(due(&pool).await, ["acme/calls"], "the limit was raised");

    wait().await;
    let key = LedgerKey::derive(&pool, &Url::parse("https://vendor.example").unwrap(), &["another"]).await.unwrap();
    let _other = Ledger::open(pool.clone(), "one", &key, "acme", vec![calls(30, HALF_DAY)]).await.unwrap();
    assert_eq!(due(&pool).await, ["acme/calls"], "the credential is another one");
    assert_eq!(in_force(&raised).await, [(30, HALF_DAY)]);
}

#[tokio::test]
async fn a_task_that_has_asked_since_a_limit_changed_waits_on() {
    let database = TestDatabase::create().await;
    let pool = new_pool(&database);
    let _ledger = open(&pool, ("one", "acme"), vec![calls(3, HALF_DAY)]).await;
    sqlx::raw_sql(WAITING).execute(&pool).await.unwrap();
    let changed = |ago: &str| format!("update tidegate.quota_limit set changed_at = now() - interval '{ago}'");
    for (ago, expected) in [("2 minutes", &[""; 0][..]), ("65 seconds", &["acme/calls"])] {
        // A task may store its wait shortly after the change, and have asked before it.
        sqlx::query(sqlx::AssertSqlSafe(changed(ago))).execute(&pool).await.unwrap();
        beat(&pool, "one").await;
        assert_eq!(due(&pool).await, expected, "{ago}");
    }
    // A worker left the run meanwhile, and stored as its time what it had read before.
    sqlx::query("update tidegate.run set due_at = now() + interval '1 hour'").execute(&pool).await.unwrap();
    beat(&pool, "one").await;
    assert_eq!(due(&pool).await, ["acme/calls"]);
}

#[tokio::test]
async fn a_ledger_whose_limits_are_stated_is_opened_without_a_write() {
    let database = TestDatabase::create().await;
    let pool = new_pool(&database);
    let versions = async || -> Vec<String> {
        let versions = "select xmin::text from tidegate.quota_statement
            union all select xmin::text from tidegate.quota_limit
            union all select xmin::text from tidegate.quota_ledger";
        sqlx::query_scalar(versions).fetch_all(&pool).await.unwrap()
    };
    let _first = open(&pool, ("one", "acme"), vec![calls(3, HALF_DAY)]).await;
    let before = versions().await;
    let second = open(&pool, ("one", "acme"), vec![calls(3, HALF_DAY)]).await;
    assert_eq!(versions().await, before);
    assert_eq!(in_force(&second).await, [(3, HALF_DAY)]);
    let _used = granted(&second, request(0)).await;
    for (owner, limits) in [("one", vec![calls(2, HALF_DAY)]), ("two", vec![calls(2, HALF_DAY)])] {
        let before = versions().await;
        let changed = open(&pool, (owner, "acme"), limits).await;
        assert_ne!(versions().await, before, "{owner}");
        assert_eq!(in_force(&changed).await, [(2, HALF_DAY)], "{owner}");
    }
}
