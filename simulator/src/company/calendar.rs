//! When the company is busy: by weekday and hour in its own zone.

use chrono::{DateTime, Datelike as _, NaiveDate, Timelike as _, Utc};
use chrono_tz::Tz;

use super::super::truth::{Dice, TICKS_PER_DAY, TICKS_PER_SECOND, Ticks};

/// The company's zone.
pub const ZONE: Tz = Tz::Europe__Lisbon;

/// Relative number of contacts by weekday, from Monday.
const WEEKDAYS: [u64; 7] = [135, 115, 108, 104, 100, 58, 44];
/// The mean of `WEEKDAYS`.
const WEEKDAY_MEAN: u64 = 95;
/// Relative number of contacts by local hour.
const HOURS: [u64; 24] =
    [12, 8, 6, 5, 5, 8, 18, 40, 80, 120, 135, 130, 110, 105, 120, 130, 128, 115, 95, 75, 60, 48, 32, 20];
/// Quantiles of an exponential distribution of mean 100, from 2.5 % to 97.5 % in steps of 5 %. A table, because
/// logarithms differ between platforms.
const EXPONENTIAL: [u64; 20] = [3, 8, 13, 19, 25, 32, 39, 47, 55, 64, 74, 86, 98, 112, 129, 149, 174, 208, 259, 369];
/// The first contact of a day comes after midnight (UTC) and the last one this long before the next, so that it has
/// time for a reply on the same day.
const LAST_CONTACT_SECS: u64 = 600;

/// The start of a day, UTC.
pub(super) fn starts(day: i32) -> Ticks {
    i64::from(day) * TICKS_PER_DAY
}

fn local(at: Ticks) -> DateTime<Tz> {
    moment(at).with_timezone(&ZONE)
}

/// The same instant with the resolution of chrono.
pub(super) fn moment(at: Ticks) -> DateTime<Utc> {
    let nanos = u32::try_from(at.rem_euclid(TICKS_PER_SECOND) * 100).unwrap_or_default();
    DateTime::from_timestamp(at.div_euclid(TICKS_PER_SECOND), nanos).unwrap_or_default()
}

/// The local hour.
pub(super) fn hour(at: Ticks) -> u32 {
    local(at).hour()
}

/// Contacts of a day per thousand contacts of an average day.
pub(super) fn load(seed: u64, day: i32) -> u64 {
    let date = NaiveDate::from_num_days_from_ce_opt(day.saturating_add(719_163)).unwrap_or_default();
    let weekday = date.weekday().num_days_from_monday() as usize;
    let mut dice = Dice::new(seed, &[u64::from(day.cast_unsigned()), 11]);
    WEEKDAYS[weekday] * (880 + dice.below(241)) / WEEKDAY_MEAN
}

/// `count` moments of a day in order, by the hours' profile or spread evenly. None is a whole second.
pub(super) fn moments(seed: u64, day: i32, count: u64, even: bool, salt: u64) -> Vec<Ticks> {
    const PARTS: u64 = 1000;
    let hour_start = |hour: i64| starts(day) + hour * 3600 * TICKS_PER_SECOND;
    let weights: Vec<u64> =
        (0..24).map(|utc| if even { 1 } else { HOURS[hour(hour_start(utc)) as usize % 24] }).collect();
    let total = weights.iter().sum::<u64>() * PARTS;
    let mut dice = Dice::new(seed, &[u64::from(day.cast_unsigned()), salt, 19]);
    let (mut utc, mut passed) = (0_usize, 0_u64);
    (0..count)
        .map(|number| {
            let target = (number * total + dice.below(total)) / count;
            while utc < 23 && target >= passed + weights[utc] * PARTS {
                passed += weights[utc] * PARTS;
                utc += 1;
            }
            let within = (target - passed) * 3_600_000 / (weights[utc] * PARTS);
            let millis = (utc as u64 * 3_600_000 + within.min(3_599_999)) * (86_400 - LAST_CONTACT_SECS) / 86_400;
            starts(day) + i64::try_from(millis).unwrap_or_default() * 10_000 + fraction(&mut dice)
        })
        .map(|at| if at % TICKS_PER_SECOND == 0 { at + 1 } else { at })
        .collect()
}

fn fraction(dice: &mut Dice) -> i64 {
    i64::try_from(dice.below(10_000)).unwrap_or_default()
}

/// A time between 0 and several times the mean.
pub(super) fn spread(dice: &mut Dice, mean_secs: u64) -> u64 {
    let at = usize::try_from(dice.below(EXPONENTIAL.len() as u64)).unwrap_or_default();
    mean_secs * EXPONENTIAL[at] * (80 + dice.below(41)) / 10_000
}

/// How long a customer waits for an agent, in seconds: longer at night, on Mondays and in the busiest hours.
pub(super) fn wait(dice: &mut Dice, at: Ticks, mean_secs: u64, even: bool) -> u64 {
    let at = local(at);
    let percent = match at.hour() {
        _ if even => 100,
        0..7 => 300,
        10..12 | 15..17 => 130,
        _ => 90,
    };
    let monday = if !even && at.weekday() == chrono::Weekday::Mon { 150 } else { 100 };
    30 + spread(dice, mean_secs * percent * monday / 10_000)
}

/// This many seconds after a moment, but still on the same day, UTC.
pub(super) fn same_day(at: Ticks, secs: u64) -> u64 {
    let left = (TICKS_PER_DAY - at.rem_euclid(TICKS_PER_DAY)) / TICKS_PER_SECOND - 3;
    secs.min(left.max(0).unsigned_abs())
}

/// A moment and seconds after it.
pub(super) fn after(at: Ticks, secs: u64) -> Ticks {
    at + i64::try_from(secs).unwrap_or_default() * TICKS_PER_SECOND
}
