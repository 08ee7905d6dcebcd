//! The parts of pages that are markup themselves: texts, times, states. `chart` has the drawings. Everything else is in
//! the templates, which escape every value.

use std::fmt::{self, Display, Write};

use askama::filters::{Escaper, MaybeSafe};
use chrono::{DateTime, Datelike as _, SecondsFormat, Utc};
use chrono_tz::Tz;

use crate::report::state::State;
use crate::text::{self, shown};

/// Escapes text for an element or a quoted attribute. Invisible and control characters are replaced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Escape;

impl Escaper for Escape {
    fn write_escaped_str<W: Write>(&self, mut dest: W, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '&' => dest.write_str("&amp;")?,
                '<' => dest.write_str("&lt;")?,
                '>' => dest.write_str("&gt;")?,
                '"' => dest.write_str("&quot;")?,
                '\'' => dest.write_str("&#39;")?,
                other => dest.write_char(shown(other))?,
            }
        }
        Ok(())
    }
}

/// Text that is escaped when it is shown.
pub(super) struct Escaped<T>(pub(super) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escape.write_escaped_str(formatter, &self.0.to_string())
    }
}

/// Markup that templates do not escape. Only the functions of this module and of `chart` make it, from escaped values.
pub(super) type Markup = MaybeSafe<String>;

/// Text of an error, a hint or an event. What is in backticks is shown as code.
pub(super) fn prose(text: &str) -> Markup {
    let (mut html, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, code, after)) = rest
        .split_once('`')
        .and_then(|(before, after)| after.split_once('`').map(|(code, after)| (before, code, after)))
    {
        // Writing to a string cannot fail.
        let _ = write!(html, "{}<code>{}</code>", Escaped(before), Escaped(code));
        rest = after;
    }
    let _ = write!(html, "{}", Escaped(rest));
    MaybeSafe::Safe(html)
}

/// A name that may be broken into lines after an underscore, a slash or a dot. Browsers break only at hyphens.
pub(super) fn name(text: &str) -> Markup {
    let parts = text.split_inclusive(['_', '/', '.']).map(|part| Escaped(part).to_string());
    MaybeSafe::Safe(parts.collect::<Vec<_>>().join("<wbr>"))
}

/// A name, with a link to its page if it has one.
pub(super) fn link(page: Option<&str>, name: &str) -> Markup {
    MaybeSafe::Safe(match page {
        Some(page) => format!("<a href=\"{}\">{}</a>", Escaped(page), Escaped(name)),
        None => Escaped(name).to_string(),
    })
}

/// In which zone times are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum ZoneChoice {
    /// That of the job or stream; UTC where there is none.
    #[default]
    Thing,
    /// One zone for all times.
    Fixed(Tz),
}

impl ZoneChoice {
    /// `thing`, or the name of a zone. Anything else is the default.
    pub(super) fn parse(text: &str) -> Self {
        text.parse().map_or(Self::Thing, Self::Fixed)
    }

    /// The zone in which to show a time of something that has the zone `of`.
    pub(super) fn resolve(self, of: Option<&str>) -> Tz {
        match self {
            Self::Fixed(zone) => zone,
            Self::Thing => of.and_then(|name| name.parse().ok()).unwrap_or(Tz::UTC),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fixed(zone) => zone.name(),
            Self::Thing => "thing",
        }
    }
}

/// `Sat 28 Nov, 03:15 (-03:00)`: a moment in a zone, with the zone's offset, so that it is unambiguous. With its year
/// if that is not the year of `now`.
pub(super) fn moment_text(at: DateTime<Utc>, zone: Tz, now: DateTime<Utc>) -> String {
    moment(at, zone, now, "%H:%M")
}

/// The same, to the second.
pub(super) fn exact_moment_text(at: DateTime<Utc>, zone: Tz, now: DateTime<Utc>) -> String {
    moment(at, zone, now, "%H:%M:%S")
}

fn moment(at: DateTime<Utc>, zone: Tz, now: DateTime<Utc>, time: &str) -> String {
    let local = at.with_timezone(&zone);
    let year = if local.year() == now.with_timezone(&zone).year() { "" } else { " %Y" };
    let offset = if zone == Tz::UTC { "UTC" } else { "%:z" };
    local.format(&format!("%a %-d %b{year}, {time} ({offset})")).to_string()
}

/// A moment, with its age or how far ahead it is. A script keeps the age current.
pub(super) fn time(at: DateTime<Utc>, zone: Tz, now: DateTime<Utc>) -> Markup {
    time_as(&moment_text(at, zone, now), at, now)
}

/// A moment until which something waits, not before it is over.
pub(super) fn until(at: DateTime<Utc>, zone: Tz, now: DateTime<Utc>) -> Markup {
    time_as(&moment_text(text::up_to_minute(at), zone, now), at, now)
}

fn time_as(text: &str, at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    let iso = at.to_rfc3339_opts(SecondsFormat::Secs, true);
    MaybeSafe::Safe(format!(
        "<time datetime=\"{iso}\" title=\"{iso}\">{}</time> <span class=\"age\" data-at=\"{iso}\">{}</span>",
        Escaped(text),
        age(at, now),
    ))
}

/// `3 min ago`, `in 2 h`, `now`.
pub(super) fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - at).num_seconds();
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("{} ago", span(seconds)),
        _ => format!("in {}", span(seconds.saturating_neg())),
    }
}

/// Seconds in the largest suitable unit: `45 s`, `3 min`, `26 h`, `9 d`, `3 y`.
pub(super) fn span(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{} s", seconds.max(0)),
        60..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        172_800..63_115_200 => format!("{} d", seconds / 86_400),
        _ => format!("{} y", seconds / 31_557_600),
    }
}

/// A whole number with a comma after every three digits.
pub(super) fn number(number: impl Display) -> String {
    let text = number.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", &*text), |digits| ("-", digits));
    let mut grouped = String::with_capacity(text.len() + digits.len() / 3 + 1);
    grouped.push_str(sign);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `812 B`, `1.2 MB`: decimal units, as limits are written.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let (mut amount, mut unit) = (bytes as f64 / 1_000.0, 0);
    while amount >= 999.95 && unit + 1 < UNITS.len() {
        amount /= 1_000.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// A state as a symbol and a word.
pub(super) fn state(state: State) -> Markup {
    MaybeSafe::Safe(format!(
        "<span class=\"state {}\" title=\"{}\"><span aria-hidden=\"true\">{}</span> {}</span>",
        state.tone.class(),
        Escaped(state.meaning),
        Escaped(state.symbol),
        Escaped(state.name),
    ))
}

#[cfg(test)]
mod tests {
    use chrono::{Days, TimeDelta};

    use super::*;

    fn text(markup: &Markup) -> &str {
        match markup {
            MaybeSafe::Safe(text) | MaybeSafe::NeedsEscaping(text) => text,
        }
    }

    #[test]
    fn p7_no_text_becomes_markup() {
        assert_eq!(Escaped("<b a='\"&'>").to_string(), "&lt;b a=&#39;&quot;&amp;&#39;&gt;");
        assert_eq!(Escaped("a\u{202e}b\n\u{200b}c").to_string(), "a\u{fffd}b \u{fffd}c");
    }

    #[test]
    fn p7_what_is_in_backticks_is_code_and_stays_text() {
        let shown = |said: &str| text(&prose(said)).to_owned();
        assert_eq!(shown("write `a: <b>`, or `c`"), "write <code>a: &lt;b&gt;</code>, or <code>c</code>");
        assert_eq!(shown("one ` of <two>"), "one ` of &lt;two&gt;");
        assert_eq!(shown("`<code>`` `"), "<code>&lt;code&gt;</code><code> </code>");
    }

    #[test]
    fn p7_a_name_breaks_where_its_words_end_and_stays_text() {
        assert_eq!(text(&name("period_bandwidth")), "period_<wbr>bandwidth");
        assert_eq!(text(&name("lynn.<b>_&_")), "lynn.<wbr>&lt;b&gt;_<wbr>&amp;_");
    }

    #[test]
    fn p8_a_moment_is_shown_with_its_zone() {
        let at: DateTime<Utc> = "2026-11-28T06:15:00Z".parse().unwrap();
        assert_eq!(moment_text(at, Tz::UTC, at), "Sat 28 Nov, 06:15 (UTC)");
        assert_eq!(moment_text(at, Tz::America__Santiago, at), "Sat 28 Nov, 03:15 (-03:00)");
        let later = at + TimeDelta::seconds(7);
        assert_eq!(exact_moment_text(later, Tz::UTC, at), "Sat 28 Nov, 06:15:07 (UTC)");
        assert_eq!(moment_text(at, Tz::UTC, at + Days::new(40)), "Sat 28 Nov 2026, 06:15 (UTC)");
        let until = until(later, Tz::UTC, at);
        assert!(text(&until).contains("06:16 (UTC)") && text(&until).contains("06:15:07Z"), "{}", text(&until));
        assert!(text(&time(later, Tz::UTC, at)).contains("06:15 (UTC)"));
        assert_eq!(ZoneChoice::parse("nonsense"), ZoneChoice::Thing);
        assert_eq!(ZoneChoice::Thing.resolve(Some("Europe/Berlin")), Tz::Europe__Berlin);
        assert_eq!(ZoneChoice::parse("UTC").resolve(Some("Europe/Berlin")), Tz::UTC);
    }

    #[test]
    fn numbers_and_ages_are_shown_in_readable_units() {
        assert_eq!([0, 999, 1_000, -1_234_567].map(number), ["0", "999", "1,000", "-1,234,567"]);
        assert_eq!([0, 90 * 60, 3 * 3_600, 500_000].map(span), ["0 s", "90 min", "3 h", "5 d"]);
        assert_eq!([2 * 31_557_600 - 1, 2 * 31_557_600, 251_604_579_199].map(span), ["730 d", "2 y", "7972 y"]);
        assert_eq!([812, 1_200, 5_500_000].map(bytes), ["812 B", "1.2 kB", "5.5 MB"]);
    }
}
