//! The command line. Help texts say what a command changes and show examples.

use std::net::SocketAddr;
use std::path::PathBuf;

use chrono::NaiveDate;
use clap::{Args, Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  something failed; standard error says what
  2  the command line or the configuration is wrong
  3  done, but a slice is held and needs a decision (`tidegate held`)

First steps:
  tidegate demo                 try everything, without any setup
  tidegate check --offline      is the configuration correct?
  tidegate migrate              create the tables
  tidegate check                can we log in to the database and the vendors?
  tidegate sync JOB             run a job once, now
  tidegate run                  start the daemon";

/// Copies the reports of customer-care vendors into Postgres, within the vendors' quotas
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
    /// SIGTERM or Ctrl-C stops it at the next checkpoint, within 10 s. SIGHUP or a changed file reloads the jobs. If
    /// the new configuration has an error, it is refused and the previous one stays in force.
    #[command(verbatim_doc_comment)]
    Run(RunArgs),
    /// Run jobs once, now, in the foreground, until they are done
    ///
    /// Waits for quotas as long as necessary. Exits with 1 if a stream failed, or with 3 if slices of a stream are
    /// held. Ctrl-C stops at the next checkpoint; the next run continues from there.
    #[command(verbatim_doc_comment)]
    Sync(SyncArgs),
    /// Read a past range again, at lower priority
    ///
    /// Afterwards, rows are as the vendor reports them now. If the command is interrupted, a worker of `tidegate run`
    /// resumes the backfill, or you run the same command again.
    #[command(verbatim_doc_comment)]
    Backfill(BackfillArgs),
    /// Send rows of the warehouse to a Lynn campaign, each row once
    ///
    /// Only this command sends rows; schedules and `sync` never do. The records may become messages to customers, so
    /// use --dry-run first. A batch whose response was lost is not sent again without --resend.
    #[command(verbatim_doc_comment)]
    Push(PushArgs),
    /// Show what a run would do now: slices, calls, bytes, and when the quotas allow it to end
    ///
    /// Sends nothing and changes nothing.
    #[command(verbatim_doc_comment)]
    Plan(PlanArgs),
    /// Check the configuration, and log in to every connection and database
    ///
    /// Logging in obtains a token if the vendor uses tokens; this counts against its quota. No report is read. With
    /// --offline, nothing is contacted.
    #[command(verbatim_doc_comment)]
    Check(CheckArgs),
    /// Show what is due, what waits, how fresh each stream is, and what failed
    Status(StatusArgs),
    /// Show runs, newest first; `runs cancel` cancels a run
    Runs(RunsArgs),
    /// Show what each connection has used of its vendor's limits; `quota unblock` lifts a block
    Quota(QuotaArgs),
    /// Show how far each stream was read; `cursors reset` lets the next run read it again
    Cursors(CursorsArgs),
    /// Show slices whose last reading was too doubtful to delete rows; `held release` allows deleting them
    ///
    /// A reading that rejects records, or reports far fewer rows than the table has, adds and changes rows but deletes
    /// none. The next complete reading ends the hold.
    #[command(verbatim_doc_comment)]
    Held(HeldArgs),
    /// Show each connection with its account and what was loaded; `connections forget` removes these
    Connections(ConnectionsArgs),
    /// Show records that could not become rows, newest first, with the reason
    ///
    /// They contain the vendor's data, so their content is shown only with --record.
    #[command(verbatim_doc_comment)]
    Rejects(RejectsArgs),
    /// Show the catalogue: every stream with its table, key, cursor and columns
    ///
    /// Needs no configuration. If there is one, the extra reports of its connections are listed too.
    #[command(verbatim_doc_comment)]
    Streams(StreamsArgs),
    /// Show which vendor fields feed the views of the schema `mart`, and which are missing
    ///
    /// The mart answers the same questions over all vendors. Fields that a vendor does not document are found by name,
    /// from a list of candidates. Where none or a wrong column was found, name the right one in the configuration:
    ///
    ///   mart: { fields: { khoros.conversation: { started_at: my_created_time } } }
    ///
    /// A field without a column is null in the views. The daemon and `sync` make the views and keep them up to date.
    #[command(verbatim_doc_comment)]
    Mart(MartArgs),
    /// Show the targets of notifications with their last delivery; `notify test` sends them a message
    ///
    /// The daemon sends them messages about problems: see `notify` in the configuration.
    #[command(verbatim_doc_comment)]
    Notify(NotifyArgs),
    /// Bring the database to the version of this program
    ///
    /// `run` and `sync` do this too. Several processes can start it at the same time: one migrates, the others wait.
    #[command(verbatim_doc_comment)]
    Migrate,
    /// Print the JSON Schema of the configuration, for editors
    ///
    /// Run `tidegate schema > tidegate.schema.json`, and write at the top of a YAML file:
    /// `# yaml-language-server: $schema=tidegate.schema.json`
    #[command(verbatim_doc_comment)]
    Schema(SchemaArgs),
    #[cfg(feature = "simulator")]
    /// Run simulators of the vendors, which enforce the documented limits
    ///
    /// Set `base_url` of a connection to a simulator's address to try a configuration without a vendor.
    #[command(verbatim_doc_comment)]
    Simulate(SimulateArgs),
    #[cfg(feature = "simulator")]
    /// Run everything on this machine: embedded Postgres, simulators, sample jobs, daemon
    ///
    /// Needs no setup. When it is started again, it continues where it stopped.
    #[command(verbatim_doc_comment)]
    Demo(DemoArgs),
    /// Check whether the daemon of this configuration is alive; for container health checks
    #[command(hide = true)]
    Health(HealthArgs),
}

#[derive(Debug, Args)]
pub struct RunArgs {}

#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Print the JSON API of the status port instead, as an OpenAPI 3.1 document
    #[arg(long)]
    pub api: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate sync                                  all jobs that are not paused
  tidegate sync lynn-hourly                      this job, even if it is paused
  tidegate sync lynn-hourly --stream survey_result")]
pub struct SyncArgs {
    /// Jobs to run. Without names: all jobs that are not paused
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// Only this stream. Can be repeated
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
    /// First day of the range, in the job's time zone
    #[arg(long, value_name = "DATE")]
    pub from: NaiveDate,
    /// Day after the last day of the range
    #[arg(long, value_name = "DATE")]
    pub to: NaiveDate,
    /// Only this stream. Can be repeated
    #[arg(long = "stream", value_name = "STREAM")]
    pub streams: Vec<String>,
    /// Print the result as one JSON document, without progress
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate push renewals --dry-run               how many rows would be sent, and in how many batches
  tidegate push renewals --dry-run --show-rows   also the first rows, which may be personal data
  tidegate push renewals                         send the rows that were not sent before
  tidegate push renewals --resend                also rows of batches that failed or had no response")]
pub struct PushArgs {
    /// The job whose rows are sent
    pub job: String,
    /// Send nothing; show what would be sent
    #[arg(long)]
    pub dry_run: bool,
    /// Show the first rows as well
    #[arg(long, requires = "dry_run")]
    pub show_rows: bool,
    /// Send rows of unknown and failed batches again; they may arrive twice
    #[arg(long)]
    pub resend: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Jobs to plan. Without names: all jobs
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
    /// Check only the files; contact nothing
    #[arg(long)]
    pub offline: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Print one JSON document, which is that of the overview page
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
    /// Maximum number of runs to show
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Show what each stream of a run read and changed
    #[arg(long)]
    pub tasks: bool,
    /// Print one JSON document, which always contains the tasks
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum RunsAction {
    /// Cancel queued, waiting or running runs
    ///
    /// A running run stops at its next checkpoint. Rows and cursors that it has committed are kept, and the next run of
    /// the job continues from there.
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
    /// Also request the remaining quota from the vendors
    ///
    /// Only Lynn offers such a call. It counts as a login.
    #[arg(long)]
    pub ask: bool,
    /// Only this connection. Can be repeated
    #[arg(long = "connection", value_name = "NAME")]
    pub connections: Vec<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate notify test             a message to each target
  tidegate notify test oncall      to this target
  tidegate notify list             last deliveries, and what could not be delivered")]
pub struct NotifyArgs {
    #[command(subcommand)]
    pub action: Option<NotifyAction>,
}

#[derive(Debug, Subcommand)]
pub enum NotifyAction {
    /// Send a test message, and wait for the outcome
    ///
    /// It takes the same way as every message. Exits with 1 if a target did not accept it.
    #[command(verbatim_doc_comment)]
    Test(NotifyTestArgs),
    /// Show each target with its last delivery, the oldest message that is due, and those that were given up
    List(NotifyListArgs),
}

#[derive(Debug, Args)]
pub struct NotifyTestArgs {
    /// Only this target. Without it: each target
    #[arg(value_name = "NAME")]
    pub target: Option<String>,
    /// Print the outcomes as one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct NotifyListArgs {
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum QuotaAction {
    /// Lift the block that a vendor's refusal left on the limits of a connection
    ///
    /// A limit is blocked after the vendor responded with status 429, or 403 because of a quota. The block belongs to
    /// the credential, so it is lifted for every connection with the same credential. Streams that wait for the limit
    /// are due immediately. The usage so far stays counted, and the next refusal blocks the limit again.
    #[command(verbatim_doc_comment)]
    Unblock(UnblockArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate quota unblock acme-lynn                  all limits of the connection
  tidegate quota unblock acme-lynn period_calls     this limit")]
pub struct UnblockArgs {
    /// The connection whose calls were refused
    pub connection: String,
    /// Only this limit, as shown by `tidegate quota`. Without it: all limits
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
    /// This command changes no rows. When the next run reads a slice again, its rows become those that the vendor then
    /// reports. On a terminal, the command asks for confirmation, unless --yes is given. It is refused while a run
    /// reads the stream.
    #[command(verbatim_doc_comment)]
    Reset(ResetArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate cursors reset lynn-hourly --to 2026-03-01                   everything since March
  tidegate cursors reset lynn-hourly --stream survey_result            one stream from its start, on a new grid
                                                                       if `slice` or `timezone` has changed")]
pub struct ResetArgs {
    /// The job whose streams are reset
    pub job: String,
    /// Only this stream. Can be repeated
    #[arg(long = "stream", value_name = "STREAM")]
    pub streams: Vec<String>,
    /// First day to read again, in the stream's time zone. Without it: everything since the job's start
    #[arg(long, value_name = "DATE")]
    pub to: Option<NaiveDate>,
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub yes: bool,
    /// Print the result as one JSON document, without asking for confirmation
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
    /// Allow the next reading of held slices to delete rows that the vendor does not report, and make it due
    ///
    /// This command deletes nothing. Ask the vendor first: if the vendor left out rows by mistake, the next run deletes
    /// them from the table.
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
    /// The stream whose held slices are released. Can be repeated
    #[arg(long = "stream", value_name = "STREAM", required = true)]
    pub streams: Vec<String>,
    /// First day whose slices are released, in the stream's time zone
    #[arg(long, value_name = "DATE")]
    pub from: Option<NaiveDate>,
    /// Day after the last day whose slices are released
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
    /// Forget which account a connection has read, and its cursors
    ///
    /// Use it for a connection that was removed, or to use its name for another account. On a terminal, the command
    /// asks for confirmation, unless --yes is given. It is refused while a run reads the connection.
    #[command(verbatim_doc_comment)]
    Forget(ForgetArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate connections forget acme-lynn            account and cursors; rows stay in the tables
  tidegate connections forget acme-lynn --rows     account, cursors and rows")]
pub struct ForgetArgs {
    /// The connection; it need not be in the configuration
    pub name: String,
    /// Also delete its rows from all tables
    #[arg(long)]
    pub rows: bool,
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub yes: bool,
    /// Print the result as one JSON document, without asking for confirmation
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct RejectsArgs {
    /// Only records of this job's streams
    pub job: Option<String>,
    /// Maximum number of records to show
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    /// Show the records themselves, which may contain personal data
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
  tidegate streams lynn_reporting                one vendor, with every column
  tidegate streams lynn_reporting --discovered   also columns that were created for new fields
  tidegate streams --discovered --suggest        types for `types:` of a job, based on the data
  tidegate streams --dbt > models/sources.yml    the sources of a dbt project; see docs/bi.md")]
pub struct StreamsArgs {
    /// Only this vendor, with all details
    pub vendor: Option<String>,
    /// Also read from the database which columns were created for new fields
    #[arg(long)]
    pub discovered: bool,
    /// Print a `types:` block for these columns, with the narrowest type that fits all their values
    #[arg(long, requires = "discovered")]
    pub suggest: bool,
    /// Print a `sources.yml` for dbt: tables and views, keys as tests, and freshness by the schedules of the jobs
    ///
    /// Its tests need the package in deploy/dbt. Without a configuration, every table is expected once a day.
    #[arg(long, conflicts_with_all = ["discovered", "suggest", "json"], verbatim_doc_comment)]
    pub dbt: bool,
    /// Print one JSON document with all details
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate mart                              every field and the column that feeds it
  tidegate mart --explain                    also what was looked for, and columns that feed nothing
  tidegate mart --explain conversations      the statement that makes the view mart.conversations")]
pub struct MartArgs {
    /// Also show what was looked for, the columns of the tables, and which of them feed nothing
    #[arg(long)]
    pub explain: bool,
    /// Print the statements that make this view instead
    #[arg(value_name = "RELATION", requires = "explain")]
    pub relation: Option<String>,
    /// Print one JSON document with all details
    #[arg(long)]
    pub json: bool,
}

#[cfg(feature = "simulator")]
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Address to listen on; port 0 selects a free port. The next two ports are used too
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// Name of this host in the URLs that the simulators return, if others need another name
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,
    /// Divide every period (of limits, and lifetimes of tokens) by this number
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub speed: f64,
}

#[cfg(feature = "simulator")]
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Run every sample job once, print what was loaded, and exit
    #[arg(long)]
    pub once: bool,
}

#[derive(Debug, Args)]
pub struct HealthArgs {
    /// Address of the daemon, if it differs from the configuration
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
}
