//! The binary. It has two phases: arguments, configuration, logging and TLS first, in this thread; then a runtime, with
//! a task that turns the first Ctrl-C or SIGTERM into a cancellation.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use tidegate::commands::{self, Cli, Command, Exit, Prepared, failure};
use tidegate::postgres::environment;
use tidegate::{restart, telemetry};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long tasks may take to end after the command has ended.
const SHUTDOWN_MAX: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, Command::Run(_)) {
        restart::with_lean_allocator();
    }
    let mut secrets = Vec::new();
    let outcome = start(cli, &mut secrets);
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => failure::report(&error, &secrets).into(),
    }
}

fn start(cli: Cli, secrets: &mut Vec<tidegate::secret::Secret>) -> anyhow::Result<Exit> {
    let (context, command) = match commands::prepare(cli)? {
        Prepared::Done(exit) => return Ok(exit),
        Prepared::Ready(context, command) => (context, command),
    };
    if commands::may_embed(&context, &command) {
        environment::leave_out_pgoptions()?;
    }
    *secrets = context.secrets();
    telemetry::init(&context.config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        listen_for_signals(context.cancel.clone())?;
        Box::pin(commands::run(context, command)).await
    });
    runtime.shutdown_timeout(SHUTDOWN_MAX);
    outcome
}

/// The first signal requests an orderly end. The second ends the process at once, which loses nothing that was
/// committed.
fn listen_for_signals(cancel: CancellationToken) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            let heard = tokio::select! {
                heard = interrupt.recv() => heard,
                heard = terminate.recv() => heard,
            };
            if heard.is_none() {
                return;
            }
            if asked {
                std::process::exit(i32::from(Exit::Failed.code()));
            }
            asked = true;
            cancel.cancel();
        }
    });
    Ok(())
}
