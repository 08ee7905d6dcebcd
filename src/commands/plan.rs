//! `tidegate plan`: what a run would read now, and when the quotas allow it to end. Sends and changes nothing.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::output::{self, Table};
use super::{Context, Exit, PlanArgs, names, show};
use crate::actions::plan::{self, StreamPlan};
use crate::schedule;

#[derive(Debug, Serialize)]
struct Document {
    at: DateTime<Utc>,
    streams: Vec<StreamPlan>,
}

pub(crate) async fn run(context: Context, args: PlanArgs) -> anyhow::Result<Exit> {
    let config = context.config.clone();
    let jobs = names::jobs(&config, &args.jobs)?;
    let document = context
        .with_schema(async |database, conn| {
            let at = schedule::clock(conn).await?;
            let mut streams = Vec::new();
            for job in jobs {
                for stream in &job.streams {
                    let connection = &config.connections[&job.connection];
                    streams.push(plan::stream(conn, job, connection, stream, None, at).await?);
                }
            }
            plan::with_quotas(&database.pool, &config, &mut streams).await?;
            Ok(Document { at, streams })
        })
        .await?;
    output::print_document(args.json, &document, || text(&document))?;
    Ok(Exit::Done)
}

fn text(document: &Document) -> String {
    if document.streams.is_empty() {
        return "no job is configured; add one under `jobs`\n".to_owned();
    }
    let mut table = Table::new().left(&["JOB", "STREAM"]).right(&["SLICES", "AGAIN", "CALLS", "BYTES"]).left(&[
        "FROM",
        "UNTIL",
        "QUOTAS ALLOW IT BY",
    ]);
    for plan in &document.streams {
        let moment = |at: Option<DateTime<Utc>>| {
            at.map_or_else(|| show::NOTHING.to_owned(), |at| at.format("%Y-%m-%d %H:%M:%SZ").to_string())
        };
        let about = if plan.measured { "" } else { "~" };
        let ends = if plan.slices == 0 { show::NOTHING.to_owned() } else { show::moment(plan.ends_at, document.at) };
        table.row([
            plan.job.clone(),
            plan.stream.clone(),
            plan.slices.to_string(),
            plan.again.to_string(),
            format!("{about}{}", plan.calls),
            format!("{about}{}", plan.bytes),
            moment(plan.from),
            moment(plan.until),
            ends,
        ]);
    }
    let guessed = document.streams.iter().any(|plan| !plan.measured);
    let note = if guessed { "~ marks a guess: the stream was never read\n" } else { "" };
    format!("{}{note}", table.show())
}
