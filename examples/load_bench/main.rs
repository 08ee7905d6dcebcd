//! How fast Tidegate loads, measured against a floor in the same run: psql, which loads the same rows.
//!
//! ```sh
//! cargo run --release --example load_bench                            # both workloads, 1,000,000 rows, three times
//! cargo run --release --example load_bench -- --rows 200000 --repeat 5 --only J
//! cargo run --release --example load_bench -- --rows 10000000 --repeat 1 --floors no    # memory at ten times the rows
//! ```
//!
//! Three processes beside this one: a Postgres with durable settings, a vendor that serves bytes made beforehand, and the
//! real binary (`TIDEGATE_BIN`, else the one beside this program's folder). There are two workloads: J, pages of JSON as
//! Lynn's, and C, one CSV file as Khoros's. Each is loaded four times: into an empty slice, with nothing changed, with
//! every tenth row changed, with every row changed. The floors are `\copy` into
//! an unlogged table with `insert … on conflict do update` behind it, and for the first load also `\copy` straight into
//! the keyed table. Tidegate and floors take turns; what is printed are medians over all repetitions, and the ratios are
//! medians of the ratios within one repetition. Everything lies in a temporary folder that is deleted at the end.

mod floor;
mod process;
#[path = "../support/program.rs"]
mod program;
mod report;
mod server;
mod vendor;
mod workload;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use floor::{Floor, Floors};
use process::Ended;
use report::{Load, Report};
use server::Server;
use vendor::{DAY, Revision, Vendor};
use workload::Workload;

const DATABASE: &str = "measured";

/// What is loaded, one after the other, and what then is to be found.
const STEPS: [(&str, Revision); 4] = [
    ("first load", Revision::First),
    ("nothing changed", Revision::First),
    ("10 % changed", Revision::Tenth),
    ("all changed", Revision::All),
];

struct Options {
    rows: u64,
    repeat: u32,
    workloads: Vec<Workload>,
    floors: bool,
}

/// What the binary says of a load.
#[derive(Deserialize)]
struct Summary {
    tasks: Vec<Task>,
}

#[derive(Deserialize)]
struct Task {
    #[serde(rename = "rows_read")]
    read: u64,
    #[serde(rename = "rows_inserted")]
    inserted: u64,
    #[serde(rename = "rows_updated")]
    updated: u64,
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, workload, rows] = arguments.as_slice()
        && role == vendor::ROLE
    {
        let workload = Workload::of_name(workload).context("which workload?")?;
        return runtime.block_on(vendor::serve(workload, rows.parse()?));
    }
    let options = options(&arguments)?;
    let binary = program::binary()?;
    for &workload in &options.workloads {
        println!("{}", runtime.block_on(measure(&binary, workload, &options))?);
    }
    Ok(())
}

fn options(arguments: &[String]) -> anyhow::Result<Options> {
    let mut options = Options { rows: 1_000_000, repeat: 3, workloads: Workload::ALL.to_vec(), floors: true };
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let value = rest.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--rows" => options.rows = value.parse()?,
            "--repeat" => options.repeat = value.parse()?,
            "--only" => options.workloads = vec![Workload::of_name(value).context("--only J, or --only C")?],
            "--floors" => options.floors = value != "no",
            _ => bail!("unknown option {name}; there are --rows N, --repeat N, --only J or C, --floors no"),
        }
    }
    Ok(options)
}

/// Where everything happens.
struct Site {
    folder: tempfile::TempDir,
    binary: PathBuf,
    server: Server,
    vendor: Vendor,
    workload: Workload,
    rows: u64,
    /// Whether psql loads the same rows.
    floors: bool,
}

async fn measure(binary: &Path, workload: Workload, options: &Options) -> anyhow::Result<Report> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path()).await?;
    let vendor = Vendor::start(workload, options.rows)?;
    let site = Site {
        folder,
        binary: binary.to_owned(),
        server,
        vendor,
        workload,
        rows: options.rows,
        floors: options.floors,
    };
    let mut report = Report::new(workload.name(), options.rows);
    for number in 0..options.repeat {
        eprintln!("{}: repetition {} of {}", workload.name(), number + 1, options.repeat);
        site.repetition(&mut report, number).await?;
    }
    Ok(report)
}

impl Site {
    /// Every step once, in a database of its own.
    async fn repetition(&self, report: &mut Report, number: u32) -> anyhow::Result<()> {
        self.server.execute("postgres", &format!("drop database if exists {DATABASE} with (force)")).await?;
        self.server.execute("postgres", &format!("create database {DATABASE}")).await?;
        let config = self.configure()?;
        let mut migrate = self.tidegate(&config);
        migrate.arg("migrate");
        tokio::task::spawn_blocking(|| process::run(migrate)).await??;
        let (table, mut floors) = (self.workload.table(), None);
        for (step, revision) in STEPS {
            self.vendor.tell(revision).await?;
            let load = self.used(self.load(&config, step, revision)).await?;
            report.add(step, "tidegate", load);
            if !self.floors {
                continue;
            }
            let floors = match &mut floors {
                Some(floors) => floors,
                none => none.insert(Floors::new(&self.server, DATABASE, table).await?),
            };
            let file = self.folder.path().join(format!("{}.txt", revision as u8));
            // The rows are the same in every repetition, but for who loaded them.
            if number == 0 && step != "nothing changed" {
                floors.export(table, self.workload.order(), file.clone()).await?;
            }
            if step == "first load" {
                let load = self.used(floors.load(Floor::Plain, &file)).await?;
                report.add(step, "plain", load);
            }
            let load = self.used(floors.load(Floor::Staged, &file)).await?;
            report.add(step, "staged", load);
            ensure!(floors.agrees(table).await?, "{step}: psql and tidegate disagree");
            floors.clear().await?;
        }
        Ok(())
    }

    /// Runs a load on a calm server, and tells what it used.
    async fn used(&self, load: impl Future<Output = anyhow::Result<Ended>>) -> anyhow::Result<Load> {
        self.server.execute(DATABASE, "vacuum (analyze)").await?;
        self.server.execute(DATABASE, "checkpoint").await?;
        let before = self.server.used().await?;
        let ended = load.await?;
        let after = self.server.used().await?;
        Ok(Load {
            took: ended.took,
            client_cpu: ended.cpu,
            peak_kib: ended.peak_kib,
            server_cpu: after.cpu.saturating_sub(before.cpu),
            wal_bytes: after.wal_bytes - before.wal_bytes,
        })
    }

    async fn load(&self, config: &Path, step: &str, revision: Revision) -> anyhow::Result<Ended> {
        let mut command = self.tidegate(config);
        command.args(["backfill", "bench", "--from", DAY[0], "--to", DAY[1], "--json"]);
        let ended = tokio::task::spawn_blocking(|| process::run(command)).await??;
        let summary: Summary = serde_json::from_slice(&ended.output).context("the binary's answer")?;
        let sum = |of: fn(&Task) -> u64| summary.tasks.iter().map(of).sum::<u64>();
        let written = match (step, revision) {
            ("first load", _) | (_, Revision::All) => self.rows,
            (_, Revision::First) => 0,
            (_, Revision::Tenth) => self.rows / 10,
        };
        let found = (sum(|task| task.read), sum(|task| task.inserted + task.updated));
        ensure!(found == (self.rows, written), "{step}: read and wrote {found:?}, not {:?}", (self.rows, written));
        Ok(ended)
    }

    fn tidegate(&self, config: &Path) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    fn configure(&self) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join("tidegate.yaml");
        let text = format!(
            "database: {{ url: \"{}\" }}\nlog: {{ level: error }}\n{}",
            self.server.url(DATABASE),
            self.workload.configuration(&self.vendor.base_url)
        );
        std::fs::write(&path, text)?;
        Ok(path)
    }
}
