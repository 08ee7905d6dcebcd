//! The command line: a file per command. Commands that only read never migrate and change nothing.

mod args;
mod backfill;
mod by_hand;
mod check;
mod connections;
mod context;
mod cursors;
mod dbt;
#[cfg(feature = "simulator")]
mod demo;
pub mod failure;
mod health;
mod held;
mod mart;
mod migrate;
pub mod names;
mod notify;
mod old_rows;
mod output;
mod plan;
mod progress;
mod push;
mod quota;
mod rejects;
mod reset;
mod run;
pub mod runs;
pub mod schema;
mod show;
#[cfg(feature = "simulator")]
mod simulate;
mod status;
mod streams;
mod suggest;
mod sync;
mod unblock;
mod vendor_quota;

use std::process::ExitCode;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use self::args::*;
pub use self::context::Context;
pub use self::failure::CommandError;
use crate::config::{self, Config};
use crate::schedule::watch::FilesDigest;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// Something failed, and was reported on standard error.
    Failed,
    /// The command line or the configuration is wrong, and nothing was done.
    Usage,
    /// Done, but slices are held and need a decision.
    Held,
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Held => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Command {
    /// Whether the command always runs a separate Postgres, regardless of the configuration.
    const fn has_own_postgres(&self) -> bool {
        #[cfg(feature = "simulator")]
        if matches!(self, Self::Demo(_)) {
            return true;
        }
        false
    }
}

/// The result of the first phase of the start.
pub enum Prepared {
    /// The command is already complete.
    Done(Exit),
    Ready(Context, Command),
}

/// Whether the command may start the embedded Postgres.
pub fn may_embed(context: &Context, command: &Command) -> bool {
    context.config.database.target.is_embedded() || command.has_own_postgres()
}

/// Loads the configuration that the command needs. Runs the commands that need nothing else.
pub fn prepare(cli: Cli) -> anyhow::Result<Prepared> {
    let env = config::process_env();
    let mut refused = None;
    let files = matches!(cli.command, Command::Run(_)).then(|| FilesDigest::of(&cli.config));
    let config = match &cli.command {
        Command::Schema(args) => {
            let mut text = Vec::new();
            schema::run(&mut text, args)?;
            output::print(&String::from_utf8(text)?)?;
            return Ok(Prepared::Done(Exit::Done));
        }
        Command::Health(args) => return health::run(&cli.config, &env, args).map(Prepared::Done),
        #[cfg(feature = "simulator")]
        Command::Simulate(_) => Config::without_files(&env)?,
        #[cfg(feature = "simulator")]
        Command::Demo(_) => Config::without_files(&demo::quiet(env))?,
        // The catalogue is compiled in; a configuration only adds to it.
        Command::Streams(args) if !args.discovered && !cli.config.exists() => Config::without_files(&env)?,
        // Alerts name this command, also while a daemon goes on with its previous configuration.
        Command::Status(_) => {
            let (config, faults) = Config::load_despite_faults(&cli.config, &env)?;
            refused = Some(faults).filter(|faults| !faults.is_empty()).map(Arc::new);
            config
        }
        _ => Config::load(&cli.config, &env)?,
    };
    let (config, cancel) = (Arc::new(config), CancellationToken::new());
    let context = Context { config, refused, config_path: cli.config, files, cancel };
    Ok(Prepared::Ready(context, cli.command))
}

/// Runs a command to its end.
pub async fn run(context: Context, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Run(args) => Box::pin(run::run(context, args)).await,
        Command::Sync(args) => Box::pin(sync::run(context, args)).await,
        Command::Backfill(args) => Box::pin(backfill::run(context, args)).await,
        Command::Push(args) => Box::pin(push::run(context, args)).await,
        Command::Plan(args) => Box::pin(plan::run(context, args)).await,
        #[cfg(feature = "simulator")]
        Command::Simulate(args) => Box::pin(simulate::run(context, args)).await,
        #[cfg(feature = "simulator")]
        Command::Demo(args) => Box::pin(demo::run(context, args)).await,
        Command::Check(args) => Box::pin(check::run(context, args)).await,
        Command::Status(args) => Box::pin(status::run(context, args)).await,
        Command::Runs(RunsArgs { action: Some(RunsAction::Cancel(args)), .. }) => {
            Box::pin(runs::cancel(context, args)).await
        }
        Command::Runs(args) => Box::pin(runs::run(context, args)).await,
        Command::Quota(QuotaArgs { action: Some(QuotaAction::Unblock(args)), .. }) => {
            Box::pin(unblock::run(context, args)).await
        }
        Command::Quota(args) => Box::pin(quota::run(context, args)).await,
        Command::Cursors(CursorsArgs { action: Some(CursorsAction::Reset(args)), .. }) => {
            Box::pin(reset::run(context, args)).await
        }
        Command::Cursors(args) => Box::pin(cursors::run(context, args)).await,
        Command::Held(HeldArgs { action: Some(HeldAction::Release(args)), .. }) => {
            Box::pin(held::release(context, args)).await
        }
        Command::Held(args) => Box::pin(held::list(context, args)).await,
        Command::Connections(ConnectionsArgs { action: Some(ConnectionsAction::Forget(args)), .. }) => {
            Box::pin(connections::forget(context, args)).await
        }
        Command::Connections(args) => Box::pin(connections::list(context, args)).await,
        Command::Rejects(args) => Box::pin(rejects::run(context, args)).await,
        Command::Streams(args) => Box::pin(streams::run(context, args)).await,
        Command::Mart(args) => Box::pin(mart::run(context, args)).await,
        Command::Notify(NotifyArgs { action: Some(NotifyAction::Test(args)) }) => {
            Box::pin(notify::test(context, args)).await
        }
        Command::Notify(NotifyArgs { action: Some(NotifyAction::List(args)) }) => {
            Box::pin(notify::list(context, args)).await
        }
        Command::Notify(NotifyArgs { action: None }) => {
            Box::pin(notify::list(context, NotifyListArgs { json: false })).await
        }
        Command::Migrate => Box::pin(migrate::run(context)).await,
        // `prepare` runs these.
        Command::Schema(_) | Command::Health(_) => Ok(Exit::Done),
    }
}
