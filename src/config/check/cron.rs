//! Whether a schedule is one that fires.

use chrono::{TimeZone as _, Utc};
use croner::parser::{CronParser, Seconds, Year};

/// Five fields, six with seconds, or a nickname, firing at some time. The error is what a fault says after the value.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    const REMEDY: &str = "write five fields (`15 * * * *`), six with seconds, or `@hourly`";
    let nickname = schedule.trim().starts_with('@');
    let fields = schedule.split_whitespace().count();
    if nickname && fields != 1 || !nickname && !(5..=6).contains(&fields) {
        return Err(format!("has {fields} fields; {REMEDY}"));
    }
    let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
    let cron = parser.parse(schedule).map_err(|error| {
        if nickname {
            "is no schedule; write `@yearly`, `@monthly`, `@weekly`, `@daily` or `@hourly`".to_owned()
        } else {
            let reason = error.to_string();
            let reason = reason.rsplit(": ").next().unwrap_or_default().trim_end_matches('.').to_lowercase();
            format!("is no schedule ({reason}); {REMEDY}")
        }
    })?;
    // Any fixed time will do: what fires at all fires within the 400 years after which the calendar repeats.
    let from = Utc.with_ymd_and_hms(2000, 1, 1, 0, 0, 0).single().unwrap_or_default();
    match cron.find_next_occurrence(&from, true) {
        Ok(_) => Ok(()),
        Err(_) => Err("never fires; does the month have that day?".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_that_fire_are_taken() {
        for schedule in
            ["15 * * * *", "*/5 * * * *", "0 15 4 * * MON-FRI", "@hourly", "@DAILY", "0 0 29 2 *", "0 0 L * *"]
        {
            assert_eq!(check(schedule), Ok(()), "{schedule}");
        }
    }

    #[test]
    fn schedules_that_are_none_are_refused() {
        for schedule in [
            "",
            "* * * *",
            "60 * * * *",
            "* * * * * * *",
            "@reboot",
            "@hourly @daily",
            "a b c d e",
            "0 0 30 2 *",
            "*/0 * * * *",
        ] {
            assert!(check(schedule).is_err(), "{schedule}");
        }
    }
}
