//! After the storm: open work is finished, every job runs once more, and everything is checked.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use chrono::Utc;
use simulator::{ReportCall, Stats, Vendor};
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;

use super::site::{CALM_DATABASE, DATABASE, Site};
use super::vendors;
use super::verify::{self, Finding};

/// Promise 6.
const PEAK_KIB_MAX: u64 = 64 << 10;
/// What a daemon logs when it continues without a column that a reader's open transaction prevents.
const WITHOUT_COLUMN: &str = "a transaction that stays open keeps the table from getting a column";
/// Pages that are then read again: while the daemon waits for the table with one page, a second one is complete and a
/// third arrives.
const PAGES_AT_HAND: usize = 3;
/// How long two daemons may take to finish the open work.
const SETTLE_WITHIN: Duration = Duration::from_mins(5);
/// Interval between two progress messages.
const PRINT_EVERY: Duration = Duration::from_secs(10);

impl Site {
    /// Ends all faults, waits for open work, runs every job once more, then checks everything.
    pub async fn calm_down(&mut self, faults: usize, refused: usize) -> anyhow::Result<Vec<Finding>> {
        let control = self.control();
        control.quiet();
        for vendor in Vendor::ALL {
            control.data(vendor).release_late();
        }
        // Everything is read again, whatever its age, and no firing interferes.
        for config in [self.config(), self.calm_config()] {
            let text = std::fs::read_to_string(&config)?.replace("schedule:", "# schedule:");
            std::fs::write(&config, lookback(&text))?;
        }
        for daemon in &mut self.daemons {
            daemon.relieve().await?;
        }
        self.settle().await?;
        for daemon in &mut self.daemons {
            daemon.end().await?;
        }
        let stats = control.stats();
        let asked_twice = self.asked_twice(&stats, faults, refused).await?;
        let began = Utc::now();
        self.sync_and_release().await?;
        println!("every job ran after {} s", (Utc::now() - began).num_seconds());
        let mut findings = self.is_well(Self::until()).await?;
        for daemon in &mut self.daemons {
            daemon.end().await?;
        }
        println!("the overview was read after {} s", (Utc::now() - began).num_seconds());
        self.watching = JoinSet::new();
        self.run(&self.calm_config(), &["sync"])?;
        println!("the undisturbed run ended after {} s", (Utc::now() - began).num_seconds());
        findings.extend(self.compare().await?);
        findings.push(verify::no_sharp_loss(&self.server.url(DATABASE)).await?);
        let mut stormy = PgConnection::connect(&self.server.url(DATABASE)).await?;
        findings.extend(verify::nothing_left(&mut stormy).await?);
        stormy.close().await?;
        findings.extend(verify::nothing_held(&self.server.url(DATABASE), DATABASE).await?);
        let stats = control.stats();
        findings.push(within_quotas(&stats));
        let astray = stats.unexpected.first().map(|first| format!("{}, {first:?}", stats.unexpected.len()));
        findings.push(Finding::new("no credential was sent to a wrong place", astray));
        findings.push(asked_twice);
        findings.extend(self.daemons_kept());
        Ok(findings)
    }

    /// Runs every job. The storm may have removed many rows of a slice at once, so that the slice is held; an operator
    /// would check and release it, and run the job again.
    async fn sync_and_release(&self) -> anyhow::Result<()> {
        const HELD: i32 = 3;
        let config = self.config();
        let code = self.ends_with(&config, &["sync"])?;
        if code == Some(HELD) {
            let held = verify::held(&self.server.url(DATABASE)).await?;
            println!("held after the storm: {}", held.len());
            for (connection, stream) in held {
                self.run(&config, &["held", "release", &connection, "--stream", &stream])?;
            }
            return self.run(&config, &["sync"]);
        }
        ensure!(code == Some(0), "`sync` after the storm ended with {code:?}");
        Ok(())
    }

    /// Waits until no run is in progress; makes postponed runs due.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let (began, mut printed) = (Instant::now(), Instant::now());
        loop {
            // A daemon that was started while Postgres was unavailable may have ended since.
            self.look()?;
            let open = verify::open_runs(&self.server.url(DATABASE)).await;
            if open.as_ref().is_ok_and(Vec::is_empty) {
                println!("settled after {} s", began.elapsed().as_secs());
                return Ok(());
            }
            let said =
                open.map_or_else(|error| error.to_string(), |open| format!("{} open: {}", open.len(), open.join(", ")));
            if began.elapsed() > SETTLE_WITHIN {
                let sessions = verify::sessions(&self.server.url(DATABASE)).await?;
                bail!("not settled after {} s of calm: {said}\n{}", SETTLE_WITHIN.as_secs(), sessions.join("\n"));
            }
            if printed.elapsed() > PRINT_EVERY {
                printed = Instant::now();
                println!("settling: {said}");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Compares each table with that of the undisturbed run.
    async fn compare(&self) -> anyhow::Result<Vec<Finding>> {
        let mut stormy = PgConnection::connect(&self.server.url(DATABASE)).await?;
        let mut calm = PgConnection::connect(&self.server.url(CALM_DATABASE)).await?;
        let mut findings = Vec::new();
        for table in verify::tables(&mut calm).await? {
            let rows = verify::Rows {
                stay: vendors::ENTITIES.contains(&table.as_str()),
                last_run: vendors::OBSERVED.contains(&table.as_str()),
            };
            findings.push(verify::same_rows(&mut stormy, &mut calm, &table, rows).await?);
        }
        stormy.close().await?;
        calm.close().await?;
        Ok(findings)
    }

    /// Pages that the vendor served and that no checkpoint contains. Each needs an explanation: a fault in between, a
    /// write that a full disk refused, or a table that a reader kept locked.
    async fn asked_twice(&self, stats: &Stats, faults: usize, refused: usize) -> anyhow::Result<Finding> {
        // A slow response is complete too.
        let is_whole = |met: &str| matches!(met, "delay" | "drip");
        let is_page = |call: &&ReportCall| {
            call.endpoint == "execute_report" && call.status == 200 && call.mischief.as_deref().is_none_or(is_whole)
        };
        let served = stats.reports.iter().filter(is_page).count();
        let committed = verify::pages_of_lynn(&self.server.url(DATABASE)).await? + self.pages_lost;
        let lost = served.saturating_sub(committed);
        let mut locked = 0;
        for daemon in &self.daemons {
            locked += daemon.said(WITHOUT_COLUMN)?;
        }
        let fault = (lost > faults + refused + locked * PAGES_AT_HAND).then(|| {
            format!("only {faults} faults, {refused} refused writes and {locked} locked tables could explain them")
        });
        Ok(Finding::new(format!("Lynn: {served} pages served, {committed} committed, {lost} read twice"), fault))
    }

    fn daemons_kept(&self) -> Vec<Finding> {
        let ended = self.ended.first().map(|first| format!("{}, {first}", self.ended.len()));
        let what = format!(
            "no daemon ended by itself, except {} times because Postgres was unavailable at its start",
            self.ended_for_want
        );
        let mut findings = vec![Finding::new(what, ended)];
        for (number, daemon) in self.daemons.iter().enumerate() {
            let (mib, lives) = (daemon.peak_kib >> 10, daemon.lives);
            let large = (daemon.peak_kib > PEAK_KIB_MAX).then(|| format!("{mib} MiB"));
            let what = format!("daemon {number} stayed within 64 MiB in each of {lives} lives ({mib} MiB at most)");
            findings.push(Finding::new(what, large));
        }
        findings
    }
}

/// A call that came too early is reported with the report calls before it.
fn within_quotas(stats: &Stats) -> Finding {
    const BEFORE_SECS: f64 = 1.0;
    let violation = stats.violations.first().map(|first| {
        let before = stats.reports.iter().filter(|call| {
            let ago = first.at_secs - call.at_secs;
            (0.0..BEFORE_SECS).contains(&ago)
        });
        let before: Vec<_> = before.map(|call| format!("{} at {:.3}", call.endpoint, call.at_secs)).collect();
        format!("{}, {first:?}, behind {}", stats.violation_count, before.join(", "))
    });
    Finding::new("no quota was exceeded", violation)
}

/// With a lookback that covers every row.
fn lookback(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.split_once("lookback:") {
            Some((before, _)) => format!("{before}lookback: 30d"),
            None => line.to_owned(),
        })
        .collect();
    lines.join("\n")
}
