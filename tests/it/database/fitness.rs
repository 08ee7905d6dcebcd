//! An unsuitable database is reported before anything is changed, with the SQL that helps.

use super::role::Role;
use super::{as_administrator, command_at, count, expect, finding, small_world};
use crate::support::TestDatabase;

const SCHEMAS: &str = "select count(*) from pg_namespace where nspname in ('tidegate', 'lynn')";

/// The settings of a careful administrator: no role has a privilege that was not granted.
async fn locked_database() -> TestDatabase {
    let database = TestDatabase::create_empty().await;
    let name = database.name();
    let revoked = [
        format!("revoke temporary on database {name} from public;"),
        "revoke all on schema public from public;".to_owned(),
    ];
    as_administrator(&database, &revoked).await;
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_privileges_is_shown_sufficient_statements() {
    let (world, database, role) = (small_world().await, locked_database().await, Role::create("").await);
    let (url, login, name) = (role.url(&database), &role.name, database.name());
    let (error, hint, statements) = finding(&world, &url).await;
    let expected = [
        format!("grant create on database {name} to \"{login}\";"),
        format!("grant temporary on database {name} to \"{login}\";"),
    ];
    assert_eq!(statements, expected);
    assert!(error.contains("may not create schemas") && error.contains("may not create temporary tables"), "{error}");
    assert!(hint.contains(name), "{hint}");
    // The same in all other places where it would fail, and nothing is half done.
    for args in [&["check"][..], &["migrate"], &["sync"], &["run"]] {
        let (_, said) = expect(&command_at(&world, &url, args).await, 1);
        for statement in &expected {
            assert!(said.contains(&format!("\n    {statement}\n")), "{args:?}: {said}");
        }
    }
    assert_eq!(count(&database, SCHEMAS).await, 0);

    as_administrator(&database, &statements).await;
    let (said, warned) = expect(&command_at(&world, &url, &["migrate"]).await, 0);
    assert!(said.contains("migrations applied"), "{said}");
    assert!(!warned.contains("tidegate_reader"), "the role exists, though this login may not make it: {warned}");
    expect(&command_at(&world, &url, &["check"]).await, 0);
    expect(&command_at(&world, &url, &["sync"]).await, 0);
    assert!(count(&database, "select count(*) from lynn.navigation_marks").await > 0);
    // The privilege to create schemas is needed only once.
    as_administrator(&database, &[format!("revoke create on database {name} from \"{login}\"")]).await;
    expect(&command_at(&world, &url, &["migrate"]).await, 0);
    drop(database);
    role.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statements_transfer_tables_of_another_role() {
    let (world, role) = (small_world().await, Role::create("").await);
    let url = role.url(&world.database);
    let (error, _, statements) = finding(&world, &url).await;
    assert!(error.contains("tables and functions belong to the role"), "{error}");
    let schema = format!("grant usage, create on schema lynn to \"{}\";", role.name);
    let table = format!("alter table lynn.navigation_marks owner to \"{}\";", role.name);
    assert!(statements.contains(&schema) && statements.contains(&table), "{statements:?}");
    assert!(!statements.iter().any(|line| line.starts_with("grant tidegate ")), "not for a superuser's role");
    as_administrator(&world.database, &statements).await;
    for args in [&["check"][..], &["migrate"], &["sync"]] {
        expect(&command_at(&world, &url, args).await, 0);
    }

    // A role that is not a superuser shares what it owns through membership.
    let other = Role::create("").await;
    let (_, _, statements) = finding(&world, &other.url(&world.database)).await;
    assert!(statements.contains(&format!("grant \"{}\" to \"{}\";", role.name, other.name)), "{statements:?}");
    as_administrator(&world.database, &statements).await;
    for args in [&["check"][..], &["sync"]] {
        expect(&command_at(&world, &other.url(&world.database), args).await, 0);
    }
    drop(world);
    other.remove().await;
    role.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_another_encoding_is_refused_with_the_remedy() {
    let (world, database) = (small_world().await, TestDatabase::create_encoded("LATIN1").await);
    let (error, hint, statements) = finding(&world, database.url()).await;
    assert!(error.contains("the encoding of the database is LATIN1; Tidegate needs UTF8"), "{error}");
    assert!(hint.contains("create a database with the encoding UTF8"), "{hint}");
    assert_eq!(statements.len(), 1);
    for args in [&["migrate"][..], &["run"]] {
        let (_, said) = expect(&command_at(&world, database.url(), args).await, 1);
        assert!(said.contains("the encoding of the database is LATIN1") && said.contains(&statements[0]), "{said}");
    }
    assert_eq!(count(&database, SCHEMAS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_version_is_refused() {
    let world = small_world().await;
    let newer = "insert into tidegate._sqlx_migrations (version, description, success, checksum, execution_time)
        values (29991231000000, 'to come', true, '\\x00', 1)";
    as_administrator(&world.database, &[newer.to_owned()]).await;
    let (error, hint, _) = finding(&world, world.database.url()).await;
    assert!(error.contains("newer Tidegate: migration 29991231000000"), "{error}");
    assert!(hint.contains("use that version or later"), "{hint}");
    for args in [&["migrate"][..], &["run"], &["status"]] {
        let (_, said) = expect(&command_at(&world, world.database.url(), args).await, 1);
        assert!(said.contains("made by a newer Tidegate"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_a_database_that_only_reads_is_named_with_the_remedy() {
    let (world, empty) = (small_world().await, TestDatabase::create_empty().await);
    for database in [&world.database, &empty] {
        let name = database.name();
        let frozen = format!("alter database {name} set default_transaction_read_only = on");
        as_administrator(database, &[frozen]).await;
        let (error, hint, statements) = finding(&world, database.url()).await;
        assert_eq!(error, "the database only reads: it is a standby, or was made read-only");
        assert!(hint.contains("made the database read-only"), "{hint}");
        assert_eq!(statements, [format!("alter database {name} reset default_transaction_read_only;")]);
        for args in [&["migrate"][..], &["sync"]] {
            let (_, said) = expect(&command_at(&world, database.url(), args).await, 1);
            assert!(said.contains("the database only reads") && said.contains(&statements[0]), "{args:?}: {said}");
            assert!(!said.contains("at line"), "{said}");
        }
    }
    // The same if it is noticed only during the migration.
    let (_, said) = expect(&command_at(&world, world.database.url(), &["quota", "--ask"]).await, 1);
    assert!(
        said.contains("the database only reads: it is a standby") && said.contains("hint: name the primary"),
        "{said}"
    );
    assert!(!said.contains("did not respond"), "{said}");
    let (_, said) = expect(&command_at(&world, world.database.url(), &["runs", "cancel", "1"]).await, 1);
    assert!(said.contains("(SQLSTATE 25006)\nhint: name the primary server"), "{said}");

    let url = format!("{}&options[default_transaction_read_only]=on", empty.url());
    let writes = format!("alter database {} reset default_transaction_read_only", empty.name());
    let mut admin = TestDatabase::superuser().await;
    super::execute(&mut admin, writes).await;
    let (_, said) = expect(&command_at(&world, &url, &["migrate"]).await, 1);
    assert!(said.contains("set `default_transaction_read_only` to off where it was set"), "{said}");
    expect(&command_at(&world, empty.url(), &["migrate"]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_not_tidegates_is_named() {
    let (world, database) = (small_world().await, TestDatabase::create_empty().await);
    as_administrator(&database, &["create schema lexer".to_owned()]).await;
    let (error, ..) = finding(&world, database.url()).await;
    assert!(error.starts_with("the schema lexer exists, and Tidegate's list of migrations does not"), "{error}");
}
