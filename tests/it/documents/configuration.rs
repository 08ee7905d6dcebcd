//! Keys of the configuration: those of the JSON Schema and those of the documents are the same.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidegate::config::json_schema;
use tidegate::connector;

use super::markdown::{Block, blocks, code, names, spans, without_each_row};
use super::{document, documents};

/// Path of a key → its possible values, if they are a closed set. `*` is a name that users choose, and `[]` an entry of
/// a list.
type Keys = BTreeMap<String, Vec<String>>;

const CONNECTION: &str = "connections.*";
const TARGET: &str = "notify.[]";
const JOB: &str = "jobs.*";
const STREAM: &str = "jobs.*.streams.[]";
/// The path of the keys in each table of docs/configuration.md, in the order of the tables.
const TABLES: [&str; 6] = ["", TARGET, CONNECTION, CONNECTION, JOB, STREAM];

/// The texts that the check reads.
#[derive(Clone)]
struct Documents {
    configuration: String,
    /// By vendor.
    pages: BTreeMap<&'static str, String>,
}

impl Documents {
    fn read() -> Self {
        let configuration = document("docs/configuration.md");
        let pages = connector::ALL.iter().map(|connector| connector.vendor.name()).map(|vendor| {
            let page = documents()
                .into_iter()
                .filter(|path| path.strip_prefix("docs/vendors/").is_some_and(|name| !name.contains('/')))
                .map(|path| document(&path))
                .find(|text| text.contains(&format!("vendor: {vendor}\n")));
            (vendor, page.unwrap_or_else(|| panic!("no page of docs/vendors shows `vendor: {vendor}`")))
        });
        Self { configuration, pages: pages.collect() }
    }
}

/// Adds all keys of a schema, including nested ones, to `keys`.
fn collect(schema: &Value, path: &str, keys: &mut Keys) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        keys.entry(below(key)).or_default();
        collect(schema, &below(key), keys);
    }
    if let Some(words) = schema["enum"].as_array() {
        let words = words.iter().filter_map(Value::as_str).map(str::to_owned);
        keys.entry(path.to_owned()).or_default().extend(words);
    }
    if schema["additionalProperties"].is_object() {
        collect(&schema["additionalProperties"], &below("*"), keys);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], &below("[]"), keys);
    }
    for choice in ["anyOf", "oneOf"] {
        schema[choice].as_array().into_iter().flatten().for_each(|schema| collect(schema, path, keys));
    }
}

/// The keys that every configuration can have, and those of a connection by vendor.
fn schema_keys() -> (Keys, BTreeMap<String, Keys>) {
    let schema = json_schema();
    let mut keys = Keys::new();
    collect(&schema, "", &mut keys);
    let connection = &schema["properties"]["connections"]["additionalProperties"];
    let cases = connection["allOf"].as_array().unwrap();
    let vendors = cases.iter().map(|case| {
        let vendor = case["if"]["properties"]["vendor"]["const"].as_str().unwrap();
        let mut keys = Keys::new();
        collect(&case["then"], CONNECTION, &mut keys);
        (vendor.to_owned(), keys)
    });
    let vendors = vendors.collect();
    (keys, vendors)
}

/// The keys that a first cell names: `retry.max`, `quotas.*` for `quotas.LIMIT`, and `paths.b` for `.b` after
/// `paths.a`.
fn keys_of_cell(cell: &str) -> Vec<String> {
    let mut parent = String::new();
    let mut keys = Vec::new();
    for span in spans(cell) {
        let key = span.split(':').next().unwrap().trim();
        let key = if key.starts_with('.') { format!("{parent}{key}") } else { key.to_owned() };
        parent = key.rsplit_once('.').map(|(parent, _)| parent.to_owned()).unwrap_or_default();
        let named = |part: &str| part.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        keys.push(key.split('.').map(|part| if named(part) { "*" } else { part }).collect::<Vec<_>>().join("."));
    }
    keys
}

/// Key → the text of its row, for the tables of a document whose first column has keys.
fn rows_of_keys(text: &str) -> Vec<Vec<(String, String)>> {
    let tables = blocks(text).into_iter().filter_map(|block| match block {
        Block::Table(table) if matches!(table.header[0].as_str(), "key" | "setting") => Some(table),
        _ => None,
    });
    tables
        .map(|table| {
            let keys = |row: &Vec<String>| {
                let text = row.join(" | ");
                keys_of_cell(&row[0]).into_iter().map(move |key| (key, text.clone())).collect::<Vec<_>>()
            };
            table.rows.iter().flat_map(keys).collect()
        })
        .collect()
}

/// The rows of docs/configuration.md by the whole path of their keys.
fn rows_of_configuration(text: &str) -> BTreeMap<String, String> {
    let tables = rows_of_keys(text);
    assert_eq!(tables.len(), TABLES.len(), "tables of keys in docs/configuration.md");
    let path = |base: &str, key: String| if base.is_empty() { key } else { format!("{base}.{key}") };
    tables
        .into_iter()
        .zip(TABLES)
        .flat_map(|(rows, base)| rows.into_iter().map(move |(key, row)| (path(base, key), row)))
        .collect()
}

fn in_code(text: &str, name: &str) -> bool {
    spans(text).into_iter().any(|span| names(span).contains(&name) || span == name)
}

/// The keys and values that the documents do not mention. `page` may mention those that docs/configuration.md does not.
fn missing(keys: &Keys, rows: &BTreeMap<String, String>, page: Option<&BTreeSet<String>>) -> Vec<String> {
    let is_inner = |rest: &str| rest.starts_with('.') && !rest.starts_with(".[]") && rest != ".*";
    let is_section = |path: &str| keys.keys().any(|key| key.strip_prefix(path).is_some_and(is_inner));
    let mut missing = Vec::new();
    for (path, words) in keys {
        let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
        // A name that users choose needs no row, and neither does a section: its keys have rows.
        if key == "[]" || key == "*" && words.is_empty() || is_section(path) {
            continue;
        }
        let row = rows.get(path).or_else(|| rows.get(parent).filter(|row| key == "*" || in_code(row, key)));
        let on_page = page.is_some_and(|page| page.contains(key));
        match row {
            None if !on_page => missing.push(format!("`{path}` is not documented")),
            None => {}
            Some(row) => {
                let absent =
                    words.iter().filter(|word| !in_code(row, word) && !page.is_some_and(|page| page.contains(*word)));
                missing.extend(absent.map(|word| format!("`{path}` can be `{word}`: {row}")));
            }
        }
    }
    missing
}

/// The faults of the documents.
fn faults(documents: &Documents) -> Vec<String> {
    let (common, vendors) = schema_keys();
    let rows = rows_of_configuration(&documents.configuration);
    let words = |text: &str| code(text).iter().flat_map(|code| names(code)).map(str::to_owned).collect::<BTreeSet<_>>();
    let pages: BTreeMap<&str, BTreeSet<String>> =
        documents.pages.iter().map(|(vendor, page)| (*vendor, words(page))).collect();

    let (push, common): (Keys, Keys) = common.into_iter().partition(|(path, _)| path.starts_with("jobs.*.push."));
    let mut faults = missing(&common, &rows, None);
    faults.extend(missing(&push, &rows, pages.get("lynn_outbound")));
    for (vendor, keys) in &vendors {
        faults.extend(
            missing(keys, &rows, pages.get(vendor.as_str())).into_iter().map(|fault| format!("{vendor}: {fault}")),
        );
    }

    let known = |path: &str| common.contains_key(path) || vendors.values().any(|keys| keys.contains_key(path));
    // A name that users choose stands for itself, as `quotas.LIMIT` does.
    let known = |path: &str| known(path) || path.strip_suffix(".*").is_some_and(known);
    faults.extend(
        rows.keys().filter(|path| !known(path)).map(|path| format!("docs/configuration.md: there is no `{path}`")),
    );
    for (vendor, page) in &documents.pages {
        let keys = rows_of_keys(page).into_iter().flatten().map(|(key, _)| key);
        let unknown = keys.filter(|key| !vendors[*vendor].contains_key(&format!("{CONNECTION}.{key}")));
        faults.extend(unknown.map(|key| format!("the page of {vendor}: there is no `{key}`")));
    }
    let named: BTreeSet<&str> = spans(rows.get(&format!("{CONNECTION}.vendor")).map_or("", String::as_str))
        .into_iter()
        .filter(|name| *name != "vendor")
        .collect();
    let all: BTreeSet<&str> = connector::ALL.iter().map(|connector| connector.vendor.name()).collect();
    if named != all {
        faults.push(format!("`vendor` can be {all:?}, not {named:?}"));
    }
    faults
}

#[test]
fn every_key_of_the_configuration_is_documented_and_every_documented_key_exists() {
    let faults = faults(&Documents::read());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_row_of_a_key_that_is_missing_or_misspelt_is_noticed() {
    let read = Documents::read();
    let check = |configuration: String| faults(&Documents { configuration, ..read.clone() });
    let tables = rows_of_keys(&read.configuration);
    let keys: BTreeSet<&str> = tables.iter().flatten().map(|(key, _)| key.split('.').next().unwrap()).collect();
    let of_keys = |row: &str| spans(row).first().is_some_and(|key| keys.contains(key.split('.').next().unwrap()));
    let rows: Vec<_> = without_each_row(&read.configuration).filter(|(row, _)| of_keys(row)).collect();
    assert!(rows.len() > 40, "{}", rows.len());
    for (row, without) in rows {
        // The vendors' pages have these keys too.
        if !["| `csv.", "| `polling.", "| `product"].iter().any(|start| row.starts_with(start)) {
            assert!(!check(without).is_empty(), "nobody misses: {row}");
        }
        let misspelt = row.replacen("| `", "| `x", 1);
        assert!(!check(read.configuration.replacen(row, &misspelt, 1)).is_empty(), "nobody sees: {misspelt}");
    }
    let one_vendor_less = read.configuration.replacen("`khoros_care`", "`khoros`", 1);
    assert_eq!(check(one_vendor_less).len(), 2, "by the schema, and by the list of connectors");
}

#[test]
fn a_key_that_a_vendors_page_does_not_name_or_misspells_is_noticed() {
    let read = Documents::read();
    let check = |vendor, from: &str, to: &str| {
        let mut changed = read.clone();
        let page = changed.pages.get_mut(vendor).unwrap();
        assert!(page.contains(from), "{from}");
        *page = page.replace(from, to);
        faults(&changed)
    };
    assert_eq!(check("lynn_reporting", "probe_full_page", "probe_page").len(), 2);
    assert_eq!(check("khoros_care", "timezone_offset", "zone").len(), 2);
    assert_eq!(check("lexer_activity", "nps_category", "category").len(), 2);
    assert_eq!(check("lynn_outbound", "contact_id_field", "id_field").len(), 2);
}

#[test]
fn the_page_of_all_vendors_names_each() {
    let page = document("docs/vendors/README.md");
    let first = blocks(&page).into_iter().find_map(|block| match block {
        Block::Table(table) => {
            Some(table.rows.into_iter().map(|row| row[0].trim_matches('`').to_owned()).collect::<Vec<_>>())
        }
        _ => None,
    });
    let names: Vec<_> = connector::ALL.iter().map(|connector| connector.vendor.name().to_owned()).collect();
    assert_eq!(first, Some(names));
}

#[test]
fn cells_name_keys() {
    assert_eq!(keys_of_cell("`retry.initial`, `.max`"), ["retry.initial", "retry.max"]);
    assert_eq!(keys_of_cell("`quotas.LIMIT`"), ["quotas.*"]);
    assert_eq!(keys_of_cell("`quotas: { requests: … }`"), ["quotas"]);
}
