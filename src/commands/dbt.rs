//! `tidegate streams --dbt`: the warehouse as the sources of a dbt project.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use chrono::TimeDelta;

use crate::catalogue::{Key, Stream, Vendor, column_name};
use crate::config::{Config, Job};
use crate::connector;
use crate::load::Definition;
use crate::mart::relations::{RELATIONS, Relation, TEXTS};
use crate::mart::template;
use crate::schedule::longest_wait;
use crate::store::comments::{Comment, comments};
use crate::store::ident::standard_literal;
use crate::store::migrations::{schema_meaning, view_comments};
use crate::text::steers;

/// The schema of the views.
const MART: &str = "mart";
/// The keys of views whose comments do not name them: those that migrations create.
const KEYS: &[(&str, &[&str])] =
    &[("data_status", &["connection", "table_name"]), ("day_status", &["connection", "table_name", "day"])];
/// How old a table may be that is read by no known schedule: a reading each day, and time for it.
const DAILY: TimeDelta = TimeDelta::hours(26);

/// Words that YAML reads as something else than text.
const YAML_WORDS: &[&str] = &["null", "true", "false", "yes", "no", "on", "off", "y", "n"];

const HEAD: &str = "\
# Written by `tidegate streams --dbt`. After a change of the configuration, write it again instead of editing it.
#
# Freshness is the last success of a table's least fresh connection. A table that no job reads counts as fresh.
version: 2

sources:
";

/// One source: a schema.
#[derive(Debug)]
struct Source {
    name: String,
    meaning: String,
    tables: Vec<Table>,
}

/// One table or view of a source.
#[derive(Debug)]
struct Table {
    name: String,
    meaning: String,
    /// What identifies a row. Empty if nothing does.
    key: Vec<String>,
    columns: Vec<Column>,
    freshness: Option<Freshness>,
    /// Whether the table always exists. Others are created at their first reading.
    always: bool,
    /// Whether all rows are personal data.
    texts: bool,
}

#[derive(Debug)]
struct Column {
    name: String,
    meaning: String,
    /// The type, if it is known.
    kind: Option<&'static str>,
    nullable: bool,
}

/// When the data of a table are old.
#[derive(Debug)]
struct Freshness {
    /// The tables whose last success counts, with their schemas.
    tables: BTreeSet<String>,
    late_after: TimeDelta,
}

/// The document, for one vendor or for all. Depends only on the configuration, not on the time or a database.
pub(super) fn sources(config: &Config, streams: &[Stream], only: Option<Vendor>) -> String {
    let waits = waits(config);
    let mut sources: Vec<Source> = Vec::new();
    for stream in streams {
        let own = Table::of(stream, &waits);
        match sources.iter_mut().find(|source| source.name == stream.schema) {
            Some(source) => source.tables.extend(own),
            None => sources.push(Source {
                name: stream.schema.to_owned(),
                meaning: schema_meaning(stream.schema).into_owned(),
                tables: own,
            }),
        }
    }
    if only.is_none() {
        let tables = mart(&waits, streams);
        sources.push(Source { name: MART.to_owned(), meaning: schema_meaning(MART).into_owned(), tables });
    }
    let mut text = HEAD.to_owned();
    for source in &sources {
        source.write(&mut text);
    }
    text
}

/// How long after a success the tables are late, by `schema.table`. `None` without any job that reads: then nothing is
/// known of the schedules.
type Waits = Option<BTreeMap<String, TimeDelta>>;

fn waits(config: &Config) -> Waits {
    let mut readers: BTreeMap<(String, &str), Vec<&Job>> = BTreeMap::new();
    for job in config.jobs.values() {
        for entry in &job.streams {
            let table = format!("{}.{}", entry.stream.schema, entry.stream.name);
            readers.entry((table, &job.connection)).or_default().push(job);
        }
    }
    if readers.is_empty() {
        return None;
    }
    let mut waits: BTreeMap<String, TimeDelta> = BTreeMap::new();
    // Jobs often differ in their streams only.
    let mut known: BTreeMap<Vec<&str>, Option<TimeDelta>> = BTreeMap::new();
    for ((table, _), jobs) in readers {
        let names = jobs.iter().map(|job| &*job.name).collect();
        if let Some(wait) = *known.entry(names).or_insert_with(|| longest_wait(&jobs)) {
            let longest = waits.entry(table).or_insert(wait);
            *longest = wait.max(*longest);
        }
    }
    Some(waits)
}

impl Freshness {
    /// `None` if no schedule reads any of the tables.
    fn of(tables: impl IntoIterator<Item = String>, waits: &Waits) -> Option<Self> {
        let wait = |table: &String| waits.as_ref().map_or(Some(DAILY), |waits| waits.get(table).copied());
        let tables: BTreeSet<String> = tables.into_iter().filter(|table| wait(table).is_some()).collect();
        let late_after = tables.iter().filter_map(wait).max()?;
        Some(Self { tables, late_after })
    }

    /// When the least fresh of the tables was last read to its end. A reading that never succeeded is old; where no
    /// reading is expected, nothing is.
    fn loaded_at(&self) -> String {
        let names: Vec<String> = self.tables.iter().map(|table| standard_literal(table)).collect();
        let named = match names.as_slice() {
            [name] => format!("= {name}"),
            names => format!("in ({})", names.join(", ")),
        };
        format!(
            "(select coalesce(min(coalesce(last_success_at, to_timestamp(0))), now()) from mart.data_status \
             where table_name {named} and state not in ('paused', 'retired'))"
        )
    }
}

impl Table {
    /// The tables that a stream fills.
    fn of(stream: &Stream, waits: &Waits) -> Vec<Self> {
        let always =
            connector::all_streams().iter().any(|known| (known.schema, &known.name) == (stream.schema, &stream.name));
        // The rows of a child table arrive with those of its parent.
        let filled_with = format!("{}.{}", stream.schema, stream.name);
        let children = stream.children.iter().map(|child| Definition::of_child(stream, child));
        let table = |definition: Definition| Self {
            meaning: definition.meaning,
            key: definition.key,
            columns: definition.columns.into_iter().map(Column::from).collect(),
            freshness: Freshness::of([filled_with.clone()], waits),
            name: definition.name,
            always,
            texts: false,
        };
        let mut own = Definition::of(stream);
        if let Key::Fields(fields) = &stream.key {
            // They are the primary key, or `_row_key` is a hash of them. Only the database knows.
            let names: Vec<String> = fields.iter().map(|field| column_name(field)).collect();
            own.key.retain(|column| column != "_row_key");
            if names.iter().all(|name| own.columns.iter().any(|column| column.name == *name)) {
                own.key.extend(names);
            } else {
                own.columns.retain(|column| column.name != "_row_key");
                own.key.clear();
            }
        }
        [own].into_iter().chain(children).map(table).collect()
    }

    /// A view, from its comments.
    fn of_view(relation: &str, comments: &[&Comment], freshness: Option<Freshness>) -> Self {
        let name = relation.strip_prefix("mart.").unwrap_or(relation);
        let meaning = comments.iter().find(|comment| comment.column.is_none());
        let meaning = meaning.map_or_else(String::new, |comment| comment.text.clone());
        let columns: Vec<Column> = comments.iter().copied().filter_map(Column::of_view).collect();
        Self {
            key: key(name, &meaning, &columns),
            name: name.to_owned(),
            meaning,
            columns,
            freshness,
            always: true,
            texts: name == TEXTS,
        }
    }
}

/// The views of the mart: those of the migrations, then those that the program makes.
fn mart(waits: &Waits, streams: &[Stream]) -> Vec<Table> {
    let is_filled =
        |table: &String| streams.iter().any(|stream| format!("{}.{}", stream.schema, stream.name) == *table);
    let freshness = |relation: &Relation| {
        Freshness::of(template::tables(relation).into_iter().filter(|table| is_filled(table)), waits)
    };
    let made = RELATIONS.iter().map(|relation| (comments(relation.template), freshness(relation)));
    let mut tables: Vec<Table> = Vec::new();
    for (comments, freshness) in [(view_comments(MART), None)].into_iter().chain(made) {
        let mut freshness = freshness;
        for relation in comments.iter().filter(|comment| comment.column.is_none()).map(|comment| &comment.relation) {
            let own: Vec<&Comment> = comments.iter().filter(|comment| comment.relation == *relation).collect();
            tables.push(Table::of_view(relation, &own, freshness.take()));
        }
    }
    tables
}

/// The key of a view: the list after `Key:` in its comment, or else the column that is unique.
fn key(name: &str, meaning: &str, columns: &[Column]) -> Vec<String> {
    if let Some((_, key)) = KEYS.iter().find(|(view, _)| *view == name) {
        return key.iter().map(|column| (*column).to_owned()).collect();
    }
    let list = meaning.split_once("Key: ").map(|(_, rest)| rest.split('.').next().unwrap_or(rest));
    let unique = columns.iter().find(|column| column.meaning.starts_with("Unique"));
    let listed: Vec<String> = list.map_or_else(Vec::new, |list| list.split(", ").map(ToOwned::to_owned).collect());
    if listed.is_empty() { unique.map(|column| column.name.clone()).into_iter().collect() } else { listed }
}

impl Column {
    fn of_view(comment: &Comment) -> Option<Self> {
        Some(Self {
            name: comment.column.clone()?,
            meaning: comment.text.clone(),
            kind: None,
            nullable: comment.text.to_lowercase().contains("null"),
        })
    }
}

impl From<crate::load::ColumnDefinition> for Column {
    fn from(column: crate::load::ColumnDefinition) -> Self {
        Self { name: column.name, meaning: column.meaning, kind: Some(column.sql_type), nullable: !column.not_null }
    }
}

// Writing to a String cannot fail.
impl Source {
    fn write(&self, text: &mut String) {
        let _ = writeln!(text, "  - name: {}", scalar(&self.name));
        let _ = writeln!(text, "    schema: {}", scalar(&self.name));
        let _ = writeln!(text, "    description: {}", quoted(&self.meaning));
        let _ = writeln!(text, "    tables:");
        for table in &self.tables {
            table.write(text);
        }
    }
}

impl Table {
    fn write(&self, text: &mut String) {
        let _ = writeln!(text, "      - name: {}", scalar(&self.name));
        let _ = writeln!(text, "        description: {}", quoted(&self.meaning));
        if self.texts {
            let _ = writeln!(text, "        tags: [texts]");
        }
        if let Some(freshness) = &self.freshness {
            let _ = writeln!(text, "        loaded_at_field: {}", quoted(&freshness.loaded_at()));
            let _ = writeln!(text, "        freshness:");
            let _ = writeln!(text, "          warn_after: {}", period(freshness.late_after));
            let _ = writeln!(text, "          error_after: {}", period(freshness.late_after * 2));
        }
        if self.key.len() > 1 || (!self.always && !self.key.is_empty()) {
            let key: Vec<String> = self.key.iter().map(|column| scalar(column)).collect();
            let _ = writeln!(text, "        data_tests:");
            let _ = writeln!(text, "          - tidegate.unique_combination:");
            let _ = writeln!(text, "              columns: [{}]", key.join(", "));
        }
        let _ = writeln!(text, "        columns:");
        for column in &self.columns {
            let in_key = self.always && self.key.contains(&column.name);
            column.write(text, in_key, self.key.len() == 1);
        }
    }
}

impl Column {
    /// `unique`: whether the column alone is the key, if it is in the key.
    fn write(&self, text: &mut String, in_key: bool, unique: bool) {
        let _ = writeln!(text, "          - name: {}", scalar(&self.name));
        let _ = writeln!(text, "            description: {}", quoted(&self.meaning));
        if let Some(kind) = self.kind {
            let _ = writeln!(text, "            data_type: {kind}");
        }
        let tests = match (in_key && unique, in_key && !self.nullable) {
            (true, _) => "unique, not_null",
            (false, true) => "not_null",
            (false, false) => return,
        };
        // The name may be a word of SQL.
        if !self.name.starts_with('_') {
            let _ = writeln!(text, "            quote: true");
        }
        let _ = writeln!(text, "            data_tests: [{tests}]");
    }
}

/// A time in a unit of dbt, rounded up.
fn period(time: TimeDelta) -> String {
    let minutes = (time.num_seconds() + 59) / 60;
    let (count, unit) = match minutes {
        ..180 => (minutes, "minute"),
        180..4_320 => ((minutes + 59) / 60, "hour"),
        _ => ((minutes + 1_439) / 1_440, "day"),
    };
    format!("{{ count: {count}, period: {unit} }}")
}

/// A name as a scalar of YAML: plain if it is a simple word.
fn scalar(name: &str) -> String {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let simple = begins && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if simple && !YAML_WORDS.contains(&name) { name.to_owned() } else { quoted(name) }
}

/// A text as a scalar of YAML in quotes, which is the same text after dbt has rendered it as a Jinja template.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '{' if matches!(characters.peek(), Some('{' | '%' | '#')) => quoted.push_str("{{ '{' }}"),
            '"' | '\\' => quoted.extend(['\\', c]),
            c if steers(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                // Writing to a String cannot fail.
                let _ = write!(quoted, "\\U{:08x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_names_and_texts_stay_text_for_yaml_and_for_jinja() {
        for (text, yaml) in [
            ("it's: #1 \"a\\b\"", r#""it's: #1 \"a\\b\"""#),
            ("a\nb\t\u{202e}\0", r#""a\U0000000ab\U00000009\U0000202e\U00000000""#),
            ("😀 ñ\u{ffff}", r#""😀 ñ\U0000ffff""#),
            ("{{ env_var('HOME') }}", r#""{{ '{' }}{ env_var('HOME') }}""#),
            ("{% x %}{# y #}{{{{z", r#""{{ '{' }}% x %}{{ '{' }}# y #}{{ '{' }}{{ '{' }}{{ '{' }}{z""#),
            ("a { b } {", r#""a { b } {""#),
        ] {
            assert_eq!(quoted(text), yaml);
        }
        for name in ["null", "yes", "n", "2x", "año", "a-b", "A", ""] {
            assert_eq!(scalar(name), format!("\"{name}\""));
        }
        assert_eq!(scalar("_row_key2"), "_row_key2");
    }

    #[test]
    fn periods_are_rounded_up() {
        for (seconds, period) in [
            (61, "2, period: minute"),
            (10_740, "179, period: minute"),
            (10_741, "3, period: hour"),
            (259_201, "4, period: day"),
        ] {
            assert_eq!(super::period(TimeDelta::seconds(seconds)), format!("{{ count: {period} }}"));
        }
    }

    #[test]
    fn p11_the_freshness_of_a_view_is_that_of_the_tables_that_it_reads() {
        let streams = connector::all_streams();
        for relation in
            RELATIONS.iter().filter(|relation| !matches!(relation.name, "calendar" | "channels" | "campaign_pushes"))
        {
            let tables = template::tables(relation);
            assert!(!tables.is_empty(), "{}", relation.name);
            for table in tables {
                let is_known = streams.iter().any(|stream| {
                    let names = stream.children.iter().map(|child| &child.name).chain([&stream.name]);
                    names.into_iter().any(|name| format!("{}.{name}", stream.schema) == table)
                });
                assert!(is_known, "{} reads {table}", relation.name);
            }
        }
    }

    #[test]
    fn p11_every_view_but_the_list_of_changes_has_a_key_of_its_columns() {
        for table in mart(&None, &[]) {
            let columns: Vec<&str> = table.columns.iter().map(|column| &*column.name).collect();
            assert!(table.key.iter().all(|column| columns.contains(&&**column)), "{table:?}");
            assert_eq!(table.key.is_empty(), table.name == "schema_changes", "{table:?}");
            assert!(
                !table.meaning.is_empty() && table.columns.iter().all(|column| !column.meaning.is_empty()),
                "{table:?}"
            );
        }
    }
}
