//! The command line. Help texts say what a command does to the world and show it in use.

use std::net::SocketAddr;
use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 something failed and is named on standard error; 2 the command line or the configuration is wrong;
3 done, but something is held and needs a decision (`tidegate held`).

First steps:
  tidegate demo                 see it at work, with nothing to set up
  tidegate check --offline      is my configuration right?
  tidegate migrate              make the tables
  tidegate check                can it log in everywhere?
  tidegate sync JOB             read once, now
  tidegate run                  the daemon";

/// Keeps a Postgres warehouse in step with the reports of customer-care vendors, inside their quotas
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// The configuration: a file or a folder
    ///
    /// In a folder, `tidegate.yaml` and every `jobs/*.yaml` are read and merged.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "TIDEGATE_CONFIG",
        hide_env_values = true,
        default_value = "config"
    )]
    pub config: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: schedules, workers, status page
    ///
    /// SIGTERM or Ctrl-C stops it at the next checkpoint, within 10 s. SIGHUP or a changed file reloads the jobs; a
    /// faulty configuration is refused and the one before stays in force.
    #[command(verbatim_doc_comment)]
    Run(RunArgs),
    /// Run jobs once, now, in the foreground, to the end
    ///
    /// Waits for quotas as long as they take. Exits with 1 if any stream failed, else with 3 if slices of a stream are
    /// held. Ctrl-C stops at the next checkpoint; the next run goes on from there.
    #[command(verbatim_doc_comment)]
    Sync(SyncArgs),
    /// Read a past range again, at lower priority
    ///
    /// Rows end up as the vendor reports them now. Interrupted, it is resumed by a worker of `tidegate run`, or by the
    /// same command.
    #[command(verbatim_doc_comment)]
    Backfill(BackfillArgs),
    /// Send rows of the warehouse to a Lynn campaign, each once
    ///
    /// Only this command does it: no schedule, no `sync`. The records may become messages to customers, so look at
    /// --dry-run first. A batch whose answer was lost is never sent again without --resend.
    #[command(verbatim_doc_comment)]
    Push(PushArgs),
    /// What a run would do now: slices, calls, bytes, and when the quotas allow it to end
    ///
    /// Sends nothing and changes nothing.
    #[command(verbatim_doc_comment)]
    Plan(PlanArgs),
    /// Check the configuration, and log in to every connection and database
    ///
    /// Logging in obtains a token where a vendor has tokens, which counts against its quota; no report is read. With
    /// --offline nothing is contacted.
    #[command(verbatim_doc_comment)]
    Check(CheckArgs),
    /// What is due, what waits, how fresh each stream is, what failed
    Status(StatusArgs),
    /// What ran, newest first
    Runs(RunsArgs),
    /// What each connection has used of its vendor's limits; `quota unblock` lifts a block
    Quota(QuotaArgs),
    /// How far each stream has been read; `cursors reset` reads again
    Cursors(CursorsArgs),
    /// Slices whose last reading was too doubtful to delete rows; `held release` lets the next one delete
    ///
    /// A reading that refused records, or that reports far fewer rows than there are, adds and changes rows and takes
    /// nothing away. The next complete reading ends the hold.
    #[command(verbatim_doc_comment)]
    Held(HeldArgs),
    /// Each connection with its account and what was loaded; `connections forget` removes it
    Connections(ConnectionsArgs),
    /// Records that could not become rows, newest first, and why
    ///
    /// They hold what the vendor sent, so their content is shown with --record only.
    #[command(verbatim_doc_comment)]
    Rejects(RejectsArgs),
    /// The catalogue: every stream, its table, key, cursor and columns
    ///
    /// Needs no configuration; with one, the extra reports of its connections are listed too.
    #[command(verbatim_doc_comment)]
    Streams(StreamsArgs),
    /// Bring the database to this version
    ///
    /// `run` and `sync` do it too. One process at a time, any number may try.
    #[command(verbatim_doc_comment)]
    Migrate,
    /// Print the JSON Schema of the configuration, for editors
    ///
    /// `tidegate schema > tidegate.schema.json`, and at the top of a YAML file:
    /// `# yaml-language-server: $schema=tidegate.schema.json`
    #[command(verbatim_doc_comment)]
    Schema,
    #[cfg(feature = "simulator")]
    /// Serve the vendor simulators, with their documented limits enforced
    ///
    /// Point a connection's `base_url` there to try a configuration without a vendor.
    #[command(verbatim_doc_comment)]
    Simulate(SimulateArgs),
    #[cfg(feature = "simulator")]
    /// Everything on one machine: embedded Postgres, simulators, sample jobs, daemon
    ///
    /// Nothing to set up. Started again, it goes on where it was.
    #[command(verbatim_doc_comment)]
    Demo(DemoArgs),
    /// Ask the daemon of this configuration whether it is alive; for container health checks
    #[command(hide = true)]
    Health(HealthArgs),
}

#[derive(Debug, Args)]
pub struct RunArgs {}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate sync                                  all jobs but the paused ones
  tidegate sync lynn-hourly                      this job, paused or not
  tidegate sync lynn-hourly --stream survey_result")]
pub struct SyncArgs {
    /// Jobs to run; all that are not paused, if none is named
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// Only this stream; may be given several times
    #[arg(long = "stream", value_name = "STREAM")]
    pub streams: Vec<String>,
    /// Print the result as one JSON document, without progress
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate backfill lynn-hourly --from 2026-01-01 --to 2026-02-01      all of January
  tidegate backfill lynn-hourly --from 2026-01-01 --to 2026-02-01 --stream survey_result")]
pub struct BackfillArgs {
    /// The job whose streams are read
    pub job: String,
    /// First day of the range, in the job's zone
    #[arg(long, value_name = "DATE")]
    pub from: NaiveDate,
    /// Day behind the last of the range
    #[arg(long, value_name = "DATE")]
    pub to: NaiveDate,
    /// Only this stream; may be given several times
    #[arg(long = "stream", value_name = "STREAM")]
    pub streams: Vec<String>,
    /// Print the result as one JSON document, without progress
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate push renewals --dry-run               how many rows would go, in how many batches
  tidegate push renewals --dry-run --show-rows   and the first of them: they may be personal data
  tidegate push renewals                         sends what was not sent before
  tidegate push renewals --resend                and what an earlier push sent without hearing that it arrived")]
pub struct PushArgs {
    /// The job whose rows are sent
    pub job: String,
    /// Send nothing: show what would go
    #[arg(long)]
    pub dry_run: bool,
    /// Show the first rows as well
    #[arg(long, requires = "dry_run")]
    pub show_rows: bool,
    /// Send rows of unknown and failed batches again: they may arrive twice
    #[arg(long)]
    pub resend: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Jobs to plan; all, if none is named
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate check --offline                       in a pre-commit hook
  tidegate --config /etc/tidegate check          before a restart")]
pub struct CheckArgs {
    /// Contact nothing: only the files are checked
    #[arg(long)]
    pub offline: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate runs                                  the last runs of all jobs
  tidegate runs lynn-hourly --limit 1 --tasks    what the last run did, stream by stream
  tidegate runs cancel 4711                      cancel an unfinished run")]
#[command(args_conflicts_with_subcommands = true)]
pub struct RunsArgs {
    #[command(subcommand)]
    pub action: Option<RunsAction>,
    /// Only runs of this job
    pub job: Option<String>,
    /// Runs shown at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Show what each stream of a run read and changed
    #[arg(long)]
    pub tasks: bool,
    /// Print one JSON document; tasks are always in it
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum RunsAction {
    /// Cancel queued, waiting or running runs
    ///
    /// A running run stops at its next checkpoint. The rows and cursors that it has committed are kept, and the next run
    /// of the job continues from there.
    #[command(verbatim_doc_comment)]
    Cancel(CancelArgs),
}

#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The ids of the runs, as shown by `tidegate runs`
    #[arg(required = true, value_name = "ID")]
    pub runs: Vec<i64>,
    /// Print the result as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct QuotaArgs {
    #[command(subcommand)]
    pub action: Option<QuotaAction>,
    /// Ask the vendors too what is left
    ///
    /// Lynn has a call for that, and no other vendor. It counts as a login.
    #[arg(long)]
    pub ask: bool,
    /// Only this connection; may be given several times
    #[arg(long = "connection", value_name = "NAME")]
    pub connections: Vec<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum QuotaAction {
    /// Lift the block that a vendor's refusal left on the limits of a connection
    ///
    /// A limit is blocked after the vendor answered 429, or 403 because of a quota. The block belongs to the credential, so
    /// it is lifted for every connection that shares it. Streams that wait for the limit are due at once. What was used
    /// stays counted, and the next refusal blocks the limit again.
    #[command(verbatim_doc_comment)]
    Unblock(UnblockArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate quota unblock acme-lynn                  all limits of the connection
  tidegate quota unblock acme-lynn period_calls     this limit")]
pub struct UnblockArgs {
    /// The connection whose credential was refused
    pub connection: String,
    /// Only this limit, as shown by `tidegate quota`; all limits, if left out
    pub limit: Option<String>,
    /// Print the result as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CursorsArgs {
    #[command(subcommand)]
    pub action: Option<CursorsAction>,
    /// Only streams of this job
    pub job: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum CursorsAction {
    /// Forget how far streams were read, so that the next run reads again
    ///
    /// No row is touched now: a slice that is read again ends as the vendor reports it then. On a terminal it asks
    /// before it does anything; elsewhere, and with --yes, it does not. Refused while a run reads the stream.
    #[command(verbatim_doc_comment)]
    Reset(ResetArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate cursors reset lynn-hourly --to 2026-03-01                   everything since March
  tidegate cursors reset lynn-hourly --stream survey_result            one stream from its start, on a new grid if
                                                                       `slice` or `timezone` changed")]
pub struct ResetArgs {
    /// The job whose streams are reset
    pub job: String,
    /// Only this stream; may be given several times
    #[arg(long = "stream", value_name = "STREAM")]
    pub streams: Vec<String>,
    /// First day to read again, in the stream's zone; everything since the job's start, if left out
    #[arg(long, value_name = "DATE")]
    pub to: Option<NaiveDate>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Print the result as one JSON document; does not ask
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct HeldArgs {
    #[command(subcommand)]
    pub action: Option<HeldAction>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum HeldAction {
    /// Let the next reading of held slices delete what the vendor does not report, and make it due
    ///
    /// Nothing is deleted now. Ask the vendor first: rows that it stopped reporting by mistake are gone from the table
    /// after the next run.
    #[command(verbatim_doc_comment)]
    Release(ReleaseArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate held release lynn-hourly --stream survey_result
  tidegate held release lynn-hourly --stream survey_result --from 2026-03-01 --to 2026-03-02    one day")]
pub struct ReleaseArgs {
    /// The job that reads the stream
    pub job: String,
    /// The stream whose held slices are released; may be given several times
    #[arg(long = "stream", value_name = "STREAM", required = true)]
    pub streams: Vec<String>,
    /// First day whose slices are released, in the stream's zone
    #[arg(long, value_name = "DATE")]
    pub from: Option<NaiveDate>,
    /// Day after the last of them
    #[arg(long, value_name = "DATE")]
    pub to: Option<NaiveDate>,
    /// Print the result as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ConnectionsArgs {
    #[command(subcommand)]
    pub action: Option<ConnectionsAction>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum ConnectionsAction {
    /// Forget which account a connection read, and how far
    ///
    /// For a connection that was removed, or whose name another account is to have. On a terminal it asks before it does
    /// anything; elsewhere, and with --yes, it does not. Refused while a run reads the connection.
    #[command(verbatim_doc_comment)]
    Forget(ForgetArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate connections forget acme-lynn            account and cursors; its rows stay in the tables
  tidegate connections forget acme-lynn --rows     and its rows")]
pub struct ForgetArgs {
    /// The connection, configured or not
    pub name: String,
    /// Delete its rows from every table as well
    #[arg(long)]
    pub rows: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Print the result as one JSON document; does not ask
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RejectsArgs {
    /// Only records of this job's streams
    pub job: Option<String>,
    /// Records shown at most
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Show the records themselves: they are vendor data, and may be personal
    #[arg(long)]
    pub record: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate streams                               one line per stream
  tidegate streams lynn_reporting                with every column
  tidegate streams lynn_reporting --discovered   with those that appeared with the data
  tidegate streams --discovered --suggest        types for a job's `types:`, as the data has them")]
pub struct StreamsArgs {
    /// Only this vendor, in full
    pub vendor: Option<String>,
    /// Ask the database for the columns that appeared with the data
    #[arg(long)]
    pub discovered: bool,
    /// Print a `types:` block for those columns: the narrowest type that holds what is there
    #[arg(long, requires = "discovered")]
    pub suggest: bool,
    /// Print one JSON document, in full
    #[arg(long)]
    pub json: bool,
}

#[cfg(feature = "simulator")]
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Where to listen; port 0 picks a free one. Two further hosts, of Lexer and for files, listen on the ports behind it
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// The name by which others reach this host, for the URLs that the simulators hand out
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,
    /// Divide every period by this: limits, token lifetimes
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub speed: f64,
}

#[cfg(feature = "simulator")]
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Run every sample job once, print what was loaded, and end
    #[arg(long)]
    pub once: bool,
}

#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Where the daemon listens, if not where the configuration says
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
}
