//! `tidegate rejects`: records that could not become rows. Their content is data of the vendor, which is shown only on
//! request.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::output::{self, Table};
use super::{Context, Exit, RejectsArgs, names, show};
use crate::schedule;
use crate::store::history::{self, Reject};

#[derive(Debug, Serialize)]
struct Document {
    at: DateTime<Utc>,
    rejects: Vec<Reject>,
}

pub(crate) async fn run(context: Context, args: RejectsArgs) -> anyhow::Result<Exit> {
    let job = args.job.as_deref().map(|name| names::job(&context.config, name)).transpose()?;
    let streams: Vec<String> =
        job.iter().flat_map(|job| &job.streams).map(|entry| entry.stream.name.clone().into_owned()).collect();
    let of = job.map(|job| (job.connection.as_str(), streams.as_slice()));
    let document = context
        .with_schema(async |_, conn| {
            let at = schedule::clock(conn).await?;
            Ok(Document { at, rejects: history::rejects(conn, of, i64::from(args.limit), args.record).await? })
        })
        .await?;
    output::print_document(args.json, &document, || text(&document, args.record))?;
    Ok(Exit::Done)
}

fn text(document: &Document, with_record: bool) -> String {
    if document.rejects.is_empty() {
        return "no record was rejected\n".to_owned();
    }
    let titles: &[&'static str] = if with_record {
        &["CONNECTION", "STREAM", "WINDOW", "WHEN", "REASON", "RECORD"]
    } else {
        &["CONNECTION", "STREAM", "WINDOW", "WHEN", "REASON"]
    };
    let mut table = Table::new().right(&["ID", "RUN", "SIZE"]).left(titles);
    for reject in &document.rejects {
        let mut cells = vec![
            reject.id.to_string(),
            reject.run_id.to_string(),
            show::bytes(u64::try_from(reject.bytes).unwrap_or_default()),
            reject.connection.clone(),
            reject.stream.clone(),
            reject.window_start.map_or_else(|| show::NOTHING.to_owned(), show::time),
            show::moment(reject.rejected_at, document.at),
            reject.reason.clone(),
        ];
        cells.extend(reject.record.clone());
        table.row(&cells);
    }
    table.show()
}
