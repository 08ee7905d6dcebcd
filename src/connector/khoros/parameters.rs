//! What the configuration adds to the call that creates an export: the columns to request, and further parameters
//! (`facts/khoros_care.md §4, §5`).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, SeqAccess, Visitor};

use crate::settings::{KeyPath, Report, closest_hint};

/// `facts/khoros_care.md §5.1`, in milliseconds; a longer interval means months.
const INTERVALS: [u64; 11] = [
    300_000,
    600_000,
    900_000,
    1_800_000,
    3_600_000,
    7_200_000,
    14_400_000,
    28_800_000,
    43_200_000,
    86_400_000,
    604_800_000,
];
/// Maximum number of intervals in a request; the vendor's limit is somewhat higher (`§5.1`).
pub(super) const BUCKETS_MAX: u64 = 31;

/// Parameters that Tidegate sets, and what to configure instead.
const OURS: &[(&str, &str)] = &[
    ("companyKey", "write it as `company_key`"),
    ("startTime", "it is the window's"),
    ("endTime", "it is the window's"),
    ("reportFormat", "write it as `report_format`"),
    ("reportMetrics", "write them under `metrics`"),
    ("locale", "write it as `locale`"),
    ("timezone", "write a fixed distance as `timezone_offset`"),
    ("timezoneOffset", "write it as `timezone_offset`"),
    ("conversationReportType", "all three are read"),
];
/// The length of the intervals of `team_performance_interval`, in milliseconds.
pub(super) const INTERVAL: &str = "timeInterval";
const HOURS: &str = "businessHourType";
const HOURS_ENABLED: &str = "enableBusinessHour";
const PRIORITIES: &str = "priorities";
const SMART_VIEW: &str = "smartViewId";
/// Parameters whose value is `true` or `false` (`§4, §5.1`).
const FLAGS: &[&str] = &[HOURS, HOURS_ENABLED, "includeDisabled", "raiselimit"];
/// Lists that are sent as one value with commas; any other list repeats the parameter (`§4`).
const WITH_COMMAS: &[&str] = &[PRIORITIES, "workqueueIds", "teamIds"];
const REPEATED: &[&str] = &["agentId", "teamId"];
/// Parameters that the export `user` does not have (`§5`).
const NOT_OF_USER: &[&str] = &[HOURS, HOURS_ENABLED, PRIORITIES, SMART_VIEW, "workqueueIds"];

/// The shortest interval of `team_performance_interval`, in milliseconds, of which a slice has at most 31.
pub(super) fn interval_for(slice_secs: u64) -> u64 {
    INTERVALS.into_iter().find(|interval| buckets(slice_secs, *interval) <= BUCKETS_MAX).unwrap_or(INTERVALS[10])
}

/// Number of intervals in a slice. A day counts as 24 hours, even at a clock change.
pub(super) fn buckets(slice_secs: u64, interval_ms: u64) -> u64 {
    const DAY: u64 = 86_400;
    let secs = if slice_secs < DAY { slice_secs } else { (slice_secs + DAY / 2) / DAY * DAY };
    (secs * 1000).div_ceil(interval_ms.max(1))
}

/// One value or a list of values. A refused item is `None`.
#[derive(Debug)]
pub(super) struct Values(Vec<Option<String>>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValuesVisitor)
    }
}

struct ValuesVisitor;

impl<'de> Visitor<'de> for ValuesVisitor {
    type Value = Values;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value or a list of values")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Values, E> {
        Ok(Values(vec![Some(text.to_owned())]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Values, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(items)).map(Values)
    }
}

impl JsonSchema for Values {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Values".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let value = ["string", "number", "boolean"];
        json_schema!({ "anyOf": [
            { "type": value },
            { "type": "array", "minItems": 1, "items": { "type": value } },
        ] })
    }
}

/// Whether `name` is an export; reports a fault if it is not.
fn is_export(name: &str, exports: &[String], path: &KeyPath, report: &mut Report<'_>) -> bool {
    let known = exports.iter().any(|export| export == name);
    if !known {
        let hint = closest_hint(name, exports.iter().map(String::as_str));
        report.state(path, &format!("`{name}` is not an export{hint}"));
    }
    known
}

/// Checks the key `metrics`: the columns to request, by export.
pub(super) fn metrics(
    raw: BTreeMap<String, Vec<Option<String>>>,
    exports: &[String],
    path: &KeyPath,
    report: &mut Report<'_>,
) -> BTreeMap<String, Vec<String>> {
    let mut checked = BTreeMap::new();
    for (export, listed) in raw {
        let path = path.key(&export);
        if !is_export(&export, exports, &path, report) {
            continue;
        }
        let mut metrics = Vec::new();
        for (index, metric) in listed.into_iter().enumerate() {
            match metric.filter(|metric| !metric.trim().is_empty()) {
                Some(metric) if metrics.contains(&metric) => {
                    report.refuse(&path.index(index), "is in the list already; keep one");
                }
                Some(metric) => metrics.push(metric),
                None => report.missing(&path.index(index), "write a metric's id, or remove the entry"),
            }
        }
        checked.insert(export, metrics);
    }
    checked
}

/// Checks the key `parameters`: further parameters of the create call, by export.
pub(super) fn parameters(
    raw: BTreeMap<String, BTreeMap<String, Values>>,
    exports: &[String],
    path: &KeyPath,
    report: &mut Report<'_>,
) -> BTreeMap<String, Vec<(String, String)>> {
    let mut checked = BTreeMap::new();
    for (export, listed) in raw {
        let path = path.key(&export);
        if !is_export(&export, exports, &path, report) {
            continue;
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, values) in listed {
            let path = path.key(&name);
            let values = values_of(values, &path, report);
            if let Some(problem) = parameter_problem(&export, &name, &values) {
                report.state(&path, &problem);
            }
            if WITH_COMMAS.contains(&name.as_str()) {
                pairs.push((name, values.join(",")));
            } else {
                pairs.extend(values.into_iter().map(|value| (name.clone(), value)));
            }
        }
        let value_of = |name: &str| pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
        match (value_of(HOURS), value_of(HOURS_ENABLED)) {
            (Some(_), None) => pairs.push((HOURS_ENABLED.to_owned(), "true".to_owned())),
            (Some(_), Some("false")) => {
                let message = format!("`{HOURS}` has no effect with `{HOURS_ENABLED}: false`; remove one of them");
                report.state(&path.key(HOURS_ENABLED), &message);
            }
            _ => {}
        }
        checked.insert(export, pairs);
    }
    checked
}

fn values_of(raw: Values, path: &KeyPath, report: &mut Report<'_>) -> Vec<String> {
    let fits = |value: &String| !value.trim().is_empty() && !value.contains(char::is_control);
    let count = raw.0.len();
    let values: Vec<String> = raw.0.into_iter().flatten().filter(fits).collect();
    if values.is_empty() || values.len() < count {
        report.missing(path, "write a value, or remove the parameter");
    }
    values
}

/// Why a parameter cannot be passed on (`§4, §5.1`). Their names are case-sensitive.
fn parameter_problem(export: &str, name: &str, values: &[String]) -> Option<String> {
    let known = || {
        let ours = OURS.iter().map(|(name, _)| *name);
        ours.chain(FLAGS.iter().copied())
            .chain(WITH_COMMAS.iter().copied())
            .chain(REPEATED.iter().copied())
            .chain([INTERVAL, SMART_VIEW])
    };
    if let Some(right) = known().find(|known| known.eq_ignore_ascii_case(name) && *known != name) {
        return Some(format!("the vendor's names are case-sensitive; write `{right}`"));
    }
    if let Some((_, where_to)) = OURS.iter().find(|(ours, _)| *ours == name) {
        return Some(format!("`{name}` is set by Tidegate ({where_to}); remove it"));
    }
    if export == "user" && NOT_OF_USER.contains(&name) {
        return Some(format!("the export `user` has no parameter `{name}`; remove it"));
    }
    if values.len() > 1 && !WITH_COMMAS.contains(&name) && !REPEATED.contains(&name) {
        return Some(format!("`{name}` has one value only"));
    }
    let wrong = |fits: &dyn Fn(&str) -> bool| values.iter().any(|value| !value.split(',').all(fits));
    if FLAGS.contains(&name) && wrong(&|value| matches!(value, "true" | "false")) {
        return Some(format!("`{name}` is `true` or `false`"));
    }
    if name == PRIORITIES && wrong(&|value| matches!(value.trim(), "0" | "1" | "2" | "3" | "4" | "5")) {
        return Some("priorities are from 0 to 5".to_owned());
    }
    (name == INTERVAL && wrong(&|value| value.parse().is_ok_and(is_interval))).then(|| {
        let known = INTERVALS.map(|interval| interval.to_string()).join(", ");
        format!("no such interval; write one of {known} (milliseconds), or more for months")
    })
}

pub(super) fn is_interval(ms: u64) -> bool {
    INTERVALS.contains(&ms) || ms > INTERVALS[INTERVALS.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_fits_its_slice() {
        let day = 86_400;
        for (slice, interval) in [
            (3_600, 300_000),
            (day, 3_600_000),
            (day - 3_600, 3_600_000),
            (day + 3_600, 3_600_000),
            (7 * day, 28_800_000),
            (31 * day + 3_600, 86_400_000),
            (32 * day, 604_800_000),
            (90 * day, 604_800_000),
        ] {
            assert_eq!(interval_for(slice), interval, "{slice} s");
        }
    }
}
