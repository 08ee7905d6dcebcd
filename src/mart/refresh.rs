//! Decides which views are made, because their statements or definitions differ, and reports what could not be.
//!
//! A pass that finds nothing to do costs one query. A view that is in use waits for the next pass.
//!
//! A view whose rows are [`stored`] reads their table as soon as it is there; until then, it computes them.
//!
//! Processes do not replace each other's views in turn. All of them make the views by the settings in force
//! ([`applied`]), and each view is recorded with the revision of these settings and with the version that made it. A
//! view of another version by the settings in force stays, unless this process wants other statements than in its last
//! pass; nor does this process store rows for it. Any other view with other statements is made anew.

use std::collections::{BTreeMap, BTreeSet};

use chrono_tz::Tz;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Mutex, Notify};

use super::Settings;
use super::applied::{self, Applied, Maker, Role};
use super::make::{Outcome, Statements, VERSION, code, make, withhold_texts};
use super::relations::RELATIONS;
use super::state::State;
use super::stored;
use super::template::{self, rows, view};
use crate::store::ident::table as qualified;
use crate::store::session::{self, Deadline as _};
use crate::store::trouble::chain;

/// SQLSTATE of a time zone that the server does not know.
const UNKNOWN_ZONE: &str = "22023";

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{}", session::summary(.0))]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Template(#[from] template::Unknown),
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
            match stored::bring_up(pool, &mut connection, relation, &rows).await {
                Ok(stored::Outcome::Made) => self.memory.lock().await.work(&mut connection, own).await?,
                Ok(stored::Outcome::Refreshed | stored::Outcome::GaveWay) => {}
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
