//! Paged lists (`facts/jaicp.md §2`): page and size in the query, the total in the response.

use axum::http::StatusCode;
use serde_json::json;

use super::super::call::{Arrival, Reply};
use super::super::mischief::Action;
use super::super::response::PlannedResponse;
use super::super::stats::ReportCall;
use super::filters::Range;
use super::{Shape, error};

const SIZE: u64 = 20;

/// The requested page of a list.
pub(super) struct Page {
    number: u64,
    /// The page number as requested.
    asked: u64,
    size: u64,
}

impl Page {
    pub fn read(arrival: &Arrival, shape: &Shape) -> Result<Self, PlannedResponse> {
        let number = |name: &str, default: u64| match arrival.query(name) {
            None => Ok(default),
            Some(text) => text.parse::<u64>().map_err(|_| error(StatusCode::BAD_REQUEST, name)),
        };
        let (page, asked) = (number("page", 0)?, number("size", SIZE)?);
        if asked == 0 || asked > i32::MAX as u64 || page > i32::MAX as u64 {
            return Err(error(StatusCode::BAD_REQUEST, "size"));
        }
        if let Some((max, status)) = shape.size_refused
            && asked > max
        {
            return Err(error(StatusCode::from_u16(status).unwrap_or_default(), "size"));
        }
        if shape.pages_refused.is_some_and(|pages| page >= pages) {
            return Err(error(StatusCode::BAD_REQUEST, "result_window"));
        }
        Ok(Self { number: page, asked, size: asked.min(shape.size_max) })
    }

    /// The page as JSON under `member`, with mischief applied. `rows` are the list's rows, oldest first; `more` are
    /// members before them.
    pub fn reply(
        &self,
        arrival: &Arrival,
        shape: &Shape,
        (report, member): (&str, &str),
        mut rows: Vec<String>,
        more: &str,
        range: Option<&Range>,
    ) -> Reply {
        let action = arrival.meet(&[report], u32::try_from(self.number + 1).ok());
        // The order is not documented. Newest first is the hardest: new rows shift all pages.
        rows.reverse();
        if shape.shifts && !rows.is_empty() {
            let calls = arrival.world.jaicp.turn();
            let by = calls % rows.len();
            rows.rotate_left(by);
        }
        let total = i64::try_from(rows.len()).unwrap_or(i64::MAX) + shape.total_off;
        let page = if shape.ignores_page || action == Some(Action::Endless) { 0 } else { self.number };
        let shift = match &action {
            Some(Action::Overlap { rows }) => usize::try_from(*rows).unwrap_or_default(),
            _ => 0,
        };
        let from = usize::try_from(page * self.size).unwrap_or(usize::MAX).saturating_sub(shift).min(rows.len());
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let rows: Vec<String> = rows.into_iter().skip(from).take(size).collect();
        let paging =
            json!({ "pageNum": self.number + shape.page_base, "pageSize": self.size, "totalCount": total.max(0) });
        let body = format!(r#"{{"paging":{paging},{more}"{member}":[{}],"filterSetId":"fs-9a"}}"#, rows.join(","));
        Reply::new(PlannedResponse::json(body), action).reported(ReportCall {
            report: report.to_owned(),
            start_date: range.map(|range| range.from.clone()).unwrap_or_default(),
            end_date: range.map(|range| range.to.clone()).unwrap_or_default(),
            size: self.asked,
            page: u32::try_from(self.number + 1).unwrap_or(u32::MAX),
            rows: rows.len() as u64,
            ..ReportCall::default()
        })
    }
}

/// A list without pages; logged as a report.
pub(super) fn whole(arrival: &Arrival, report: &str, elements: &[serde_json::Value]) -> Reply {
    let rows = elements.len() as u64;
    let body = json!(elements).to_string();
    Reply::new(PlannedResponse::json(body), arrival.meet(&[report], None)).reported(ReportCall {
        report: report.to_owned(),
        rows,
        ..ReportCall::default()
    })
}
