//! What is done to them: the kinds of fault, drawn by a seeded die, and how often each was.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;
use sqlx::{Connection as _, PgConnection};
use tidegate::simulator::khoros::Fate;
use tidegate::simulator::{Action, Change, Control, Edit, Fault, Match, Quota, Rows, Vendor, Wording};

use super::server::Stop;
use super::{Site, verify};

/// From one fault to the next.
const CALM_MS: std::ops::Range<u64> = 200..2_500;
/// A stretch of days that holds all rows; edits concern them.
pub const DAYS: i64 = 3;

/// How often each fault was injected.
pub type Tally = BTreeMap<&'static str, u32>;

pub struct Storm {
    dice: StdRng,
    pub tally: Tally,
    /// Rows are edited before this moment.
    until: DateTime<Utc>,
}

type Blow = (&'static str, u32);

/// Faults and their weights.
const BLOWS: &[Blow] = &[
    ("daemon killed (SIGKILL)", 8),
    ("daemon stopped (SIGTERM) and started", 4),
    ("daemon asleep beyond its lease (SIGSTOP, SIGCONT)", 2),
    ("configuration saved anew", 3),
    ("Postgres restarted, fast", 1),
    ("Postgres restarted, immediate", 1),
    ("backends terminated", 4),
    ("line to Postgres cut", 4),
    ("line to Postgres slow", 2),
    ("vendor: server errors", 6),
    ("vendor: 429", 4),
    ("vendor: 403 for a quota", 2),
    ("vendor: answer cut", 4),
    ("vendor: connection reset", 4),
    ("vendor: slow answer", 4),
    ("vendor: body in drops", 2),
    ("vendor: HTML instead of an answer", 2),
    ("vendor: empty body", 2),
    ("vendor: another content type", 1),
    ("vendor: malformed page", 2),
    ("vendor: tokens expire", 2),
    ("vendor: exports fail", 2),
    ("vendor: export jobs forgotten", 2),
    ("truth: rows vanish", 2),
    ("truth: rows change", 4),
    ("truth: rows come late", 2),
    ("truth: rows appear", 4),
    ("truth: identical rows", 2),
    ("truth: new field", 1),
    ("truth: changed type", 1),
];

impl Storm {
    pub fn new(seed: u64, until: DateTime<Utc>) -> Self {
        Self { dice: StdRng::seed_from_u64(seed), tally: Tally::new(), until }
    }

    /// One fault, and the calm after it.
    pub async fn blow(&mut self, site: &mut Site) -> anyhow::Result<()> {
        let total: u32 = BLOWS.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.dice.random_range(0..total);
        let hit = BLOWS.iter().find(|(_, weight)| {
            let here = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            here
        });
        let Some((name, _)) = hit else { return Ok(()) };
        *self.tally.entry(name).or_default() += 1;
        let (group, rest) = name.split_once([' ', ':']).unwrap_or((name, ""));
        match group {
            "daemon" | "configuration" => self.at_a_daemon(rest, site).await?,
            "vendor" => self.at_a_vendor(rest.trim(), &site.control()),
            "truth" => self.of_the_truth(rest.trim(), &site.control()),
            _ => self.at_postgres(name, site).await?,
        }
        site.look()?;
        // Without a hurry the storm would blow over tasks that wait a minute or an hour.
        if self.dice.random_range(0..3) == 0 {
            verify::hurry(&site.server.url(super::DATABASE)).await.ok();
        }
        tokio::time::sleep(Duration::from_millis(self.dice.random_range(CALM_MS))).await;
        Ok(())
    }

    async fn at_a_daemon(&mut self, what: &str, site: &mut Site) -> anyhow::Result<()> {
        let number = self.dice.random_range(0..site.daemons.len());
        match what {
            "killed (SIGKILL)" => site.daemons[number].kill(),
            "stopped (SIGTERM) and started" => site.daemons[number].restart().await,
            "saved anew" => site.save_configuration(self.dice.random_range(1..4)),
            _ => {
                site.daemons[number].signal(Signal::STOP)?;
                tokio::time::sleep(super::LEASE + Duration::from_secs(self.dice.random_range(1..4))).await;
                site.daemons[number].signal(Signal::CONT)
            }
        }
    }

    async fn at_postgres(&mut self, what: &str, site: &mut Site) -> anyhow::Result<()> {
        let away = Duration::from_millis(self.dice.random_range(0..3_000));
        match what {
            "Postgres restarted, fast" => site.server.restart(Stop::Fast, away).await,
            "Postgres restarted, immediate" => site.server.restart(Stop::Immediate, away).await,
            "line to Postgres cut" => {
                site.line.cut();
                Ok(())
            }
            "line to Postgres slow" => {
                site.line.slow(Duration::from_millis(self.dice.random_range(20..400)));
                tokio::time::sleep(away).await;
                site.line.slow(Duration::ZERO);
                Ok(())
            }
            _ => {
                let mut admin = PgConnection::connect(&site.server.url("postgres")).await?;
                let some = self.dice.random_range(1..4_i64);
                sqlx::query(
                    "select pg_terminate_backend(pid) from pg_stat_activity
                    where datname = $1 order by md5(pid::text) limit $2",
                )
                .bind(super::DATABASE)
                .bind(some)
                .execute(&mut admin)
                .await?;
                Ok(admin.close().await?)
            }
        }
    }

    /// A fault of whatever calls come next, of every vendor.
    fn at_a_vendor(&mut self, what: &str, control: &Control) {
        let action = match what {
            "server errors" => Action::Status { status: [500, 502, 503, 504, 408][self.dice.random_range(0..5)] },
            "429" => {
                let wording =
                    [Wording::Json, Wording::Text, Wording::Html, Wording::Empty][self.dice.random_range(0..4)];
                Action::TooMany { seconds: 1, wording, header: self.dice.random_range(0..2) == 0 }
            }
            "403 for a quota" => Action::OutOfQuota {
                quota: [Quota::Calls, Quota::Bandwidth][self.dice.random_range(0..2)],
                replenished_in: "00:00:02".to_owned(),
                retry_after: None,
            },
            "answer cut" => Action::Cut,
            "connection reset" => Action::Reset,
            "slow answer" => Action::Delay { ms: self.dice.random_range(100..2_000) },
            "body in drops" => Action::Drip { bytes: 200, every_ms: 20 },
            "HTML instead of an answer" => Action::HtmlWith200,
            "empty body" => Action::EmptyBody,
            "another content type" => Action::ContentType { value: "text/plain".to_owned() },
            "malformed page" => Action::Text {
                status: 200,
                content_type: "application/json".to_owned(),
                body: r#"{"result": [{"a": 1}, {"b"#.to_owned(),
            },
            "exports fail" => {
                for export in ["conversation", "incoming_post", "raw_agent_states"] {
                    control.khoros().next_job(export, Fate::Failed);
                }
                return;
            }
            "export jobs forgotten" => {
                control.khoros().forget_jobs();
                return control.lexer().forget_jobs();
            }
            _ => return control.expire_tokens(),
        };
        control.mischief(Fault::new(Match::default(), action).times(self.dice.random_range(1..5)));
    }

    /// The vendor changes its mind about rows.
    fn of_the_truth(&mut self, what: &str, control: &Control) {
        let reports = super::vendors::EDITED;
        let (vendor, report, field) = reports[self.dice.random_range(0..reports.len())];
        let data = control.data(vendor);
        let from = self.until - TimeDelta::days(DAYS);
        let rows = Rows::between(report, from, self.until).every(self.dice.random_range(5..40));
        let number = self.dice.random_range(0..1_000_u32);
        // Entities stay with the greatest count that was ever seen, which an undisturbed run would never see; and no two of
        // them have one id.
        let what = match (vendor, what) {
            (Vendor::Jaicp, "rows vanish") => "rows come late",
            (Vendor::Jaicp, "identical rows") => "rows appear",
            _ => what,
        };
        let edit = match what {
            "rows vanish" => Edit::Vanish { rows },
            "rows come late" => Edit::Late { rows, for_ms: Some(self.dice.random_range(1_000..20_000)) },
            "rows appear" => {
                let at = from + TimeDelta::seconds(self.dice.random_range(0..DAYS * 86_400));
                Edit::Insert { report: report.to_owned(), at, json: None }
            }
            "identical rows" => Edit::Twin { rows, copies: 1, distance: self.dice.random_range(0..60) },
            "new field" => {
                let change = Change::Set { field: format!("field{}", number % 20), json: number.to_string() };
                Edit::Change { rows, change }
            }
            "changed type" => Edit::Change { rows, change: Change::Nested { field: field.to_owned() } },
            _ => {
                let json = format!("\"value {number}\"");
                Edit::Change { rows, change: Change::Set { field: field.to_owned(), json } }
            }
        };
        // Not every vendor's data can be edited in every way; what is refused is no fault.
        let _ = data.edit(edit);
    }
}
