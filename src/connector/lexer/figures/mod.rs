//! Converts a report to flat records (`facts/lexer.md §5`). The window, the form and the offset of the labels are
//! added, because the response does not repeat them. Numbers keep their digits, and unknown members stay in their
//! record.

use chrono::{DateTime, FixedOffset, NaiveDateTime, SecondsFormat, TimeDelta, Utc};

use super::config::{Intervals, ResponseUnit};
use crate::catalogue::Stream;
use crate::connector::UtcOffset;
use crate::connector::{Records, StepError, Window};
use crate::decode::DecodeError;
use crate::decode::list::{self, Lone};
use crate::decode::object::{Members, ObjectWriter};
use crate::decode::raw::{Fault, Raw};

mod agents;
mod intervals;

/// Maximum size of an element. It also bounds the result of unpivoting.
const ELEMENT_BYTES_MAX: usize = 64 << 10;
/// Lengths of intervals.
const DAY: &str = "day";
const HOUR: &str = "hour";
/// States that are sums of others (`§5.7`).
const TOTALS: &[&str] = &["all_states", "all_closed_states"];

/// The request, as far as the records depend on it.
pub(super) struct Figures<'a> {
    pub(super) stream: &'a Stream,
    pub(super) window: Window,
    /// The part of the window whose intervals are wanted, and the requested range.
    pub(super) part: Window,
    pub(super) range: Window,
    pub(super) offset: FixedOffset,
    /// The setting from which the offset was computed.
    pub(super) zone: UtcOffset,
    pub(super) intervals: Intervals,
    /// The form and category of an NPS report.
    pub(super) nps: Option<(i64, &'a str)>,
    pub(super) unit: ResponseUnit,
    pub(super) now: DateTime<Utc>,
}

impl Figures<'_> {
    /// Passes on the records of a response.
    pub(super) async fn write_records(&self, body: &[u8], records: &mut dyn Records) -> Result<(), StepError> {
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        let row = |key| list::read(body, Lone::Row { key });
        match &*self.stream.name {
            "summary" | "case_summary" | "nps_summary" => self.whole(&object(body)?, records).await,
            "states_volume" => self.intervals("state", &object(body)?, records).await,
            "response_volume" => self.intervals("metric", &object(body)?, records).await,
            "case_volume" => self.intervals("series", &object(body)?, records).await,
            "nps_volume" => self.each(row("timestamp")?, records, bucket).await,
            "classifications" => self.each(row("classification_id")?, records, classification).await,
            "case_classifications" => self.each(row("classification_id")?, records, plain).await,
            "user_summary" => self.each(row("user_id")?, records, plain).await,
            "user_volume" => self.agents(&row("user_id")?, records).await,
            "workflow_states" => self.workflow(&list::read(body, Lone::Row { key: "state" })?, records).await,
            _ => Err(StepError::NotServed(404)),
        }
    }

    /// Begins a record with the members that all records of the stream have.
    fn begin(&self, writer: &mut ObjectWriter) {
        writer.begin();
        writer.member_str("window_end", &instant(self.window.end));
        if let Some((form, category)) = self.nps {
            writer.member_i64("form", form);
            writer.member_str("nps_category", category);
        }
    }

    /// Whether a day or hour belongs to the part that is read. An hour belongs to the part in which it begins. A day of
    /// a zone belongs to the part that contains the zone's midnight, although the request has a single offset. So each
    /// date belongs to exactly one slice, even with a clock change between the starts of two slices.
    fn owns(&self, local: NaiveDateTime, start: DateTime<Utc>, granularity: &str) -> bool {
        let at = match self.zone {
            UtcOffset::Zone(_) if granularity == DAY && local.time() == chrono::NaiveTime::MIN => {
                self.zone.midnight(local.date())
            }
            _ => start,
        };
        at >= self.part.start && at < self.part.end
    }

    /// The response is one row.
    async fn whole(&self, members: &Members<'_>, records: &mut dyn Records) -> Result<(), StepError> {
        let known = |name: &str| self.stream.columns.iter().any(|column| column.field == name);
        if !members.iter().any(|(name, _)| known(name)) {
            return Err(shape("an object without any of the report's figures"));
        }
        let mut writer = ObjectWriter::default();
        self.begin(&mut writer);
        members.iter().for_each(|(name, raw)| writer.member_raw(name, raw));
        records.record(writer.end())?;
        records.flush().await
    }

    /// Each element is a row, or none; `write` decides.
    async fn each<R: Records + ?Sized>(
        &self,
        elements: Vec<Raw<'_>>,
        records: &mut R,
        write: fn(&Self, &Members<'_>, &mut ObjectWriter) -> Row,
    ) -> Result<(), StepError> {
        let mut writer = ObjectWriter::default();
        for element in elements {
            let raw = element.get().as_bytes();
            match Members::parse(raw) {
                // The sink refuses anything but an object.
                None => records.record(raw)?,
                Some(members) => {
                    self.begin(&mut writer);
                    match write(self, &members, &mut writer) {
                        Row::Whole => records.record(writer.end())?,
                        Row::Outside => {}
                        Row::Refused(reason) => records.refuse(reason, raw)?,
                    }
                }
            }
            records.flush().await?;
        }
        Ok(())
    }
}

fn plain(_: &Figures<'_>, members: &Members<'_>, writer: &mut ObjectWriter) -> Row {
    members.iter().for_each(|(name, raw)| writer.member_raw(name, raw));
    Row::Whole
}

fn classification(figures: &Figures<'_>, members: &Members<'_>, writer: &mut ObjectWriter) -> Row {
    let state = members.text("state").unwrap_or_default();
    writer.member_raw("is_total", flag(TOTALS.contains(&&*state)));
    plain(figures, members, writer)
}

/// A day of a form (`§5.12`); the vendor's own time is the key.
fn bucket(figures: &Figures<'_>, members: &Members<'_>, writer: &mut ObjectWriter) -> Row {
    let at = members.i64("timestamp").and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let Some(at) = at else { return Row::Refused("no `timestamp` in whole seconds") };
    if !figures.owns(at.with_timezone(&figures.offset).naive_local(), at, DAY) {
        return Row::Outside;
    }
    writer.member_str("timestamp", &instant(at));
    members.iter().filter(|(name, _)| *name != "timestamp").for_each(|(name, raw)| writer.member_raw(name, raw));
    Row::Whole
}

/// The outcome of an element.
enum Row {
    Whole,
    /// It belongs to another slice.
    Outside,
    Refused(&'static str),
}

/// Checks that a response is JSON; its content is checked later.
pub(super) fn look(body: &[u8]) -> Result<(), StepError> {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let looked = match body.trim_ascii_start().first() {
        Some(b'[') => list::read(body, Lone::Wrapper).map(|_| ()).map_err(StepError::from),
        _ => object(body).map(|_| ()),
    };
    // Another shape is reported where it is parsed.
    looked.or_else(|error| match error {
        StepError::Unreadable(DecodeError::Shape(_)) | StepError::Shape(_) => Ok(()),
        error => Err(error),
    })
}

fn shape(what: &str) -> StepError {
    StepError::Shape(what.to_owned())
}

pub(super) fn flag(value: bool) -> Raw<'static> {
    if value { Raw::TRUE } else { Raw::FALSE }
}

pub(super) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// The response if an object is documented.
fn object(body: &[u8]) -> Result<Members<'_>, StepError> {
    match body.trim_ascii_start().first() {
        None => Err(DecodeError::Empty.into()),
        Some(b'{') => Members::read(body).map_err(|fault| match fault {
            Fault::Cut => DecodeError::Cut.into(),
            Fault::Other => shape("an object with too many members"),
            Fault::Malformed { offset } => {
                DecodeError::Malformed { offset: offset as u64, what: "the response is not JSON" }.into()
            }
        }),
        Some(b'[') => Err(shape("an array where an object is documented")),
        Some(b'<') => Err(DecodeError::NotJson("HTML or XML").into()),
        Some(_) => Err(DecodeError::NotJson("text").into()),
    }
}

#[cfg(test)]
mod tests;
