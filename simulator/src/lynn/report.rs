//! ExecuteReport: a window of a report, page by page (`facts/lynn.md §3`).

use std::fmt::Write as _;

use axum::http::StatusCode;
use chrono::{DateTime, Duration, LocalResult, NaiveDateTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::Lynn;
use super::cursor::{Cursor, CursorShape};
use crate::call::{Arrival, Reply};
use crate::locked;
use crate::mischief::Action;
use crate::response::PlannedResponse;
use crate::stats::ReportCall;
use crate::truth::{Dice, Place, Span, Truth};

/// `facts/lynn.md §8.1`
const SIZE_MAX: u64 = 10_000;
/// Maximum length of a window; a longer one is a mistake.
const DAYS_MAX: i64 = 366 * 30;

/// The value of `pageCount` on follow-up pages (`§10.4`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageCount {
    /// The remaining pages.
    #[default]
    Decreasing,
    /// The same number as on the first page.
    Constant,
    /// The key is absent.
    FirstOnly,
}

/// The `lastDocument` of a window's last page (`§10.22`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastCursor {
    /// That of its last row, as on other pages; null without rows.
    #[default]
    OfLastRow,
    Null,
    Absent,
}

/// The shape of responses where the vendor's documents leave it open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shape {
    pub cursor: CursorShape,
    pub page_count: PageCount,
    pub last_cursor: LastCursor,
    /// Whether to compress for clients that accept it.
    pub gzip: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asked<'a> {
    start_date: String,
    end_date: String,
    size: u64,
    #[serde(borrow, default, deserialize_with = "present")]
    last_document: Option<&'a RawValue>,
}

/// Distinguishes an explicit `null` from an absent member.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// A valid query.
struct Query<'a> {
    report: usize,
    span: Span,
    size: u64,
    /// Where it continues, and the same value as it was sent.
    cursor: Option<(Cursor, &'a str)>,
    fingerprint: u32,
}

impl Query<'_> {
    fn page(&self) -> u16 {
        self.cursor.map_or(1, |(cursor, _)| cursor.page.saturating_add(1))
    }
}

pub(super) fn execute(arrival: &Arrival, tenant: &str, report: &str, body: &[u8]) -> Reply {
    let lynn = &arrival.world.lynn;
    let asked = serde_json::from_slice::<Asked<'_>>(body);
    let found = lynn.data.number(report);
    let mut action = None;
    let mut rows = 0;
    let mut page = 0;
    let response = match authorize(arrival, tenant) {
        Err(response) => response,
        Ok(token) => match (&found, &asked) {
            (Err(_), _) => {
                PlannedResponse::error(StatusCode::NOT_FOUND, "The report does not exist or is not enabled.")
            }
            (_, Err(fault)) => {
                PlannedResponse::error(StatusCode::BAD_REQUEST, &format!("The request body is wrong: {fault}."))
            }
            (&Ok(number), Ok(asked)) => match query(arrival, number, asked) {
                Err(response) => response,
                Ok(query) => {
                    page = u32::from(query.page());
                    let names = [lynn.reports[number].name.as_str(), lynn.reports[number].id.as_str()];
                    action = arrival.meet(&names, Some(page));
                    if action == Some(Action::TokenExpired) {
                        locked(&lynn.tokens).expire(token);
                    }
                    let made = make_page(lynn, &query, action.as_ref(), &arrival.world.options);
                    rows = made.rows;
                    PlannedResponse::json(made.json)
                }
            },
        },
    };
    Reply::new(response, action).reported(ReportCall {
        report: found.map_or_else(|unknown| unknown.0, |number| lynn.reports[number].name.clone()),
        start_date: asked.as_ref().map(|asked| asked.start_date.clone()).unwrap_or_default(),
        end_date: asked.as_ref().map(|asked| asked.end_date.clone()).unwrap_or_default(),
        size: asked.as_ref().map_or(0, |asked| asked.size),
        page,
        last_document: asked.as_ref().is_ok_and(|asked| asked.last_document.is_some()),
        rows,
        ..ReportCall::default()
    })
}

fn authorize<'a>(arrival: &'a Arrival, tenant: &str) -> Result<&'a str, PlannedResponse> {
    let token = super::bearer(arrival, super::Family::Reporting)?;
    if tenant != arrival.world.lynn.account.tenant.to_string() {
        let refused = PlannedResponse::error(StatusCode::FORBIDDEN, "The credential has no division in this tenant.");
        return Err(arrival.unauthorized(refused));
    }
    Ok(token)
}

fn query<'a>(arrival: &Arrival, report: usize, asked: &Asked<'a>) -> Result<Query<'a>, PlannedResponse> {
    let bad = |message: &str| PlannedResponse::error(StatusCode::BAD_REQUEST, message);
    let options = &arrival.world.options;
    let moment = |text: &str| {
        moment(text, options.filter_timezone).ok_or_else(|| bad("A date is not `yyyy-MM-dd HH:mm:ss`, 24 hours."))
    };
    let (from, until) = (moment(&asked.start_date)?, moment(&asked.end_date)?);
    if until < from || (until - from).num_days() > DAYS_MAX {
        return Err(bad("The dates are not a window."));
    }
    if !(1..=SIZE_MAX).contains(&asked.size) {
        return Err(bad("The size is not from 1 to 10000."));
    }
    let salts: Vec<u64> = [from, until].map(|at| at.timestamp().cast_unsigned()).to_vec();
    let fingerprint = Dice::new(asked.size, &[salts[0], salts[1], report as u64]).below(1 << 24);
    let fingerprint = u32::try_from(fingerprint).unwrap_or_default();
    let cursor = match asked.last_document.map(RawValue::get) {
        None => None,
        Some(json) => match Cursor::read(json) {
            Some((cursor, _)) if cursor.query == fingerprint => Some((cursor, json)),
            Some(_) => return Err(bad("lastDocument belongs to another query.")),
            None => return Err(bad("lastDocument is not a value from a response.")),
        },
    };
    let mut span = Span::new(from, until);
    span.until += i64::from(options.end_inclusive);
    Ok(Query { report, span: arrival.world.lynn.data.visible(span), size: asked.size, cursor, fingerprint })
}

/// Parses `yyyy-MM-dd HH:mm:ss` in the zone. A time skipped by a clock change becomes the one an hour later.
fn moment(text: &str, zone: Tz) -> Option<DateTime<Utc>> {
    let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok().filter(|_| text.len() == 19)?;
    let resolve = |local: NaiveDateTime| match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at.with_timezone(&Utc)),
        LocalResult::None => None,
    };
    resolve(local).or_else(|| resolve(local + Duration::hours(1)))
}

/// A response to be sent.
struct Page {
    json: String,
    rows: u64,
}

fn make_page(lynn: &Lynn, query: &Query<'_>, action: Option<&Action>, options: &crate::Options) -> Page {
    let shape = lynn.shape();
    let (total, read) =
        lynn.data.with_truth(|truth| (truth.count(query.report, query.span), read(truth, query, action)));
    let planned = total.div_ceil(query.size).saturating_sub(1);
    let page = query.page();
    let left = planned.saturating_sub(u64::from(page) - 1);
    let mut page_count = if shape.page_count == PageCount::Decreasing { left } else { planned };
    match action {
        Some(Action::Endless) => page_count = page_count.max(1),
        Some(Action::HiddenPage) => page_count = page_count.saturating_sub(1),
        _ => {}
    }
    let cursor = read.last.map(|place| Cursor { place, page, query: query.fingerprint }.json(shape.cursor));
    let last_page = !read.more && action != Some(&Action::Endless);
    let last_document = match (shape.last_cursor, action, query.cursor) {
        (_, Some(Action::NoLastDocument), _) => Some("null".to_owned()),
        (_, Some(Action::StuckCursor), Some((_, sent))) => Some(sent.to_owned()),
        (LastCursor::Null, ..) if last_page => Some("null".to_owned()),
        (LastCursor::Absent, ..) if last_page => None,
        _ => Some(cursor.unwrap_or_else(|| "null".to_owned())),
    };
    let mut errors = "null";
    let mut result = Some(format!("[{}]", read.rows));
    match action {
        Some(Action::Invalid { errors_json } | Action::Errors { errors_json }) => errors = errors_json,
        Some(Action::ResultNull) => result = Some("null".to_owned()),
        Some(Action::ResultMissing) => result = None,
        Some(Action::OddRow) => {
            let comma = if read.count > 0 { "," } else { "" };
            result = Some(format!("[{}{comma}17]", read.rows));
        }
        Some(Action::MalformedResult) => result = Some(format!("[{},{{\"broken\": tru,]}}]", read.rows)),
        _ => {}
    }
    let valid = !matches!(action, Some(Action::Invalid { .. }));
    let report = &lynn.reports[query.report];
    let title = serde_json::Value::from(report.title.as_str());
    let time = Dice::new(options.seed, &[u64::from(query.fingerprint), u64::from(page)]).below(900);
    let mut json = format!(
        r#"{{"isValid":{valid},"executionTime":{time},"idReporting":"{}","NameVisualization":{title}"#,
        report.id
    );
    if page == 1 || shape.page_count != PageCount::FirstOnly {
        let _ = write!(json, ",\"pageCount\":{page_count}");
    }
    for (key, value) in
        [("result", result.as_deref()), ("errors", Some(errors)), ("lastDocument", last_document.as_deref())]
    {
        if let Some(value) = value {
            let _ = write!(json, ",\"{key}\":{value}");
        }
    }
    json.push('}');
    Page { json, rows: read.count }
}

/// The rows of one page, separated by commas.
#[derive(Default)]
struct Read {
    rows: String,
    count: u64,
    last: Option<Place>,
    /// Whether more rows follow.
    more: bool,
}

impl Read {
    fn push(&mut self, place: Place, text: &str) {
        if self.count > 0 {
            self.rows.push(',');
        }
        self.rows.push_str(text);
        self.count += 1;
        self.last = Some(place);
    }

    /// Adds up to `size` rows from those after `after`.
    fn fill(&mut self, truth: &Truth, query: &Query<'_>, after: Option<Place>) {
        self.more = false;
        truth.walk(query.report, query.span, after, &mut |place, text| {
            self.more = self.count == query.size;
            if !self.more {
                self.push(place, text);
            }
            !self.more
        });
    }
}

fn read(truth: &Truth, query: &Query<'_>, action: Option<&Action>) -> Read {
    let mut read = Read::default();
    let mut after = query.cursor.map(|(cursor, _)| cursor.place);
    if let (Some(Action::Overlap { rows }), Some(place)) = (action, after) {
        after = before(truth, query, place, *rows);
    }
    read.fill(truth, query, after);
    if action == Some(&Action::Endless) && !read.more && read.count < query.size {
        let before = read.count;
        read.fill(truth, query, None);
        read.more = read.count > before;
    }
    read
}

/// The place this many rows before. Walks from the start of the day, since overlaps are requested in small windows.
fn before(truth: &Truth, query: &Query<'_>, place: Place, rows: u32) -> Option<Place> {
    let wanted = usize::try_from(rows).unwrap_or(usize::MAX).saturating_add(1);
    let mut recent = std::collections::VecDeque::new();
    truth.walk(query.report, query.span, None, &mut |at, _| {
        recent.push_back(at);
        if recent.len() > wanted {
            recent.pop_front();
        }
        at < place
    });
    recent.pop_front().filter(|_| recent.len() + 1 == wanted)
}
