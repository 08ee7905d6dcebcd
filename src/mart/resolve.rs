//! Which column of a table feeds which field of the mart, and the expression that converts it.
//!
//! Every conversion gives null instead of an error, whatever the column's type and value.

use super::Settings;
use super::fields::{DIRECTIONS, Field, Kind, Source};
use super::state::{Column, Columns};
use crate::store::ident::{literal, quote, table as qualified};

/// Why a column feeds a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The configuration names it.
    Configured,
    /// It is the first candidate that the table has.
    Found,
    /// Nothing feeds the field: it is null.
    Missing,
}

impl Origin {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Found => "found",
            Self::Missing => "missing",
        }
    }
}

/// A field and what feeds it.
#[derive(Debug, Clone)]
pub struct Feed<'a> {
    pub field: &'static Field,
    pub origin: Origin,
    /// The column and its variants. Empty if nothing feeds the field.
    pub columns: Vec<&'a Column>,
    /// The column that the configuration names, whether or not it exists.
    pub configured: Option<&'a str>,
    /// The name that was found. Only variants of it may be left.
    name: &'a str,
}

/// What feeds each field of a table.
pub fn feeds<'a>(source: &Source, columns: &'a Columns, settings: &'a Settings) -> Vec<Feed<'a>> {
    let name = source.name();
    let there = columns.get(&name).map(Vec::as_slice).unwrap_or_default();
    let feed = |field: &'static Field| {
        let configured = settings.columns.get(&(name.clone(), field.name.to_owned())).map(String::as_str);
        let wanted = configured.map_or_else(|| field.candidates.to_vec(), |column| vec![column]);
        let mut named = wanted.into_iter().map(|name| (name, with_variants(name, there)));
        let found = named.find(|(_, found)| !found.is_empty());
        let origin = match (&found, configured) {
            (None, _) => Origin::Missing,
            (Some(_), Some(_)) => Origin::Configured,
            (Some(_), None) => Origin::Found,
        };
        let (name, columns) = found.unwrap_or_default();
        Feed { field, origin, columns, configured, name }
    };
    source.fields.iter().map(feed).collect()
}

/// The column of that name, and the columns with values that it does not hold.
fn with_variants<'a>(name: &str, there: &'a [Column]) -> Vec<&'a Column> {
    let own = there.iter().find(|column| column.name == name);
    let field = own.and_then(|own| own.field.as_deref());
    let is_variant = |column: &&Column| {
        let Some(variant) = column.variant.as_deref().filter(|variant| !variant.is_empty()) else { return false };
        column.name != name
            && (column.name == format!("{name}_{variant}") || (field.is_some() && column.field.as_deref() == field))
    };
    own.into_iter().chain(there.iter().filter(is_variant)).collect()
}

/// The table as a subselect with the fields of the mart, in parentheses. A table that does not exist has no rows.
pub fn subselect(source: &Source, columns: &Columns, settings: &Settings) -> String {
    let there = columns.get(&source.name());
    let mut list = Vec::new();
    for keep in source.keep {
        let own = there.and_then(|there| there.iter().find(|column| column.name == *keep));
        let digest = there
            .filter(|_| *keep == ROW_KEY && own.is_none_or(|own| !own.is_required))
            .and_then(|there| key_digest(there));
        list.push(match (digest, own) {
            (Some(digest), _) => format!("{digest} as {}", quote(keep)),
            (None, Some(_)) => quote(keep),
            (None, None) => format!("null::{} as {}", keep_type(keep), quote(keep)),
        });
    }
    for feed in feeds(source, columns, settings) {
        list.push(format!("{} as {}", expression(&feed), quote(feed.field.name)));
    }
    let from = match there {
        Some(_) => format!("from {}", qualified(source.schema, source.table)),
        None => "where false".to_owned(),
    };
    format!("(select {} {from})", list.join(", "))
}

/// What identifies a row in tables whose key has no columns of its own.
const ROW_KEY: &str = "_row_key";

/// In place of `_row_key`, a digest of the columns of the table's key, which are never null. It does not depend on the
/// time zone of the session.
fn key_digest(there: &[Column]) -> Option<String> {
    let is_ours = |name: &str| matches!(name, "_connection" | "_window_start" | "_run_id" | "_loaded_at");
    let key = there.iter().filter(|column| column.is_required && !is_ours(&column.name));
    let value = |column: &Column| match &*column.kind {
        "timestamp with time zone" => format!("extract(epoch from {})", quote(&column.name)),
        _ => quote(&column.name),
    };
    let key: Vec<String> = key.map(value).collect();
    (!key.is_empty()).then(|| format!("md5(row({})::text)::uuid", key.join(", ")))
}

/// The type of a column that the table always has, unless somebody dropped it.
fn keep_type(name: &str) -> &'static str {
    match name {
        ROW_KEY => "uuid",
        "_window_start" | "_loaded_at" | "_deleted_at" => "timestamptz",
        "form_id" => "bigint",
        _ => "text",
    }
}

/// The value of a field: of the first of its columns that has one.
pub(super) fn expression(feed: &Feed<'_>) -> String {
    // A variant has the unit of its column.
    let factor = factor(feed.name);
    let values: Vec<String> = feed.columns.iter().map(|column| converted(feed.field.kind, column, factor)).collect();
    match values.as_slice() {
        [] => format!("null::{}", feed.field.kind.sql()),
        [one] => one.clone(),
        several => format!("coalesce({})", several.join(", ")),
    }
}

/// Seconds in the unit that the end of a column's name states.
fn factor(name: &str) -> Option<&'static str> {
    let units = [("_ms", "0.001"), ("_millis", "0.001"), ("_min", "60"), ("_hours", "3600")];
    units.into_iter().find(|(suffix, _)| name.ends_with(suffix)).map(|(_, factor)| factor)
}

/// A column's type, as far as conversions differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Text,
    Timestamptz,
    Timestamp,
    Date,
    Whole,
    Double,
    Numeric,
    Boolean,
    Json,
    /// Types that Tidegate does not make; their text is used.
    Other,
}

impl From {
    fn of(kind: &str) -> Self {
        match kind {
            "text" => Self::Text,
            "timestamp with time zone" => Self::Timestamptz,
            "timestamp without time zone" => Self::Timestamp,
            "date" => Self::Date,
            "bigint" | "integer" | "smallint" => Self::Whole,
            "double precision" | "real" => Self::Double,
            "numeric" => Self::Numeric,
            "boolean" => Self::Boolean,
            "jsonb" | "json" => Self::Json,
            _ => Self::Other,
        }
    }
}

fn converted(kind: Kind, column: &Column, factor: Option<&str>) -> String {
    let (name, from) = (quote(&column.name), From::of(&column.kind));
    match kind {
        Kind::Text => text(&name, from),
        Kind::Time => time(&name, from),
        Kind::Number => number(&name, from)
            .map_or_else(|| "null::double precision".to_owned(), |value| format!("tidegate.sane_number({value})")),
        Kind::Seconds => seconds(&name, from, factor),
        Kind::Direction => direction(&text(&name, from)),
    }
}

/// The word of the mart for a sender. A server's collation may have no lower case of letters with accents.
fn direction(text: &str) -> String {
    let plain = format!(
        "lower(translate(btrim({text}, E' \\t\\r\\n'), 'ÁÀÂÃÉÊÍÓÔÕÚÇáàâãéêíóôõúç', 'AAAAEEIOOOUCaaaaeeiooouc'))"
    );
    let cases = DIRECTIONS.map(|(direction, words)| {
        let words: Vec<String> = words.iter().map(|word| literal(word)).collect();
        format!(" when {plain} in ({}) then {}", words.join(", "), literal(direction))
    });
    format!("case{} end", cases.concat())
}

/// The column's value as text.
pub(super) fn as_text(column: &Column) -> String {
    text(&quote(&column.name), From::of(&column.kind))
}

/// The same text whatever the settings of the session that reads the view.
fn text(name: &str, from: From) -> String {
    match from {
        From::Text => name.to_owned(),
        From::Timestamptz => format!("to_char({name} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"),
        From::Timestamp => format!("to_char({name}, 'YYYY-MM-DD\"T\"HH24:MI:SS')"),
        From::Date => format!("case when {} then to_char({name}, 'YYYY-MM-DD') end", dates(name)),
        From::Numeric => format!("trim_scale({name})::text"),
        From::Json => format!("{name} #>> '{{}}'"),
        From::Whole | From::Double | From::Boolean | From::Other => format!("{name}::text"),
    }
}

/// The dates that a time can have.
fn dates(name: &str) -> String {
    format!("{name} between date {} and date {}", literal("0001-01-01"), literal("9999-12-31"))
}

fn time(name: &str, from: From) -> String {
    match from {
        From::Timestamptz => format!("case when isfinite({name}) then {name} end"),
        From::Timestamp => format!("case when isfinite({name}) then {name} at time zone 'UTC' end"),
        From::Date => format!("case when {} then {name}::timestamp at time zone 'UTC' end", dates(name)),
        From::Whole | From::Double => format!("tidegate.number_as_time({name}::double precision)"),
        From::Numeric => format!("tidegate.number_as_time(tidegate.numeric_as_number({name}))"),
        From::Boolean => "null::timestamptz".to_owned(),
        From::Text | From::Json | From::Other => format!("tidegate.text_as_time({})", text(name, from)),
    }
}

/// `None` for a type that holds no numbers.
fn number(name: &str, from: From) -> Option<String> {
    match from {
        From::Whole | From::Double => Some(format!("{name}::double precision")),
        From::Numeric => Some(format!("tidegate.numeric_as_number({name})")),
        From::Text | From::Json | From::Other => Some(format!("tidegate.text_as_number({})", text(name, from))),
        From::Timestamptz | From::Timestamp | From::Date | From::Boolean => None,
    }
}

fn seconds(name: &str, from: From, factor: Option<&str>) -> String {
    let Some(number) = number(name, from) else { return "null::double precision".to_owned() };
    let in_seconds = |number: &str| match factor {
        // The product must not overflow.
        Some(factor) => format!("tidegate.sane_number({number}) * {factor}"),
        None => number.to_owned(),
    };
    if !matches!(from, From::Text | From::Json | From::Other) {
        return format!("tidegate.sane_seconds({})", in_seconds(&number));
    }
    let text = text(name, from);
    let read = format!("tidegate.text_as_seconds({text})");
    if factor.is_none() {
        return format!("tidegate.sane_seconds({read})");
    }
    format!("tidegate.sane_seconds(case when {text} like '%:%' then {read} else {} end)", in_seconds(&read))
}

/// The columns of a table that feed no field and that the views do not use otherwise.
pub fn unused<'a>(source: &Source, columns: &'a Columns, settings: &'a Settings) -> Vec<&'a Column> {
    let feeds = feeds(source, columns, settings);
    let is_used = |column: &&Column| feeds.iter().flat_map(|feed| &feed.columns).any(|used| used.name == column.name);
    let there = columns.get(&source.name()).map(Vec::as_slice).unwrap_or_default();
    there
        .iter()
        .filter(|column| !column.name.starts_with('_') && !source.keep.contains(&&*column.name) && !is_used(column))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: &str, field: &str, variant: &str) -> Column {
        Column {
            name: name.to_owned(),
            kind: kind.to_owned(),
            field: Some(field.to_owned()),
            variant: Some(variant.to_owned()),
            is_required: false,
        }
    }

    #[test]
    fn a_table_without_row_keys_is_identified_by_the_columns_of_its_key() {
        let source = Source { schema: "lynn", table: "t", keep: &["_connection", "_row_key"], fields: &[] };
        let named = |name: &str, kind: &str, is_required| Column { is_required, ..column(name, kind, "", "") };
        let shown = |columns: &[Column]| {
            subselect(&source, &[("lynn.t".to_owned(), columns.to_vec())].into(), &Settings::default())
        };
        let (connection, id) = (named("_connection", "text", true), named("survey id", "bigint", true));
        let digest = r#"(select "_connection", md5(row("survey id")::text)::uuid as "_row_key" from "lynn"."t")"#;
        assert_eq!(shown(&[connection.clone(), id.clone()]), digest);
        // A view kept the former column, which has no values any more.
        assert_eq!(shown(&[connection.clone(), named("_row_key", "uuid", false), id.clone()]), digest);
        let hashed = [connection, named("_row_key", "uuid", true), id];
        assert_eq!(shown(&hashed), r#"(select "_connection", "_row_key" from "lynn"."t")"#);
    }

    fn khoros(columns: &[Column]) -> Columns {
        [("khoros.conversation".to_owned(), columns.to_vec())].into()
    }

    fn feed<'a>(columns: &'a Columns, settings: &'a Settings, name: &str) -> Feed<'a> {
        let source = Source::named("khoros.conversation").unwrap();
        feeds(source, columns, settings).into_iter().find(|feed| feed.field.name == name).unwrap()
    }

    #[test]
    fn the_first_candidate_with_its_variants_feeds_a_field() {
        let columns = khoros(&[
            column("status_text", "text", "STATUS", "text"),
            column("state", "text", "STATE", ""),
            column("status", "bigint", "STATUS", ""),
        ]);
        let settings = Settings::default();
        let status = feed(&columns, &settings, "status");
        assert_eq!(status.origin, Origin::Found);
        assert_eq!(expression(&status), r#"coalesce("status"::text, "status_text")"#);
        let channel = feed(&columns, &settings, "channel");
        assert_eq!((channel.origin, expression(&channel).as_str()), (Origin::Missing, "null::text"));
        let unused: Vec<_> = unused(Source::named("khoros.conversation").unwrap(), &columns, &settings);
        assert_eq!(unused.iter().map(|column| &*column.name).collect::<Vec<_>>(), ["state"]);
    }

    #[test]
    fn a_configured_column_replaces_the_candidates_even_before_it_exists() {
        let columns = khoros(&[column("status", "text", "STATUS", ""), column("x_min", "bigint", "X", "")]);
        let mut settings = Settings::default();
        let named = |field: &str| ("khoros.conversation".to_owned(), field.to_owned());
        settings.columns.insert(named("status"), "later".to_owned());
        settings.columns.insert(named("first_response_seconds"), "x_min".to_owned());
        let status = feed(&columns, &settings, "status");
        assert_eq!((status.origin, status.configured), (Origin::Missing, Some("later")));
        let wait = feed(&columns, &settings, "first_response_seconds");
        assert_eq!(wait.origin, Origin::Configured);
        let expected = r#"tidegate.sane_seconds(tidegate.sane_number("x_min"::double precision) * 60)"#;
        assert_eq!(expression(&wait), expected);
    }

    #[test]
    fn p7_a_hostile_column_stays_a_name() {
        let columns = khoros(&[column(r#"a"; drop table x --"#, "text", "a", "")]);
        let mut settings = Settings::default();
        settings
            .columns
            .insert(("khoros.conversation".to_owned(), "status".to_owned()), r#"a"; drop table x --"#.to_owned());
        assert_eq!(expression(&feed(&columns, &settings, "status")), r#""a""; drop table x --""#);
    }
}
