//! Brings a database to this version's schema, one process at a time.
//!
//! The list of applied migrations is `tidegate._sqlx_migrations`, so a login needs no privilege on the schema `public`.
//! Earlier versions kept it in `public`; [`migrate`] moves it.

use std::time::Duration;

use sqlx::migrate::{Migrate as _, MigrateError};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};

use super::distribution::{self, Distribution};
use super::fitness::{self, Unfit};
use super::ident;
use super::migrations::{self, LIST, MIGRATOR};
use super::session::{self, Deadline as _};

/// The comment of the list: every table of the schema has one.
const COMMENTS: &str = "
    comment on table tidegate._sqlx_migrations is 'Applied migrations of this database';
    comment on column tidegate._sqlx_migrations.version is 'Number of the migration';
    comment on column tidegate._sqlx_migrations.description is 'Name of the migration';
    comment on column tidegate._sqlx_migrations.installed_on is 'When it was applied';
    comment on column tidegate._sqlx_migrations.success is 'Whether it was applied to its end';
    comment on column tidegate._sqlx_migrations.checksum is 'SHA-384 of the text that was applied';
    comment on column tidegate._sqlx_migrations.execution_time is 'Nanoseconds that it took; -1 if not known';
";

/// The migration that makes the reader role. It warns that the role is missing wherever the login may not make roles.
const READER_MIGRATION: i64 = 20_261_121_000_011;

/// Another process may be migrating; waiting longer than this means it hangs.
const DEADLINE: Duration = Duration::from_mins(5);

/// Why a database could not be brought to this version.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database cannot be used as it is; nothing was changed")]
    Unfit(#[from] Unfit),
    #[error("migrations did not end within {} s: another process may hold the migration lock", DEADLINE.as_secs())]
    Deadline,
    #[error("the database was made by a newer Tidegate (migration {0} is unknown here): use that version or later")]
    Newer(i64),
    #[error("migration {version} failed")]
    Statement { version: i64, source: sqlx::Error },
    #[error("the table {table} could not be distributed over the nodes of Citus")]
    Distribute { table: String, source: sqlx::Error },
    #[error("migrations failed")]
    Migrate(#[source] MigrateError),
    #[error("{}", session::summary(.0))]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if fitness::loses_statements(&error) {
            Self::Unfit(fitness::pools_by_transaction())
        } else {
            Self::Database(error)
        }
    }
}

impl From<MigrateError> for Error {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(version) => Self::Newer(version),
            // These two repeat their source in their own text.
            MigrateError::ExecuteMigration(source, version) => Self::Statement { version, source },
            MigrateError::Execute(source) => source.into(),
            error => Self::Migrate(error),
        }
    }
}

/// Which migrations a database has.
#[derive(Debug, Default)]
pub struct Applied {
    /// The schema of the list, if the list exists.
    schema: Option<String>,
    /// `None` if the login may not read the list.
    versions: Option<Vec<i64>>,
}

impl Applied {
    /// Whether Tidegate has never used the database.
    pub const fn is_empty(&self) -> bool {
        self.schema.is_none()
    }

    /// How many migrations of this version are not applied. Zero if the list cannot be read.
    pub fn missing(&self) -> usize {
        let Some(versions) = &self.versions else { return 0 };
        MIGRATOR.iter().filter(|migration| !versions.contains(&migration.version)).count()
    }

    /// Whether exactly the migrations of this version are applied.
    fn is_current(&self) -> bool {
        !self.is_empty() && self.versions.is_some() && self.missing() == 0 && self.newer().is_none()
    }

    /// The latest applied migration that this version does not know.
    pub fn newer(&self) -> Option<i64> {
        let unknown = |version: &&i64| !MIGRATOR.version_exists(**version);
        self.versions.iter().flatten().filter(unknown).max().copied()
    }

    /// Whether the list is in the schema where earlier versions kept it.
    pub fn is_in_public(&self) -> bool {
        self.schema.as_deref() == Some("public")
    }

    /// Whether a migration is applied. `false` if the list cannot be read.
    pub(super) fn has(&self, version: i64) -> bool {
        self.versions.iter().flatten().any(|applied| *applied == version)
    }

    fn count(&self) -> usize {
        self.versions.as_ref().map_or(0, Vec::len)
    }
}

/// Checks that the database allows what Tidegate does, applies missing migrations, grants the reader role missing
/// rights, and distributes tables of reports that are to be distributed. Returns the number of applied migrations.
pub async fn migrate(pool: &PgPool, distribution: Distribution) -> Result<usize, Error> {
    start(pool, Standby::Refused, distribution).await
}

/// As [`migrate`], for the daemon: a server that only reads is accepted if no migration is missing. It may be a standby
/// that is about to be promoted; until then the daemon is not ready.
pub async fn migrate_or_wait(pool: &PgPool, distribution: Distribution) -> Result<usize, Error> {
    start(pool, Standby::Accepted, distribution).await
}

/// What is done about a server that only reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standby {
    Refused,
    /// If no migration is missing.
    Accepted,
}

async fn start(pool: &PgPool, standby: Standby, distribution: Distribution) -> Result<usize, Error> {
    // Asked before a lock is taken, which another session would keep if a pooler changes sessions.
    let mut connection = pool.acquire().in_time().await?;
    fitness::require_session(pool, &mut connection).await?;
    let outcome = tokio::time::timeout(DEADLINE, bring_up(&mut connection, standby, distribution)).await;
    if !matches!(outcome, Ok(Ok(_))) {
        // The session may hold the lock.
        connection.close_on_drop();
    }
    let Some(applied) = outcome.unwrap_or(Err(Error::Deadline))? else { return Ok(0) };
    if distribution == Distribution::Citus {
        distribution::distribute_all(&mut connection).await?;
    }
    Ok(applied)
}

/// Checks everything that [`migrate`] checks first, and changes nothing.
pub async fn examine(
    pool: &PgPool,
    connection: &mut PgConnection,
    distribution: Distribution,
) -> Result<Applied, Error> {
    fitness::require_session(pool, connection).await?;
    fitness::require_writable(connection).await?;
    require_fitness(connection, distribution).await
}

async fn require_fitness(connection: &mut PgConnection, distribution: Distribution) -> Result<Applied, Error> {
    // One snapshot: another process may be applying the first migration.
    let mut snapshot = connection.begin_with("begin isolation level repeatable read read only").in_time().await?;
    let applied = applied(&mut snapshot).in_time().await?;
    if let Some(version) = applied.newer() {
        return Err(Error::Newer(version));
    }
    fitness::require(&mut snapshot, &applied).await?;
    distribution::require(&mut snapshot, distribution).await?;
    snapshot.rollback().in_time().await?;
    Ok(applied)
}

/// Returns `None` if the server only reads, and lacks no migration.
async fn bring_up(
    connection: &mut PgConnection,
    standby: Standby,
    distribution: Distribution,
) -> Result<Option<usize>, Error> {
    if let Err(refused) = fitness::require_writable(connection).await {
        let may_wait = standby == Standby::Accepted && matches!(refused, fitness::Error::Unfit(_));
        let is_current = may_wait && applied(connection).in_time().await?.is_current();
        return if is_current { Ok(None) } else { Err(refused.into()) };
    }
    connection.execute("set search_path to public").in_time().await?;
    connection.lock().await?;
    let before = require_fitness(connection, distribution).await?;
    prepare_list(connection, &before).await?;
    let is_reader_there = !before.has(READER_MIGRATION) && has_reader(connection).in_time().await?;
    if is_reader_there {
        connection.execute("set client_min_messages to error").in_time().await?;
    }
    MIGRATOR.run_direct(None, connection, false).await?;
    if is_reader_there {
        connection.execute("set client_min_messages to warning").in_time().await?;
    }
    grant_readers(connection).await?;
    let after = applied(connection).await?;
    connection.unlock().await?;
    Ok(Some(after.count().saturating_sub(before.count())))
}

/// Ensures that the list is in the schema `tidegate`. The first migration creates that schema, so the list is created
/// in the transaction of that migration.
async fn prepare_list(connection: &mut PgConnection, applied: &Applied) -> Result<(), Error> {
    match (applied.schema.as_deref(), MIGRATOR.iter().next()) {
        (Some("public"), _) => {
            let mut transaction = connection.begin().await?;
            transaction.execute("alter table public._sqlx_migrations set schema tidegate").await?;
            transaction.execute(COMMENTS).await?;
            transaction.commit().await?;
            tracing::info!("the list of migrations was moved from the schema public to the schema tidegate");
        }
        (None, Some(first)) => {
            let mut transaction = connection.begin().await?;
            let made = transaction.execute(first.sql.clone()).await;
            made.map_err(|error| MigrateError::ExecuteMigration(error, first.version))?;
            transaction.ensure_migrations_table(LIST).await?;
            transaction.skip(LIST, first).await?;
            transaction.execute(COMMENTS).await?;
            transaction.commit().await?;
        }
        _ => {}
    }
    Ok(())
}

/// Reads which migrations were applied. A table `public._sqlx_migrations` of another program is not read.
pub async fn applied(connection: &mut PgConnection) -> Result<Applied, sqlx::Error> {
    let lists: Vec<(String, bool)> = sqlx::query_as(
        "
        select
            namespace.nspname::text,
            has_schema_privilege(namespace.oid, 'usage') and has_table_privilege(class.oid, 'select')
        from pg_catalog.pg_class as class
        inner join pg_catalog.pg_namespace as namespace on namespace.oid = class.relnamespace
        where class.relname = '_sqlx_migrations' and class.relkind = 'r' and namespace.nspname in ('tidegate', 'public')
        order by namespace.nspname = 'public'
        ",
    )
    .fetch_all(&mut *connection)
    .await?;
    for (schema, is_readable) in lists {
        let is_ours = schema == "tidegate";
        if !is_readable {
            if is_ours {
                return Ok(Applied { schema: Some(schema), versions: None });
            }
            continue;
        }
        let query = if is_ours {
            "select version, checksum from tidegate._sqlx_migrations where success order by version"
        } else {
            "select version, checksum from public._sqlx_migrations where success order by version"
        };
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(query).fetch_all(&mut *connection).await?;
        let has_first = MIGRATOR.iter().next().is_some_and(|first| {
            rows.iter().any(|(version, checksum)| *version == first.version && **checksum == *first.checksum)
        });
        if is_ours || has_first {
            let versions = rows.into_iter().map(|(version, _)| version).collect();
            return Ok(Applied { schema: Some(schema), versions: Some(versions) });
        }
    }
    Ok(Applied { schema: None, versions: Some(Vec::new()) })
}

/// Whether the role exists that readers of the reports are members of.
pub async fn has_reader(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let there = "select exists (select from pg_catalog.pg_roles where rolname = 'tidegate_reader')";
    sqlx::query_scalar(there).fetch_one(connection).await
}

/// A role for readers, and what it cannot read although it is meant to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderRole {
    pub name: String,
    pub is_there: bool,
    /// Relations, quoted where necessary.
    pub lacking: Vec<String>,
}

/// The roles of readers and analysts.
pub async fn reader_roles(connection: &mut PgConnection) -> Result<Vec<ReaderRole>, sqlx::Error> {
    let schemas = migrations::schemas().into_iter().map(|schema| schema.name).filter(|name| name != "tidegate");
    let mut wanted: Vec<(&str, String)> = schemas.map(|schema| ("tidegate_reader", schema)).collect();
    wanted.extend(["tidegate_reader", "tidegate_analyst"].map(|role| (role, "mart".to_owned())));
    let (roles, schemas): (Vec<&str>, Vec<String>) = wanted.into_iter().unzip();
    sqlx::query_as!(
        ReaderRole,
        r#"
        select
            wanted.role as "name!",
            role.oid is not null as "is_there!",
            coalesce(
                array_agg(class.oid::regclass::text order by class.oid::regclass::text) filter (
                    where not (
                        has_schema_privilege(role.oid, namespace.oid, 'usage')
                        and has_table_privilege(role.oid, class.oid, 'select')
                    )
                ),
                '{}'
            ) as "lacking!"
        from unnest($1::text[], $2::text[]) as wanted (role, schema)
        left join pg_catalog.pg_roles as role on role.rolname = wanted.role
        left join pg_catalog.pg_namespace as namespace on namespace.nspname = wanted.schema
        left join pg_catalog.pg_class as class
            on
                class.relnamespace = namespace.oid
                and (
                    (
                        wanted.schema = 'mart'
                        and class.relkind = 'v'
                        -- The texts are not for analysts.
                        and (wanted.role, class.relname::text) <> ('tidegate_analyst', 'messages_text')
                    )
                    or (
                        wanted.schema <> 'mart'
                        and class.relkind in ('r', 'p')
                        -- A partition is read through its table.
                        and not class.relispartition
                        and exists (
                            select
                            from pg_catalog.pg_attribute as attribute
                            where
                                attribute.attrelid = class.oid
                                and attribute.attname = '_run_id'
                                and not attribute.attisdropped
                        )
                    )
                )
        group by wanted.role, role.oid
        order by wanted.role desc
        "#,
        &roles as &[&str],
        &schemas,
    )
    .fetch_all(connection)
    .await
}

/// Grants the roles of readers and analysts their rights in the schemas in which this login has not granted them yet:
/// an administrator may have created a role after the migrations. The default privileges show it; a right that was
/// revoked later is not granted again.
async fn grant_readers(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let names = migrations::schemas().into_iter().map(|schema| schema.name).filter(|name| name != "tidegate");
    let schemas = names.map(|name| ident::literal(&name)).collect::<Vec<_>>().join(", ");
    // A `do` block takes no parameters.
    let statement = format!(
        r"
        do $$
        declare
            login oid := (select oid from pg_catalog.pg_roles where rolname = current_user);
            missing record;
            relations text;
        begin
            for missing in
                select namespace.oid, namespace.nspname, role.rolname
                from pg_catalog.pg_namespace as namespace
                inner join pg_catalog.pg_roles as role
                    on
                        (role.rolname = 'tidegate_reader' and namespace.nspname in ({schemas}))
                        or (role.rolname = 'tidegate_analyst' and namespace.nspname = 'mart')
                where
                    pg_has_role(namespace.nspowner, 'usage')
                    and not exists (
                        select
                        from pg_catalog.pg_default_acl as defaults
                        cross join aclexplode(defaults.defaclacl) as acl
                        where
                            defaults.defaclrole = login
                            and defaults.defaclnamespace = namespace.oid
                            and defaults.defaclobjtype = 'r'
                            and acl.grantee = role.oid
                    )
            loop
                execute format('grant usage on schema %I to %I', missing.nspname, missing.rolname);
                select string_agg(class.oid::regclass::text, ', ') into relations
                from pg_catalog.pg_class as class
                where
                    class.relnamespace = missing.oid
                    and pg_has_role(class.relowner, 'usage')
                    and (
                        (
                            missing.nspname = 'mart'
                            and class.relkind = 'v'
                            -- The texts are not for analysts.
                            and (missing.rolname, class.relname) <> ('tidegate_analyst', 'messages_text')
                        )
                        or (
                            class.relkind in ('r', 'p')
                            and not class.relispartition
                            and exists (
                                select
                                from pg_catalog.pg_attribute as attribute
                                where
                                    attribute.attrelid = class.oid
                                    and attribute.attname = '_run_id'
                                    and not attribute.attisdropped
                            )
                        )
                    );
                if relations is not null then
                    execute format('grant select on %s to %I', relations, missing.rolname);
                end if;
                execute format(
                    'alter default privileges in schema %I grant select on tables to %I', missing.nspname, missing.rolname
                );
            end loop;
        end
        $$
        "
    );
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(drop)
}
