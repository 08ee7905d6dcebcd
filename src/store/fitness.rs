//! Checks that a database has and allows what Tidegate needs, before anything is changed.

use std::fmt;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool, Row as _};

use super::migrate::Applied;
use super::migrations::schemas;
use super::session::{Deadline as _, ONLY_READS, ONLY_READS_HINT};

/// Oldest server that the SQL is written for.
const SERVER_VERSION_MIN: i32 = 140_000;
/// How long to wait for a session of a pooler. After that the check has no result.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// The migration that creates the schema `mart`, a name that others use too.
const MART_MIGRATION: i64 = 20_261_129_002_000;
/// How often the sessions of two connections are compared.
const LOOKS: u32 = 3;
/// What a database lacks, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// At least one sentence without a full stop.
    pub problems: Vec<String>,
    pub hint: String,
    /// SQL that an administrator runs, in this order. Each ends with a semicolon.
    pub statements: Vec<String>,
}

impl fmt::Display for Unfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.problems.join("; "))
    }
}

impl std::error::Error for Unfit {}

/// What a check found, or why it has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<Error> for super::migrate::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Unfit(unfit) => Self::Unfit(unfit),
            Error::Database(error) => error.into(),
        }
    }
}

/// Refuses a pooler that gives the transactions of one connection to different sessions.
pub async fn require_session(pool: &PgPool, connection: &mut PgConnection) -> Result<(), Error> {
    // Without a result, do not refuse: the pooler may have no further session at the moment.
    if !changes_session(pool, connection).within(LOOK_MAX).await.unwrap_or(false) {
        return Ok(());
    }
    Err(Error::Unfit(pools_by_transaction()))
}

/// The finding for a pooler that gives the transactions of one connection to different sessions.
pub(super) fn pools_by_transaction() -> Unfit {
    Unfit {
        problems: vec![
            "the connection pooler pools by transaction: two connections shared a session, or one changed its session"
                .to_owned(),
        ],
        hint:
            "pool by session: in PgBouncer's configuration write `pool_mode = session`, for this database or for this \
               user; or connect to Postgres itself"
                .to_owned(),
        statements: Vec::new(),
    }
}

/// Whether a session does not know a statement that its connection prepared, or knows one that it did not. Only a
/// pooler that pools by transaction does that, and it may do so before [`require_session`] has noticed it.
pub(super) fn loses_statements(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(&*code, "26000" | "42P05"))
}

/// Whether a session belongs to one connection for as long as that lives. Uses the simple protocol, which needs no
/// session.
async fn changes_session(pool: &PgPool, first: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let mut second = PgConnection::connect_with(&pool.connect_options()).await?;
    let known = (session_of(first).await?, session_of(&mut second).await?);
    let mut changes = known.0 == known.1;
    for _ in 1..LOOKS {
        changes |= session_of(first).await? != known.0 || session_of(&mut second).await? != known.1;
    }
    second.close().await?;
    Ok(changes)
}

async fn session_of(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("select pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}

/// Refuses a database in which the migrations, or later a run, would fail because of a missing privilege, the encoding
/// or the version.
pub async fn require(connection: &mut PgConnection, applied: &Applied) -> Result<(), Error> {
    require_server(connection).await?;
    let facts = Facts::read(connection).await?;
    let mut unfit = Unfit {
        problems: Vec::new(),
        hint: format!(
            "a superuser, or the owner of the database and of what is named, runs in the database {}",
            facts.database
        ),
        statements: Vec::new(),
    };
    rights_on_database(&facts, applied, &mut unfit);
    rights_on_schemas(connection, &facts, &mut unfit).await?;
    owners(connection, &facts, applied, &mut unfit).await?;
    if unfit.problems.is_empty() {
        return Ok(());
    }
    if unfit.statements.is_empty() {
        "use another database, or do what is written above".clone_into(&mut unfit.hint);
    }
    Err(unfit.into())
}

/// Refuses a server that only reads.
pub async fn require_writable(connection: &mut PgConnection) -> Result<(), Error> {
    let (is_standby, is_frozen, of_database, reset): (bool, bool, bool, String) = sqlx::query_as(
        "
        select
            pg_is_in_recovery(),
            setting = 'on',
            source = 'database',
            format('alter database %I reset default_transaction_read_only;', current_database())
        from pg_catalog.pg_settings
        where name = 'default_transaction_read_only'
        ",
    )
    .fetch_one(connection)
    .in_time()
    .await?;
    if !is_standby && !is_frozen {
        return Ok(());
    }
    let unfit =
        |hint: &str, statements| Unfit { problems: vec![ONLY_READS.to_owned()], hint: hint.to_owned(), statements };
    Err(Error::Unfit(match (is_standby, of_database) {
        (true, _) => unfit("this server is a standby: name the primary server in `database`", Vec::new()),
        (false, true) => {
            let hint = "somebody made the database read-only. When it may be written to again, its owner runs";
            unfit(hint, vec![reset])
        }
        (false, false) => unfit(ONLY_READS_HINT, Vec::new()),
    }))
}

async fn require_server(connection: &mut PgConnection) -> Result<(), Error> {
    let (number, version, encoding, copy): (i32, String, String, String) = sqlx::query_as(
        "
        select
            current_setting('server_version_num')::int,
            current_setting('server_version'),
            current_setting('server_encoding'),
            format(
                'create database %I with owner %I template template0 encoding ''UTF8'';',
                current_database() || '_utf8',
                current_user
            )
        ",
    )
    .fetch_one(connection)
    .in_time()
    .await?;
    if number < SERVER_VERSION_MIN {
        return Err(Error::Unfit(Unfit {
            problems: vec![format!("the server is PostgreSQL {version}; Tidegate needs 14 or later")],
            hint: "use a newer server".to_owned(),
            statements: Vec::new(),
        }));
    }
    if encoding != "UTF8" {
        return Err(Error::Unfit(Unfit {
            problems: vec![format!("the encoding of the database is {encoding}; Tidegate needs UTF8")],
            hint: "create a database with the encoding UTF8, and name that one in `database`".to_owned(),
            statements: vec![copy],
        }));
    }
    Ok(())
}

/// The login and the database as quoted SQL names, and the privileges of the login.
struct Facts {
    login: String,
    database: String,
    may_create: bool,
    may_stage: bool,
    /// The schemas that exist.
    schemas: Vec<String>,
}

impl Facts {
    async fn read(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let (login, database, may_create, may_stage, schemas): (String, String, bool, bool, Vec<String>) =
            sqlx::query_as(
                "
            select
                format('%I', current_user),
                format('%I', current_database()),
                has_database_privilege(current_database(), 'create'),
                has_database_privilege(current_database(), 'temporary'),
                array(select nspname::text from pg_catalog.pg_namespace where nspname = any($1))
            ",
            )
            .bind(schema_names())
            .fetch_one(connection)
            .in_time()
            .await?;
        Ok(Self { login, database, may_create, may_stage, schemas })
    }
}

fn rights_on_database(facts: &Facts, applied: &Applied, unfit: &mut Unfit) {
    let Facts { login, database, .. } = facts;
    if !facts.may_create && facts.schemas.len() < schema_names().len() {
        unfit.problems.push(format!("the role {login} may not create schemas in the database {database}"));
        unfit.statements.push(format!("grant create on database {database} to {login};"));
    }
    if !facts.may_stage {
        unfit.problems.push(format!("the role {login} may not create temporary tables in the database {database}"));
        unfit.statements.push(format!("grant temporary on database {database} to {login};"));
    }
    if !applied.is_empty() && applied.missing() > 0 && !applied.has(MART_MIGRATION) {
        for schema in facts.schemas.iter().filter(|schema| *schema == "mart") {
            unfit.problems.push(format!("the schema {schema} exists and is not Tidegate's: rename it, or drop it"));
        }
    }
    if applied.is_empty() {
        for schema in &facts.schemas {
            unfit.problems.push(format!(
                "the schema {schema} exists, and Tidegate's list of migrations does not: rename or drop the schema, or \
                 restore the table `_sqlx_migrations` with it"
            ));
        }
    }
}

async fn rights_on_schemas(connection: &mut PgConnection, facts: &Facts, unfit: &mut Unfit) -> Result<(), sqlx::Error> {
    let closed: Vec<String> = sqlx::query_scalar(
        "
        select nspname::text
        from pg_catalog.pg_namespace
        where
            nspname = any($1)
            and not (has_schema_privilege(oid, 'usage') and has_schema_privilege(oid, 'create'))
        order by nspname
        ",
    )
    .bind(schema_names())
    .fetch_all(connection)
    .in_time()
    .await?;
    for schema in closed {
        unfit
            .problems
            .push(format!("the role {} may not use the schema {schema} and create tables in it", facts.login));
        unfit.statements.push(format!("grant usage, create on schema {schema} to {};", facts.login));
    }
    Ok(())
}

/// Tables get columns for new fields, so they must belong to the login, or to a role that it is a member of.
async fn owners(
    connection: &mut PgConnection,
    facts: &Facts,
    applied: &Applied,
    unfit: &mut Unfit,
) -> Result<(), sqlx::Error> {
    let foreign: Vec<(String, String, bool)> = sqlx::query_as(
        "
        with things as (
            select 'table ' || class.oid::regclass::text as thing, class.relowner as owner
            from pg_catalog.pg_class as class
            inner join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
            where
                namespace.nspname = any($1 || case when $2 then '{public}'::text[] end)
                -- `alter table` changes a view's owner too.
                and (class.relkind in ('r', 'p') or (class.relkind = 'v' and namespace.nspname in ('tidegate', 'mart')))
                and (
                    namespace.nspname = 'tidegate'
                    or (namespace.nspname = 'mart' and class.relkind = 'v')
                    or class.relname = '_sqlx_migrations'
                    or exists (
                        select
                        from pg_catalog.pg_attribute as attribute
                        where
                            namespace.nspname <> 'public'
                            and attribute.attrelid = class.oid
                            and attribute.attname = '_run_id'
                            and not attribute.attisdropped
                    )
                )
            union all
            select 'function ' || function.oid::regprocedure::text, function.proowner
            from pg_catalog.pg_proc as function
            inner join pg_catalog.pg_namespace as namespace on namespace.oid = function.pronamespace
            where namespace.nspname = 'tidegate'
        )

        select things.thing, format('%I', owner.rolname), not owner.rolsuper and login.rolinherit
        from things
        inner join pg_catalog.pg_roles as owner on owner.oid = things.owner
        inner join pg_catalog.pg_roles as login on login.rolname = current_user
        where not pg_has_role(things.owner, 'usage')
        order by owner.rolname, things.thing
        ",
    )
    .bind(schema_names())
    .bind(applied.is_in_public())
    .fetch_all(connection)
    .in_time()
    .await?;
    let login = &facts.login;
    for of_owner in foreign.chunk_by(|one, next| one.1 == next.1) {
        let Some((thing, owner, may_join)) = of_owner.first() else { continue };
        unfit.problems.push(match of_owner.len() {
            1 => format!("the {thing} belongs to the role {owner}, of which {login} is not a member"),
            all => format!("{all} tables and functions belong to the role {owner}, of which {login} is not a member"),
        });
        if *may_join {
            unfit.statements.push(format!("grant {owner} to {login};"));
        } else {
            // Membership in a superuser's role would give far more, and a role may be set not to inherit.
            unfit.statements.extend(of_owner.iter().map(|(thing, ..)| format!("alter {thing} owner to {login};")));
        }
    }
    Ok(())
}

fn schema_names() -> Vec<String> {
    schemas().into_iter().map(|schema| schema.name).collect()
}
