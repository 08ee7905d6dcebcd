//! The faults as they occur, drawn by a seeded random generator.

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

use super::aim::Aim;
use super::daemons::Handicap;
use super::fault::FaultKind;
use super::journal::{Effect, REJECTED, UNAUTHORIZED};
use super::line::Line;
use super::reader::Reader;
use super::server::Stop;
use super::site::{DATABASE, HAS_LINES_TO_VENDORS, LEASE, Site};
use super::target::Target;
use super::vendors::Endpoint;
use super::verify::Finding;
use super::{disk, login, shift, vendors, verify};

/// Time between two faults.
const CALM_MS: std::ops::Range<u64> = 200..2_500;
/// Minimum duration of a full disk: firings come every few seconds.
const FULL_FOR: Duration = Duration::from_secs(5);
/// Rows of each report that are added meanwhile.
const ROWS_FOR_THE_DISK: u32 = 10;
/// Minimum duration of a read-only server.
const READ_ONLY_FOR: Duration = Duration::from_secs(3);
/// A server that is away for less may not be missed: a daemon is asked about once a second.
const NOTICED_AFTER: Duration = Duration::from_millis(1_500);
/// Connections to Postgres that must exist before all fall silent, since the daemons may just have been started.
const SILENCED_MIN: usize = 4;
/// How long to wait for them.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// Seconds by which the clock of a daemon is wrong.
const CLOCK_SHIFTS: [i64; 5] = [-3_600, -300, -2, 600, 86_400];
/// How long the streams concerned may take to be read.
const READ_WITHIN: Duration = Duration::from_secs(6);
/// The overview is read again after 5 s.
const OVERVIEW: Duration = Duration::from_secs(6);
/// A range of days that contains all rows; edits apply to it.
pub const DAYS: i64 = 3;

pub struct Storm {
    dice: StdRng,
    kinds: Vec<FaultKind>,
    /// The faults that every storm has, each with its position among the faults.
    certain: Vec<(usize, FaultKind)>,
    count: usize,
    /// Connections to Postgres that fell silent.
    silenced: usize,
    /// Only rows before this time are edited.
    until: DateTime<Utc>,
}

/// The faults that every storm has, and their possible positions. The login is refused first: what the target has
/// received of it is then older than any copy of the database. The others come when the daemons are at work, and the
/// server closes silent sessions soon after the end of a short storm.
const CERTAIN: &[(FaultKind, RangeInclusive<usize>)] =
    &[(FaultKind::RefusedLogin, 1..=1), (FaultKind::Silence, 2..=3), (FaultKind::ReadOnly, 4..=5)];

/// What an injected fault did, and what it concerns.
pub type Outcome = (Effect, Aim);

/// A fault of all parts that took effect.
const EVERYTHING: Outcome = (Effect::Complete, Aim::Everything);

/// The faults that this system supports and whose names contain `only`.
fn kinds(only: &str) -> Vec<FaultKind> {
    let has = |kind| match kind {
        FaultKind::DiskFull | FaultKind::FewFiles => disk::can_limit(),
        FaultKind::WrongClock => shift::is_possible(),
        FaultKind::CutVendors | FaultKind::SlowVendors => HAS_LINES_TO_VENDORS,
        _ => true,
    };
    FaultKind::ALL.iter().copied().filter(|kind| has(*kind) && kind.name().contains(only)).collect()
}

impl Storm {
    /// All faults, or those with `only` in their names.
    pub fn new(seed: u64, only: &str, until: DateTime<Utc>) -> anyhow::Result<Self> {
        let kinds = kinds(only);
        ensure!(!kinds.is_empty(), "this system has no fault with {only:?} in its name");
        let mut dice = StdRng::seed_from_u64(seed);
        let certain = CERTAIN.iter().filter(|(certain, _)| kinds.contains(certain));
        let certain = certain.map(|(kind, places)| (dice.random_range(places.clone()), *kind)).collect();
        Ok(Self { dice, kinds, certain, count: 0, silenced: 0, until })
    }

    /// Number of faults so far.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Whether each mandatory fault has occurred.
    pub fn is_complete(&self) -> bool {
        self.certain.iter().all(|(place, _)| *place <= self.count)
    }

    /// Checks that connections fell silent, if they were to.
    pub fn silence(&self) -> Finding {
        let none = self.certain.iter().any(|(_, kind)| *kind == FaultKind::Silence) && self.silenced == 0;
        let fault = none.then(|| "no connection existed to fall silent".to_owned());
        Finding::new(format!("{} connections to Postgres fell silent", self.silenced), fault)
    }

    /// Checks that the target was notified of the refused login and of its end, if there was to be one.
    pub fn notified(&self, target: &Target) -> Option<Finding> {
        let is_certain = self.certain.iter().any(|(_, kind)| *kind == FaultKind::RefusedLogin);
        is_certain.then(|| target.round_trip(&login::problem()))
    }

    /// The next fault: a mandatory one, or a random one.
    fn next(&mut self) -> FaultKind {
        self.count += 1;
        if let Some((_, kind)) = self.certain.iter().find(|(certain, _)| *certain == self.count) {
            return *kind;
        }
        let mut drawn = self.dice.random_range(0..self.kinds.iter().map(|kind| kind.weight()).sum());
        let mut last = self.kinds[0];
        for &kind in &self.kinds {
            last = kind;
            if drawn < kind.weight() {
                break;
            }
            drawn -= kind.weight();
        }
        last
    }

    /// One fault, and the calm after it.
    pub async fn inject(&mut self, site: &mut Site) -> anyhow::Result<()> {
        let kind = self.next();
        site.look()?;
        let injection = site.journal.begin(kind);
        let (effect, aim) = self.cause(kind, site).await?;
        site.journal.end(injection, effect, aim);
        site.look()?;
        // Otherwise the storm would end before tasks that wait a minute or an hour continue.
        if self.dice.random_range(0..3) == 0 {
            verify::hurry(&site.server.url(DATABASE)).await.ok();
        }
        tokio::time::sleep(Duration::from_millis(self.dice.random_range(CALM_MS))).await;
        Ok(())
    }

    async fn cause(&mut self, kind: FaultKind, site: &mut Site) -> anyhow::Result<Outcome> {
        use FaultKind as Kind;
        match kind {
            Kind::Kill | Kind::Restart | Kind::Sleep | Kind::WrongClock | Kind::FewFiles => {
                self.at_a_daemon(kind, site).await
            }
            Kind::SaveConfig => {
                let effect = site.save_configuration(self.dice.random_range(1..4))?;
                Ok((effect, Aim::Everything))
            }
            Kind::SwapAccount => {
                let length = Duration::from_millis(self.dice.random_range(2_000..8_000));
                Ok((site.swap_account(length).await?, Aim::Everything))
            }
            Kind::PostgresFast
            | Kind::PostgresImmediate
            | Kind::EndSessions
            | Kind::ReadOnly
            | Kind::OlderCopy
            | Kind::DiskFull => self.at_postgres(kind, site).await,
            Kind::CutPostgres | Kind::SlowPostgres | Kind::Silence | Kind::CutVendors | Kind::SlowVendors => {
                self.at_a_line(kind, site).await;
                Ok(EVERYTHING)
            }
            Kind::ServerErrors
            | Kind::TooMany
            | Kind::OutOfQuota
            | Kind::CutResponse
            | Kind::Reset
            | Kind::SlowResponse
            | Kind::Drops
            | Kind::Html
            | Kind::EmptyBody
            | Kind::NoContent
            | Kind::GzipMembers
            | Kind::ContentType
            | Kind::MalformedDocument
            | Kind::RefusedRows
            | Kind::MissingPages => Ok(self.at_calls(kind, &site.control())),
            Kind::ValidButEmpty | Kind::ValidButShort => self.fewer_rows(kind, site).await,
            Kind::RefusedLogin => login::refuse(site).await,
            Kind::ExpiredTokens => {
                site.control().expire_tokens();
                Ok((Effect::Met(UNAUTHORIZED.to_owned()), Aim::connections(&["lynn", "outbound"])))
            }
            Kind::ExportsFail | Kind::ForgottenExports | Kind::FlappingExports | Kind::EndlessExports => {
                self.of_exports(kind, &site.control());
                Ok((Effect::Complete, Aim::connections(&["khoros", "lexer"])))
            }
            Kind::RowsVanish
            | Kind::RowsChange
            | Kind::RowsLate
            | Kind::RowsAppear
            | Kind::IdenticalRows
            | Kind::NewField
            | Kind::ChangedType => Ok(self.of_the_truth(kind, &site.control())),
            Kind::Reader => self.beside_a_reader(site).await,
        }
    }

    async fn at_a_daemon(&mut self, kind: FaultKind, site: &mut Site) -> anyhow::Result<Outcome> {
        let number = self.dice.random_range(0..site.daemons.len());
        if kind != FaultKind::Sleep {
            site.last_look(number).await;
        }
        let daemon = &mut site.daemons[number];
        match kind {
            FaultKind::Kill => daemon.kill_and_start(Handicap::None)?,
            FaultKind::FewFiles => daemon.kill_and_start(Handicap::FewFiles)?,
            FaultKind::WrongClock => {
                let mut seconds = || CLOCK_SHIFTS[self.dice.random_range(0..CLOCK_SHIFTS.len())];
                let (first, second) = (seconds(), seconds());
                daemon.kill_and_start(Handicap::Clock(first))?;
                tokio::time::sleep(Duration::from_millis(self.dice.random_range(2_000..5_000))).await;
                daemon.set_clock(second)?;
            }
            FaultKind::Restart => daemon.restart().await?,
            _ => {
                daemon.signal(Signal::STOP)?;
                tokio::time::sleep(LEASE + Duration::from_secs(self.dice.random_range(1..4))).await;
                daemon.signal(Signal::CONT)?;
            }
        }
        Ok((Effect::Complete, site.processes([number])))
    }

    async fn at_postgres(&mut self, kind: FaultKind, site: &mut Site) -> anyhow::Result<Outcome> {
        let away = Duration::from_millis(self.dice.random_range(0..3_000));
        match kind {
            FaultKind::PostgresFast | FaultKind::PostgresImmediate => {
                let how = if kind == FaultKind::PostgresFast { Stop::Fast } else { Stop::Immediate };
                site.server.restart(how, away).await?;
                let effect = if away < NOTICED_AFTER { Effect::None("it was too short") } else { Effect::Complete };
                Ok((effect, Aim::Everything))
            }
            FaultKind::ReadOnly => {
                site.server.only_read(DATABASE, away + READ_ONLY_FOR).await?;
                Ok(EVERYTHING)
            }
            FaultKind::OlderCopy => {
                site.older_copy().await?;
                Ok((Effect::Complete, site.processes(0..site.daemons.len())))
            }
            FaultKind::DiskFull => {
                // Identical rows need no space, and waiting tasks do not try.
                self.rows_for_every_report(&site.control());
                verify::hurry(&site.server.url(DATABASE)).await.ok();
                let before = site.server.writes_refused()?;
                site.server.fill_disk(away + FULL_FOR).await?;
                let is_met = site.server.writes_refused()? > before;
                let effect = if is_met { Effect::Complete } else { Effect::None("no write was refused") };
                Ok((effect, Aim::Everything))
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
                admin.close().await?;
                Ok(EVERYTHING)
            }
        }
    }

    /// A fault between the daemons and Postgres, or between them and the vendors.
    async fn at_a_line(&mut self, kind: FaultKind, site: &Site) {
        let lines = match kind {
            FaultKind::CutVendors | FaultKind::SlowVendors => &*site.lines_to_vendors,
            _ => std::slice::from_ref(&site.line),
        };
        match kind {
            FaultKind::Silence => {
                let deadline = Instant::now() + CONNECTED_WITHIN;
                while site.line.connections() < SILENCED_MIN && Instant::now() < deadline {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                self.silenced += site.line.forget();
            }
            FaultKind::CutPostgres | FaultKind::CutVendors => lines.iter().for_each(Line::cut),
            _ => {
                let delay = Duration::from_millis(self.dice.random_range(20..400));
                let length = Duration::from_millis(self.dice.random_range(500..3_000));
                for (delay, length) in [(delay, length), (Duration::ZERO, Duration::ZERO)] {
                    for line in lines {
                        line.slow(delay);
                    }
                    tokio::time::sleep(length).await;
                }
            }
        }
    }

    /// A reader keeps its transaction open while the vendor adds a field that needs a column.
    async fn beside_a_reader(&mut self, site: &Site) -> anyhow::Result<Outcome> {
        let (vendor, report, _) = vendors::EDITED[self.dice.random_range(0..vendors::EDITED.len())];
        let number = self.dice.random_range(0..1_000_u32);
        // Longer than the interval between two firings.
        let length = Duration::from_millis(self.dice.random_range(6_000..9_000));
        let url = site.server.url(DATABASE);
        let table = format!("{}.{report}", vendors::schema(vendor));
        let aim = Aim::connections(&[vendors::connection(vendor)]);
        let Some(reader) = Reader::of(&url, &table).await? else {
            return Ok((Effect::None("the table did not exist yet"), aim));
        };
        let rows = Rows::between(report, self.until - TimeDelta::days(DAYS), self.until).every(2);
        let change = Change::Set { field: format!("readerField{number}"), json: number.to_string() };
        // Not every vendor's data supports every edit.
        let _ = site.control().data(vendor).edit(Edit::Change { rows, change });
        tokio::time::sleep(length).await;
        reader.leave().await?;
        Ok((Effect::Complete, aim))
    }

    /// A fault of the next calls of an endpoint.
    fn at_calls(&mut self, kind: FaultKind, control: &Control) -> Outcome {
        let action = match kind {
            FaultKind::TooMany => {
                let wording =
                    [Wording::Json, Wording::Text, Wording::Html, Wording::Empty][self.dice.random_range(0..4)];
                Action::TooMany { seconds: 1, wording, header: self.dice.random_range(0..2) == 0 }
            }
            FaultKind::OutOfQuota => Action::OutOfQuota {
                quota: [Quota::Calls, Quota::Bandwidth][self.dice.random_range(0..2)],
                replenished_in: "00:00:02".to_owned(),
                retry_after: None,
            },
            FaultKind::CutResponse => Action::Cut,
            FaultKind::Reset => Action::Reset,
            FaultKind::SlowResponse => Action::Delay { ms: self.dice.random_range(100..2_000) },
            FaultKind::Drops => Action::Drip { bytes: 200, every_ms: 20 },
            FaultKind::Html => Action::HtmlWith200,
            FaultKind::EmptyBody => Action::EmptyBody,
            FaultKind::NoContent => Action::NoContent,
            FaultKind::GzipMembers => Action::GzipMembers { members: self.dice.random_range(2..6), named: true },
            FaultKind::ContentType => Action::ContentType { value: "text/plain".to_owned() },
            FaultKind::MalformedDocument => Action::Text {
                status: 200,
                content_type: "application/json".to_owned(),
                body: r#"{"result": [{"a": 1}, {"b"#.to_owned(),
            },
            FaultKind::RefusedRows => Action::OddRow,
            FaultKind::MissingPages => Action::NoLastDocument,
            _ => Action::Status { status: [500, 502, 503, 504, 408][self.dice.random_range(0..5)] },
        };
        // Responses without rows have none that can be refused.
        let met = if kind == FaultKind::RefusedRows { REJECTED.to_owned() } else { action.name() };
        let endpoints = endpoints(kind);
        let (endpoint, connections) = endpoints[self.dice.random_range(0..endpoints.len())];
        control.mischief(Fault::new(Match::endpoint(endpoint), action).times(self.dice.random_range(1..5)));
        (Effect::Met(met), Aim::connections(connections))
    }

    /// For a while, every vendor sends valid responses without rows, or with half of them. It shows if a slice is held
    /// for that.
    async fn fewer_rows(&mut self, kind: FaultKind, site: &Site) -> anyhow::Result<Outcome> {
        let every = if kind == FaultKind::ValidButEmpty { 1 } else { 2 };
        let for_ms = self.dice.random_range(2_000..8_000);
        let began = Utc::now();
        for (vendor, report, _) in vendors::EDITED {
            let rows = Rows::between(report, self.until - TimeDelta::days(DAYS), self.until).every(every);
            // Not every vendor's data supports every edit.
            let _ = site.control().data(*vendor).edit(Edit::Late { rows, for_ms: Some(for_ms) });
        }
        let deadline = Instant::now() + Duration::from_millis(for_ms) + READ_WITHIN;
        let mut held = Vec::new();
        while held.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(250)).await;
            held = verify::held_since(&site.server.url(DATABASE), began).await.unwrap_or_default();
        }
        if held.is_empty() {
            return Ok((Effect::None("no slice lost so many rows that it is held"), Aim::Everything));
        }
        // The next fault may end the daemons.
        tokio::time::sleep(OVERVIEW).await;
        Ok((Effect::Complete, Aim::Connections(held)))
    }

    /// The fate of the next export jobs, or of all that exist.
    fn of_exports(&mut self, kind: FaultKind, control: &Control) {
        if kind == FaultKind::ForgottenExports {
            control.khoros().forget_jobs();
            return control.lexer().forget_jobs();
        }
        for export in vendors::EXPORTS {
            let fate = match kind {
                FaultKind::ExportsFail => Fate::Failed,
                FaultKind::EndlessExports => {
                    [Fate::Endless, Fate::State(Some("PAUSED".to_owned()))][self.dice.random_range(0..2)].clone()
                }
                _ => {
                    let steps = self.dice.random_range(1..6);
                    Fate::Flapping((0..steps).map(|_| self.unsteady()).collect())
                }
            };
            control.khoros().next_job(export, fate);
        }
        if kind == FaultKind::FlappingExports {
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
    fn of_the_truth(&mut self, kind: FaultKind, control: &Control) -> Outcome {
        let reports = vendors::EDITED;
        let (vendor, report, field) = reports[self.dice.random_range(0..reports.len())];
        let data = control.data(vendor);
        let from = self.until - TimeDelta::days(DAYS);
        let rows = Rows::between(report, from, self.until).every(self.dice.random_range(5..40));
        let number = self.dice.random_range(0..1_000_u32);
        // Entities keep the greatest count ever seen, which an undisturbed run would not see, and their ids are unique.
        let kind = match (vendor, kind) {
            (Vendor::Jaicp, FaultKind::RowsVanish) => FaultKind::RowsLate,
            (Vendor::Jaicp, FaultKind::IdenticalRows) => FaultKind::RowsAppear,
            _ => kind,
        };
        let edit = match kind {
            FaultKind::RowsVanish => Edit::Vanish { rows },
            FaultKind::RowsLate => Edit::Late { rows, for_ms: Some(self.dice.random_range(1_000..20_000)) },
            FaultKind::RowsAppear => {
                let at = from + TimeDelta::seconds(self.dice.random_range(0..DAYS * 86_400));
                Edit::Insert { report: report.to_owned(), at, json: None }
            }
            FaultKind::IdenticalRows => Edit::Duplicate { rows, copies: 1, distance: self.dice.random_range(0..60) },
            FaultKind::NewField => {
                let change = Change::Set { field: format!("field{}", number % 20), json: number.to_string() };
                Edit::Change { rows, change }
            }
            FaultKind::ChangedType => Edit::Change { rows, change: Change::Nested { field: field.to_owned() } },
            _ => {
                let json = format!("\"value {number}\"");
                Edit::Change { rows, change: Change::Set { field: field.to_owned(), json } }
            }
        };
        // Not every vendor's data supports every edit; a refused edit is not a fault.
        let _ = data.edit(edit);
        (Effect::Complete, Aim::connections(&[vendors::connection(vendor)]))
    }
}

/// The endpoints that a fault of calls may concern: some faults exist only in Lynn's pages, some are counted only for
/// documents, and the storage has no limits.
fn endpoints(kind: FaultKind) -> Vec<Endpoint> {
    use vendors::{DOCUMENTS, FILES, LISTS, OTHERS, PAGES};
    let parts: &[&[Endpoint]] = match kind {
        FaultKind::RefusedRows | FaultKind::MissingPages | FaultKind::OutOfQuota => &[PAGES],
        FaultKind::EmptyBody | FaultKind::MalformedDocument => &[DOCUMENTS],
        FaultKind::Html => &[PAGES, LISTS, DOCUMENTS],
        FaultKind::TooMany => &[PAGES, LISTS, DOCUMENTS, OTHERS],
        _ => &[PAGES, LISTS, DOCUMENTS, OTHERS, FILES],
    };
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(seed: u64, only: &str) -> FaultKind {
        Storm::new(seed, only, Utc::now()).unwrap().next()
    }

    #[test]
    fn every_storm_begins_with_a_refused_login_unless_other_faults_are_selected() {
        for seed in 0..20 {
            assert_eq!(first(seed, ""), FaultKind::RefusedLogin);
            assert_eq!(first(seed, "silent"), FaultKind::Silence);
        }
    }

    #[test]
    fn each_fault_of_calls_has_endpoints() {
        for kind in FaultKind::ALL {
            assert!(!endpoints(*kind).is_empty());
        }
        let of_pages: Vec<_> = endpoints(FaultKind::RefusedRows).into_iter().map(|(endpoint, _)| endpoint).collect();
        assert_eq!(of_pages, ["execute_report"], "only Lynn's pages can have such rows");
    }
}
