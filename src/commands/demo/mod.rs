//! `tidegate demo`: embedded Postgres, simulators, sample jobs and the daemon in one process, with nothing to set up.

mod reader;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

use self::reader::Reader;
use super::output::{self, Table};
use super::sync::foreground;
use super::{CommandError, Context, DemoArgs, Exit, show};
use crate::app::{Daemon, Database, Reload};
use crate::clock;
use crate::config::{self, Config};
use crate::postgres::{NEW_CLUSTER, PROGRAMS};
use crate::schedule::{ByHand, enqueue_manual};
use crate::store::{demo, progress, session};
use simulator::{Options, Simulator};

/// The folder with all files of the demo. If it is deleted, the next demo starts from the beginning.
const FOLDER: &str = "data/demo";
/// The simulators divide their periods by this number; the quotas of the sample jobs are divided in the same way.
const SPEED: f64 = 20.0;
/// The port of the simulators at every start, if it is free.
const PORT: u16 = 8090;
/// The sample jobs begin this many days ago: six weeks, which take about two minutes.
const DAYS_BACK: i64 = 42;
/// The variable with another first day of the sample jobs.
const START: &str = "DEMO_START";
/// How often the demo asks the database.
const LOOK: Duration = Duration::from_millis(500);
/// The beginning of the demo's `tidegate.yaml`.
const HEADING: &str = "# The demo's own settings; see config/tidegate.yaml of the sources.\n";
/// The sample jobs, written to the demo's folder at the first start.
const JOBS: &[(&str, &str)] = &[
    ("lynn.yaml", include_str!("../../../config/demo/lynn.yaml")),
    ("lynn_outbound.yaml", include_str!("../../../config/demo/lynn_outbound.yaml")),
    ("khoros_care.yaml", include_str!("../../../config/demo/khoros_care.yaml")),
    ("lexer.yaml", include_str!("../../../config/demo/lexer.yaml")),
    ("jaicp.yaml", include_str!("../../../config/demo/jaicp.yaml")),
];

pub(crate) async fn run(context: Context, args: DemoArgs) -> anyhow::Result<Exit> {
    let simulator = simulate().await?;
    let folder = PathBuf::from(FOLDER);
    let values = values(&simulator);
    write_config(&folder, &values)?;
    let env = environment(values, &folder);
    let path = folder.join("config");
    let outcome = match Config::load(&path, &env) {
        Err(faults) => Err(faults.into()),
        Ok(config) => {
            let context = Context { config: config.into(), config_path: path, ..context };
            if args.once { once(&context).await } else { daemon(&context, env, &simulator).await }
        }
    };
    simulator.stop().await;
    outcome
}

async fn simulate() -> anyhow::Result<Simulator> {
    let options = |port| Options {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        speed: SPEED,
        hide_future: true,
        ..Options::default()
    };
    match simulator::start(options(PORT)).await {
        Ok(simulator) => Ok(simulator),
        Err(_) => simulator::start(options(0))
            .await
            .context("there is no free port on the loopback interface for the simulators"),
    }
}

/// Writes the missing files of the demo's configuration. Files that a user changed are kept. The files contain all
/// values that they need, so that other commands can read them while the demo runs.
fn write_config(folder: &Path, values: &[(&str, String)]) -> anyhow::Result<()> {
    let (config, jobs) = (folder.join("config/tidegate.yaml"), folder.join("config/jobs"));
    let write = |path: &Path, text: &str, unchanged: &str| -> std::io::Result<()> {
        match fs::read_to_string(path) {
            // A file from an earlier version, which took the values from the environment.
            Ok(present) if present != unchanged => Ok(()),
            _ => fs::write(path, text),
        }
    };
    let settings = || -> std::io::Result<String> {
        let data_dir = serde_json::to_string(&std::path::absolute(folder.join("postgres"))?)?;
        Ok(format!("{HEADING}embedded:\n  data_dir: {data_dir}\n"))
    };
    fs::create_dir_all(&jobs)
        .and_then(|()| write(&config, &settings()?, HEADING))
        .and_then(|()| {
            JOBS.iter().try_for_each(|(name, text)| write(&jobs.join(name), &with_values(text, values), text))
        })
        .map_err(|error| {
            let message = format!("cannot write the demo's configuration to {}: {error}", folder.display());
            CommandError::failed(message, "start the demo in a folder that you can write to").into()
        })
}

/// The sample with a default for each variable.
fn with_values(text: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("${{{name}}}"), &format!("${{{name}:-{value}}}"))
    })
}

/// The variables that the sample jobs use.
fn values(simulator: &Simulator) -> Vec<(&'static str, String)> {
    let start = std::env::var(START).ok().filter(|start| !start.is_empty());
    let start = start.unwrap_or_else(|| (clock::now() - TimeDelta::days(DAYS_BACK)).date_naive().to_string());
    let mut values = simulator.demo_variables();
    values.push((START, start));
    values
}

/// The environment of the demo: that of the process, without its settings of a database.
fn environment(values: Vec<(&'static str, String)>, folder: &Path) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> =
        config::process_env().into_iter().filter(|(name, _)| !name.starts_with("TIDEGATE__DATABASE__")).collect();
    env.extend(values.into_iter().map(|(name, value)| (name.to_owned(), value)));
    env.insert("TIDEGATE__EMBEDDED__DATA_DIR".to_owned(), folder.join("postgres").display().to_string());
    quiet(env)
}

/// The demo prints its own messages, so its log contains only warnings and errors, unless the environment sets another
/// level.
pub(crate) fn quiet(mut env: BTreeMap<String, String>) -> BTreeMap<String, String> {
    // The demo is meant to use the embedded Postgres. The first start may have to download it.
    let level = || format!("warn,{NEW_CLUSTER}=off,{PROGRAMS}=info");
    env.entry("TIDEGATE__LOG__LEVEL".to_owned()).or_insert_with(level);
    env
}

async fn once(context: &Context) -> anyhow::Result<Exit> {
    let jobs = context.config.jobs.values();
    let streams = |job: &config::Job| job.streams.iter().map(|entry| entry.stream.name.to_string()).collect();
    let wanted: Vec<(_, Vec<String>)> = jobs.map(|job| (job, streams(job))).collect();
    let wanted = wanted
        .iter()
        .map(|(job, streams)| (*job, streams.iter().map(String::as_str).collect(), ByHand::Manual))
        .collect();
    foreground(context, wanted, false).await
}

async fn daemon(context: &Context, env: BTreeMap<String, String>, simulator: &Simulator) -> anyhow::Result<Exit> {
    output::print("starting Postgres …\n")?;
    let database = Database::own(&context.config, &context.cancel).await?;
    let outcome = serve(context, env, simulator, &database).await;
    database.close().await;
    outcome.map(|()| Exit::Done)
}

async fn serve(
    context: &Context,
    env: BTreeMap<String, String>,
    simulator: &Simulator,
    database: &Database,
) -> anyhow::Result<()> {
    // It migrates the database, and accepts one that only reads: the hint about that needs a running server.
    let reload = Reload { path: context.config_path.clone(), env, loaded: None };
    let mut daemon = Box::pin(Daemon::start(Arc::clone(&context.config), Some(reload), database)).await?;
    output::print(&format!(
        "database    {}\nstatus      http://{}/\nsimulator   {}/_sim/stats\njobs        {} (changes take effect immediately)\n\n",
        database.psql_line().unwrap_or_default(),
        daemon.address(),
        simulator.base_url(),
        context.config_path.join("jobs").display(),
    ))?;
    let told = tokio::select! {
        told = tell(context, database) => told,
        error = daemon.ended() => Err(error.into()),
        () = context.cancel.cancelled() => Ok(()),
    };
    output::print("\nstopping …\n")?;
    daemon.stop().await;
    told
}

/// Runs every job immediately instead of at the next full minute. Prints how a BI tool can read the tables, and what
/// was loaded after every run.
async fn tell(context: &Context, database: &Database) -> anyhow::Result<()> {
    let pool = &database.pool;
    let mut runs = Vec::new();
    for job in context.config.jobs.values() {
        let streams: Vec<&str> = job.streams.iter().map(|entry| &*entry.stream.name).collect();
        let enqueue = async || {
            let mut connection = pool.acquire().await?;
            enqueue_manual(&mut connection, job, &streams, ByHand::Manual).await
        };
        // If only the response was lost, the job runs twice, which does no harm.
        runs.push(insist(pool, enqueue).await?);
    }
    while !insist(pool, async || progress::have_ended(pool, &runs).await).await? {
        tokio::time::sleep(LOOK).await;
    }
    let (mut told, mut reader) = (None, database.tcp_place().map(|place| Reader::new(Path::new(FOLDER), place)));
    loop {
        let (loaded, last_run) = insist(pool, async || demo::progress(pool).await).await?;
        if last_run != told {
            told = last_run;
            let now = clock::now();
            output::print(&format!("{}{}\n", table(&loaded, now), next(&context.config, now)))?;
            if let Some(reader) = reader.take() {
                output::print(&format!("BI tool     {}\n\n", reader.admit(pool).await?))?;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Does `work` until the database has done all of it, as the daemon does: the server of the demo must not stop while a
/// person mends it. Prints once that it fails, and once that it has succeeded since.
async fn insist<T>(pool: &PgPool, work: impl AsyncFn() -> Result<T, sqlx::Error>) -> anyhow::Result<T> {
    let mut is_failing = false;
    loop {
        let error = match work().await {
            Ok(done) => {
                if is_failing {
                    output::print("the database responds as it should again; the demo continues\n\n")?;
                }
                return Ok(done);
            }
            Err(error) => error,
        };
        session::judge(pool, &error);
        if !is_failing {
            is_failing = true;
            let hint =
                if session::is_read_only(&error) { format!("; {}", session::ONLY_READS_HINT) } else { String::new() };
            let what = session::summary(&error);
            output::print(&format!("{what}; the demo continues when that is over{hint}\n\n"))?;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn table(loaded: &[demo::Loaded], now: DateTime<Utc>) -> String {
    let mut table = Table::new().left(&["TABLE"]).right(&["ROWS"]).left(&["READ UNTIL", "LAST RUN"]);
    for stream in loaded {
        let moment =
            |at: Option<DateTime<Utc>>| at.map_or_else(|| show::NOTHING.to_owned(), |at| show::moment(at, now));
        table.row([
            stream.table.clone(),
            stream.rows.map_or_else(|| show::NOTHING.to_owned(), |rows: i64| rows.to_string()),
            moment(stream.read_until),
            stream.last_run_state.clone().unwrap_or_else(|| show::NOTHING.to_owned()),
        ]);
    }
    table.show()
}

fn next(config: &Config, now: DateTime<Utc>) -> String {
    let due = config.jobs.values().filter_map(|job| Some((job.schedule.as_ref()?.next_after(now)?, &job.name)));
    due.min().map_or_else(String::new, |(at, job)| format!("next run: {job} at {}\n", show::moment(at, now)))
}
