//! Promises 1 to 6, 8, 10 and 11 under a storm: daemons, Postgres and vendors fail at random, and nothing is lost or
//! doubled.
//!
//! ```sh
//! cargo run --release --example chaos -- --minutes 5 --seed 7
//! ```
//!
//! Two daemons read the five vendors' simulators into one Postgres, with a firing every few seconds. Meanwhile daemons
//! are killed, suspended beyond their lease and resumed, and run with a wrong clock or few file descriptors. Postgres
//! is restarted, becomes read-only, or is replaced by an older copy; its disk is full, and its connections break or
//! fall silent. A reader keeps a table from being altered. Vendors respond with every kind of fault or not at all, and
//! change rows. Then all faults end, every job runs once more, and the tables must equal, as multisets, those of one
//! undisturbed run in a separate database. The seed repeats the faults and their order; their exact timing depends on
//! the machine. Every storm begins with a refused login, includes silent connections and a read-only failover among its
//! next faults, and continues until all of them have occurred. `--only disk` selects only the faults with that word in
//! their names.
//!
//! The pages, metrics and notifications of the daemons are watched meanwhile: each kind of fault must show there as
//! [`fault`] says, by a sign that is about the same thing and comes in time ([`journal`]). A target must receive the
//! beginning and the end of the problem that the refused login is. At the end the overview must say that all is well
//! (promise 11).

mod aim;
mod calm;
mod daemons;
mod disk;
mod fault;
mod journal;
mod line;
mod login;
#[path = "../support/program.rs"]
mod program;
mod reader;
mod server;
mod shift;
mod site;
mod storm;
mod target;
mod vendors;
mod verify;
mod watch;
mod well;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use fault::FaultKind;
use journal::Line;
use site::Site;
use storm::Storm;
use verify::Finding;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Arguments { length, seed, only } = arguments()?;
    println!("seed {seed}, {} s of storm", length.as_secs());
    let mut site = Site::open(program::binary()?, seed).await?;
    let mut storm = Storm::new(seed, &only, Site::until())?;
    let began = Instant::now();
    let outcome = weather(&mut site, &mut storm, length).await;
    // Beside the logs, for the case that they are kept.
    std::fs::write(site.folder().join("journal.txt"), site.journal.text(began))?;
    let findings = match outcome {
        Ok(findings) => findings,
        Err(error) => {
            println!("{}", site.last_lines(began));
            println!("seed {seed}: {error:#}; the logs are in {}", site.keep().display());
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut kept = true;
    for Finding { what, fault } in &findings {
        match fault {
            None => println!("kept    {what}"),
            Some(fault) => println!("BROKEN  {what}: {fault}"),
        }
        kept &= fault.is_none();
    }
    if !kept {
        println!("replay with --seed {seed}; the logs are in {}", site.keep().display());
        return Ok(ExitCode::FAILURE);
    }
    println!("{} faults survived", storm.count());
    Ok(ExitCode::SUCCESS)
}

/// Runs the storm and returns the findings of the checks after it.
async fn weather(site: &mut Site, storm: &mut Storm, length: Duration) -> anyhow::Result<Vec<Finding>> {
    let began = Instant::now();
    while began.elapsed() < length || !storm.is_complete() {
        storm.inject(site).await?;
    }
    let refused = site.server.writes_refused()?;
    println!("the full disk refused {refused} writes; Postgres ended by itself {} times", site.server.ended);
    let mut findings = site.calm_down(storm.count(), refused).await?;
    findings.push(storm.silence());
    findings.extend(storm.notified(&site.target));
    println!("{}", table(&site.journal.lines()));
    findings.extend(site.journal.findings());
    Ok(findings)
}

struct Arguments {
    length: Duration,
    seed: u64,
    /// A word in the names of the selected faults.
    only: String,
}

/// `--minutes M` or `--seconds S`, `--seed N`, `--only WORD`.
fn arguments() -> anyhow::Result<Arguments> {
    let mut known = Arguments { length: Duration::from_mins(1), seed: rand::random(), only: String::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        let number = || value.parse().with_context(|| format!("{name} {value} is not a number"));
        match name.as_str() {
            "--minutes" => known.length = Duration::from_mins(number()?),
            "--seconds" => known.length = Duration::from_secs(number()?),
            "--seed" => known.seed = number()?,
            "--only" => known.only = value,
            _ => anyhow::bail!("unknown option {name}; known are --minutes, --seconds, --seed, --only"),
        }
    }
    Ok(known)
}

/// What became of the faults, by kind.
fn table(lines: &BTreeMap<FaultKind, Line>) -> String {
    let mut text = String::from("| fault | times | must show | seen | slowest | where |\n|---|--:|--:|--:|--:|---|\n");
    for (kind, line) in lines {
        let mut places: Vec<String> = line.places.iter().map(|(place, times)| format!("{place} ({times})")).collect();
        places.extend(line.excuses.iter().map(|(excuse, times)| format!("{excuse} ({times})")));
        if let (Some(because), true) = (kind.appearance().because(), places.is_empty()) {
            places.push(because.to_owned());
        }
        let slowest = if line.seen > 0 { format!("{:.1} s", line.slowest.as_secs_f64()) } else { String::new() };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {slowest} | {} |",
            kind.name(),
            line.injected,
            line.demanded,
            line.seen,
            places.join("; ")
        );
    }
    text
}
