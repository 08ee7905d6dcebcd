//! The settings by which all processes make the views.
//!
//! The database stores them with the process that applied them, so two configurations do not replace each other's views
//! in turn. A daemon applies its own when it starts and when they change, and `tidegate migrate` always does. Other
//! commands apply theirs only if those in force are not of a running daemon. Everybody else makes the views by the
//! settings in force, even if its own differ.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use sqlx::{Connection as _, PgConnection};

use super::Settings;
use crate::store::instance;

/// Settings that differ and are named in a warning, at most.
const NAMED_MAX: usize = 5;
/// Stands for an entry that the other side does not have.
const NONE: &str = "none";

/// What kind of process makes the views.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    Daemon,
    /// `tidegate migrate`.
    Migrate,
    /// Any other command.
    #[default]
    Command,
}

/// A process that makes the views.
#[derive(Debug, Clone, Default)]
pub(super) struct Maker {
    pub(super) role: Role,
    /// Its name; of a daemon, that in `tidegate.instance`.
    pub(super) name: String,
}

/// The settings in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    pub settings: Settings,
    /// The process that applied them.
    pub by: String,
    pub by_daemon: bool,
    /// Whether that is a daemon that is running.
    pub is_held: bool,
    pub at: DateTime<Utc>,
    /// Grows when other settings are applied.
    pub(super) revision: i64,
}

/// The row of `tidegate.mart_in_force`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Row {
    settings: serde_json::Value,
    revision: i64,
    applied_by: String,
    is_daemon: bool,
    applied_at: DateTime<Utc>,
    is_held: bool,
}

impl Row {
    /// `None` if a newer version wrote settings that this one does not know.
    pub(super) fn read(&self) -> Option<Applied> {
        let written: Written = serde_json::from_value(self.settings.clone()).ok()?;
        Some(Applied {
            settings: written.read()?,
            by: self.applied_by.clone(),
            by_daemon: self.is_daemon,
            is_held: self.is_held,
            at: self.applied_at,
            revision: self.revision,
        })
    }
}

/// The settings as they are stored, which is as in the configuration.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    timezone: String,
    materialize: bool,
    fields: BTreeMap<String, BTreeMap<String, String>>,
    channels: BTreeMap<String, BTreeMap<String, String>>,
}

impl Written {
    fn of(settings: &Settings) -> Self {
        let nested = |flat: &BTreeMap<(String, String), String>| {
            let mut nested = BTreeMap::<String, BTreeMap<String, String>>::new();
            for ((outer, inner), value) in flat {
                nested.entry(outer.clone()).or_default().insert(inner.clone(), value.clone());
            }
            nested
        };
        Self {
            timezone: settings.timezone.name().to_owned(),
            materialize: settings.materialize,
            fields: nested(&settings.columns),
            channels: nested(&settings.channels),
        }
    }

    /// `None` if this version does not know the zone.
    fn read(self) -> Option<Settings> {
        let flat = |nested: BTreeMap<String, BTreeMap<String, String>>| {
            let entries = nested.into_iter().flat_map(|(outer, inner)| {
                inner.into_iter().map(move |(inner, value)| ((outer.clone(), inner), value))
            });
            entries.collect()
        };
        Some(Settings {
            timezone: self.timezone.parse::<Tz>().ok()?,
            materialize: self.materialize,
            columns: flat(self.fields),
            channels: flat(self.channels),
        })
    }
}

/// A setting in which two configurations differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// As in the configuration, such as `mart.timezone`.
    pub setting: String,
    pub in_force: Option<String>,
    pub configured: Option<String>,
}

/// The settings that differ between those in force and those of a configuration.
pub fn differences(in_force: &Settings, configured: &Settings) -> Vec<Difference> {
    let (there, here) = (named(in_force), named(configured));
    let mut names: Vec<&String> = there.keys().chain(here.keys()).collect();
    names.sort();
    names.dedup();
    let differing = names.into_iter().filter(|name| there.get(*name) != here.get(*name));
    differing
        .map(|name| Difference {
            setting: name.clone(),
            in_force: there.get(name).cloned(),
            configured: here.get(name).cloned(),
        })
        .collect()
}

/// One line that names both sides of what differs.
pub(super) fn told(differences: &[Difference]) -> String {
    let side = |of: fn(&Difference) -> Option<&String>| {
        let shown = differences.iter().take(NAMED_MAX);
        let mut parts: Vec<String> =
            shown.map(|found| format!("{}: {}", found.setting, of(found).map_or(NONE, String::as_str))).collect();
        if let Some(more @ 1..) = differences.len().checked_sub(NAMED_MAX) {
            parts.push(format!("{more} more"));
        }
        parts.join(", ")
    };
    let (in_force, configured) = (side(|found| found.in_force.as_ref()), side(|found| found.configured.as_ref()));
    format!("in force: {in_force}; in this configuration: {configured}")
}

/// Every setting by its name.
fn named(settings: &Settings) -> BTreeMap<String, String> {
    let mut named = BTreeMap::from([
        ("mart.timezone".to_owned(), settings.timezone.name().to_owned()),
        ("mart.materialize".to_owned(), settings.materialize.to_string()),
    ]);
    for (section, entries) in [("fields", &settings.columns), ("channels", &settings.channels)] {
        for ((outer, inner), value) in entries {
            named.insert(format!("mart.{section}.{outer}.{inner}"), value.clone());
        }
    }
    named
}

/// What a process does with the settings in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It follows them.
    Keep,
    /// It puts its own in force.
    Apply,
    /// It follows them, and commands leave them alone while it runs.
    Adopt,
}

impl Maker {
    /// `is_new` says whether this process has not had its turn with its own settings yet.
    fn step(&self, own: &Settings, is_new: bool, applied: Option<&Applied>) -> Step {
        let Some(applied) = applied else { return Step::Apply };
        let is_equal = applied.settings == *own;
        match self.role {
            Role::Migrate if is_equal => Step::Keep,
            Role::Migrate => Step::Apply,
            Role::Command if is_new && !is_equal && !applied.is_held => Step::Apply,
            Role::Command => Step::Keep,
            Role::Daemon if is_equal && !applied.is_held => Step::Adopt,
            Role::Daemon if is_equal => Step::Keep,
            Role::Daemon if is_new => Step::Apply,
            Role::Daemon if applied.is_held => Step::Keep,
            // The daemon that applied them has ended.
            Role::Daemon if applied.by_daemon => Step::Apply,
            Role::Daemon => Step::Adopt,
        }
    }

    /// The settings in force, after this process has had its say. `found` is what was in force a moment ago.
    pub(super) async fn settle(
        &self,
        connection: &mut PgConnection,
        own: &Settings,
        is_new: bool,
        found: Option<Applied>,
    ) -> Result<Applied, sqlx::Error> {
        if let Some(found) = found
            && self.step(own, is_new, Some(&found)) == Step::Keep
        {
            return Ok(found);
        }
        let mut transaction = connection.begin().await?;
        super::make::take_turn(&mut transaction).await?;
        let found = read(&mut transaction).await?;
        let settings = match (self.step(own, is_new, found.as_ref()), found) {
            (Step::Keep, Some(found)) => {
                transaction.rollback().await?;
                return Ok(found);
            }
            (Step::Adopt, Some(found)) => found.settings,
            _ => own.clone(),
        };
        if self.role == Role::Daemon {
            // Its first record as a running process may come later than this.
            instance::touch(&mut *transaction, &self.name).await?;
        }
        sqlx::query(
            "
            insert into tidegate.mart_setting (settings, revision, applied_by, is_daemon, applied_at)
            values (
                $1,
                -- No view has this revision yet, even if somebody deleted the row.
                (select coalesce(max(made.revision), 0) + 1 from tidegate.mart_view as made),
                $2,
                $3,
                clock_timestamp()
            )
            on conflict on constraint mart_setting_pkey do update
            set
                settings = excluded.settings,
                revision = mart_setting.revision + (mart_setting.settings <> excluded.settings)::int,
                applied_by = excluded.applied_by,
                is_daemon = excluded.is_daemon,
                applied_at = excluded.applied_at
            ",
        )
        .bind(Json(Written::of(&settings)))
        .bind(&self.name)
        .bind(self.role == Role::Daemon)
        .execute(&mut *transaction)
        .await?;
        let applied = read(&mut transaction).await?.ok_or(sqlx::Error::RowNotFound)?;
        transaction.commit().await?;
        Ok(applied)
    }
}

async fn read(connection: &mut PgConnection) -> Result<Option<Applied>, sqlx::Error> {
    let row: Option<Json<Row>> = sqlx::query_scalar("select to_jsonb(setting) from tidegate.mart_in_force as setting")
        .fetch_optional(connection)
        .await?;
    Ok(row.and_then(|Json(row)| row.read()))
}

/// Whether these settings are still in force. Inside a transaction that has its turn, they stay.
pub(super) async fn is_in_force(connection: &mut PgConnection, revision: i64) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from tidegate.mart_setting where revision = $1)")
        .bind(revision)
        .fetch_one(connection)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_being_stored() {
        let mut settings = Settings { timezone: Tz::America__Lima, materialize: true, ..Settings::default() };
        for name in ["a", "b"] {
            settings.columns.insert(("khoros.conversation".to_owned(), name.to_owned()), "x.y".to_owned());
            settings.channels.insert((name.to_owned(), "26".to_owned()), "whatsapp".to_owned());
        }
        let stored = serde_json::to_value(Written::of(&settings)).unwrap();
        let read: Written = serde_json::from_value(stored).unwrap();
        assert_eq!(read.read(), Some(settings));
    }

    #[test]
    fn what_differs_is_named_with_both_values_and_not_without_end() {
        let (in_force, mut configured) = (Settings::default(), Settings::default());
        assert_eq!(differences(&in_force, &configured), []);
        configured.timezone = Tz::Asia__Tokyo;
        configured.columns.insert(("lynn.campaigns".to_owned(), "name".to_owned()), "titel".to_owned());
        assert_eq!(
            told(&differences(&in_force, &configured)),
            "in force: mart.fields.lynn.campaigns.name: none, mart.timezone: UTC; \
             in this configuration: mart.fields.lynn.campaigns.name: titel, mart.timezone: Asia/Tokyo"
        );
        for number in 0..9 {
            configured.channels.insert(("lynn".to_owned(), number.to_string()), "sms".to_owned());
        }
        let told = told(&differences(&in_force, &configured));
        assert_eq!((told.matches(": sms").count(), told.matches("6 more").count()), (NAMED_MAX, 2), "{told}");
    }
}
