//! A schedule in words, for the patterns that most schedules have.

const DAYS: [&str; 8] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const SHORT: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// What the expression says, such as `daily at 03:15`. `None` for expressions that are clearer as they are.
pub(super) fn words(expression: &str) -> Option<String> {
    let spelled = match expression.trim().to_ascii_lowercase().as_str() {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => return Some("yearly on 1 January at 00:00".to_owned()),
        _ => expression,
    };
    let fields: Vec<&str> = spelled.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = *fields.as_slice() else { return None };
    if month != "*" {
        return None;
    }
    match (step(minute), number(minute, 59), step(hour), number(hour, 23), number(day, 31)) {
        (Some(1), ..) if (hour, day, weekday) == ("*", "*", "*") => Some("every minute".to_owned()),
        (Some(step), ..) if (hour, day, weekday) == ("*", "*", "*") && 60 % step == 0 => {
            Some(format!("every {step} minutes"))
        }
        (_, Some(minute), Some(1), ..) if (day, weekday) == ("*", "*") => {
            Some(format!("every hour at minute {minute}"))
        }
        (_, Some(minute), Some(step), ..) if (day, weekday) == ("*", "*") && 24 % step == 0 => {
            Some(format!("every {step} hours at minute {minute}"))
        }
        (_, Some(minute), _, Some(hour), _) if (day, weekday) == ("*", "*") => {
            Some(format!("daily at {hour:02}:{minute:02}"))
        }
        (_, Some(minute), _, Some(hour), Some(day)) if weekday == "*" && day > 0 => {
            let condition = if day > 28 { ", in months that have it" } else { "" };
            Some(format!("monthly on day {day} at {hour:02}:{minute:02}{condition}"))
        }
        (_, Some(minute), _, Some(hour), _) if day == "*" => {
            Some(format!("{} at {hour:02}:{minute:02}", weekdays(weekday)?))
        }
        _ => None,
    }
}

/// `*` is every one, `*/15` every fifteenth.
fn step(field: &str) -> Option<u32> {
    if field == "*" {
        return Some(1);
    }
    field.strip_prefix("*/")?.parse().ok().filter(|step| *step > 0)
}

fn number(field: &str, max: u32) -> Option<u32> {
    let digits = field.bytes().all(|byte| byte.is_ascii_digit());
    field.parse().ok().filter(|number| digits && *number <= max)
}

/// `Monday to Friday`, `Monday and Thursday`.
fn weekdays(field: &str) -> Option<String> {
    if let Some((from, to)) = field.split_once('-') {
        return Some(format!("{} to {}", weekday(from)?, weekday(to)?));
    }
    let names: Vec<&str> = field.split(',').map(weekday).collect::<Option<_>>()?;
    let (last, others) = names.split_last()?;
    Some(if others.is_empty() { format!("every {last}") } else { format!("{} and {last}", others.join(", ")) })
}

fn weekday(text: &str) -> Option<&'static str> {
    let place = SHORT.iter().position(|short| short.eq_ignore_ascii_case(text));
    DAYS.get(place.or_else(|| number(text, 7)?.try_into().ok())?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_schedules_are_said_in_words_and_others_are_not() {
        for (expression, expected) in [
            ("* * * * *", "every minute"),
            ("*/15 * * * *", "every 15 minutes"),
            ("15 * * * *", "every hour at minute 15"),
            ("5 */6 * * *", "every 6 hours at minute 5"),
            ("15 3 * * *", "daily at 03:15"),
            ("0 3 * * MON-FRI", "Monday to Friday at 03:00"),
            ("0 3 * * 1,4", "Monday and Thursday at 03:00"),
            ("0 3 * * 7", "every Sunday at 03:00"),
            ("30 0 1 * *", "monthly on day 1 at 00:30"),
            ("0 0 31 * *", "monthly on day 31 at 00:00, in months that have it"),
            ("@Daily", "daily at 00:00"),
        ] {
            assert_eq!(words(expression).as_deref(), Some(expected), "{expression}");
        }
        for expression in
            ["*/7 * * * *", "0 3 1 * MON", "0 3 * JAN *", "0 0 L * *", "30 15 * * * *", "0 3 * * MON#1", "1-5 * * * *"]
        {
            assert_eq!(words(expression), None, "{expression}");
        }
    }
}
