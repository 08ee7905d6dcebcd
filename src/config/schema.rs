//! JSON Schema of the configuration, for editors: the raw types, combined per vendor.

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::raw;
use crate::connector;

/// A value of any setting may come from the environment or a file.
const REFERENCE_PATTERN: &str = r"\$\{.+\}";

/// The schema of `tidegate.yaml` and of every `jobs/*.yaml`: both take the same keys.
pub fn json_schema() -> Value {
    let mut generator = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true).into_generator();
    let mut root = schema_of::<raw::Root>(&mut generator);
    let mut connection = connection(&mut generator);
    let mut job = schema_of::<raw::Job>(&mut generator);
    require(&mut job, &["connection"]);
    if let Some(job) = job.as_object_mut() {
        job.insert("anyOf".to_owned(), json!([{ "required": ["streams"] }, { "required": ["push"] }]));
    }
    for (key, schema) in [("connections", &mut connection), ("jobs", &mut job)] {
        if let Some(section) = root.pointer_mut(&format!("/properties/{key}")).and_then(Value::as_object_mut) {
            section.insert("additionalProperties".to_owned(), schema.take());
        }
    }
    allow_references(&mut root);
    let Value::Object(root) = root else { return root };
    let mut whole = Map::new();
    whole.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    whole.insert("title".to_owned(), json!("Tidegate"));
    whole.extend(root.into_iter().filter(|(key, _)| key != "title" && key != "$schema"));
    Value::Object(whole)
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

/// A connection's keys depend on its vendor.
fn connection(generator: &mut SchemaGenerator) -> Value {
    let common = schema_of::<connector::Keys>(generator);
    let mut cases = Vec::new();
    for connector in connector::ALL {
        let name = connector.vendor.name();
        let own = (connector.schema)(generator).to_value();
        let mut keys = properties(&common);
        keys.extend(properties(&own));
        keys.insert("vendor".to_owned(), json!({ "const": name }));
        let mut then = json!({ "properties": keys, "additionalProperties": false });
        require(&mut then, connector.required_keys);
        let vendor = json!({ "properties": { "vendor": { "const": name } }, "required": ["vendor"] });
        cases.push(json!({ "if": vendor, "then": then }));
    }
    let mut keys = properties(&common);
    let names: Vec<&str> = connector::ALL.iter().map(|connector| connector.vendor.name()).collect();
    if let Some(vendor) = keys.get_mut("vendor").and_then(Value::as_object_mut) {
        vendor.insert("enum".to_owned(), json!(names));
        vendor.insert("type".to_owned(), json!("string"));
    }
    json!({
        "description": "One configured account of a vendor",
        "type": "object",
        "properties": keys,
        "required": ["vendor"],
        "allOf": cases,
    })
}

fn properties(schema: &Value) -> Map<String, Value> {
    schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default()
}

fn require(schema: &mut Value, keys: &[&str]) {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("required".to_owned(), json!(keys));
    }
}

/// Allows `${…}` in place of a number, a flag, a choice or a pattern.
fn allow_references(schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    for key in ["additionalProperties", "items", "then"] {
        if let Some(inner) = schema.get_mut(key) {
            allow_references(inner);
        }
    }
    if let Some(Value::Object(keys)) = schema.get_mut("properties") {
        keys.iter_mut().filter(|(key, _)| *key != "vendor").for_each(|(_, schema)| allow_references(schema));
    }
    for key in ["allOf", "anyOf"] {
        if let Some(Value::Array(parts)) = schema.get_mut(key) {
            parts.iter_mut().for_each(allow_references);
        }
    }
    if !is_type(schema, "object") && !is_type(schema, "array") {
        drop_null(schema);
        allow_reference(schema);
    }
}

/// Moves the constraints of a plain value next to the alternative for a reference.
fn allow_reference(schema: &mut Map<String, Value>) {
    const CONSTRAINTS: &[&str] = &["type", "enum", "const", "pattern", "minimum", "maximum"];
    let constrained = schema.contains_key("enum") || schema.contains_key("pattern");
    if !constrained && !is_type(schema, "integer") && !is_type(schema, "boolean") {
        return;
    }
    let constraint: Map<String, Value> =
        CONSTRAINTS.iter().filter_map(|key| Some(((*key).to_owned(), schema.remove(*key)?))).collect();
    let reference = json!({ "type": "string", "pattern": REFERENCE_PATTERN });
    schema.insert("anyOf".to_owned(), json!([constraint, reference]));
}

/// A key without a value counts as absent, but editors should not offer that.
fn drop_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(choices)) = schema.get_mut("enum") {
        choices.retain(|choice| !choice.is_null());
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
}

fn is_type(schema: &Map<String, Value>, wanted: &str) -> bool {
    match schema.get("type") {
        Some(Value::Array(types)) => types.iter().any(|kind| kind == wanted),
        Some(kind) => kind == wanted,
        None => false,
    }
}
