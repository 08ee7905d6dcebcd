//! The file of an export: a JSON array of flat objects, or CSV with display names as titles
//! (`facts/khoros_care.md §7`).

use std::iter;
use std::sync::Weak;

use bytes::Bytes;

use super::super::export::{csv, fields, json, pieces};
use super::super::truth::{Span, Ticks, seconds_text};
use super::super::{Vendor, World};
use super::job::{Selection, Shape};
use super::rows::{CLOSED_WITHIN, EXPORTS, display_name};

/// Older conversations are not reported as open.
const OPEN_WITHIN: Ticks = 10 * DAY;
pub(super) const DAY: Ticks = 864_000_000_000;

type Pieces = Box<dyn Iterator<Item = Vec<String>> + Send>;

pub(super) fn parts(
    world: Weak<World>,
    export: usize,
    selection: &Selection,
    shape: &Shape,
) -> Box<dyn Iterator<Item = Bytes> + Send> {
    let mut rows = rows(world, export, selection);
    // Columns that only JSON has (`§5.2`).
    let in_csv = |metric: &&&str| !metric.ends_with("_MILLIS");
    let metrics: Vec<String> = if selection.metrics.is_empty() {
        EXPORTS[export].metrics.iter().filter(in_csv).map(|&metric| metric.to_owned()).collect()
    } else {
        selection.metrics.clone()
    };
    if selection.csv {
        let titles: Vec<String> = metrics
            .iter()
            .map(|metric| if shape.plain_titles { metric.clone() } else { display_name(metric) })
            .map(|title| format!("\"{title}\""))
            .collect();
        let header = Bytes::from(titles.join(",") + "\r\n");
        return Box::new(iter::once(header).chain(csv(metrics, rows).skip(1)));
    }
    if !selection.metrics.is_empty() || shape.titled_json {
        let (wanted, titled) = (selection.metrics.clone(), shape.titled_json);
        rows = Box::new(rows.map(move |piece| piece.iter().map(|row| chosen(row, &wanted, titled)).collect()));
    }
    Box::new(json(rows))
}

/// The row with the requested metrics, or all of them, optionally under their titles.
fn chosen(row: &str, wanted: &[String], titled: bool) -> String {
    let fields = fields(row);
    let kept = fields.into_iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(name));
    let members: serde_json::Map<String, serde_json::Value> =
        kept.map(|(name, value)| (if titled { display_name(&name) } else { name }, value.into())).collect();
    serde_json::Value::Object(members).to_string()
}

fn rows(world: Weak<World>, export: usize, selection: &Selection) -> Pieces {
    let Span { from, until } = selection.span;
    let is_list = matches!(EXPORTS[export].id, "user" | "teams");
    let reach = match selection.report_type {
        _ if is_list => Span { from: 0, until: DAY },
        Some("CLOSED") => Span { from: from - CLOSED_WITHIN, until },
        Some("OPEN_AT_END") => Span { from: until - OPEN_WITHIN, until },
        _ => selection.span,
    };
    let reach = world.upgrade().map_or(reach, |world| world.data(Vendor::Khoros).visible(reach));
    let all = pieces(world, Vendor::Khoros, export, reach);
    let (from, until) = (seconds_text(from), seconds_text(until));
    let closed = |row: &str| fields(row).into_iter().find(|(name, _)| name == "CLOSED_TIME").map(|(_, at)| at);
    match selection.report_type {
        Some("CLOSED") => {
            let within = move |row: &String| closed(row).is_some_and(|at| from <= at && at < until);
            Box::new(all.map(move |piece| piece.into_iter().filter(&within).collect()))
        }
        Some("OPEN_AT_END") => {
            let is_open = move |row: &String| closed(row).is_none_or(|at| at.is_empty() || at >= until);
            Box::new(all.map(move |piece| piece.into_iter().filter(&is_open).collect()))
        }
        _ => Box::new(all),
    }
}
