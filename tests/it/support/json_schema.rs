//! Checks documents against JSON Schemas, as far as ours use them. A keyword that is not known here fails the test, so
//! nothing of a schema is silently ignored.

use chrono::{DateTime, NaiveDate};
use serde_json::Value;

/// Keywords that restrict nothing.
const NOTES: [&str; 5] = ["$schema", "title", "description", "default", "$defs"];

/// What of `value` does not fit the schema, each with its place; empty if it fits. References lead into `root`.
pub fn faults(root: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(root, schema, value, "", &mut faults);
    faults
}

fn check(root: &Value, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    let schema = match schema {
        Value::Bool(true) => return,
        Value::Bool(false) => return faults.push(format!("{place}: nothing is allowed here")),
        schema => schema.as_object().unwrap_or_else(|| panic!("not a schema: {schema}")),
    };
    let fits = |schema: &Value| self::faults(root, schema, value).is_empty();
    for (keyword, wanted) in schema {
        let mut refuse = |is_wrong: bool| {
            if is_wrong {
                faults.push(format!("{place}: {value} does not fit {keyword}: {wanted}"));
            }
        };
        let list = || wanted.as_array().unwrap_or_else(|| panic!("{keyword} is not a list"));
        match keyword.as_str() {
            "$ref" => {
                let pointer = wanted.as_str().unwrap().strip_prefix('#').expect("a reference inside the document");
                let target = root.pointer(pointer).unwrap_or_else(|| panic!("{wanted} leads nowhere"));
                check(root, target, value, place, faults);
            }
            "type" => {
                let is_of = |name: &Value| has_type(value, name.as_str().unwrap());
                refuse(!wanted.as_array().map_or_else(|| is_of(wanted), |names| names.iter().any(is_of)));
            }
            "enum" => refuse(!list().contains(value)),
            "const" => refuse(wanted != value),
            "anyOf" => refuse(!list().iter().any(fits)),
            "oneOf" => refuse(list().iter().filter(|schema| fits(schema)).count() != 1),
            "allOf" => list().iter().for_each(|schema| check(root, schema, value, place, faults)),
            "required" => {
                let has = |name: &Value| value.get(name.as_str().unwrap()).is_some();
                refuse(value.is_object() && !list().iter().all(has));
            }
            "minimum" => refuse(value.as_f64().is_some_and(|number| number < wanted.as_f64().unwrap())),
            "maximum" => refuse(value.as_f64().is_some_and(|number| number > wanted.as_f64().unwrap())),
            "minProperties" => {
                refuse(value.as_object().is_some_and(|all| (all.len() as u64) < wanted.as_u64().unwrap()));
            }
            "pattern" => refuse(value.as_str().is_some_and(|text| !matches(wanted.as_str().unwrap(), text))),
            "format" => refuse(value.as_str().is_some_and(|text| !has_format(text, wanted.as_str().unwrap()))),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, wanted, item, &format!("{place}/{index}"), faults);
                }
            }
            "properties" | "additionalProperties" | "propertyNames" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    let place = format!("{place}/{name}");
                    let known = schema.get("properties").and_then(|known| known.get(name));
                    match (keyword.as_str(), known) {
                        ("properties", Some(known)) => check(root, known, member, &place, faults),
                        ("additionalProperties", None) => check(root, wanted, member, &place, faults),
                        ("propertyNames", _) => check(root, wanted, &Value::String(name.clone()), &place, faults),
                        _ => {}
                    }
                }
            }
            note => assert!(NOTES.contains(&note), "the keyword {note} is not known to this check"),
        }
    }
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => panic!("{name} is not a type"),
    }
}

fn has_format(text: &str, name: &str) -> bool {
    match name {
        "date-time" => DateTime::parse_from_rfc3339(text).is_ok(),
        "date" => text.parse::<NaiveDate>().is_ok(),
        "uuid" => uuid::Uuid::try_parse(text).is_ok(),
        _ => panic!("{name} is not a format of a text"),
    }
}

/// A few patterns: `^` means the beginning; everything else is itself.
fn matches(pattern: &str, text: &str) -> bool {
    pattern.strip_prefix('^').map_or_else(|| text.contains(pattern), |start| text.starts_with(start))
}

#[test]
fn a_value_that_does_not_fit_is_found() {
    use serde_json::json;

    let root = json!({ "definitions": { "name": { "type": "string" } } });
    let schema = json!({
        "type": "object",
        "properties": {
            "name": { "$ref": "#/definitions/name" },
            "at": { "type": ["string", "null"], "format": "date-time" },
            "size": { "type": "integer", "minimum": 1, "maximum": 3 },
            "state": { "enum": ["on", "off"] },
            "list": { "type": "array", "items": { "anyOf": [{ "type": "null" }, { "type": "boolean" }] } },
        },
        "required": ["name"],
        "additionalProperties": false,
    });
    let right = json!({ "name": "a", "at": "2026-11-28T10:00:00Z", "size": 3, "state": "on", "list": [null, true] });
    assert_eq!(faults(&root, &schema, &right), Vec::<String>::new());
    assert_eq!(faults(&root, &schema, &json!({ "name": "a", "at": null })), Vec::<String>::new());
    for wrong in [
        json!([]),
        json!({}),
        json!({ "name": 1 }),
        json!({ "name": "a", "at": "yesterday" }),
        json!({ "name": "a", "size": 0 }),
        json!({ "name": "a", "size": 4 }),
        json!({ "name": "a", "size": 1.5 }),
        json!({ "name": "a", "state": "of" }),
        json!({ "name": "a", "list": [1] }),
        json!({ "name": "a", "other": 1 }),
    ] {
        assert_eq!(faults(&root, &schema, &wrong).len(), 1, "{wrong}");
    }
}
