//! `tidegate push`: sends rows of the warehouse to a Lynn campaign. No other command does. It shows only counts, unless
//! the operator requests rows.

use std::fmt::Write as _;

use serde::Serialize;

use super::failure::{hide, say};
use super::output::{self, Table};
use super::{CommandError, Context, Exit, PushArgs, names, status};
use crate::app::{self, Alive};
use crate::config::Push;
use crate::push::{Order, Plan, PushError, PushReport, UNKNOWN_HINT};
use crate::store::push::Batch;
use crate::store::trouble::chain;
use crate::text::plain;

/// What is sent and where.
#[derive(Debug, Serialize)]
struct Target<'a> {
    job: &'a str,
    connection: &'a str,
    campaign_id: &'a str,
    template_id: &'a str,
    type_of_data: i64,
    /// The labels of the template, and the column of the query for each.
    columns: &'a std::collections::BTreeMap<String, String>,
    batch_size: usize,
}

#[derive(Debug, Serialize)]
struct Planned<'a> {
    dry_run: bool,
    #[serde(flatten)]
    target: Target<'a>,
    #[serde(flatten)]
    plan: Plan,
}

#[derive(Debug, Serialize)]
struct Sent<'a> {
    /// Whether all rows that were sent have arrived, according to the vendor.
    ok: bool,
    #[serde(flatten)]
    target: Target<'a>,
    #[serde(flatten)]
    report: PushReport,
    error: Option<String>,
    hint: Option<String>,
}

pub(crate) async fn run(context: Context, args: PushArgs) -> anyhow::Result<Exit> {
    let config = context.config.clone();
    let (job, push) = names::sending_job(&config, &args.job)?;
    let target = Target {
        job: &job.name,
        connection: &job.connection,
        campaign_id: &push.campaign_id,
        template_id: &push.template_id,
        type_of_data: push.type_of_data,
        columns: &push.columns,
        batch_size: push.batch_size,
    };
    context.require_cluster()?;
    let database = context.open_database().await?;
    let owner = app::owner();
    let order = Order {
        pool: &database.pool,
        owner: &owner,
        job,
        push,
        connection: &config.connections[&job.connection],
        cancel: &context.cancel,
        resend: args.resend,
    };
    let outcome = work(&context, order, &args, target, push).await;
    database.close().await;
    outcome
}

async fn work(
    context: &Context,
    order: Order<'_>,
    args: &PushArgs,
    target: Target<'_>,
    push: &Push,
) -> anyhow::Result<Exit> {
    super::context::require_schema(&mut *order.pool.acquire().await?).await?;
    if args.dry_run {
        let plan = order.plan(args.show_rows).await.map_err(|error| failure(&args.job, &error))?;
        let document = Planned { dry_run: true, target, plan };
        output::print_document(args.json, &document, || planned(&document.target, &document.plan, push))?;
        return Ok(Exit::Done);
    }
    let alive = Alive::new(order.pool.clone(), order.owner.to_owned());
    let sending = Box::pin(alive.during(&order.connection.name, order.send()));
    let mut report = sending.await.map_err(|error| failure(&args.job, &error))?;
    let stopped = report.stopped.take();
    let hint = stopped.as_ref().map(PushError::hint);
    let error = stopped.map(|error| chain(&error));
    let unknown: i64 = report.tally.iter().filter(|tally| tally.state == "unknown").map(|tally| tally.batches).sum();
    let ok = error.is_none() && unknown == 0;
    let sent = Sent { ok, target, report, error, hint };
    let secrets = context.secrets();
    output::print_document(args.json, &sent, || text(&sent))?;
    if ok {
        return Ok(Exit::Done);
    }
    say(&hide(&complaint(&sent, unknown), &secrets));
    Ok(Exit::Failed)
}

/// If the query does not match the configuration, the configuration is wrong, and nothing was sent.
fn failure(job: &str, error: &PushError) -> anyhow::Error {
    if matches!(error, PushError::Interrupted) {
        return CommandError::Interrupted.into();
    }
    let hint = error.hint();
    if error.is_of_configuration() {
        return CommandError::Usage(format!("jobs.{job}.{error}")).into();
    }
    CommandError::failed(chain(error), hint).into()
}

fn complaint(sent: &Sent<'_>, unknown: i64) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    if let (Some(error), Some(hint)) = (&sent.error, &sent.hint) {
        let _ = writeln!(text, "error: {}\nhint: {}", plain(error), plain(hint));
    }
    if unknown > 0 {
        let batches = if unknown == 1 { "1 batch".to_owned() } else { format!("{unknown} batches") };
        let _ = writeln!(text, "error: it is unknown whether {batches} arrived; the rows are held back");
        if sent.hint.as_deref() != Some(UNKNOWN_HINT) {
            let _ = writeln!(text, "hint: {UNKNOWN_HINT}");
        }
    }
    text
}

fn head(target: &Target<'_>) -> String {
    let columns: Vec<String> = target.columns.iter().map(|(label, column)| format!("{label} ({column})")).collect();
    plain(&format!(
        "job {}: connection {}, campaign {}, template {}, type of data {}, columns {}",
        target.job,
        target.connection,
        if target.campaign_id.is_empty() { "\"\"" } else { target.campaign_id },
        target.template_id,
        target.type_of_data,
        columns.join(", "),
    )) + "\n"
}

fn planned(target: &Target<'_>, plan: &Plan, push: &Push) -> String {
    let mut text = head(target);
    let counts = &plan.rows;
    let _ = writeln!(
        text,
        "rows {}: {} would be sent, in {} of up to {}; {} sent before, {} held back, {} repeated\nnothing was sent",
        counts.query,
        counts.new,
        if plan.batches == 1 { "1 batch".to_owned() } else { format!("{} batches", plan.batches) },
        target.batch_size,
        counts.sent_before,
        counts.held_back,
        counts.repeated,
    );
    if let Some(rows) = &plan.first_rows {
        for row in rows {
            text.push('\n');
            for (label, value) in push.columns.keys().zip(row) {
                let _ = writeln!(text, "{}: {}", plain(label), plain(value));
            }
        }
    }
    text
}

fn text(sent: &Sent<'_>) -> String {
    let mut text = head(&sent.target);
    let counts = &sent.report.rows;
    let _ = writeln!(
        text,
        "rows {}: {} of {} sent; {} sent before, {} held back, {} repeated",
        counts.query, counts.sent, counts.new, counts.sent_before, counts.held_back, counts.repeated,
    );
    if !sent.report.batches.is_empty() {
        let mut table = Table::new().right(&["BATCH", "ROWS"]).left(&["STATE", "TASK", "TASK SAYS", "ERROR"]);
        for batch in &sent.report.batches {
            table.row(cells(batch));
        }
        let _ = write!(text, "\n{}", table.show());
    }
    if !sent.report.tally.is_empty() {
        let _ = write!(text, "\nAll pushes of the job\n{}", status::tallies(&sent.report.tally));
    }
    text
}

fn cells(batch: &Batch) -> [String; 6] {
    let text = |text: &Option<String>| super::show::text(text.as_deref());
    [
        batch.id.to_string(),
        batch.rows.to_string(),
        batch.state.clone(),
        text(&batch.task_id),
        text(&batch.task_state),
        batch.error.clone().unwrap_or_default(),
    ]
}
