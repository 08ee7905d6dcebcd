//! The description of the JSON API: every document with its path, its parameters and its schema.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    ConnectionPage, Connections, Document, Events, JobPage, Jobs, Overview, Problems, Pushes, Quotas, Rejects, RunPage,
    Runs, SchemaChanges, StreamPage, Streams, System,
};

/// The path in front of all documents.
pub const API: &str = "/api/v1";
/// Where the description has the schemas.
const SCHEMAS: &str = "/components/schemas";

/// Where the API has the document of a page.
pub fn api_path(page: &str) -> String {
    if page == "/" { format!("{API}/overview") } else { format!("{API}{page}") }
}

/// The API as an OpenAPI 3.1 document.
pub fn api_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut generator = settings.with(|settings| settings.definitions_path = SCHEMAS.into()).into_generator();
    let mut paths = Map::new();
    let mut add = |(path, description): (String, Value)| paths.insert(path, description);
    add(described::<Overview>(&mut generator, &[]));
    add(described::<Streams>(&mut generator, &["state", "connection", "q", "after"]));
    add(described::<StreamPage>(&mut generator, &["year"]));
    add(described::<Jobs>(&mut generator, &["connection", "q", "after"]));
    add(described::<JobPage>(&mut generator, &[]));
    add(described::<Runs>(&mut generator, &["job", "connection", "state", "kind", "from", "to", "after"]));
    add(described::<RunPage>(&mut generator, &[]));
    add(described::<Quotas>(&mut generator, &["connection", "q", "after"]));
    add(described::<Connections>(&mut generator, &["q", "after"]));
    add(described::<ConnectionPage>(&mut generator, &[]));
    add(described::<Events>(&mut generator, &["kind", "connection", "run", "from", "after"]));
    add(described::<Problems>(&mut generator, &[]));
    add(described::<Rejects>(&mut generator, &["connection", "stream"]));
    add(described::<SchemaChanges>(&mut generator, &["connection", "table", "after"]));
    add(described::<Pushes>(&mut generator, &["job", "state"]));
    add(described::<System>(&mut generator, &[]));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the pages show. Times are RFC 3339 in UTC. A list is continued with the parameter \
                            `after`, which is the field `next` of the document. An error is a document of RFC 9457.",
        },
        "paths": paths,
        "components": { "schemas": generator.take_definitions(true) },
    })
}

/// The path of a document, and what a request may ask for and receives.
fn described<D: Document>(generator: &mut SchemaGenerator, parameters: &[&str]) -> (String, Value) {
    let parameter = |name: &str, place: &str| json!({ "name": name, "in": place, "required": place == "path", "schema": { "type": "string" } });
    let names = D::PATH.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let all: Vec<Value> = names
        .map(|name| parameter(name, "path"))
        .chain(parameters.iter().map(|name| parameter(name, "query")))
        .collect();
    let content = json!({ "application/json": { "schema": generator.subschema_for::<D>().to_value() } });
    let responses = json!({ "200": { "description": "the document", "content": content } });
    (api_path(D::PATH), json!({ "get": { "parameters": all, "responses": responses } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_the_api_is_described_once() {
        let text = api_schema().to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(!name.ends_with(|last: char| last.is_ascii_digit()), "two types have the name {name}");
            assert!(api_schema()["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
