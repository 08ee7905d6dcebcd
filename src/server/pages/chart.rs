//! Drawings: bars and calendars of days, calls by the hour, runs, and what part of a whole is used. Their labels say
//! the same as text.

use std::fmt::Write as _;

use askama::filters::MaybeSafe;
use chrono::{DateTime, Datelike as _, Days, DurationRound as _, NaiveDate, SecondsFormat, TimeDelta, Utc};
use chrono_tz::Tz;

use super::markup::{Escaped, Markup, bytes, number, span};
use crate::report::{Day, DaySpan, Hour};
use crate::store::history::Run;

/// The class of a day's state. An unknown state has the class of none.
fn day_class(state: &str) -> &'static str {
    match state {
        "complete" => "complete",
        "partial" => "partial",
        "missing" => "missing",
        "held" => "held",
        _ => "none",
    }
}

/// `30 days: 28 complete, 2 missing`.
fn summary(days: impl Iterator<Item = (String, i64)>) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for (state, number) in days {
        *counts.entry(state).or_insert(0) += number;
    }
    let total: i64 = counts.values().sum();
    let parts: Vec<String> = counts.iter().map(|(state, number)| format!("{number} {state}")).collect();
    format!("{total} days: {}", parts.join(", "))
}

/// Days as a bar; the last one is `to`. What is not complete is lower as well as of another colour.
pub(super) fn bar(spans: &[DaySpan], days: u16, to: NaiveDate) -> Markup {
    let Some(from) = to.checked_sub_days(Days::new(u64::from(days).saturating_sub(1))) else {
        return MaybeSafe::Safe(String::new());
    };
    if spans.is_empty() {
        return MaybeSafe::Safe("<span class=\"quiet\">no days</span>".to_owned());
    }
    let label = summary(spans.iter().map(|span| (span.state.clone(), span.days())));
    let mut svg = format!(
        "<svg class=\"bar\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {days} 10\" width=\"{}\" height=\"14\" \
         preserveAspectRatio=\"none\">",
        Escaped(&label),
        u32::from(days) * 2,
    );
    for span in spans.iter().filter(|span| span.to >= from && span.from <= to) {
        let (first, last) = (span.from.max(from), span.to.min(to));
        let (x, width) = ((first - from).num_days(), (last - first).num_days() + 1);
        let class = day_class(&span.state);
        let (y, height) = match class {
            "complete" => (0, 10),
            "missing" | "none" => (8, 2),
            _ => (4, 6),
        };
        // Writing to a string cannot fail.
        let _ = write!(
            svg,
            "<rect class=\"d-{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"><title>{}</title></rect>",
            Escaped(span_text(span)),
        );
    }
    svg.push_str("</svg>");
    MaybeSafe::Safe(svg)
}

/// `3 Nov to 5 Nov 2026: missing`.
fn span_text(span: &DaySpan) -> String {
    if span.from == span.to {
        format!("{}: {}", span.to.format("%-d %b %Y"), span.state)
    } else {
        format!("{} to {}: {}", span.from.format("%-d %b"), span.to.format("%-d %b %Y"), span.state)
    }
}

/// A year of days in two halves, so that a narrow screen shows all of it. The table of gaps has the same in words.
pub(super) fn calendar(days: &[Day], year: i32, zone: Tz) -> Markup {
    let halves =
        [("January to June", (year, 1), (year, 7)), ("July to December", (year, 7), (year.saturating_add(1), 1))];
    let first = |(year, month)| NaiveDate::from_ymd_opt(year, month, 1);
    let drawn =
        halves.into_iter().filter_map(|(name, from, to)| Some(half((days, zone), name, first(from)?, first(to)?)));
    MaybeSafe::Safe(drawn.collect())
}

/// The days from `first` to the day before `end`: a column per week, a row per weekday, the months above.
fn half((days, zone): (&[Day], Tz), name: &str, first: NaiveDate, end: NaiveDate) -> String {
    const CELL: i64 = 13;
    const TOP: i64 = 16;
    const LEFT: i64 = 30;
    // 184 days that begin on a Sunday.
    const WEEKS: i64 = 28;
    let offset = i64::from(first.weekday().num_days_from_monday());
    let days: Vec<&Day> = days.iter().filter(|day| (first..end).contains(&day.day)).collect();
    let label = format!("{name} {}, {}", first.year(), summary(days.iter().map(|day| (day.state.clone(), 1))));
    let mut svg = format!(
        "<svg class=\"calendar\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {} {}\">",
        Escaped(&label),
        LEFT + WEEKS * CELL,
        TOP + 7 * CELL,
    );
    for (row, weekday) in [(0, "Mon"), (2, "Wed"), (4, "Fri"), (6, "Sun")] {
        let _ = write!(svg, "<text x=\"0\" y=\"{}\">{weekday}</text>", TOP + row * CELL + 10);
    }
    for month in first.month()..first.month() + 6 {
        if let Some(day) = NaiveDate::from_ymd_opt(first.year(), month, 1) {
            let x = LEFT + ((day - first).num_days() + offset) / 7 * CELL;
            let _ = write!(svg, "<text x=\"{x}\" y=\"11\">{}</text>", day.format("%b"));
        }
    }
    for day in days {
        let number = (day.day - first).num_days() + offset;
        let (x, y) = (LEFT + number / 7 * CELL, TOP + number % 7 * CELL);
        let class = day_class(&day.state);
        let shape = match class {
            "complete" => format!("M{x} {y}h11v11h-11z"),
            "partial" => format!("M{x} {}h11v5h-11z", y + 6),
            "held" => format!("M{} {y}l6 5.5l-6 5.5l-6-5.5z", x + 6),
            _ => format!("M{x} {y}h11v11h-11zm2 2v7h7v-7z"),
        };
        let _ = write!(
            svg,
            "<path class=\"d-{class}\" d=\"{shape}\"><title>{}</title></path>",
            Escaped(day_text(day, zone))
        );
    }
    svg.push_str("</svg>");
    svg
}

/// `Tue 24 Nov: missing`, with rows and the time of the last reading if there was one.
fn day_text(day: &Day, zone: Tz) -> String {
    let mut text = format!("{}: {}", day.day.format("%a %-d %b"), day.state);
    if let Some(rows) = day.rows {
        let _ = write!(text, ", {} rows", number(rows));
    }
    if let Some(at) = day.last_read_at {
        let _ = write!(text, ", read {}", short_moment_text(at, zone));
    }
    text
}

/// A week as bars, one per hour: how many calls were sent, and above them a mark where calls were refused. The largest
/// number, the refusals and both ends of the axis are text. With `detailed`, each hour shows its numbers when the
/// pointer is on it, which is too much for a long list.
pub(super) fn week(hours: &[Hour], (now, zone): (DateTime<Utc>, Tz), detailed: bool) -> Markup {
    const HOURS: i64 = 168;
    if hours.is_empty() {
        return MaybeSafe::Safe("<span class=\"quiet\">nothing</span>".to_owned());
    }
    let most = hours.iter().map(|hour| hour.calls).max().unwrap_or(0);
    let refused: i64 = hours.iter().map(|hour| hour.refused).sum();
    let last_refused = hours.iter().filter(|hour| hour.refused > 0).map(|hour| hour.hour).max();
    let last_refused = last_refused.map_or_else(String::new, |at| format!(", the last {}", hour_time(at, zone)));
    let mut svg = format!(
        "<span class=\"week\"><span>at most {} {} in an hour; {} refused{last_refused}</span>\
         <svg class=\"bar\" role=\"img\" aria-label=\"Calls by the hour\" viewBox=\"0 0 {HOURS} 20\" \
         width=\"{}\" height=\"48\" preserveAspectRatio=\"none\"><path class=\"track\" d=\"M0 19h{HOURS}v1h-{HOURS}z\"/>",
        number(most),
        if most == 1 { "call" } else { "calls" },
        number(refused),
        HOURS * 2,
    );
    let end = now.timestamp().div_euclid(3_600);
    let place = |hour: &Hour| HOURS - 1 - (end - hour.hour.timestamp().div_euclid(3_600));
    // One outline for all hours: to the height of each, then one to the right.
    let (mut calls, mut marks, mut at) = ("M0 20".to_owned(), String::new(), 0);
    for hour in hours.iter().filter(|hour| (0..HOURS).contains(&place(hour))) {
        let x = place(hour);
        // At least a line, so that a little is not nothing.
        let y = 20 - (hour.calls.saturating_mul(16) / most.max(1)).clamp(1, 16);
        let gap = if x > at { format!("V20H{x}") } else { String::new() };
        let _ = write!(calls, "{gap}V{y}h1");
        at = x + 1;
        if hour.refused > 0 {
            let _ = write!(marks, "M{x} 0h1v3h-1z");
        }
    }
    let _ = write!(svg, "<path class=\"d-complete\" d=\"{calls}V20z\"/>");
    if !marks.is_empty() {
        let _ = write!(svg, "<path class=\"d-missing\" d=\"{marks}\"/>");
    }
    for hour in hours.iter().filter(|hour| detailed && (0..HOURS).contains(&place(hour))) {
        let (x, text) = (place(hour), Escaped(hour_text(hour, zone)));
        let _ = write!(svg, "<path class=\"touch\" d=\"M{x} 0h1v20h-1z\"><title>{text}</title></path>");
    }
    let begin = now - TimeDelta::hours(HOURS - 1);
    let _ =
        write!(svg, "</svg><span class=\"axis\"><span>{}</span><span>now</span></span></span>", hour_time(begin, zone));
    MaybeSafe::Safe(svg)
}

/// `28 Nov 14:00 UTC`, `28 Nov 11:00 -03:00`: a moment of this year in few characters.
fn short_moment_text(at: DateTime<Utc>, zone: Tz) -> String {
    let offset = if zone == Tz::UTC { "UTC" } else { "%:z" };
    at.with_timezone(&zone).format(&format!("%-d %b %H:%M {offset}")).to_string()
}

/// The begin of the hour.
fn hour_time(at: DateTime<Utc>, zone: Tz) -> String {
    let begin = at.duration_trunc(TimeDelta::hours(1)).unwrap_or(at);
    let (iso, text) = (begin.to_rfc3339_opts(SecondsFormat::Secs, true), short_moment_text(begin, zone));
    format!("<time datetime=\"{iso}\">{}</time>", Escaped(text))
}

/// `28 Nov 14:00 UTC: 120 calls, 1.2 MB, 3 s waited, 0 refused`.
fn hour_text(hour: &Hour, zone: Tz) -> String {
    let (calls, size) = (number(hour.calls), bytes(u64::try_from(hour.bytes).unwrap_or(0)));
    let (waited, refused) = (hour.waited_seconds, hour.refused);
    format!("{}: {calls} calls, {size}, {waited:.0} s waited, {refused} refused", short_moment_text(hour.hour, zone))
}

/// Runs as bars, the oldest first: the height is how long it took, on a logarithmic scale.
pub(super) fn run_bars(runs: &[Run], now: DateTime<Utc>) -> Markup {
    let failed = runs.iter().filter(|run| run.state == "failed").count();
    let label = format!("the last {} runs: {failed} failed", runs.len());
    let mut svg = format!(
        "<svg class=\"bar\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {} 40\" width=\"{}\" height=\"40\">",
        Escaped(&label),
        runs.len() * 10,
        runs.len() * 10,
    );
    for (place, run) in runs.iter().rev().enumerate() {
        let seconds = run.started_at.map_or(0, |from| (run.finished_at.unwrap_or(now) - from).num_seconds());
        let height = (seconds.max(0) + 2).ilog2() * 3;
        let (class, height) = match run.state.as_str() {
            "succeeded" => ("d-complete", height),
            "failed" => ("d-missing", height),
            "held" => ("d-held", height),
            "cancelled" => ("d-none", height),
            _ => ("d-partial", height),
        };
        let height = height.clamp(3, 40);
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"8\" height=\"{height}\"><title>run {}: {}, {}</title></rect>",
            place * 10,
            40 - height,
            run.run_id,
            Escaped(&run.state),
            span(seconds),
        );
    }
    svg.push_str("</svg>");
    MaybeSafe::Safe(svg)
}

/// The used part of a limit as a bar. More than the whole is shown as the whole. A limit of less than a minute only
/// sets the pace, so using all of it is normal.
pub(super) fn meter(ratio: f64, period_seconds: f64, label: &str) -> Markup {
    let class = match ratio {
        _ if period_seconds < 60.0 => "active",
        0.95.. => "bad",
        0.8..0.95 => "warn",
        _ => "good",
    };
    share(ratio, class, label)
}

/// The part of a work that is done as a bar.
pub(super) fn progress(ratio: f64, label: &str) -> Markup {
    share(ratio, "active", label)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 100")]
fn share(ratio: f64, class: &str, label: &str) -> Markup {
    let percent = (ratio.clamp(0.0, 1.0) * 100.0).floor() as u32;
    MaybeSafe::Safe(format!(
        "<svg class=\"meter {class}\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 100 10\" width=\"120\" height=\"10\" \
         preserveAspectRatio=\"none\"><rect class=\"track\" width=\"100\" height=\"10\"/>\
         <rect class=\"fill\" width=\"{percent}\" height=\"10\"/></svg>",
        Escaped(label),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(markup: &Markup) -> &str {
        match markup {
            MaybeSafe::Safe(text) | MaybeSafe::NeedsEscaping(text) => text,
        }
    }

    #[test]
    fn p7_no_text_becomes_markup() {
        let hostile = "<script>";
        let at = NaiveDate::from_ymd_opt(2026, 11, 28).unwrap();
        let span = DaySpan { from: at, to: at, state: hostile.to_owned() };
        let day = Day { day: at, state: hostile.to_owned(), rows: Some(1), last_read_at: Some(DateTime::UNIX_EPOCH) };
        for markup in [bar(&[span], 30, at), calendar(&[day], 2026, Tz::UTC), meter(0.5, 60.0, hostile)] {
            assert!(!text(&markup).contains(hostile) && text(&markup).contains("&lt;script&gt;"), "{}", text(&markup));
        }
    }

    #[test]
    fn a_week_shows_its_maximum_its_axis_and_its_refusals_as_text() {
        let now: DateTime<Utc> = "2026-11-28T06:15:00Z".parse().unwrap();
        let hour = |hours: i64, calls, refused| {
            let hour = "2026-11-28T06:00:00Z".parse::<DateTime<Utc>>().unwrap() - TimeDelta::hours(hours);
            Hour { hour, calls, bytes: 0, waited_seconds: 0.0, refused }
        };
        let week = week(&[hour(30, 1_200, 2), hour(3, 7, 1), hour(0, 4, 0)], (now, Tz::UTC), false);
        let parts = text(&week).split('<').filter_map(|part| part.split_once('>'));
        let shown: Vec<&str> = parts.map(|(_, text)| text).filter(|text| !text.is_empty()).collect();
        let most = "at most 1,200 calls in an hour; 3 refused, the last ";
        assert_eq!(shown, [most, "28 Nov 03:00 UTC", "21 Nov 07:00 UTC", "now"]);
    }

    #[test]
    fn a_year_is_two_halves_and_each_day_is_in_one_of_them() {
        let of = |(month, day)| Day {
            day: NaiveDate::from_ymd_opt(2028, month, day).unwrap(),
            state: "complete".to_owned(),
            rows: None,
            last_read_at: None,
        };
        // A leap year that begins on a Saturday.
        let days = [(1, 1), (6, 30), (7, 1), (12, 31)].map(of);
        let calendar = calendar(&days, 2028, Tz::UTC);
        let halves: Vec<&str> = text(&calendar).split("<svg").skip(1).collect();
        let [first, second] = halves[..] else { panic!("{}", text(&calendar)) };
        for (half, shown, hidden, places) in [
            (first, "January to June 2028, 2 days: 2 complete", "Sep", ["M30 81h", "M368 68h"]),
            (second, "July to December 2028, 2 days: 2 complete", "Feb", ["M30 81h", "M368 94h"]),
        ] {
            assert!(half.contains(shown) && !half.contains(hidden), "{half}");
            assert!(places.iter().all(|place| half.contains(place)), "{half}");
        }
    }

    #[test]
    fn a_day_of_the_calendar_was_read_at_a_time_of_the_streams_zone() {
        let read = "2026-11-30T17:10:00Z".parse().unwrap();
        let day = NaiveDate::from_ymd_opt(2026, 11, 30).unwrap();
        let day = Day { day, state: "partial".to_owned(), rows: Some(1_200), last_read_at: Some(read) };
        assert_eq!(day_text(&day, Tz::America__Santiago), "Mon 30 Nov: partial, 1,200 rows, read 30 Nov 14:10 -03:00");
        assert_eq!(day_text(&day, Tz::UTC), "Mon 30 Nov: partial, 1,200 rows, read 30 Nov 17:10 UTC");
    }

    #[test]
    fn a_bar_shows_the_last_days_as_runs() {
        let to = NaiveDate::from_ymd_opt(2026, 11, 30).unwrap();
        let day = |number| NaiveDate::from_ymd_opt(2026, 11, number).unwrap();
        let spans = [
            DaySpan { from: day(1), to: day(28), state: "complete".to_owned() },
            DaySpan { from: day(29), to: day(30), state: "missing".to_owned() },
        ];
        let bar = bar(&spans, 10, to);
        assert!(text(&bar).contains("30 days: 28 complete, 2 missing"), "{}", text(&bar));
        assert!(
            text(&bar).contains("x=\"0\" y=\"0\" width=\"8\"") && text(&bar).contains("x=\"8\" y=\"8\" width=\"2\"")
        );
    }
}
