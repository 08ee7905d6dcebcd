//! Promises 1 to 5 and 8 under a storm: daemons, Postgres and vendors fail at random, and nothing is lost or doubled.
//!
//! ```sh
//! cargo run --release --example chaos -- --minutes 5 --seed 7
//! ```
//!
//! Two daemons read the five vendors' simulators into one Postgres, a firing every few seconds. Meanwhile daemons are
//! killed, put to sleep beyond their lease and woken, Postgres is restarted, its disk is full and its connections break,
//! vendors answer with every kind of fault, or not at all, and change their minds about rows. Then all fall quiet, every job runs once more, and the tables
//! must equal, as multisets, those that one undisturbed run makes in a database of its own. The seed repeats the faults and
//! their order; at which instant of the programs they strike is up to the machine.

mod calm;
mod daemons;
mod disk;
mod line;
mod server;
mod site;
mod storm;
mod vendors;
mod verify;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use site::Site;
use storm::{Storm, Tally};
use verify::Finding;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let (length, seed) = arguments()?;
    println!("seed {seed}, {} s of storm", length.as_secs());
    let mut site = Site::open(binary()?, seed).await?;
    let began = Instant::now();
    let mut storm = Storm::new(seed, Site::until());
    while began.elapsed() < length {
        storm.blow(&mut site).await?;
    }
    println!("{}", table(&storm.tally));
    let refused = site.server.writes_refused()?;
    println!("the full disk refused {refused} writes; Postgres ended by itself {} times", site.server.ended);
    let findings = site.calm_down(storm.tally.values().sum()).await;
    let findings = match findings {
        Ok(findings) => findings,
        Err(error) => {
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
    println!("{} faults survived", storm.tally.values().sum::<u32>());
    Ok(ExitCode::SUCCESS)
}

/// `--minutes M` or `--seconds S`, `--seed N`.
fn arguments() -> anyhow::Result<(Duration, u64)> {
    let mut length = Duration::from_mins(1);
    let mut seed = rand::random();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} wants a number"))?;
        let number: u64 = value.parse().with_context(|| format!("{name} {value} is no number"))?;
        match name.as_str() {
            "--minutes" => length = Duration::from_mins(number),
            "--seconds" => length = Duration::from_secs(number),
            "--seed" => seed = number,
            _ => anyhow::bail!("{name} is none of --minutes, --seconds, --seed"),
        }
    }
    Ok((length, seed))
}

/// The daemon's program: `TIDEGATE_BIN`, or the one beside this, built anew as `cargo run --example` does not.
fn binary() -> anyhow::Result<PathBuf> {
    let path = if let Some(path) = std::env::var_os("TIDEGATE_BIN") {
        PathBuf::from(path)
    } else {
        if let Some(cargo) = std::env::var_os("CARGO") {
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--bin", "tidegate", "--manifest-path"]);
            build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            ensure!(build.status()?.success(), "the daemon could not be built");
        }
        std::env::current_exe()?.with_file_name("../tidegate")
    };
    ensure!(path.is_file(), "{} is missing: build it with the same profile, or set TIDEGATE_BIN", path.display());
    Ok(path.canonicalize()?)
}

fn table(tally: &Tally) -> String {
    let mut text = String::from("| fault | times |\n|---|--:|\n");
    for (name, times) in tally {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {name} | {times} |");
    }
    text
}
