//! Makes a view, or replaces it.
//!
//! Each view is replaced in a transaction of its own that waits for no lock longer than [`LOCK_MAX`], because readers
//! queue behind it. Only one process works at a time: it locks a row of `tidegate.lock`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::relations::{Relation, TEXTS};
use super::{applied, template};
use crate::store::ident::{literal, table as qualified};
use crate::store::session::Deadline as _;

/// How long a transaction waits for a lock on a view, and so locks out readers at most.
const LOCK_MAX: &str = "500ms";
/// How long a process waits for another one that makes a view, which takes it less.
const TURN_MAX: &str = "10s";
/// SQLSTATE of `create or replace view` with other columns than before.
const OTHER_COLUMNS: &str = "42P16";
/// SQLSTATE of a view that cannot be dropped because others depend on it.
const IN_USE: &str = "2BP01";
/// SQLSTATE of a lock that was not granted in time.
const LOCKED: &str = "55P03";

/// This version of the program, as it is recorded with the views. The hash tells apart builds of the same number.
pub(super) static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} {}", env!("CARGO_PKG_VERSION"), template::fingerprint()));

/// What happened to a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Made,
    /// Another process made it meanwhile, or applied other settings. The next pass looks again.
    MadeByOthers,
    /// A reader of the view or another process holds a lock. The next pass tries again.
    Locked,
    /// Views outside the mart read it, so it cannot get other columns.
    InUse(Vec<String>),
}

/// The statements of a view.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) relation: &'static Relation,
    pub(super) sql: String,
    pub(super) hash: String,
}

/// Makes or replaces a view in one transaction, if the settings of that revision are still in force.
pub(super) async fn make(
    connection: &mut PgConnection,
    wanted: &Statements,
    all: &BTreeMap<&'static str, Statements>,
    revision: i64,
) -> Result<Outcome, sqlx::Error> {
    match replace(connection, wanted, revision).in_time().await {
        Err(error) if code(&error).as_deref() == Some(OTHER_COLUMNS) => {}
        Err(error) if code(&error).as_deref() == Some(LOCKED) => return Ok(Outcome::Locked),
        outcome => return outcome,
    }
    match recreate(connection, wanted, all, revision).in_time().await {
        Err(error) if code(&error).as_deref() == Some(IN_USE) => {
            Ok(Outcome::InUse(readers(connection, wanted.relation).in_time().await?))
        }
        Err(error) if code(&error).as_deref() == Some(LOCKED) => Ok(Outcome::Locked),
        outcome => outcome,
    }
}

async fn replace(connection: &mut PgConnection, wanted: &Statements, revision: i64) -> Result<Outcome, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    take_turn(&mut transaction).await?;
    if is_made(&mut transaction, wanted).await? || !applied::is_in_force(&mut transaction, revision).await? {
        return Ok(Outcome::MadeByOthers);
    }
    create(&mut transaction, wanted, revision).await?;
    transaction.commit().await?;
    Ok(Outcome::Made)
}

/// Drops the view and the views of the mart that read it, and creates them again. Readers see either the old or the new
/// ones.
async fn recreate(
    connection: &mut PgConnection,
    wanted: &Statements,
    all: &BTreeMap<&'static str, Statements>,
    revision: i64,
) -> Result<Outcome, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    take_turn(&mut transaction).await?;
    if !applied::is_in_force(&mut transaction, revision).await? {
        return Ok(Outcome::MadeByOthers);
    }
    let set = wanted.relation.with_readers();
    let names: Vec<String> = set.iter().map(|relation| qualified("mart", relation.name)).collect();
    run(&mut transaction, format!("drop view if exists {}", names.join(", "))).await?;
    for statements in set.iter().filter_map(|relation| all.get(relation.name)) {
        create(&mut transaction, statements, revision).await?;
    }
    transaction.commit().await?;
    Ok(Outcome::Made)
}

/// Waits until no other process is making a view. None does until the end of the transaction.
pub(super) async fn take_turn(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // Names in stored definitions are then qualified in the same way whatever the search path of a session is.
    run(connection, format!("set local lock_timeout = '{TURN_MAX}'; set local search_path to pg_catalog")).await?;
    run(connection, "insert into tidegate.lock (name) values ('mart') on conflict do nothing".to_owned()).await?;
    run(connection, "select from tidegate.lock where name = 'mart' for update".to_owned()).await?;
    run(connection, format!("set local lock_timeout = '{LOCK_MAX}'")).await
}

/// Whether the view is already as wanted: another process may have made it since the state was read.
async fn is_made(connection: &mut PgConnection, wanted: &Statements) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "
        select exists (
            select
            from tidegate.mart_view as made
            where
                made.name = $1
                and made.made_from = $2
                and made.definition = md5(pg_get_viewdef(to_regclass(format('mart.%I', made.name))))
        )
        ",
    )
    .bind(wanted.relation.name)
    .bind(&wanted.hash)
    .fetch_one(connection)
    .await
}

/// Makes the view, grants the roles their rights if it is new, and records it.
async fn create(connection: &mut PgConnection, wanted: &Statements, revision: i64) -> Result<(), sqlx::Error> {
    let name = wanted.relation.name;
    let is_new: bool = sqlx::query_scalar("select to_regclass(format('mart.%I', $1::text)) is null")
        .bind(name)
        .fetch_one(&mut *connection)
        .await?;
    run(connection, wanted.sql.clone()).await?;
    if is_new {
        // A right that an administrator revoked later is not granted again.
        grant(connection, name).await?;
    }
    sqlx::query(
        "
        insert into tidegate.mart_view (name, made_from, definition, made_at, revision, version)
        values ($1, $2, md5(pg_get_viewdef(to_regclass(format('mart.%I', $1::text)))), clock_timestamp(), $3, $4)
        on conflict (name) do update
        set
            made_from = excluded.made_from,
            definition = excluded.definition,
            made_at = excluded.made_at,
            revision = excluded.revision,
            version = excluded.version
        ",
    )
    .bind(name)
    .bind(&wanted.hash)
    .bind(revision)
    .bind(&*VERSION)
    .execute(connection)
    .await?;
    Ok(())
}

/// Grants the roles that exist their rights on a view. Nobody but readers may see the texts.
async fn grant(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    let view = qualified("mart", name);
    let roles: &[&str] = if name == TEXTS { &["tidegate_reader"] } else { &["tidegate_reader", "tidegate_analyst"] };
    for role in roles {
        let text = literal(role);
        let grant = format!(
            "do $$ begin
                if exists (select from pg_catalog.pg_roles where rolname = {text}) then
                    grant select on {view} to {role};
                end if;
            end $$"
        );
        run(connection, grant).await?;
    }
    if name == TEXTS {
        withhold_texts(connection).await?;
    }
    Ok(())
}

/// Takes the right to read message texts from the analysts. The default privileges of the schema grant it with every
/// new view.
pub(super) async fn withhold_texts(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let view = qualified("mart", TEXTS);
    let text = literal(&view);
    run(
        connection,
        format!(
            "do $$ begin
                if
                    to_regclass({text}) is not null
                    and exists (select from pg_catalog.pg_roles where rolname = 'tidegate_analyst')
                then
                    set local lock_timeout = '{LOCK_MAX}';
                    revoke all on {view} from tidegate_analyst;
                end if;
            end $$"
        ),
    )
    .await
}

/// The views and tables outside the mart that read the view or the views of the mart that read it.
async fn readers(connection: &mut PgConnection, relation: &Relation) -> Result<Vec<String>, sqlx::Error> {
    let set: Vec<String> = relation.with_readers().iter().map(|relation| qualified("mart", relation.name)).collect();
    sqlx::query_scalar(
        "
        select distinct format('%I.%I', namespace.nspname, class.relname)
        from unnest($1::text[]) as view (name)
        inner join pg_catalog.pg_depend as depend
            on
                depend.refclassid = 'pg_catalog.pg_class'::regclass
                and depend.refobjid = to_regclass(view.name)
                and depend.classid = 'pg_catalog.pg_rewrite'::regclass
        inner join pg_catalog.pg_rewrite as rule on rule.oid = depend.objid
        inner join pg_catalog.pg_class as class on class.oid = rule.ev_class
        inner join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
        where class.oid <> all(array(select to_regclass(own.name)::oid from unnest($1::text[]) as own (name)))
        order by 1
        ",
    )
    .bind(set)
    .fetch_all(connection)
    .await
}

async fn run(connection: &mut PgConnection, statements: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await?;
    Ok(())
}

/// The SQLSTATE of an error of the server.
pub(super) fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}
