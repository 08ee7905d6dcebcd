//! Series of days or hours: each element of an object of arrays becomes a row (`facts/lexer.md §5.2, §5.5, §5.9`).

use std::collections::BTreeSet;

use super::{
    DAY, DateTime, Figures, HOUR, Intervals, Lone, Members, NaiveDateTime, ObjectWriter, Raw, Records, StepError,
    TimeDelta, Utc, instant, list, shape,
};

/// An element with the label of its interval.
struct Interval<'a> {
    series: &'a str,
    element: Raw<'a>,
    label: Option<(String, NaiveDateTime)>,
}

impl Figures<'_> {
    /// `named` is the column for the name of the series. The name is that of the member; an element may contradict it.
    pub(super) async fn intervals(
        &self,
        named: &str,
        members: &Members<'_>,
        records: &mut dyn Records,
    ) -> Result<(), StepError> {
        let intervals = read(members)?;
        let granularity = self.granularity(&intervals);
        if self.intervals == Intervals::Hour && granularity == DAY {
            tracing::warn!(stream = &*self.stream.name, "the vendor sent days although hours were requested");
        }
        let (mut writer, mut contradicted) = (ObjectWriter::default(), 0_u64);
        for interval in &intervals {
            let raw = interval.element.get().as_bytes();
            match (&interval.label, Members::parse(raw)) {
                (_, None) => records.record(raw)?,
                (None, Some(_)) => records.refuse("no interval label such as `2025-03-01 00:00`", raw)?,
                (Some((label, local)), Some(element)) => {
                    let start = local.and_local_timezone(self.offset).single().map(|at| at.with_timezone(&Utc));
                    let Some(start) = start.filter(|at| self.owns(*local, *at, granularity)) else {
                        continue;
                    };
                    self.begin(&mut writer);
                    writer.member_str(named, interval.series);
                    self.write_interval(start, label, granularity, &mut writer);
                    contradicted += u64::from(write_element(named, interval.series, &element, &mut writer));
                    records.record(writer.end())?;
                }
            }
            records.flush().await?;
        }
        if contradicted > 0 {
            tracing::warn!(
                stream = &*self.stream.name,
                elements = contradicted,
                "elements name another series than the one that contains them; their name is kept in _extra as inner_{named}"
            );
        }
        // Also without any interval, because the page has begun.
        records.flush().await
    }

    /// Detected from the labels, because the documentation contradicts itself about the ranges of days and hours
    /// (`§8`). A single label at midnight is a day. If hours were requested, hours without data may be missing: then
    /// the labels are days only if every day of the range is present, and nothing else.
    fn granularity(&self, intervals: &[Interval<'_>]) -> &'static str {
        let labels: BTreeSet<NaiveDateTime> =
            intervals.iter().filter_map(|interval| interval.label.as_ref().map(|(_, local)| *local)).collect();
        let is_midnight = |local: &NaiveDateTime| local.time() == chrono::NaiveTime::MIN;
        if self.intervals == Intervals::Hour {
            let days = usize::try_from((self.range.end - self.range.start).num_days()).unwrap_or(usize::MAX).max(2);
            return if labels.len() >= days && labels.iter().all(is_midnight) { DAY } else { HOUR };
        }
        let is_short = labels.iter().zip(labels.iter().skip(1)).any(|(one, next)| *next - *one < TimeDelta::days(1));
        let is_odd = labels.len() == 1 && !labels.iter().all(is_midnight);
        if is_short || is_odd { HOUR } else { DAY }
    }

    fn write_interval(&self, start: DateTime<Utc>, label: &str, granularity: &str, writer: &mut ObjectWriter) {
        writer.member_str("interval_start", &instant(start));
        writer.member_str("granularity", granularity);
        writer.member_str("interval_label", label);
        writer.member_str("utc_offset", &self.offset.to_string());
        if self.stream.name == "response_volume" {
            writer.member_str("unit", self.unit.name());
        }
    }
}

/// Writes the members of an element; returns whether it names another series.
fn write_element(named: &str, series: &str, element: &Members<'_>, writer: &mut ObjectWriter) -> bool {
    let mut contradicts = false;
    for (name, raw) in element.iter() {
        if name == named {
            contradicts = element.text(name).is_none_or(|inner| inner != series);
            if contradicts {
                writer.member_raw(&format!("inner_{named}"), raw);
            }
        } else if name != "date_range" || says_more(raw) {
            writer.member_raw(name, raw);
        }
    }
    contradicts
}

/// Whether an interval's range has more members than the label.
fn says_more(date_range: Raw<'_>) -> bool {
    Members::parse(date_range.get().as_bytes()).is_some_and(|members| members.iter().count() > 1)
}

fn read<'a>(members: &'a Members<'a>) -> Result<Vec<Interval<'a>>, StepError> {
    let mut intervals = Vec::new();
    for (series, raw) in members.iter().filter(|(_, raw)| raw.get() != "null") {
        if !raw.get().starts_with('[') {
            return Err(shape("a series that is not an array"));
        }
        for element in list::read(raw.get().as_bytes(), Lone::Wrapper)? {
            intervals.push(Interval { series, element, label: label(element) });
        }
    }
    Ok(intervals)
}

/// The label, and its local time; the label does not state the offset.
fn label(element: Raw<'_>) -> Option<(String, NaiveDateTime)> {
    let members = Members::parse(element.get().as_bytes())?;
    let text = match Members::parse(members.get("date_range")?.get().as_bytes()) {
        Some(range) => range.text("date_from")?.into_owned(),
        // The type in the documentation (`§9` no. 10).
        None => members.text("date_range")?.into_owned(),
    };
    let formats = ["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"];
    let local = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(&text, format).ok())?;
    Some((text, local))
}
