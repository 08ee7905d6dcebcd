//! A real PgBouncer between Tidegate and Postgres.

use super::{command_at, count, expect, finding, small_world};
use crate::support::daemon::Daemon;
use crate::support::pgbouncer::PgBouncer;
use crate::support::{TestDatabase, ago};

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_session_mode_needs_no_settings() {
    let world = small_world().await;
    let Some(pooler) = PgBouncer::start(&world.database, "pool_mode = session").await else { return };
    let url = pooler.url(&world.database);
    for args in [&["check"][..], &["migrate"], &["sync"], &["status"]] {
        expect(&command_at(&world, &url, args).await, 0);
    }
    let until = world.scalar("select max(read_until) from tidegate.slice").await;
    world.assert_truth("navigation_marks", ago(2), until).await;
    let daemon = Daemon::start_with(&world, &[("TIDEGATE__DATABASE__URL", &url)]).await;
    let (status, _, said) = daemon.terminate().await;
    assert!(status.success(), "{said}");

    let empty = TestDatabase::create_empty().await;
    expect(&command_at(&world, &pooler.url(&empty), &["migrate"]).await, 0);
    assert!(!pooler.log().contains("unsupported startup parameter"), "{}", pooler.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_transaction_mode_is_refused_with_the_remedy() {
    let world = small_world().await;
    for settings in ["pool_mode = transaction", "pool_mode = transaction\nserver_round_robin = 1\nmin_pool_size = 3"] {
        let Some(pooler) = PgBouncer::start(&world.database, settings).await else { return };
        let url = pooler.url(&world.database);
        let (error, hint, _) = finding(&world, &url).await;
        assert!(error.contains("pools by transaction"), "{error}");
        assert!(hint.contains("pool by session") && hint.contains("`pool_mode = session`"), "{hint}");
        let empty = TestDatabase::create_empty().await;
        for (url, args) in [(&url, "run"), (&url, "sync"), (&pooler.url(&empty), "migrate")] {
            let (_, said) = expect(&command_at(&world, url, &[args]).await, 1);
            assert!(said.contains("pool by session"), "{args}: {said}");
        }
        assert_eq!(count(&empty, "select count(*) from pg_namespace where nspname = 'tidegate'").await, 0);
    }
}

/// What a session reports that does not know the statement that another session of the connection prepared.
#[tokio::test]
async fn an_unknown_prepared_statement_is_reported_as_a_pooler_in_transaction_mode() {
    let database = TestDatabase::create().await;
    let error = sqlx::raw_sql("execute nothing").execute(&database.pool()).await.unwrap_err();
    let error = tidegate::store::migrate::Error::from(error);
    let tidegate::store::migrate::Error::Unfit(unfit) = &error else { panic!("{error:?}") };
    assert!(unfit.to_string().contains("pools by transaction") && unfit.hint.contains("pool by session"), "{unfit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_refused_by_a_pooler_is_named_with_the_setting_that_allows_it() {
    let world = small_world().await;
    let Some(pooler) = PgBouncer::start(&world.database, "pool_mode = session").await else { return };
    let url = format!("{}&options[geqo]=off", pooler.url(&world.database));
    let (error, ..) = finding(&world, &url).await;
    assert!(error.contains("`ignore_startup_parameters = options`"), "{error}");
    let Some(pooler) = PgBouncer::start(&world.database, "ignore_startup_parameters = options").await else { return };
    let url = format!("{}&options[geqo]=off", pooler.url(&world.database));
    expect(&command_at(&world, &url, &["check"]).await, 0);
}
