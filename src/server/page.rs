//! The status page: one HTML document without scripts or external resources. All text is escaped, wherever it comes
//! from.

use std::fmt::{self, Display, Write as _};

use chrono::{DateTime, Utc};

use super::report::{JobState, StatusReport};
use crate::quota::QuotaUse;
use crate::store::held::HeldSlice;
use crate::store::reconciliation::{Difference, Reconciliation};
use crate::store::status::{Failure, StreamState};
use crate::store::stored_rows::StoredRows;
use crate::text::shown;

/// Seconds after which a browser reloads the page.
const RELOAD_SECS: u32 = 15;
/// Messages are cut to this length; the full text is in `tidegate.task`.
const MESSAGE_CHARS_MAX: usize = 400;

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1b2733}\
h1{font-size:1.4rem}h2{font-size:1.05rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #dde4ea}\
th{font-weight:600;color:#546575}.bad{color:#b3261e}.good{color:#1d6b3a}.quiet{color:#546575}\
@media(prefers-color-scheme:dark){body{background:#10181f;color:#dbe4ec}th,td{border-color:#2b3a47}\
th,.quiet{color:#93a5b5}.bad{color:#ff8a80}.good{color:#7ddba3}}";

/// Text escaped for an element or a quoted attribute. Invisible and control characters are replaced.
struct Escaped<T>(T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Sieve<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl fmt::Write for Sieve<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for character in text.chars() {
                    match character {
                        '&' => self.0.write_str("&amp;")?,
                        '<' => self.0.write_str("&lt;")?,
                        '>' => self.0.write_str("&gt;")?,
                        '"' => self.0.write_str("&quot;")?,
                        '\'' => self.0.write_str("&#39;")?,
                        other => self.0.write_char(shown(other))?,
                    }
                }
                Ok(())
            }
        }
        write!(Sieve(formatter), "{}", self.0)
    }
}

/// The page. Its style element carries `nonce`.
pub(super) fn render(report: &StatusReport, nonce: &str) -> String {
    let mut page = String::with_capacity(16 * 1024);
    // Writing to a string cannot fail.
    let _infallible = write_page(&mut page, report, nonce);
    page
}

fn write_page(page: &mut String, report: &StatusReport, nonce: &str) -> fmt::Result {
    write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Tidegate</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"{RELOAD_SECS}\">\
         <style nonce=\"{}\">{STYLE}</style></head><body><h1>Tidegate {}</h1><p class=\"quiet\">{}",
        Escaped(nonce),
        Escaped(report.version),
        moment(Some(report.at)),
    )?;
    for unfinished in report.unfinished.iter().filter(|unfinished| unfinished.runs > 0) {
        write!(page, " · {} {}", unfinished.runs, Escaped(&unfinished.state))?;
    }
    page.push_str("</p>");
    if report.reload_refused {
        page.push_str(
            "<p class=\"bad\">The configuration on disk is wrong and was refused; the previous one is in force. \
             <code>tidegate check --offline</code> says why.</p>",
        );
    }
    table(page, "Jobs", &["job", "schedule", "next firing", "last run", ""], &report.jobs, job)?;
    let held = ["connection", "stream", "slice", "rows there", "reported", "since", "why"];
    table(page, "Held: the last reading was too doubtful to delete rows", &held, &report.held, held_slice)?;
    if report.reconciliation.differences > 0 {
        differences(page, &report.reconciliation)?;
    }
    let streams = ["connection", "stream", "table", "state", "complete until", "read until", "age"];
    table(page, "Streams", &streams, &report.streams, stream)?;
    if !report.stored.is_empty() {
        table(page, "Stored rows of the mart", &["relation", "refreshed", "age"], &report.stored, stored)?;
    }
    table(page, "Quotas", &["connection", "limit", "used", "", ""], &report.quotas, quota)?;
    table(page, "Recent failures", &["when", "run", "stream", "what failed", "what to do"], &report.failures, failure)?;
    page.push_str("<p class=\"quiet\">The same as <a href=\"/status.json\">JSON</a>.</p></body></html>");
    Ok(())
}

fn table<T>(
    page: &mut String,
    title: &str,
    columns: &[&str],
    rows: &[T],
    cells: impl Fn(&mut String, &T) -> fmt::Result,
) -> fmt::Result {
    write!(page, "<h2>{}</h2>", Escaped(title))?;
    if rows.is_empty() {
        page.push_str("<p class=\"quiet\">none</p>");
        return Ok(());
    }
    page.push_str("<table><thead><tr>");
    for column in columns {
        write!(page, "<th>{}</th>", Escaped(column))?;
    }
    page.push_str("</tr></thead><tbody>");
    for row in rows {
        page.push_str("<tr>");
        cells(page, row)?;
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table>");
    Ok(())
}

fn job(page: &mut String, job: &JobState) -> fmt::Result {
    let schedule = job.schedule.as_deref().unwrap_or("by hand");
    write!(page, "<td>{}</td><td>{} ", Escaped(&job.job), Escaped(schedule))?;
    write!(page, "<span class=\"quiet\">{}</span></td>", Escaped(&job.timezone))?;
    let next = if job.paused { "paused".to_owned() } else { moment(job.next_firing) };
    write!(page, "<td>{next}</td>")?;
    let Some(last) = &job.last_run else {
        return page.write_str("<td class=\"quiet\">never</td><td></td>");
    };
    let class = match last.state.as_str() {
        "succeeded" => "good",
        "failed" | "cancelled" | "held" => "bad",
        _ => "quiet",
    };
    let when = moment(last.finished_at.or(last.started_at).or(Some(last.created_at)));
    write!(page, "<td><span class=\"{class}\">{}</span> {when}</td>", Escaped(&last.state))?;
    let message = last.error.as_deref().unwrap_or_default();
    write!(page, "<td>{}</td>", Escaped(cut(message)))
}

fn stream(page: &mut String, stream: &StreamState) -> fmt::Result {
    let (complete, until) = (moment(stream.complete_until), moment(stream.read_until));
    let class = match stream.state.as_str() {
        "on time" => "good",
        "failed" | "held" | "late" | "gap" => "bad",
        _ => "quiet",
    };
    let age = stream.freshness_seconds.map_or_else(|| "never read".to_owned(), age);
    write!(
        page,
        "<td>{}</td><td>{}</td><td>{}</td><td><span class=\"{class}\">{}</span></td><td>{complete}</td><td>{until}</td>\
         <td>{age}</td>",
        Escaped(&stream.connection),
        Escaped(&stream.stream),
        Escaped(&stream.table),
        Escaped(&stream.state),
    )
}

fn held_slice(page: &mut String, slice: &HeldSlice) -> fmt::Result {
    let start = slice.window_start.map_or_else(|| "the list".to_owned(), |at| moment(Some(at)));
    write!(
        page,
        "<td>{}</td><td>{}</td><td>{start}</td><td>{}</td><td>{}</td><td>{}</td><td>{}{}</td>",
        Escaped(&slice.connection),
        Escaped(&slice.stream),
        slice.rows_there,
        slice.rows_reported,
        moment(Some(slice.held_since)),
        if slice.released { "released; " } else { "" },
        Escaped(cut(&slice.reason)),
    )
}

/// Only if there are any.
fn differences(page: &mut String, found: &Reconciliation) -> fmt::Result {
    let title = format!("Totals of vendors that differ from our rows: {}", found.differences);
    let columns = ["connection", "metric", "bucket", "vendor", "ours", "difference"];
    table(page, &title, &columns, &found.newest, difference)?;
    if i64::try_from(found.newest.len()).is_ok_and(|shown| shown < found.differences) {
        page.push_str(
            "<p class=\"quiet\">The newest are shown; the relation <code>mart.reconciliation</code> has all.</p>",
        );
    }
    Ok(())
}

fn difference(page: &mut String, found: &Difference) -> fmt::Result {
    write!(
        page,
        "<td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"bad\">{:+}</td>",
        Escaped(&found.connection),
        Escaped(&found.metric),
        moment(Some(found.bucket_start)),
        found.vendor_total,
        found.our_count,
        found.difference,
    )
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn stored(page: &mut String, rows: &StoredRows) -> fmt::Result {
    let (refreshed, age) = (moment(Some(rows.refreshed_at)), age(rows.age_seconds as f64));
    write!(page, "<td>{}</td><td>{refreshed}</td><td>{age}</td>", Escaped(&rows.relation))
}

fn quota(page: &mut String, quota: &QuotaUse) -> fmt::Result {
    let percent = quota.ratio() * 100.0;
    write!(page, "<td>{}</td><td>{}</td>", Escaped(&quota.connection), Escaped(&quota.limit))?;
    write!(page, "<td>{percent:.1} %</td><td>{} of {}</td><td>", quota.used, quota.allowed)?;
    if quota.blocked_until.is_some() {
        write!(page, "<span class=\"bad\">blocked until {}</span>", moment(quota.blocked_until))?;
    }
    page.write_str("</td>")
}

fn failure(page: &mut String, failure: &Failure) -> fmt::Result {
    let (error, hint) = (failure.error.as_deref().unwrap_or_default(), failure.hint.as_deref().unwrap_or_default());
    write!(page, "<td>{}</td><td>{}</td>", moment(failure.finished_at), failure.run_id)?;
    write!(page, "<td>{} · {}</td>", Escaped(&failure.job), Escaped(&failure.stream))?;
    write!(page, "<td>{}</td><td>{}</td>", Escaped(cut(error)), Escaped(cut(hint)))
}

fn moment(moment: Option<DateTime<Utc>>) -> String {
    moment.map_or_else(|| "–".to_owned(), |moment| moment.format("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// A duration in readable units.
fn age(seconds: f64) -> String {
    let minutes = seconds.max(0.0) / 60.0;
    if minutes < 120.0 {
        format!("{minutes:.0} min")
    } else if minutes < 48.0 * 60.0 {
        format!("{:.0} h", minutes / 60.0)
    } else {
        format!("{:.0} d", minutes / 60.0 / 24.0)
    }
}

fn cut(message: &str) -> &str {
    message.char_indices().nth(MESSAGE_CHARS_MAX).map_or(message, |(end, _)| &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differing(name: &str) -> Reconciliation {
        let difference = Difference {
            connection: name.to_owned(),
            metric: name.to_owned(),
            bucket_start: DateTime::UNIX_EPOCH,
            bucket_end: None,
            vendor_total: 3.0,
            our_count: 1.0,
            difference: -2.0,
        };
        Reconciliation { connections: Vec::new(), differences: 2, newest: vec![difference] }
    }

    fn stored_rows(relation: &str) -> StoredRows {
        StoredRows { relation: relation.to_owned(), refreshed_at: DateTime::UNIX_EPOCH, age_seconds: 5_400 }
    }

    #[test]
    fn p7_no_text_becomes_markup() {
        let hostile = "<script>alert('\"&')</script>";
        let text = Escaped(hostile).to_string();
        assert_eq!(text, "&lt;script&gt;alert(&#39;&quot;&amp;&#39;)&lt;/script&gt;");
        assert_eq!(Escaped("a\u{202e}b\n\u{200b}c").to_string(), "a\u{fffd}b \u{fffd}c");
        let report = StatusReport {
            at: DateTime::UNIX_EPOCH,
            version: "1",
            reload_refused: true,
            jobs: vec![JobState {
                job: hostile.to_owned(),
                connection: hostile.to_owned(),
                schedule: Some(hostile.to_owned()),
                timezone: hostile.to_owned(),
                paused: false,
                next_firing: None,
                last_run: None,
            }],
            streams: vec![StreamState {
                connection: hostile.to_owned(),
                stream: hostile.to_owned(),
                table: hostile.to_owned(),
                state: hostile.to_owned(),
                covers_from: None,
                complete_until: None,
                has_gap: false,
                late: false,
                expected_by: None,
                read_until: None,
                last_success_at: None,
                freshness_seconds: Some(-3.0),
                held_slices: 1,
            }],
            quotas: vec![QuotaUse {
                connection: hostile.to_owned(),
                limit: hostile.to_owned(),
                used: 1,
                allowed: 0,
                blocked_until: Some(DateTime::UNIX_EPOCH),
            }],
            unfinished: Vec::new(),
            held: vec![HeldSlice {
                connection: hostile.to_owned(),
                stream: hostile.to_owned(),
                window_start: None,
                window_end: None,
                rows_there: 2,
                rows_reported: 1,
                held_since: DateTime::UNIX_EPOCH,
                reason: hostile.to_owned(),
                released: true,
            }],
            reconciliation: differing(hostile),
            stored: vec![stored_rows(hostile)],
            failures: vec![Failure {
                run_id: 1,
                job: hostile.to_owned(),
                connection: hostile.to_owned(),
                stream: hostile.to_owned(),
                finished_at: None,
                error: Some(hostile.to_owned()),
                hint: Some(hostile.to_owned()),
            }],
        };
        let page = render(&report, "n0nce");
        assert!(!page.contains("<script"), "{page}");
        for shown in ["differ from our rows: 2", ">-2<", "has all", "Stored rows of the mart", ">90 min<"] {
            assert!(page.contains(shown), "{shown} {page}");
        }
        assert!(page.contains("<style nonce=\"n0nce\">") && page.contains("&lt;script&gt;"));
    }

    #[test]
    fn ages_are_shown_in_readable_units() {
        assert_eq!([0.0, 90.0 * 60.0, 3.0 * 3_600.0, 500_000.0].map(age), ["0 min", "90 min", "3 h", "6 d"]);
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let long = "é".repeat(1_000);
        assert_eq!(cut(&long).chars().count(), MESSAGE_CHARS_MAX);
        assert_eq!(cut("short"), "short");
    }
}
