//! A schedule in words. Expressions that words would make no clearer have none.

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// The days of each month, without 29 February.
const LENGTHS: [usize; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const ORDINALS: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];
/// An expression is clearer than a list that is longer.
const ITEMS_MAX: usize = 6;

/// A field of an expression: the smallest and the largest value, and names of values, of which the first is the
/// smallest.
struct Field {
    first: usize,
    last: usize,
    names: &'static [&'static str],
}

const SECOND: Field = Field { first: 0, last: 59, names: &[] };
const MINUTE: Field = Field { first: 0, last: 59, names: &[] };
const HOUR: Field = Field { first: 0, last: 23, names: &[] };
const DAY: Field = Field { first: 1, last: 31, names: &[] };
const MONTH: Field = Field {
    first: 1,
    last: 12,
    names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
};
/// 0 and 7 are Sunday.
const WEEKDAY: Field = Field { first: 0, last: 7, names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"] };

impl Field {
    /// The values that `text` selects, in ascending order. `None` for `L`, `W` and `#`.
    fn values(&self, text: &str) -> Option<Vec<usize>> {
        let mut values = Vec::new();
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, step.parse::<usize>().ok().filter(|step| *step > 0)?),
                None => (item, 1),
            };
            let (from, to) = match range.split_once('-') {
                Some((from, to)) => (self.value(from)?, self.value(to)?),
                None if range == "*" => (self.first, self.last),
                None => {
                    let value = self.value(range)?;
                    (value, value)
                }
            };
            values.extend((from..=to).step_by(step));
        }
        values.sort_unstable();
        values.dedup();
        Some(values)
    }

    fn value(&self, text: &str) -> Option<usize> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = || text.parse::<usize>().ok().filter(|number| (self.first..=self.last).contains(number));
        named.map(|place| place + self.first).or_else(number)
    }
}

/// When on a day.
enum Clock {
    /// Such as `at 03:15 and 15:15`.
    At(String),
    /// Such as `every 15 minutes`.
    Every(String),
}

/// What the expression says, such as `daily at 03:15`. `None` for expressions that are clearer as they are.
pub(super) fn words(expression: &str) -> Option<String> {
    let expression = expression.trim();
    let spelled = match expression.to_ascii_lowercase().as_str() {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        _ => expression,
    };
    let fields: Vec<&str> = spelled.split_whitespace().collect();
    let (second, [minute, hour, day, month, weekday]) = match *fields.as_slice() {
        [minute, hour, day, month, weekday] => ("0", [minute, hour, day, month, weekday]),
        [second, minute, hour, day, month, weekday] => (second, [minute, hour, day, month, weekday]),
        _ => return None,
    };
    let clock = clock(&SECOND.values(second)?, &MINUTE.values(minute)?, &HOUR.values(hour)?)?;
    let months = MONTH.values(month)?;
    let days = days(day, weekday, &months)?;
    let when = match (days.as_str(), clock) {
        ("", Clock::At(times)) => format!("daily {times}"),
        ("", Clock::Every(interval)) => interval,
        (days, Clock::At(times)) => format!("{days} {times}"),
        (days, Clock::Every(interval)) => format!("{}, {interval}", days.trim_end_matches(',')),
    };
    let is_named = months.len() == 1 && !is_every(day);
    if is_named || months.len() == MONTHS.len() {
        return Some(when);
    }
    let only = if months.len() > 2 && gap(&months) == Some(1) { "from" } else { "in" };
    Some(format!("{when}, only {only} {}", list(&months, |month| MONTHS[month - 1].to_owned())?))
}

fn clock(seconds: &[usize], minutes: &[usize], hours: &[usize]) -> Option<Clock> {
    let all_day = hours.len() == 24;
    if !matches!(seconds, [0]) {
        let step = step(seconds, 60).filter(|_| all_day && minutes.len() == 60)?;
        return Some(Clock::Every(every(step, "second")));
    }
    let at_minutes = || {
        let noun = if minutes.len() == 1 { "minute" } else { "minutes" };
        Some(format!("at {noun} {}", list(minutes, |minute| minute.to_string())?))
    };
    let of_minutes = step(minutes, 60);
    if all_day {
        return Some(Clock::Every(match of_minutes {
            Some(step) => every(step, "minute"),
            None => format!("every hour {}", at_minutes()?),
        }));
    }
    if let Some(step) = step(hours, 24).filter(|_| hours.len() > 2) {
        return Some(Clock::Every(format!("{} {}", every(step, "hour"), at_minutes()?)));
    }
    let time = |(hour, minute): (&usize, &usize)| format!("{hour:02}:{minute:02}");
    let first = time((hours.first()?, minutes.first()?));
    let last = time((hours.last()?, minutes.last()?));
    let many = minutes.len() * hours.len() > ITEMS_MAX;
    let of_hours = gap(hours);
    let in_a_row = hours.len() == 1 || of_hours == Some(1);
    if let Some(step) = of_minutes.filter(|_| in_a_row && (many || hours.len() > 2)) {
        return Some(Clock::Every(format!("{} from {first} to {last}", every(step, "minute"))));
    }
    // Few times are clearer one by one.
    if let Some(gap) = of_hours.filter(|gap| hours.len() > if *gap == 1 { 2 } else { 4 }) {
        if minutes.len() == 1 {
            return Some(Clock::Every(format!("{} from {first} to {last}", every(gap, "hour"))));
        }
        if gap == 1 {
            return Some(Clock::Every(format!("every hour {} from {first} to {last}", at_minutes()?)));
        }
    }
    if many {
        return None;
    }
    let times = hours.iter().flat_map(|hour| minutes.iter().map(move |minute| time((hour, minute))));
    Some(Clock::At(format!("at {}", joined(times.collect())?)))
}

/// `every hour`, `every 6 hours`.
fn every(step: usize, unit: &str) -> String {
    if step == 1 { format!("every {unit}") } else { format!("every {step} {unit}s") }
}

/// The days as a phrase before the time, empty for every day.
fn days(day: &str, weekday: &str, months: &[usize]) -> Option<String> {
    match (is_every(day), is_every(weekday)) {
        (true, true) => Some(String::new()),
        (true, false) => weekdays(weekday.strip_prefix('+').unwrap_or(weekday)),
        (false, true) => month_days(day, months),
        (false, false) => {
            // With these, both must match; otherwise one is enough.
            let both = day.starts_with('*') || weekday.starts_with(['*', '+']);
            if both || months.len() < MONTHS.len() {
                return None;
            }
            let of_month = month_days(day, months).filter(|days| !days.is_empty())?;
            let of_week = weekdays(weekday).filter(|days| !days.is_empty())?;
            Some(format!("{of_month} and {of_week}"))
        }
    }
}

fn is_every(field: &str) -> bool {
    matches!(field, "*" | "?")
}

/// `monthly on day 1`, `yearly on 31 December`.
fn month_days(day: &str, months: &[usize]) -> Option<String> {
    let month = match *months {
        [month] => Some((month, MONTHS[month - 1])),
        _ => None,
    };
    let on = if months.len() == MONTHS.len() { "monthly on" } else { "on" };
    if let Some(which) = special_day(day) {
        return Some(match month {
            Some((_, name)) => format!("yearly on {which} of {name}"),
            None => format!("{on} {which}"),
        });
    }
    let days = DAY.values(day)?;
    if days.len() == DAY.last {
        return Some(String::new());
    }
    let (first, last) = (*days.first()?, *days.last()?);
    let shortest = months.iter().map(|month| LENGTHS[month - 1]).min()?;
    if let Some((month, name)) = month {
        return match *days.as_slice() {
            [29] if month == 2 => Some(format!("on 29 {name} of leap years")),
            _ if last > shortest => None,
            _ => Some(format!("yearly on {} {name}", list(&days, |day| day.to_string())?)),
        };
    }
    if let Some(gap) = gap(&days).filter(|gap| *gap > 1 && days.len() > ITEMS_MAX && last + gap > DAY.last) {
        return Some(format!("every {gap} days of the month from day {first}"));
    }
    let (noun, pronoun) = if days.len() == 1 { ("day", "it") } else { ("days", "them") };
    let listed = list(&days, |day| day.to_string())?;
    Some(if last > shortest {
        format!("on {noun} {listed}, if the month has {pronoun},")
    } else {
        format!("{on} {noun} {listed}")
    })
}

/// A day that depends on the month, for `L`, `LW` and `15W`.
fn special_day(day: &str) -> Option<String> {
    let day = day.to_ascii_uppercase();
    match day.as_str() {
        "L" => return Some("the last day".to_owned()),
        "LW" => return Some("the last weekday".to_owned()),
        _ => {}
    }
    // Every month has these days.
    let nearest = DAY.value(day.strip_suffix('W')?).filter(|day| *day <= 28)?;
    Some(format!("the weekday nearest to day {nearest}"))
}

/// `every Sunday`, `Monday to Friday`, `Monday and Thursday`.
fn weekdays(text: &str) -> Option<String> {
    if let Some(days) = special_weekday(text) {
        return Some(days);
    }
    let mut places: Vec<usize> = WEEKDAY.values(text)?.into_iter().map(from_monday).collect();
    places.sort_unstable();
    places.dedup();
    match *places.as_slice() {
        [place] => Some(format!("every {}", WEEKDAYS[place])),
        _ if places.len() == WEEKDAYS.len() => Some(String::new()),
        _ => list(&places, |place| WEEKDAYS[place].to_owned()),
    }
}

/// The place in [`WEEKDAYS`].
const fn from_monday(weekday: usize) -> usize {
    (weekday + 6) % 7
}

/// For `MON#1` and `5L`.
fn special_weekday(text: &str) -> Option<String> {
    let (day, which) = match text.split_once('#') {
        Some((day, "l" | "L")) => (day, "last"),
        Some((day, number)) => (day, *ORDINALS.get(number.parse::<usize>().ok()?.checked_sub(1)?)?),
        None => (text.strip_suffix(['l', 'L'])?, "last"),
    };
    let day = WEEKDAYS[from_monday(WEEKDAY.value(day)?)];
    let condition = if which == "fifth" { ", if the month has it," } else { "" };
    Some(format!("on the {which} {day} of the month{condition}"))
}

/// The step of values that begin with 0 and divide `whole` into equal parts.
fn step(values: &[usize], whole: usize) -> Option<usize> {
    gap(values).filter(|gap| values.first() == Some(&0) && gap * values.len() == whole)
}

/// The difference of neighbours, if all have the same.
fn gap(values: &[usize]) -> Option<usize> {
    let gap = values.get(1)? - values.first()?;
    values.windows(2).all(|pair| pair[1] - pair[0] == gap).then_some(gap)
}

/// `1, 5 and 7 to 9`.
fn list(values: &[usize], name: impl Fn(usize) -> String) -> Option<String> {
    let mut items = Vec::new();
    for run in values.chunk_by(|one, next| one + 1 == *next) {
        match *run {
            [first, _, .., last] => items.push(format!("{} to {}", name(first), name(last))),
            _ => items.extend(run.iter().map(|value| name(*value))),
        }
    }
    if items.len() > ITEMS_MAX { None } else { joined(items) }
}

/// `a, b and c`.
fn joined(mut items: Vec<String>) -> Option<String> {
    let last = items.pop()?;
    Some(if items.is_empty() { last } else { format!("{} and {last}", items.join(", ")) })
}

#[cfg(test)]
mod tests {
    use super::super::expression::parse;
    use super::*;

    #[test]
    fn ordinary_schedules_are_said_in_words() {
        for (expression, expected) in [
            ("* * * * *", "every minute"),
            ("*/15 * * * *", "every 15 minutes"),
            ("0,30 * * * *", "every 30 minutes"),
            ("15 * * * *", "every hour at minute 15"),
            ("7-59/20 * * * *", "every hour at minutes 7, 27 and 47"),
            ("1-5 * * * *", "every hour at minutes 1 to 5"),
            ("5 */6 * * *", "every 6 hours at minute 5"),
            ("0 */5 * * *", "every 5 hours from 00:00 to 20:00"),
            ("0 8-18 * * *", "every hour from 08:00 to 18:00"),
            ("0 8-18/2 * * *", "every 2 hours from 08:00 to 18:00"),
            ("5,35 8-18 * * *", "every hour at minutes 5 and 35 from 08:05 to 18:35"),
            ("*/15 8-17 * * MON-FRI", "Monday to Friday, every 15 minutes from 08:00 to 17:45"),
            ("*/5 3 * * *", "every 5 minutes from 03:00 to 03:55"),
            ("*/10 * * * * *", "every 10 seconds"),
            ("0 15 3 * * *", "daily at 03:15"),
            ("15 3 * * *", "daily at 03:15"),
            ("0 8,12,16 * * *", "daily at 08:00, 12:00 and 16:00"),
            ("0 0,12 * * *", "daily at 00:00 and 12:00"),
            ("0 3 * * MON-FRI", "Monday to Friday at 03:00"),
            ("0 3 * * sun-thu", "Monday to Thursday and Sunday at 03:00"),
            ("0 3 * * 1,4", "Monday and Thursday at 03:00"),
            ("0 3 * * 7", "every Sunday at 03:00"),
            ("0 3 * * 0-7", "daily at 03:00"),
            ("5,35 0 * * SUN", "every Sunday at 00:05 and 00:35"),
            ("0 3 * * MON#1", "on the first Monday of the month at 03:00"),
            ("0 3 ? * 5L", "on the last Friday of the month at 03:00"),
            ("0 3 * * 2#5", "on the fifth Tuesday of the month, if the month has it, at 03:00"),
            ("30 0 1 * *", "monthly on day 1 at 00:30"),
            ("0 0 1,15 * *", "monthly on days 1 and 15 at 00:00"),
            ("0 0 31 * *", "on day 31, if the month has it, at 00:00"),
            ("0 * 15,30 * *", "on days 15 and 30, if the month has them, every hour at minute 0"),
            ("0 0 30 1,3 *", "on day 30 at 00:00, only in January and March"),
            ("0 0 */2 * *", "every 2 days of the month from day 1 at 00:00"),
            ("0 0 L * *", "monthly on the last day at 00:00"),
            ("0 0 LW * *", "monthly on the last weekday at 00:00"),
            ("0 0 15W * *", "monthly on the weekday nearest to day 15 at 00:00"),
            ("0 3 1 * MON", "monthly on day 1 and every Monday at 03:00"),
            ("59 23 31 12 *", "yearly on 31 December at 23:59"),
            ("0 0 L FEB *", "yearly on the last day of February at 00:00"),
            ("0 0 29 2 *", "on 29 February of leap years at 00:00"),
            ("0 12 * 1-3 *", "daily at 12:00, only from January to March"),
            ("0 3 * JAN *", "daily at 03:00, only in January"),
            ("0 12 1 */3 *", "on day 1 at 12:00, only in January, April, July and October"),
            ("0 3 * 6-8 MON", "every Monday at 03:00, only from June to August"),
            ("@Daily", "daily at 00:00"),
            ("@yearly", "yearly on 1 January at 00:00"),
        ] {
            assert!(parse(expression).is_ok(), "{expression}");
            assert_eq!(words(expression).as_deref(), Some(expected), "{expression}");
        }
    }

    #[test]
    fn expressions_that_are_clearer_as_they_are_have_no_words() {
        for expression in [
            "*/7 * * * *",
            "30 15 * * * *",
            "0 0-3,9-20 * * *",
            "0 0 1,L * *",
            "0 0 31W * *",
            "0 3 * * MON#1,MON#3",
            "0 3 */2 * 1",
            "0 3 1-7 * +MON",
            "0 3 1 JAN MON",
            "0 0 30 2 *",
        ] {
            assert!(parse(expression).is_ok(), "{expression}");
            assert_eq!(words(expression), None, "{expression}");
        }
    }

    #[test]
    fn no_field_is_too_odd_to_be_read() {
        for field in ["", "-", "/", "*/0", "5-1", "1-", "#", "L", "W", "#1", "é", "99999999999999999999", "1,,2", "8#9"]
        {
            for place in 0..5 {
                let mut fields = ["*"; 5];
                fields[place] = field;
                let words = words(&fields.join(" "));
                assert!(words.is_none() || parse(&fields.join(" ")).is_ok(), "{fields:?}: {words:?}");
            }
        }
    }
}
