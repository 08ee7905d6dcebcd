//! Makes the views, and replaces those whose statements or definitions differ.
//!
//! A pass that finds nothing to do costs one query. Each view is replaced in a transaction of its own that waits for no
//! lock longer than [`LOCK_MAX`], because readers queue behind it; a view that is in use then waits for the next pass.
//! Only one process works at a time: it locks a row of `tidegate.lock`.
//!
//! A view whose rows are [`stored`] reads their table as soon as it is there; until then, it computes them.
//!
//! Processes do not replace each other's views in turn. All of them make the views by the settings in force
//! ([`applied`]), and each view is recorded with the revision of these settings and with the version that made it. A
//! view of another version by the settings in force stays, unless this process wants other statements than in its last
//! pass; nor does this process store rows for it. Any other view with other statements is made anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use chrono_tz::Tz;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::sync::{Mutex, Notify};

use super::Settings;
use super::applied::{self, Applied, Maker, Role};
use super::relations::{RELATIONS, Relation, TEXTS};
use super::state::State;
use super::stored;
use super::template::{self, rows, view};
use crate::store::ident::{literal, table as qualified};
use crate::store::session::{self, Deadline as _};
use crate::store::trouble::chain;

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
/// SQLSTATE of a time zone that the server does not know.
const UNKNOWN_ZONE: &str = "22023";

/// This version of the program, as it is recorded with the views. The hash tells apart builds of the same number.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{} {}", env!("CARGO_PKG_VERSION"), template::fingerprint()));

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{}", session::summary(.0))]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Template(#[from] template::Unknown),
}

/// What happened to a view.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Made,
    /// Another process made it meanwhile, or applied other settings. The next pass looks again.
    MadeByOthers,
    /// A reader of the view or another process holds a lock. The next pass tries again.
    Locked,
    /// Views outside the mart read it, so it cannot get other columns.
    InUse(Vec<String>),
}

/// The mart's views, as this process maintains them.
#[derive(Debug, Default)]
pub struct Views {
    memory: Mutex<Memory>,
    /// Held while rows are stored.
    storing: Mutex<()>,
    /// Notified when a run has changed columns.
    changed: Notify,
}

/// Which stored rows are computed anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// Those whose time has come: after runs, but with pauses.
    Due,
    /// All that runs may have changed.
    Outdated,
}

#[derive(Debug, Default)]
struct Memory {
    maker: Maker,
    /// The settings of this process when they last had their turn to be applied.
    own: Option<Settings>,
    /// The views that another version made, and that stay as they are.
    theirs: BTreeSet<&'static str>,
    /// Hash of the statements by which each view was last found or made.
    settled: BTreeMap<&'static str, String>,
    /// The last problem that was logged, by view or step.
    problems: BTreeMap<&'static str, String>,
    /// The zone that was looked for on the server, and whether it is there.
    zone: Option<(Tz, bool)>,
}

impl Views {
    /// Of a process of that kind and name.
    pub fn of(role: Role, name: &str) -> Self {
        let maker = Maker { role, name: name.to_owned() };
        Self { memory: Mutex::new(Memory { maker, ..Memory::default() }), ..Self::default() }
    }

    /// Notes that a run has changed columns. Several changes before [`outdated`](Self::outdated) returns count as one.
    pub fn outdate(&self) {
        self.changed.notify_one();
    }

    /// Waits until a run has changed columns since this last returned.
    pub async fn outdated(&self) {
        self.changed.notified().await;
    }

    /// Makes what is missing or different. `settings` are those of this process, which may not be the ones in force.
    /// Logs its problems, each once, and never fails: nothing depends on the views.
    pub async fn refresh(&self, pool: &PgPool, settings: &Settings) {
        let mut memory = self.memory.lock().await;
        let outcome = memory.pass(pool, settings).await;
        memory.judge("mart", "the views of the mart could not be checked", pool, outcome);
    }

    /// Stores the rows of views, if the settings in force say so, and drops tables that are not needed any more. May
    /// take minutes, in which the views stay usable. Logs its problems like [`refresh`](Self::refresh).
    pub async fn store(&self, pool: &PgPool, settings: &Settings, which: Refresh) {
        let Ok(_storing) = self.storing.try_lock() else { return };
        let outcome = self.store_all(pool, settings, which).await;
        let what = "the rows of the mart's views could not be stored";
        self.memory.lock().await.judge("stored", what, pool, outcome);
    }

    /// Whether the last passes met no problem.
    pub async fn is_well(&self) -> bool {
        self.memory.lock().await.problems.is_empty()
    }

    async fn store_all(&self, pool: &PgPool, own: &Settings, which: Refresh) -> Result<(), Error> {
        let mut connection = pool.acquire().in_time().await?;
        let state = State::read(&mut connection).in_time().await?;
        if !state.is_ours() {
            return Ok(());
        }
        let Applied { settings, revision, .. } =
            self.memory.lock().await.settings(&mut connection, own, &state).await?;
        if !settings.materialize && state.stored.is_empty() {
            return Ok(());
        }
        let columns = state.columns();
        let (mut wanted, mut failed) = (Vec::new(), None);
        // If this future is dropped, a transaction may be open.
        connection.close_on_drop();
        for relation in RELATIONS.iter().filter(|relation| settings.materialize && relation.stored) {
            let rows = rows(relation, &columns, &settings)?;
            let name = stored::table(relation, &rows);
            let is_due = state.stored.iter().find(|table| table.name == name).is_none_or(|table| {
                let is_due = table.is_due || table.is_of_another_day(settings.timezone);
                is_due || (which == Refresh::Outdated && table.is_outdated)
            });
            wanted.push(name);
            if !is_due || self.memory.lock().await.theirs.contains(relation.name) {
                continue;
            }
            if !applied::is_in_force(&mut connection, revision).in_time().await? {
                return Ok(());
            }
            match stored::bring_up(&mut connection, relation, &rows).await {
                Ok(stored::Outcome::Made) => self.memory.lock().await.work(&mut connection, own).await?,
                Ok(stored::Outcome::Refreshed) => {}
                Ok(stored::Outcome::Busy) => return Ok(()),
                Err(error) if session::is_lost(&error) => return Err(error.into()),
                // The transaction is rolled back before the next statement, and other relations do not need this one.
                Err(error) => {
                    failed.get_or_insert_with(|| format!("mart.{}: {}", relation.name, chain(&error)));
                }
            }
        }
        self.memory.lock().await.stored(failed);
        Ok(stored::drop_unread(&mut connection, &state.stored, &wanted).await?)
    }
}

impl Memory {
    async fn pass(&mut self, pool: &PgPool, settings: &Settings) -> Result<(), Error> {
        let mut connection = pool.acquire().in_time().await?;
        let done = self.work(&mut connection, settings).await;
        if done.is_err() {
            // A transaction may be open.
            connection.close_on_drop();
        }
        done
    }

    async fn work(&mut self, connection: &mut PgConnection, own: &Settings) -> Result<(), Error> {
        let mut state = State::read(connection).in_time().await?;
        if !state.is_ours() {
            return Ok(());
        }
        let Applied { settings, revision, .. } = self.settings(connection, own, &state).await?;
        if state.applied().is_none_or(|found| found.revision != revision) {
            // Until these settings were applied, another process may have made views by the previous ones.
            state = State::read(connection).in_time().await?;
        }
        let columns = state.columns();
        let mut wanted = BTreeMap::new();
        for relation in RELATIONS {
            let rows = rows(relation, &columns, &settings)?;
            let table = stored::table(relation, &rows);
            let is_stored = settings.materialize && state.stored.iter().any(|stored| stored.name == table);
            let from = if is_stored { qualified("tidegate", &table) } else { format!("(\n{rows}\n) as computed") };
            let sql = view(relation, &from);
            let hash = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(sql.as_bytes()));
            wanted.insert(relation.name, Statements { relation, sql, hash });
        }
        let mut made = 0;
        for relation in RELATIONS {
            let Some(statements) = wanted.get(relation.name) else { continue };
            if !self.is_due(&state, statements, revision) {
                continue;
            }
            match make(connection, statements, &wanted, revision).await {
                Ok(Outcome::Made) => {
                    made += 1;
                    self.settled.insert(relation.name, statements.hash.clone());
                    self.over(relation.name);
                }
                Ok(Outcome::MadeByOthers | Outcome::Locked) => {}
                Ok(Outcome::InUse(readers)) => {
                    let readers = readers.join(", ");
                    let text = "a view of the mart keeps its old columns because other views read it: drop them, and create them again afterwards";
                    self.problem(relation.name, text, format!("mart.{} is read by {readers}", relation.name));
                }
                Err(error) if session::is_lost(&error) => return Err(error.into()),
                Err(error) => {
                    let text = format!("mart.{}: {}", relation.name, chain(&error));
                    self.problem(relation.name, "a view of the mart could not be made; it is retried", text);
                }
            }
        }
        if state.analyst_reads_texts {
            withhold_texts(connection).in_time().await?;
        }
        if made > 0 {
            tracing::info!(made, "views of the mart were made");
        }
        Ok(())
    }

    /// Whether the view is missing, was changed, or was made by other statements than this process wants now and is not
    /// to stay. `revision` is that of the settings in force.
    fn is_due(&mut self, state: &State, wanted: &Statements, revision: i64) -> bool {
        let name = wanted.relation.name;
        let view = state.view(name).filter(|view| view.is_there && view.is_unchanged);
        if view.is_some_and(|view| view.made_from.as_ref() == Some(&wanted.hash)) {
            self.settled.insert(name, wanted.hash.clone());
            self.over(name);
            self.theirs.remove(name);
            return false;
        }
        // The same version makes other statements only of other columns, settings or tables, and this process has read
        // the present ones.
        let is_theirs =
            view.is_some_and(|view| view.revision == Some(revision) && view.version.as_ref() != Some(&*VERSION));
        if !is_theirs || self.settled.get(name) != Some(&wanted.hash) {
            self.theirs.remove(name);
            return true;
        }
        let text = "another version of Tidegate has replaced a view of the mart by its own; it stays";
        self.problem(name, text, format!("mart.{name}"));
        self.theirs.insert(name);
        false
    }

    /// The settings in force, after this process has had its turn with its own. Warns if they differ.
    async fn settings(
        &mut self,
        connection: &mut PgConnection,
        own: &Settings,
        state: &State,
    ) -> Result<Applied, sqlx::Error> {
        let own = self.with_known_zone(connection, own).await?;
        let is_new = self.own.as_ref() != Some(&own);
        let found = state.applied();
        let replaced = found.as_ref().map(|found| found.settings.clone());
        let applied = self.maker.settle(connection, &own, is_new, found).in_time().await?;
        if let Some(replaced) = replaced.filter(|replaced| *replaced != applied.settings && own == applied.settings) {
            let detail = applied::told(&applied::differences(&replaced, &own));
            tracing::info!(detail, "the mart's settings of this configuration replace those that were in force");
        }
        let differences = applied::differences(&applied.settings, &own);
        if differences.is_empty() {
            self.over("settings");
        } else {
            let text = "the views of the mart keep settings that another process applied and that differ from this configuration";
            let detail = format!("{}; applied by {}", applied::told(&differences), applied.by);
            self.problem("settings", text, detail);
        }
        self.own = Some(own);
        Ok(applied)
    }

    /// The settings, with UTC instead of a zone that the server does not know.
    async fn with_known_zone(
        &mut self,
        connection: &mut PgConnection,
        settings: &Settings,
    ) -> Result<Settings, sqlx::Error> {
        let zone = settings.timezone;
        let is_known = match self.zone {
            Some((known, is_known)) if known == zone => is_known,
            _ => {
                let asked = sqlx::query("select now() at time zone $1").bind(zone.name()).execute(connection).in_time();
                match asked.await {
                    Ok(_) => true,
                    Err(error) if code(&error).as_deref() == Some(UNKNOWN_ZONE) => false,
                    Err(error) => return Err(error),
                }
            }
        };
        self.zone = Some((zone, is_known));
        if is_known {
            self.over("timezone");
            return Ok(settings.clone());
        }
        self.problem(
            "timezone",
            "the database server does not know the time zone of the mart; its days are those of UTC",
            zone.name().to_owned(),
        );
        Ok(Settings { timezone: Tz::UTC, ..settings.clone() })
    }

    /// Logs that the rows of a relation could not be stored, or that all could.
    fn stored(&mut self, failed: Option<String>) {
        match failed {
            Some(detail) => self.problem("rows", "rows of the mart could not be stored; it is retried", detail),
            None => self.over("rows"),
        }
    }

    /// Logs why a step failed, or that it did not.
    fn judge(&mut self, step: &'static str, what: &'static str, pool: &PgPool, outcome: Result<(), Error>) {
        match outcome {
            Ok(()) => self.over(step),
            Err(error) => {
                if let Error::Database(error) = &error {
                    session::judge(pool, error);
                }
                self.problem(step, what, chain(&error));
            }
        }
    }

    /// Logs a problem, unless it was the last one of this kind.
    fn problem(&mut self, of: &'static str, what: &'static str, detail: String) {
        if self.problems.get(of) != Some(&detail) {
            tracing::warn!(detail, "{what}");
            self.problems.insert(of, detail);
        }
    }

    fn over(&mut self, of: &'static str) {
        self.problems.remove(of);
    }
}

/// The statements of a view.
#[derive(Debug)]
struct Statements {
    relation: &'static Relation,
    sql: String,
    hash: String,
}

/// Makes or replaces a view in one transaction, if the settings of that revision are still in force.
async fn make(
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
async fn withhold_texts(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
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

fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}
