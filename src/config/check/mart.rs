//! `mart`: the views for analysts.

use super::super::raw;
use crate::mart::Settings;
use crate::mart::channels::VENDORS;
use crate::mart::fields::{SOURCES, Source};
use crate::settings::{KeyPath, Report, closest_hint, flag};

/// Postgres cuts longer names.
const COLUMN_BYTES_MAX: usize = 63;

pub(super) fn check(raw: raw::Mart, report: &mut Report<'_>) -> Settings {
    let path = KeyPath::default().key("mart");
    let timezone = report.zone(&path.key("timezone"), raw.timezone.as_deref());
    let materialize = flag(raw.materialize, false);
    let mut settings = Settings { timezone, materialize, ..Settings::default() };
    for (table, fields) in raw.fields.into_iter().flatten() {
        let path = path.key("fields").key(&table);
        let Some(source) = Source::named(&table) else {
            let known: Vec<String> = SOURCES.iter().map(Source::name).collect();
            let hint = closest_hint(&table, known.iter().map(String::as_str));
            report.add(&path, format!("is not a table whose fields are looked for{hint}"));
            continue;
        };
        for (field, column) in fields {
            let path = path.key(&field);
            if source.field(&field).is_none() {
                let hint = closest_hint(&field, source.fields.iter().map(|field| field.name));
                report.add(&path, format!("is not a field of {table}{hint}"));
                continue;
            }
            match column {
                None => report.missing(&path, "write the name of a column"),
                Some(column) if column.is_empty() || column.len() > COLUMN_BYTES_MAX || column.contains('\0') => {
                    report.refuse(&path, "is not the name of a column");
                }
                Some(column) => {
                    settings.columns.insert((table.clone(), field), column);
                }
            }
        }
    }
    for (vendor, channels) in raw.channels.into_iter().flatten() {
        let path = path.key("channels").key(&vendor);
        if !VENDORS.contains(&&*vendor) {
            let hint = closest_hint(&vendor, VENDORS.iter().copied());
            report.add(&path, format!("is not a vendor of the mart{hint}"));
            continue;
        }
        for (written, channel) in channels {
            let path = path.key(&written);
            match channel {
                None => report.missing(&path, "write the name of a channel, for instance `whatsapp`"),
                Some(channel) if channel.trim().is_empty() => report.refuse(&path, "is not the name of a channel"),
                Some(channel) => {
                    settings.channels.insert((vendor.clone(), written.to_lowercase()), channel);
                }
            }
        }
    }
    settings
}
