//! Where the list of migrations is stored, and who may read the reports.

use tidegate::store::distribution::Distribution;
use tidegate::store::migrate::{self, ReaderRole};

use super::{as_administrator, command_at, count, expect, small_world};
use crate::support::TestDatabase;

#[tokio::test]
async fn a_list_that_an_earlier_version_stored_in_public_is_moved() {
    let database = TestDatabase::create().await;
    let rows = count(&database, "select count(*) from tidegate._sqlx_migrations").await;
    as_administrator(&database, &["alter table tidegate._sqlx_migrations set schema public".to_owned()]).await;
    let mut connection = database.connect().await;
    let applied = migrate::applied(&mut connection).await.unwrap();
    assert_eq!((applied.missing(), applied.newer()), (0, None), "it is read from its place");
    assert_eq!(migrate::migrate(&database.pool(), Distribution::None).await.unwrap(), 0);
    assert_eq!(count(&database, "select count(*) from tidegate._sqlx_migrations").await, rows);
    assert_eq!(count(&database, "select count(*) from pg_tables where schemaname = 'public'").await, 0);
    assert_eq!(migrate::migrate(&database.pool(), Distribution::None).await.unwrap(), 0);
}

#[tokio::test]
async fn the_list_of_another_program_stays_in_public() {
    let database = TestDatabase::create_empty().await;
    let theirs = "create table public._sqlx_migrations (version bigint primary key, description text not null,
            installed_on timestamptz not null default now(), success boolean not null, checksum bytea not null,
            execution_time bigint not null);
        insert into public._sqlx_migrations values (1, 'theirs', now(), true, '\\x00', 1)";
    as_administrator(&database, &[theirs.to_owned()]).await;
    assert!(migrate::migrate(&database.pool(), Distribution::None).await.unwrap() > 10);
    assert_eq!(count(&database, "select count(*) from public._sqlx_migrations where description = 'theirs'").await, 1);
    assert_eq!(count(&database, "select count(*) from public._sqlx_migrations").await, 1);
    assert_eq!(migrate::migrate(&database.pool(), Distribution::None).await.unwrap(), 0);
}

#[tokio::test]
async fn two_processes_migrate_an_empty_database_once() {
    let database = TestDatabase::create_empty().await;
    let (one, other) = (database.another_pool(3), database.another_pool(3));
    let (one, other) =
        tokio::join!(migrate::migrate(&one, Distribution::None), migrate::migrate(&other, Distribution::None));
    let mut applied = [one.unwrap(), other.unwrap()];
    applied.sort_unstable();
    let rows = count(&database, "select count(*) from tidegate._sqlx_migrations").await;
    assert_eq!((applied[0], i64::try_from(applied[1]).unwrap()), (0, rows));
}

/// The state if the role is created after the migrations: no privilege and no default privilege.
const NOTHING_GRANTED: &str = "
    alter default privileges in schema lynn revoke select on tables from tidegate_reader;
    revoke select on all tables in schema lynn from tidegate_reader;
    revoke usage on schema lynn from tidegate_reader";
const MAY_READ: &str = "select has_schema_privilege('tidegate_reader', 'lynn', 'usage')::int::bigint
    + has_table_privilege('tidegate_reader', 'lynn.navigation_marks', 'select')::int::bigint";

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_role_created_later_gets_its_privileges_at_the_next_start() {
    let world = small_world().await;
    as_administrator(&world.database, &[NOTHING_GRANTED.to_owned()]).await;
    assert_eq!(count(&world.database, MAY_READ).await, 0);
    expect(&command_at(&world, world.database.url(), &["migrate"]).await, 0);
    assert_eq!(count(&world.database, MAY_READ).await, 2);
    as_administrator(&world.database, &["create table lynn.later (_run_id bigint)".to_owned()]).await;
    let later = "select has_table_privilege('tidegate_reader', 'lynn.later', 'select')::int::bigint";
    assert_eq!(count(&world.database, later).await, 1, "default privileges");
    // Privileges that an administrator revokes stay revoked.
    let revoked = "revoke select on lynn.navigation_marks from tidegate_reader";
    as_administrator(&world.database, &[revoked.to_owned()]).await;
    expect(&command_at(&world, world.database.url(), &["migrate"]).await, 0);
    assert_eq!(count(&world.database, MAY_READ).await, 1);
    let roles = migrate::reader_roles(&mut world.database.connect().await).await.unwrap();
    let lacking = |name: &str, lacking: &[&str]| ReaderRole {
        name: name.to_owned(),
        is_there: true,
        lacking: lacking.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(roles, [lacking("tidegate_reader", &["lynn.navigation_marks"]), lacking("tidegate_analyst", &[])]);
}

#[tokio::test]
async fn p11_roles_created_later_may_query_the_mart_after_the_next_start() {
    let database = TestDatabase::create().await;
    for role in ["tidegate_reader", "tidegate_analyst"] {
        let nothing = format!(
            "alter default privileges in schema mart revoke select on tables from {role};
            revoke select on all tables in schema mart from {role};
            revoke usage on schema mart from {role}"
        );
        let may_read = format!(
            "select has_schema_privilege('{role}', 'mart', 'usage')::int::bigint
                + has_table_privilege('{role}', 'mart.data_status', 'select')::int::bigint
                + has_table_privilege('{role}', 'mart.day_status', 'select')::int::bigint"
        );
        assert_eq!(count(&database, &may_read).await, 3, "{role}");
        as_administrator(&database, &[nothing]).await;
        assert_eq!(count(&database, &may_read).await, 0, "{role}");
        migrate::migrate(&database.pool(), Distribution::None).await.unwrap();
        assert_eq!(count(&database, &may_read).await, 3, "{role}");
    }
}

#[tokio::test]
async fn a_schema_mart_of_another_program_is_named_before_an_upgrade() {
    let database = TestDatabase::create().await;
    let theirs = "drop schema mart cascade;
        create schema mart;
        delete from tidegate._sqlx_migrations where version = 20261129002000";
    as_administrator(&database, &[theirs.to_owned()]).await;
    let migrate::Error::Unfit(unfit) = migrate::migrate(&database.pool(), Distribution::None).await.unwrap_err() else {
        panic!("it was used")
    };
    assert_eq!(unfit.problems, ["the schema mart exists and is not Tidegate's: rename it, or drop it"]);
}
