//! The faults: their kinds, drawn by a seeded random generator, and how often each occurred.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::ensure;
use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::Signal;
use simulator::khoros::Fate;
use simulator::{Action, Change, Control, Edit, Fault, Match, Quota, Rows, Vendor, Wording};
use sqlx::{Connection as _, PgConnection};

use super::daemons::Handicap;
use super::line::Line;
use super::reader::Reader;
use super::server::Stop;
use super::site::{DATABASE, HAS_LINES_TO_VENDORS, LEASE, Site};
use super::verify::Finding;
use super::{disk, shift, vendors, verify};

/// Time between two faults.
const CALM_MS: std::ops::Range<u64> = 200..2_500;
/// Minimum duration of a full disk: firings come every few seconds.
const FULL_FOR: Duration = Duration::from_secs(5);
/// Rows of each report that are added meanwhile.
const ROWS_FOR_THE_DISK: u32 = 10;
/// Minimum duration of a read-only server.
const READ_ONLY_FOR: Duration = Duration::from_secs(3);
/// Connections to Postgres that must exist before all fall silent, since the daemons may just have been started.
const SILENCED_MIN: usize = 4;
/// How long to wait for them.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// Seconds by which the clock of a daemon is wrong.
const CLOCK_SHIFTS: [i64; 5] = [-3_600, -300, -2, 600, 86_400];
/// A range of days that contains all rows; edits apply to it.
pub const DAYS: i64 = 3;

/// How often each fault was injected.
pub type FaultCounts = BTreeMap<&'static str, u32>;

pub struct Storm {
    dice: StdRng,
    injections: Vec<Injection>,
    /// The faults that every storm has, each with its position among the faults.
    certain: Vec<(u32, &'static str)>,
    pub tally: FaultCounts,
    /// Connections to Postgres that fell silent.
    silenced: usize,
    /// Only rows before this time are edited.
    until: DateTime<Utc>,
}

type Injection = (&'static str, u32);

const SILENCE: &str = "line to Postgres silent";
const READ_ONLY: &str = "Postgres: read-only failover";
const WRONG_CLOCK: &str = "daemon with a wrong clock that jumps";
const FEW_FILES: &str = "daemon with few file descriptors";
const DISK_FULL: &str = "Postgres: disk full";
const VENDORS_CUT: &str = "line to the vendors cut";
const VENDORS_SLOW: &str = "line to the vendors slow";

/// The faults that every storm has, and their possible positions: the daemons are at work then, and the server closes
/// silent sessions soon after the end of a short storm.
const CERTAIN: &[(&str, RangeInclusive<u32>)] = &[(SILENCE, 2..=3), (READ_ONLY, 4..=5)];

/// Faults and their weights.
const INJECTIONS: &[Injection] = &[
    ("daemon killed (SIGKILL)", 8),
    ("daemon stopped (SIGTERM) and started", 4),
    ("daemon asleep beyond its lease (SIGSTOP, SIGCONT)", 2),
    (WRONG_CLOCK, 3),
    (FEW_FILES, 2),
    ("configuration saved again", 3),
    ("configuration with another account", 2),
    ("Postgres restarted, fast", 1),
    ("Postgres restarted, immediate", 1),
    ("backends terminated", 4),
    ("line to Postgres cut", 4),
    ("line to Postgres slow", 2),
    (SILENCE, 3),
    (READ_ONLY, 2),
    ("Postgres: older copy, taken or swapped in", 2),
    (DISK_FULL, 3),
    (VENDORS_CUT, 4),
    (VENDORS_SLOW, 2),
    ("vendor: server errors", 6),
    ("vendor: 429", 4),
    ("vendor: 403 for a quota", 2),
    ("vendor: response cut", 4),
    ("vendor: connection reset", 4),
    ("vendor: slow response", 4),
    ("vendor: body in drops", 2),
    ("vendor: HTML instead of a response", 2),
    ("vendor: empty body", 2),
    ("vendor: no content (204)", 1),
    ("vendor: gzip in several members", 3),
    ("vendor: another content type", 1),
    ("vendor: malformed page", 2),
    ("vendor: valid but empty", 3),
    ("vendor: valid but short", 3),
    ("vendor: refused rows", 3),
    ("vendor: announced pages missing", 3),
    ("vendor: tokens expire", 2),
    ("vendor: exports fail", 2),
    ("vendor: export jobs forgotten", 2),
    ("vendor: export states flap", 3),
    ("vendor: exports never end", 1),
    ("truth: rows vanish", 2),
    ("truth: rows change", 4),
    ("truth: rows come late", 2),
    ("truth: rows appear", 4),
    ("truth: identical rows", 2),
    ("truth: new field", 1),
    ("truth: changed type", 1),
    ("reader with an open transaction, and a new field", 2),
];

/// The faults that this system supports and whose names contain `only`.
fn injections(only: &str) -> Vec<Injection> {
    let has = |name| match name {
        DISK_FULL | FEW_FILES => disk::can_limit(),
        WRONG_CLOCK => shift::is_possible(),
        VENDORS_CUT | VENDORS_SLOW => HAS_LINES_TO_VENDORS,
        _ => true,
    };
    INJECTIONS.iter().filter(|(name, _)| has(*name) && name.contains(only)).copied().collect()
}

impl Storm {
    /// All faults, or those with `only` in their names.
    pub fn new(seed: u64, only: &str, until: DateTime<Utc>) -> anyhow::Result<Self> {
        let injections = injections(only);
        ensure!(!injections.is_empty(), "this system has no fault with {only:?} in its name");
        let mut dice = StdRng::seed_from_u64(seed);
        let certain = CERTAIN.iter().filter(|(certain, _)| injections.iter().any(|(name, _)| name == certain));
        let certain = certain.map(|(name, places)| (dice.random_range(places.clone()), *name)).collect();
        Ok(Self { dice, injections, certain, tally: FaultCounts::new(), silenced: 0, until })
    }

    /// Number of faults so far.
    pub fn count(&self) -> u32 {
        self.tally.values().sum()
    }

    /// Whether each mandatory fault has occurred.
    pub fn is_complete(&self) -> bool {
        self.certain.iter().all(|(place, _)| *place <= self.count())
    }

    /// Checks that connections fell silent, if they were to.
    pub fn silence(&self) -> Finding {
        let none = self.tally.contains_key(SILENCE) && self.silenced == 0;
        let fault = none.then(|| "no connection existed to fall silent".to_owned());
        Finding::new(format!("{} connections to Postgres fell silent", self.silenced), fault)
    }

    /// The next fault: a mandatory one, or a random one.
    fn next(&mut self) -> Option<&'static str> {
        let place = self.count() + 1;
        if let Some((_, name)) = self.certain.iter().find(|(certain, _)| *certain == place) {
            return Some(*name);
        }
        let mut drawn = self.dice.random_range(0..self.injections.iter().map(|(_, weight)| weight).sum());
        let hit = self.injections.iter().find(|(_, weight)| {
            let here = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            here
        });
        hit.map(|(name, _)| *name)
    }

    /// One fault, and the calm after it.
    pub async fn inject(&mut self, site: &mut Site) -> anyhow::Result<()> {
        let Some(name) = self.next() else { return Ok(()) };
        *self.tally.entry(name).or_default() += 1;
        site.look()?;
        let (group, rest) = name.split_once([' ', ':']).unwrap_or((name, ""));
        match group {
            "daemon" | "configuration" => self.at_a_daemon(rest, site).await?,
            "line" => self.at_a_line(rest, site).await,
            "reader" => self.beside_a_reader(site).await?,
            "vendor" if rest.starts_with(" valid") => self.fewer_rows(rest.trim(), &site.control()),
            "vendor" => self.at_a_vendor(rest.trim(), &site.control()),
            "truth" => self.of_the_truth(rest.trim(), &site.control()),
            _ => self.at_postgres(name, site).await?,
        }
        site.look()?;
        // Otherwise the storm would end before tasks that wait a minute or an hour continue.
        if self.dice.random_range(0..3) == 0 {
            verify::hurry(&site.server.url(DATABASE)).await.ok();
        }
        tokio::time::sleep(Duration::from_millis(self.dice.random_range(CALM_MS))).await;
        Ok(())
    }

    async fn at_a_daemon(&mut self, what: &str, site: &mut Site) -> anyhow::Result<()> {
        let number = self.dice.random_range(0..site.daemons.len());
        match what {
            "killed (SIGKILL)" => site.daemons[number].kill_and_start(Handicap::None),
            "with few file descriptors" => site.daemons[number].kill_and_start(Handicap::FewFiles),
            "with a wrong clock that jumps" => {
                let mut seconds = || CLOCK_SHIFTS[self.dice.random_range(0..CLOCK_SHIFTS.len())];
                let (first, second) = (seconds(), seconds());
                site.daemons[number].kill_and_start(Handicap::Clock(first))?;
                tokio::time::sleep(Duration::from_millis(self.dice.random_range(2_000..5_000))).await;
                site.daemons[number].set_clock(second)
            }
            "stopped (SIGTERM) and started" => site.daemons[number].restart().await,
            "saved again" => site.save_configuration(self.dice.random_range(1..4)),
            "with another account" => {
                let length = Duration::from_millis(self.dice.random_range(2_000..8_000));
                site.swap_account(length).await
            }
            _ => {
                site.daemons[number].signal(Signal::STOP)?;
                tokio::time::sleep(LEASE + Duration::from_secs(self.dice.random_range(1..4))).await;
                site.daemons[number].signal(Signal::CONT)
            }
        }
    }

    async fn at_postgres(&mut self, what: &str, site: &mut Site) -> anyhow::Result<()> {
        let away = Duration::from_millis(self.dice.random_range(0..3_000));
        match what {
            "Postgres restarted, fast" => site.server.restart(Stop::Fast, away).await,
            "Postgres restarted, immediate" => site.server.restart(Stop::Immediate, away).await,
            READ_ONLY => site.server.only_read(DATABASE, away + READ_ONLY_FOR).await,
            "Postgres: older copy, taken or swapped in" => site.older_copy().await,
            DISK_FULL => {
                // Identical rows need no space, and waiting tasks do not try.
                self.rows_for_every_report(&site.control());
                verify::hurry(&site.server.url(DATABASE)).await.ok();
                site.server.fill_disk(away + FULL_FOR).await
            }
            _ => {
                let mut admin = PgConnection::connect(&site.server.url("postgres")).await?;
                let some = self.dice.random_range(1..4_i64);
                sqlx::query(
                    "select pg_terminate_backend(pid) from pg_stat_activity
                    where datname = $1 order by md5(pid::text) limit $2",
                )
                .bind(DATABASE)
                .bind(some)
                .execute(&mut admin)
                .await?;
                Ok(admin.close().await?)
            }
        }
    }

    /// A fault between the daemons and Postgres, or between them and the vendors.
    async fn at_a_line(&mut self, what: &str, site: &Site) {
        if what == "to Postgres silent" {
            let deadline = Instant::now() + CONNECTED_WITHIN;
            while site.line.connections() < SILENCED_MIN && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            self.silenced += site.line.forget();
            return;
        }
        let to_postgres = what.starts_with("to Postgres");
        let lines = if to_postgres { std::slice::from_ref(&site.line) } else { &site.lines_to_vendors };
        if what.ends_with("cut") {
            return lines.iter().for_each(Line::cut);
        }
        let delay = Duration::from_millis(self.dice.random_range(20..400));
        let length = Duration::from_millis(self.dice.random_range(500..3_000));
        for (delay, length) in [(delay, length), (Duration::ZERO, Duration::ZERO)] {
            for line in lines {
                line.slow(delay);
            }
            tokio::time::sleep(length).await;
        }
    }

    /// A reader keeps its transaction open while the vendor adds a field that needs a column.
    async fn beside_a_reader(&mut self, site: &Site) -> anyhow::Result<()> {
        let (vendor, report, _) = vendors::EDITED[self.dice.random_range(0..vendors::EDITED.len())];
        let number = self.dice.random_range(0..1_000_u32);
        // Longer than the interval between two firings.
        let length = Duration::from_millis(self.dice.random_range(6_000..9_000));
        let url = site.server.url(DATABASE);
        let table = format!("{}.{report}", vendors::schema(vendor));
        let Some(reader) = Reader::of(&url, &table).await? else { return Ok(()) };
        let rows = Rows::between(report, self.until - TimeDelta::days(DAYS), self.until).every(2);
        let change = Change::Set { field: format!("readerField{number}"), json: number.to_string() };
        // Not every vendor's data supports every edit.
        let _ = site.control().data(vendor).edit(Edit::Change { rows, change });
        tokio::time::sleep(length).await;
        reader.leave().await
    }

    /// A fault of the next calls of every vendor.
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
            "response cut" => Action::Cut,
            "connection reset" => Action::Reset,
            "slow response" => Action::Delay { ms: self.dice.random_range(100..2_000) },
            "body in drops" => Action::Drip { bytes: 200, every_ms: 20 },
            "HTML instead of a response" => Action::HtmlWith200,
            "empty body" => Action::EmptyBody,
            "no content (204)" => Action::NoContent,
            "gzip in several members" => Action::GzipMembers { members: self.dice.random_range(2..6), named: true },
            "another content type" => Action::ContentType { value: "text/plain".to_owned() },
            "malformed page" => Action::Text {
                status: 200,
                content_type: "application/json".to_owned(),
                body: r#"{"result": [{"a": 1}, {"b"#.to_owned(),
            },
            "exports fail" | "exports never end" | "export states flap" => return self.of_exports(what, control),
            "export jobs forgotten" => {
                control.khoros().forget_jobs();
                return control.lexer().forget_jobs();
            }
            "refused rows" => Action::OddRow,
            "announced pages missing" => Action::NoLastDocument,
            _ => return control.expire_tokens(),
        };
        control.mischief(Fault::new(Match::default(), action).times(self.dice.random_range(1..5)));
    }

    /// For a while, every vendor sends valid responses without rows, or with half of them.
    fn fewer_rows(&mut self, what: &str, control: &Control) {
        let every = if what == "valid but empty" { 1 } else { 2 };
        let for_ms = Some(self.dice.random_range(2_000..8_000));
        for (vendor, report, _) in vendors::EDITED {
            let rows = Rows::between(report, self.until - TimeDelta::days(DAYS), self.until).every(every);
            // Not every vendor's data supports every edit.
            let _ = control.data(*vendor).edit(Edit::Late { rows, for_ms });
        }
    }

    /// The fate of the next export jobs.
    fn of_exports(&mut self, what: &str, control: &Control) {
        for export in vendors::EXPORTS {
            let fate = match what {
                "exports fail" => Fate::Failed,
                "exports never end" => {
                    [Fate::Endless, Fate::State(Some("PAUSED".to_owned()))][self.dice.random_range(0..2)].clone()
                }
                _ => {
                    let steps = self.dice.random_range(1..6);
                    Fate::Flapping((0..steps).map(|_| self.unsteady()).collect())
                }
            };
            control.khoros().next_job(export, fate);
        }
        if what == "export states flap" {
            let bodies = [
                r#"{"status": "pending", "url": null, "token": null}"#,
                r#"{"status": "complete", "url": null, "token": null}"#,
                r#"{"status": "paused", "url": null, "token": null}"#,
            ];
            let body = bodies[self.dice.random_range(0..bodies.len())].to_owned();
            let unsteady = Fault::new(Match::endpoint("lexer_status"), Action::Json { status: 200, body });
            control.mischief(unsteady.times(self.dice.random_range(1..3)));
        }
    }

    /// A temporary state of a job.
    fn unsteady(&mut self) -> Fate {
        let fates = [
            Fate::Done,
            Fate::Endless,
            Fate::State(None),
            Fate::State(Some("PAUSED".to_owned())),
            Fate::NoUrl(1),
            Fate::Closed(None),
            Fate::Gone,
        ];
        fates[self.dice.random_range(0..fates.len())].clone()
    }

    /// Rows within every lookback.
    fn rows_for_every_report(&mut self, control: &Control) {
        for (vendor, report, _) in vendors::EDITED {
            for _ in 0..ROWS_FOR_THE_DISK {
                let at = self.until - TimeDelta::seconds(self.dice.random_range(1..6 * 3_600));
                // Not every vendor's data supports every edit.
                let _ = control.data(*vendor).insert(report, at);
            }
        }
    }

    /// The vendor changes rows.
    fn of_the_truth(&mut self, what: &str, control: &Control) {
        let reports = vendors::EDITED;
        let (vendor, report, field) = reports[self.dice.random_range(0..reports.len())];
        let data = control.data(vendor);
        let from = self.until - TimeDelta::days(DAYS);
        let rows = Rows::between(report, from, self.until).every(self.dice.random_range(5..40));
        let number = self.dice.random_range(0..1_000_u32);
        // Entities keep the greatest count ever seen, which an undisturbed run would not see, and their ids are unique.
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
            "identical rows" => Edit::Duplicate { rows, copies: 1, distance: self.dice.random_range(0..60) },
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
        // Not every vendor's data supports every edit; a refused edit is not a fault.
        let _ = data.edit(edit);
    }
}
