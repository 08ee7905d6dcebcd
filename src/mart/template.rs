//! Expands the template of a view.
//!
//! | placeholder | stands for |
//! |---|---|
//! | `{{schema.table}}` | a subselect with the fields of that table |
//! | `{timezone}` | the business zone, as a literal |
//! | `{channels}` | the rows of `mart.channels`, as tuples of literals |
//! | `{channel of ALIAS}` | the channel of the row's `channel_raw` and `source`, as in `mart.channels` |
//! | `{khoros_conversations}`, `{lexer_names}` | a subselect that several views share, from `views/parts` |
//!
//! A call of one of the functions [`SALTED`] is given the salt as its first argument. In a template, the first argument
//! of `tidegate.person_key` is a kind of person, which becomes part of the salt: the same name or address of an agent
//! and of a customer has two keys.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::Settings;
use super::channels;
use super::fields::Source;
use super::relations::{RELATIONS, Relation};
use super::resolve::subselect;
use super::state::Columns;
use crate::store::ident::literal;

/// The salt of the pseudonyms. Read by the view's owner, so readers of the view cannot see it.
const SALT: &str = "(select value from tidegate.setting where name = 'mart_salt')";

/// Functions that make pseudonyms, and what follows the salt in a call. Of an agent and of a customer, the same address
/// has two pseudonyms.
const SALTED: [(&str, &str); 3] =
    [("tidegate.pseudonym(", ", "), ("tidegate.agent_id(", " || 'agent', "), ("tidegate.person_key(", " || ")];

/// Subselects that several views share, by placeholder. They may have placeholders too.
const PARTS: [(&str, &str); 2] = [
    ("{khoros_conversations}", include_str!("views/parts/khoros_conversations.sql")),
    ("{lexer_names}", include_str!("views/parts/lexer_names.sql")),
];

/// A placeholder that means nothing. A test expands every template, so this does not happen.
#[derive(Debug, thiserror::Error)]
#[error("the template of mart.{relation} has an unknown placeholder {placeholder}")]
pub struct Unknown {
    relation: &'static str,
    placeholder: String,
}

/// The statements that make a view and its comments. The view computes its rows.
pub fn expand(relation: &'static Relation, columns: &Columns, settings: &Settings) -> Result<String, Unknown> {
    Ok(view(relation, &format!("(\n{}\n) as computed", rows(relation, columns, settings)?)))
}

/// Hash of what all templates expand to without columns and settings. Equal in processes that make the same statements
/// of the same columns and settings.
pub(super) fn fingerprint() -> String {
    let (columns, settings) = (Columns::new(), Settings::default());
    let expanded = RELATIONS.iter().filter_map(|relation| expand(relation, &columns, &settings).ok());
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(expanded.collect::<String>().as_bytes()))
}

/// The statement that selects the rows of a view, contact data included.
pub(super) fn rows(relation: &'static Relation, columns: &Columns, settings: &Settings) -> Result<String, Unknown> {
    let whole = with_parts(relation);
    let salted = SALTED.iter().fold(whole, |sql, (call, then)| sql.replace(call, &format!("{call}{SALT}{then}")));
    let mut sql = String::with_capacity(2 * salted.len());
    let mut rest = salted.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        sql.push_str(before);
        let is_table = after.starts_with('{');
        let end = if is_table { "}}" } else { "}" };
        let (name, after) = after.trim_start_matches('{').split_once(end).unwrap_or((after, ""));
        sql.push_str(
            &value(name, is_table, columns, settings)
                .ok_or_else(|| Unknown { relation: relation.name, placeholder: name.to_owned() })?,
        );
        rest = after;
    }
    sql.push_str(rest);
    Ok(sql)
}

/// The statements that make a view over rows that have its columns, and its comments. `from` is a table, or a subselect
/// with an alias. Contact data are shown to those who may read them.
pub(super) fn view(relation: &'static Relation, from: &str) -> String {
    let column = |name: &str| match relation.contacts.iter().find(|(column, _)| *column == name) {
        Some((_, instead)) => {
            format!("    case when (select tidegate.may_read_contacts()) then {name} else {instead} end as {name}")
        }
        None => format!("    {name}"),
    };
    let columns: Vec<String> = relation.columns().into_iter().map(column).collect();
    let (_, comments) = relation.parts();
    format!(
        "create or replace view mart.{} as\nselect\n{}\nfrom {from};\n\n{comments}",
        relation.name,
        columns.join(",\n")
    )
}

/// The statement that selects the rows, with the subselects that the template shares with others.
fn with_parts(relation: &Relation) -> String {
    let (rows, _) = relation.parts();
    PARTS.iter().fold(rows.to_owned(), |sql, (name, part)| sql.replace(name, part.trim_end()))
}

/// The tables that a view reads, directly or through other views, as `schema.table`, without the control tables.
pub fn tables(relation: &Relation) -> BTreeSet<String> {
    let whole = with_parts(relation);
    let words: Vec<&str> = whole.split_whitespace().collect();
    let mut found = BTreeSet::new();
    for (number, pair) in words.windows(2).enumerate() {
        let &[word, name] = pair else { continue };
        let is_extract = number > 0 && words[number - 1].contains("extract(");
        if !matches!(word, "from" | "join") || is_extract || name.contains('(') {
            continue;
        }
        let name = name.trim_matches(['{', '}', ')', ',', ';']).replace('"', "");
        match name.split_once('.') {
            Some(("mart", view)) => found.extend(Relation::named(view).map(tables).unwrap_or_default()),
            Some((schema, _)) if schema != "tidegate" => _ = found.insert(name),
            _ => {}
        }
    }
    found
}

fn value(name: &str, is_table: bool, columns: &Columns, settings: &Settings) -> Option<String> {
    match name {
        _ if is_table => Source::named(name).map(|source| subselect(source, columns, settings)),
        "timezone" => Some(literal(settings.timezone.name())),
        "channels" => Some(tuples(settings)),
        _ => name.strip_prefix("channel of ").map(|alias| channel(alias, settings)),
    }
}

fn tuples(settings: &Settings) -> String {
    let channels = channels::all(&settings.channels);
    let tuple = |((vendor, raw), channel): ((&str, &str), &str)| {
        format!("({}, {}, {})", literal(vendor), literal(raw), literal(channel))
    };
    channels.into_iter().map(tuple).collect::<Vec<_>>().join(", ")
}

/// The channel of a row. Not a join with `mart.channels`: the planner would compute the raw channel, which takes joins
/// of its own for some vendors, even for queries that ask for no channel.
fn channel(alias: &str, settings: &Settings) -> String {
    let mut vendors: BTreeMap<&str, String> = BTreeMap::new();
    for ((vendor, raw), channel) in channels::all(&settings.channels) {
        let names = vendors.entry(vendor).or_default();
        // Writing to a String cannot fail.
        let _ = write!(names, " when {} then {}", literal(raw), literal(channel));
    }
    let raw = format!("nullif(lower({alias}.channel_raw), '')");
    let vendors = vendors.into_iter().fold(String::new(), |mut vendors, (vendor, names)| {
        let _ = write!(vendors, " when {} then case {raw}{names} end", literal(vendor));
        vendors
    });
    format!("coalesce(case {alias}.source{vendors} end, {raw}, 'unknown')")
}

#[cfg(test)]
mod tests {
    use super::super::fields::SOURCES;
    use super::super::relations::RELATIONS;
    use super::*;

    #[test]
    fn every_placeholder_of_every_template_is_known() {
        for relation in RELATIONS {
            let sql = expand(relation, &Columns::new(), &Settings::default()).unwrap();
            let comments = sql.find("comment on view").unwrap();
            assert!(!sql[..comments].replace("'{}'", "").contains(['{', '}']), "{sql}");
        }
        let wrong = Relation { name: "wrong", template: "select {nothing}", contacts: &[], stored: false };
        let wrong: &'static Relation = Box::leak(Box::new(wrong));
        let error = expand(wrong, &Columns::new(), &Settings::default()).unwrap_err();
        assert_eq!(error.to_string(), "the template of mart.wrong has an unknown placeholder nothing");
    }

    #[test]
    fn every_table_with_fields_is_read_by_a_view_and_every_field_too() {
        let all: String = RELATIONS.iter().map(|relation| relation.template).collect();
        for source in SOURCES {
            assert!(all.contains(&format!("{{{{{}}}}}", source.name())), "{}", source.name());
        }
    }

    #[test]
    fn p7_texts_of_the_configuration_stay_literals() {
        let mut settings = Settings::default();
        settings.channels.insert(("lynn".to_owned(), "o'x\\".to_owned()), "a'); drop".to_owned());
        let sql = expand(Relation::named("channels").unwrap(), &Columns::new(), &settings).unwrap();
        assert!(sql.contains(r"(E'lynn', E'o''x\\', E'a''); drop')"), "{sql}");
    }
}
