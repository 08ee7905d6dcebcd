//! Figures by key, and how they are compared.

use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use serde_json::{Map, Value};

/// Relative to the wanted figure. Counts below 2,500 must be equal; JAICP's times have milliseconds only, and ages grow
/// between the query and the comparison.
const TOLERANCE: f64 = 2e-4;
pub(super) const NULL: f64 = f64::NAN;

/// Figures by key, both as read and as they should be.
pub(super) type Figures = BTreeMap<String, Vec<f64>>;
/// What is different.
pub(super) type Verdict = Result<(), String>;

#[expect(clippy::cast_precision_loss, reason = "small counts")]
pub(super) fn number(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

/// As Postgres computes `percentile_cont`.
pub(super) fn percentile(mut numbers: Vec<f64>, fraction: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let Some(last) = numbers.len().checked_sub(1) else { return NULL };
    let place = number(last as u64) * fraction;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below the length")]
    let below = place.floor() as usize;
    let (low, high) = (numbers[below], numbers[(below + 1).min(last)]);
    low + (high - low) * place.fract()
}

pub(super) fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / number(numbers.len())
}

pub(super) fn text(row: &Map<String, Value>, column: &str) -> String {
    match row.get(column) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) => "null".to_owned(),
        Some(value) => value.to_string(),
        None => panic!("no column {column}: {row:?}"),
    }
}

pub(super) fn figure(row: &Map<String, Value>, column: &str) -> f64 {
    row.get(column).unwrap_or_else(|| panic!("no column {column}: {row:?}")).as_f64().unwrap_or(NULL)
}

pub(super) fn day(row: &Map<String, Value>, column: &str) -> NaiveDate {
    text(row, column).parse().unwrap()
}

pub(super) fn key(parts: &[&dyn std::fmt::Display]) -> String {
    parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Rows as figures.
pub(super) fn table(rows: &[Map<String, Value>], keys: &[&str], values: &[&str]) -> Figures {
    let mut figures = Figures::new();
    for row in rows {
        let key = keys.iter().map(|column| text(row, column)).collect::<Vec<_>>().join(" ");
        let values = values.iter().map(|column| figure(row, column)).collect();
        assert!(figures.insert(key.clone(), values).is_none(), "{key} appears twice");
    }
    figures
}

/// Counts as figures.
pub(super) fn counted(keys: impl IntoIterator<Item = String>) -> Figures {
    let mut figures = Figures::new();
    for key in keys {
        figures.entry(key).or_insert_with(|| vec![0.0])[0] += 1.0;
    }
    figures
}

pub(super) fn same(what: &str, found: &Figures, wanted: &Figures) -> Verdict {
    assert!(!wanted.is_empty(), "{what}: nothing to compare");
    let near = |(found, wanted): (&f64, &f64)| {
        found.is_nan() && wanted.is_nan() || (found - wanted).abs() <= TOLERANCE * wanted.abs().max(1.0)
    };
    let equal = |found: &[f64], wanted: &[f64]| found.len() == wanted.len() && found.iter().zip(wanted).all(near);
    let keys: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
    let different: Vec<String> = keys
        .iter()
        .filter(|key| !found.get(**key).zip(wanted.get(**key)).is_some_and(|(found, wanted)| equal(found, wanted)))
        .map(|key| format!("{key}: {:?} instead of {:?}", found.get(*key), wanted.get(*key)))
        .collect();
    match different.first() {
        None => Ok(()),
        Some(_) => Err(format!(
            "{what}: {} of {} differ:\n{}",
            different.len(),
            keys.len(),
            different[..different.len().min(8)].join("\n")
        )),
    }
}
