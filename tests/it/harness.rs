//! The tests' database harness does what the tests rely on.

use sqlx::{Connection, Executor};

use crate::support::TestDatabase;

#[tokio::test]
async fn a_test_database_has_every_migration() {
    let database = TestDatabase::create().await;
    let tables: i64 = sqlx::query_scalar("select count(*) from pg_tables where schemaname = 'tidegate'")
        .fetch_one(&database.pool())
        .await
        .unwrap();
    assert!(tables > 0);
    assert!(database.url().ends_with(database.name()) || database.url().contains(&format!("{}?", database.name())));
    assert_eq!(database.secret().expose(), database.url());
}

#[tokio::test]
async fn two_tests_do_not_see_each_other() {
    let (one, other) = tokio::join!(TestDatabase::create(), TestDatabase::create());
    assert_ne!(one.name(), other.name());
    one.pool().execute("create table only_here (n int)").await.unwrap();
    let seen: Option<String> =
        sqlx::query_scalar("select to_regclass('only_here')::text").fetch_one(&other.pool()).await.unwrap();
    assert_eq!(seen, None);
}

#[tokio::test]
async fn a_test_database_is_dropped_with_its_test_even_while_a_client_is_connected() {
    let database = TestDatabase::create_empty().await;
    let name = database.name().to_owned();
    let _still_connected = database.connect().await;
    drop(database);
    let mut admin = TestDatabase::superuser().await;
    let left: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(name)
        .fetch_one(&mut admin)
        .await
        .unwrap();
    admin.close().await.unwrap();
    assert!(!left);
}
