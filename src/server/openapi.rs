//! The description of what the port offers to programs, as an OpenAPI 3.1 document: documents and actions of the API,
//! probes, metrics, and the older `/status.json`. It is made from the same tables as the routes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::body::{BODY_BYTES_MAX, BODY_READ_MAX};
use super::guard::JSON;
use super::pages::{self, Page, Visitor};
use super::problem::{ApiError, PROBLEM};
use crate::actions::{ACTIONS, Action, Field, FieldKind, Outcome, Proposal, REQUEST};
use crate::report::{API, StatusReport, api_path};

/// Where the description has the schemas.
const SCHEMAS: &str = "/components/schemas";
const DESCRIPTION: &str = "What the pages show, and what operators can have done. Times are RFC 3339 in UTC. A list \
                           is continued with the parameter `after`, which is the field `next` of the document. Every \
                           error below `/api` is a document of RFC 9457, except for 400 for what is not HTTP and 431 \
                           for a head that is too large, which have no body. The login is that of `server.auth`; \
                           without `server.auth`, documents need no login and actions are refused with 403. A \
                           request must name the server by an address, as `localhost`, or by a name of `server.url` \
                           or `server.origins`.";

/// The API as an OpenAPI document.
pub fn api_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let generator = settings.with(|settings| settings.definitions_path = SCHEMAS.into()).into_generator();
    let mut description = Description { generator, paths: BTreeMap::new() };
    pages::visit_all(&mut description);
    for action in &ACTIONS {
        description.add_action(action);
    }
    description.add_others();
    let Description { mut generator, paths } = description;
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Tidegate", "version": env!("CARGO_PKG_VERSION"), "description": DESCRIPTION },
        "security": [{ "basic": [] }, { "bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "basic": { "type": "http", "scheme": "basic", "description": "`user` and `password` of `server.auth`" },
                "bearer": { "type": "http", "scheme": "bearer", "description": "`token` of `server.auth`" },
            },
        },
    })
}

struct Description {
    generator: SchemaGenerator,
    /// By path and method.
    paths: BTreeMap<String, Map<String, Value>>,
}

impl Visitor for Description {
    fn visit<P: Page>(&mut self) {
        let path = api_path(P::PATH);
        let query = P::PARAMETERS.iter().map(|parameter| {
            json!({
                "name": parameter.name,
                "in": "query",
                "description": parameter.meaning,
                "required": false,
                "schema": parameter.kind.schema(),
            })
        });
        let known = json!({
            "name": "If-None-Match",
            "in": "header",
            "description": "the `ETag` of the document that the client has",
            "required": false,
            "schema": { "type": "string" },
        });
        let parameters: Vec<Value> = path_parameters(P::PATH).chain(query).chain([known]).collect();
        let mut responses = self.responses(&READING);
        responses.insert("200".to_owned(), self.tagged::<P>("the document"));
        responses.insert("304".to_owned(), json!({ "description": "the client has the document" }));
        responses.insert("414".to_owned(), self.problem("the address is longer than 2,000 characters"));
        responses.insert("400".to_owned(), self.problem("a parameter does not exist or has no such value"));
        if P::PATH.contains('{') {
            responses.insert("404".to_owned(), self.problem("nothing has this name"));
        }
        self.add(&path, "get", json!({ "summary": P::MEANING, "parameters": parameters, "responses": responses }));
    }
}

/// The errors of every request below `/api`.
const COMMON: [(&str, &str); 5] = [
    ("400", "the path is not UTF-8, or has a NUL"),
    ("401", "no login, or a wrong one"),
    ("421", "the request names another host"),
    ("429", "too many requests, or too many wrong logins, at this moment"),
    ("500", "a fault of Tidegate"),
];
/// A status with which the HTTP library itself responds to a request that it cannot read, without a body.
const TOO_LARGE: (&str, &str) =
    ("431", "the address, or the headers together, are larger than 16 KiB, or there are more than 64 headers; no body");
/// Those of requests that read.
const READING: [(&str, &str); 1] = [("503", "the database could not be read; `Retry-After` says when to ask again")];
/// Those of actions.
const ACTING: [(&str, &str); 5] = [
    ("403", "no login is configured"),
    ("404", "what the path names does not exist"),
    ("409", "it is not possible in the present state"),
    ("422", "a field is missing, wrong or unknown"),
    ("503", "the database did not do it, or Tidegate shuts down: the call has done nothing, or that is not known"),
];

impl Description {
    fn add(&mut self, path: &str, method: &str, mut operation: Value) {
        let words = path.strip_prefix(API).unwrap_or(path).split(['/', '.', '{', '}']).filter(|word| !word.is_empty());
        let id = words.fold(method.to_owned(), |id, word| format!("{id}_{word}"));
        operation["operationId"] = id.into();
        self.paths.entry(path.to_owned()).or_default().insert(method.to_owned(), operation);
    }

    fn schema<T: JsonSchema>(&mut self) -> Value {
        self.generator.subschema_for::<T>().to_value()
    }

    fn problem(&mut self, description: &str) -> Value {
        json!({ "description": description, "content": { PROBLEM: { "schema": self.schema::<ApiError>() } } })
    }

    fn document<T: JsonSchema>(&mut self, description: &str) -> Value {
        json!({ "description": description, "content": { JSON: { "schema": self.schema::<T>() } } })
    }

    fn tagged<T: JsonSchema>(&mut self, description: &str) -> Value {
        let mut response = self.document::<T>(description);
        let text = "changes with the content, not with its age";
        response["headers"] = json!({ "ETag": { "description": text, "schema": { "type": "string" } } });
        response
    }

    fn responses(&mut self, errors: &[(&str, &str)]) -> Map<String, Value> {
        let all = COMMON.iter().chain(errors);
        let mut all: Map<String, Value> =
            all.map(|(status, description)| ((*status).to_owned(), self.problem(description))).collect();
        all.insert(TOO_LARGE.0.to_owned(), json!({ "description": TOO_LARGE.1 }));
        all
    }

    fn add_action(&mut self, action: &Action) {
        let path = format!("{API}{}", action.route);
        let names: Vec<Value> = path_parameters(action.route).collect();
        let fields = action.fields.iter().map(|field| {
            // What would happen is also said without it.
            let needed = if field.required { "; the action requires it" } else { "" };
            json!({
                "name": field.name,
                "in": "query",
                "description": format!("{}{needed}", field.label),
                "required": false,
                "schema": field_schema(field),
            })
        });
        let parameters: Vec<Value> = names.iter().cloned().chain(fields).collect();
        let mut responses = self.responses(&ACTING);
        responses.insert("200".to_owned(), self.document::<Proposal>("what would happen"));
        let summary = format!("What would happen. {}", action.meaning);
        self.add(&path, "get", json!({ "summary": summary, "parameters": parameters, "responses": responses }));

        let mut responses = self.responses(&ACTING);
        responses.insert("200".to_owned(), self.document::<Outcome>("it was done, now or by the same request before"));
        let refused = "no login is configured, it is not the token, or a page of another site sent it";
        responses.insert("403".to_owned(), self.problem(refused));
        let reused = "it is not possible in the present state, or the id of the request was used for something else";
        responses.insert("409".to_owned(), self.problem(reused));
        responses.insert("400".to_owned(), self.problem("the body is not a JSON object of plain values, or is broken"));
        let late = format!("the body did not arrive within {} s", BODY_READ_MAX.as_secs());
        responses.insert("408".to_owned(), self.problem(&late));
        let large = format!("the body is larger than {BODY_BYTES_MAX} bytes");
        responses.insert("413".to_owned(), self.problem(&large));
        responses.insert("415".to_owned(), self.problem("the body is not `application/json`"));
        let required = action.fields.iter().filter(|field| field.required).map(|field| field.name);
        let required: Vec<&str> = required.collect();
        let body = json!({
            "required": !required.is_empty(),
            "content": { JSON: { "schema": {
                "type": "object",
                "properties": properties(action.fields),
                "required": required,
                "additionalProperties": false,
            } } },
        });
        let operation = json!({
            "summary": action.meaning,
            "security": [{ "bearer": [] }],
            "parameters": names,
            "requestBody": body,
            "responses": responses,
        });
        self.add(&path, "post", operation);
    }

    /// What is not below `/api`; errors are texts there.
    fn add_others(&mut self) {
        let text = |description: &str| json!({ "description": description, "content": { "text/plain": { "schema": { "type": "string" } } } });
        let refused = |responses: &mut Value| {
            for (status, description) in COMMON.iter().filter(|(status, _)| !matches!(*status, "400" | "500")) {
                responses[*status] = text(description);
            }
            responses[TOO_LARGE.0] = json!({ "description": TOO_LARGE.1 });
        };
        let mut status = json!({ "200": self.document::<StatusReport>("the document"), "503": text("not readable") });
        refused(&mut status);
        let summary = "The state of everything in one document; the documents below `/api` are smaller.";
        self.add("/status.json", "get", json!({ "summary": summary, "responses": status }));
        let openmetrics = json!({ "application/openmetrics-text": { "schema": { "type": "string" } } });
        let mut metrics = json!({ "200": { "description": "the metrics", "content": openmetrics } });
        refused(&mut metrics);
        self.add("/metrics", "get", json!({ "summary": "Metrics in the format OpenMetrics.", "responses": metrics }));
        for (path, summary) in [
            ("/healthz", "Whether the process is alive: 503 if one of its loops hangs."),
            ("/readyz", "Whether the process can work: 503 with the reason if it cannot."),
        ] {
            let mut responses = json!({ "200": text("yes"), "503": text("no, and why") });
            responses[TOO_LARGE.0] = json!({ "description": TOO_LARGE.1 });
            self.add(path, "get", json!({ "summary": summary, "security": [], "responses": responses }));
        }
    }
}

/// The names in a path. Numbers of runs and problems are texts too: one that is not a number names nothing.
fn path_parameters(path: &str) -> impl Iterator<Item = Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
}

fn properties(fields: &[Field]) -> Map<String, Value> {
    let described = |field: &Field| {
        let mut schema = field_schema(field);
        schema["description"] = field.label.into();
        (field.name.to_owned(), schema)
    };
    let request = json!({
        "type": "string",
        "format": "uuid",
        "description": "Makes the call safe to repeat: a second one with the same id and the same fields does nothing",
    });
    fields.iter().map(described).chain([(REQUEST.to_owned(), request)]).collect()
}

fn field_schema(field: &Field) -> Value {
    match field.kind {
        FieldKind::Date => json!({ "type": "string", "format": "date" }),
        FieldKind::Moment => json!({ "type": "string", "anyOf": [{ "format": "date-time" }, { "format": "date" }] }),
        FieldKind::Number(least, most, _) => json!({ "type": "integer", "minimum": least, "maximum": most }),
        FieldKind::Text | FieldKind::Option => json!({ "type": "string" }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::routes::routes;
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

    #[test]
    fn the_description_has_every_route_for_programs_and_no_other() {
        let (_, routes) = routes().into_parts();
        assert!(routes.iter().filter(|route| route.is_page).count() > ACTIONS.len(), "pages are not described");
        let served: BTreeSet<(String, String)> = routes
            .into_iter()
            .filter(|route| !route.is_page)
            .flat_map(|route| route.methods.iter().map(move |method| (route.path.clone(), (*method).to_owned())))
            .collect();
        let described: BTreeSet<(String, String)> = api_schema()["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| {
                methods.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(described, served);
    }
}
