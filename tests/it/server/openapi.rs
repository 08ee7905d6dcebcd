//! The description of the API is an OpenAPI document, and what the server returns fits it.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidegate::actions::ACTIONS;
use tidegate::config::Auth;
use tidegate::secret::Secret;
use tidegate::server::api_schema;

use super::api;
use crate::support::TestDatabase;
use crate::support::json_schema::faults;
use crate::support::port::{self, CONFIG, Port, Reply};
use crate::support::story::{self, PAGES};

const TOKEN: &str = "authorization: Bearer t0ken-of-scripts";

/// The parts of OpenAPI 3.1 that the description uses, closed, so that a misspelt member is found.
fn shape() -> Value {
    let text = || json!({ "type": "string" });
    let closed = |properties: Value, required: Value| json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
    let of = |schema: Value| json!({ "type": "object", "additionalProperties": schema });
    let names = || json!({ "type": "array", "items": of(json!({ "type": "array", "items": { "type": "string" } })) });
    let schema = json!({ "$ref": "#/definitions/schema" });
    let content = of(closed(json!({ "schema": schema }), json!(["schema"])));
    let parameter = closed(
        json!({
            "name": text(), "in": { "enum": ["path", "query", "header"] }, "description": text(),
            "required": { "type": "boolean" }, "schema": schema,
        }),
        json!(["name", "in", "required", "schema"]),
    );
    let header = closed(json!({ "description": text(), "schema": schema }), json!(["schema"]));
    let response =
        closed(json!({ "description": text(), "content": content, "headers": of(header) }), json!(["description"]));
    let body = closed(json!({ "required": { "type": "boolean" }, "content": content }), json!(["content"]));
    let operation = closed(
        json!({
            "summary": text(), "operationId": text(), "security": names(), "requestBody": body,
            "parameters": { "type": "array", "items": parameter },
            "responses": {
                "type": "object", "minProperties": 1, "additionalProperties": response,
                "propertyNames": { "anyOf": [{ "pattern": "^2" }, { "pattern": "^3" }, { "pattern": "^4" }, { "pattern": "^5" }] },
            },
        }),
        json!(["summary", "operationId", "responses"]),
    );
    let methods = closed(json!({ "get": operation, "post": operation }), json!([]));
    let scheme = closed(
        json!({ "type": { "const": "http" }, "scheme": { "enum": ["basic", "bearer"] }, "description": text() }),
        json!(["type", "scheme"]),
    );
    closed(
        json!({
            "openapi": { "const": "3.1.0" },
            "info": closed(
                json!({ "title": text(), "version": text(), "description": text() }),
                json!(["title", "version"]),
            ),
            "security": names(),
            "paths": {
                "type": "object", "minProperties": 1, "additionalProperties": methods,
                "propertyNames": { "pattern": "^/" },
            },
            "components": closed(
                json!({ "schemas": of(schema), "securitySchemes": of(scheme) }),
                json!(["schemas", "securitySchemes"]),
            ),
        }),
        json!(["openapi", "info", "paths", "components"]),
    )
}

/// A JSON Schema of the keywords that [`faults`] knows.
fn schema_of_schemas() -> Value {
    let this = json!({ "$ref": "#/definitions/schema" });
    let list = json!({ "type": "array", "items": this });
    let all = json!({ "type": "object", "additionalProperties": this });
    let words = json!({ "type": "array", "items": { "type": "string" } });
    let kinds = json!({ "enum": ["null", "boolean", "object", "array", "string", "number", "integer"] });
    json!({ "definitions": { "schema": { "anyOf": [{ "type": "boolean" }, {
        "type": "object",
        "properties": {
            "$ref": { "pattern": "^#/components/schemas/" }, "title": { "type": "string" },
            "description": { "type": "string" }, "format": { "type": "string" }, "pattern": { "type": "string" },
            "type": { "anyOf": [kinds, { "type": "array", "items": kinds }] },
            "enum": { "type": "array" }, "const": true, "default": true,
            "anyOf": list, "oneOf": list, "allOf": list, "items": this, "properties": all, "required": words,
            "additionalProperties": this, "minimum": { "type": "number" }, "maximum": { "type": "number" },
        },
        "additionalProperties": false,
    }] } } })
}

#[test]
fn the_description_is_an_openapi_document() {
    let document = api_schema();
    assert_eq!(faults(&schema_of_schemas(), &shape(), &document), Vec::<String>::new());
    let mut ids = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let of_path: BTreeSet<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        for (method, operation) in methods.as_object().unwrap() {
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let named: BTreeSet<&str> = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(named, of_path, "{method} {path}");
            let all: BTreeSet<_> =
                parameters.iter().map(|one| (one["in"].to_string(), one["name"].to_string())).collect();
            assert_eq!(all.len(), parameters.len(), "{method} {path}: a parameter occurs twice");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    assert!(text.contains("\"basic\"") && text.contains("\"bearer\""));
}

/// The path of the description that a request belongs to.
fn described<'d>(document: &'d Value, path: &str) -> &'d Value {
    let path = path.split('?').next().unwrap();
    let fits = |template: &str| {
        let (parts, own): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), template.split('/').collect());
        parts.len() == own.len() && parts.iter().zip(own).all(|(part, own)| own.starts_with('{') || *part == own)
    };
    let paths = document["paths"].as_object().unwrap();
    let exact = paths.get(path);
    exact.or_else(|| paths.iter().find(|(template, _)| fits(template)).map(|(_, methods)| methods)).unwrap()
}

#[track_caller]
fn assert_described(document: &Value, method: &str, path: &str, reply: &Reply) {
    let operation = &described(document, path)[method];
    let response = &operation["responses"][reply.status.to_string()];
    assert!(response.is_object(), "{method} {path}: {} is not described: {}", reply.status, reply.body);
    let kind = reply.header("content-type").split(';').next().unwrap();
    if response.get("content").is_none() {
        return assert_eq!((kind, reply.body.as_str()), ("", ""));
    }
    let schema = &response["content"][kind]["schema"];
    assert!(schema.is_object(), "{method} {path}: {} as {kind:?} is not described", reply.status);
    let value = if kind.ends_with("json") { reply.json() } else { Value::String(reply.body.clone()) };
    assert_eq!(faults(document, schema, &value), Vec::<String>::new(), "{method} {path}");
}

async fn ask(port: &Port, method: &str, path: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let request = format!(
        "{} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\ncontent-length: {length}\r\n\r\n{body}",
        method.to_uppercase()
    );
    let response = port.ask(&request).await;
    let (head, body) = response.split_once("\r\n\r\n").expect("a response");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_ascii_lowercase().replace('\r', ""), body: body.to_owned() }
}

fn with_login() -> tidegate::config::Config {
    let mut config = port::config(&format!(
        "{CONFIG}notify: [{{ name: oncall, url: \"https://hooks.example.com/x\", format: slack }}]\n"
    ));
    let (password, token) = (Secret::new("correct horse"), Some(Secret::new("t0ken-of-scripts")));
    config.server.auth = Some(Auth { user: "operator".to_owned(), password, token });
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_returns_is_as_described() {
    let document = api_schema();
    let database = TestDatabase::create().await;
    story::trouble(&database.pool(), "the token was refused").await;
    let port = Port::of(database.pool(), with_login()).await;
    let mut statuses = BTreeSet::new();
    let mut seen = async |method: &str, path: &str, headers: &str, body: &str| {
        let reply = ask(&port, method, path, headers, body).await;
        assert_described(&document, method, path, &reply);
        statuses.insert(reply.status);
        reply
    };
    let many = format!("{TOKEN}{}", "\r\nx: y".repeat(70));
    for page in PAGES {
        let path = api(page);
        assert_eq!(seen("get", &path, &many, "").await.status, 431, "{path}");
        let reply = seen("get", &path, TOKEN, "").await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        let tag = reply.header("etag").to_owned();
        assert_eq!(seen("get", &path, &format!("{TOKEN}\r\nif-none-match: {tag}"), "").await.status, 304, "{path}");
        assert_eq!(seen("get", &path, "x: y", "").await.status, 401, "{path}");
        assert_eq!(seen("get", &format!("{path}?colour=red"), TOKEN, "").await.status, 400, "{path}");
        let long = format!("{path}?q={}", "x".repeat(2_000));
        assert_eq!(seen("get", &long, TOKEN, "").await.status, 414, "{path}");
    }
    for path in ["/api/v1/runs/99", "/api/v1/jobs/nothing", "/api/v1/streams/a/b"] {
        assert_eq!(seen("get", path, TOKEN, "").await.status, 404, "{path}");
    }
    for path in ["/status.json", "/metrics", "/healthz"] {
        assert_eq!(seen("get", path, TOKEN, "").await.status, 200, "{path}");
        assert_eq!(seen("get", path, &many, "").await.status, 431, "{path}");
    }
    assert_eq!(seen("get", "/readyz", TOKEN, "").await.status, 503, "the process has not started completely");
    assert_eq!(seen("get", "/metrics", "x: y", "").await.status, 401);

    let json = format!("{TOKEN}\r\ncontent-type: application/json");
    for action in &ACTIONS {
        let path = format!("/api/v1{}", filled(action.route));
        seen("get", &path, TOKEN, "").await;
        seen("post", &path, &json, r#"{ "colour": "red" }"#).await;
        assert_eq!(seen("post", &path, &json, "[]").await.status, 400, "{path}");
        assert_eq!(seen("post", &path, TOKEN, "{}").await.status, 415, "{path}");
        assert_eq!(seen("post", &path, &many, "{}").await.status, 431, "{path}");
        assert_eq!(seen("post", &path, &json, &"x".repeat(9_000)).await.status, 413, "{path}");
        let basic = "authorization: Basic b3BlcmF0b3I6Y29ycmVjdCBob3JzZQ==\r\nsec-fetch-site: same-origin";
        assert_eq!(seen("post", &path, basic, "{}").await.status, 403, "{path}");
    }
    let until = (chrono::Utc::now() + chrono::TimeDelta::days(1)).format("%Y-%m-%dT%H:%M:%SZ");
    let pause = json!({ "until": until.to_string(), "reason": "maintenance" }).to_string();
    for (path, body) in [
        ("/api/v1/jobs/lynn-hourly/runs", "{}"),
        ("/api/v1/jobs/lynn-hourly/pause", &*pause),
        ("/api/v1/problems/1/mute", r#"{ "days": 4 }"#),
        ("/api/v1/system/notify/oncall/test", "{}"),
    ] {
        let reply = seen("post", path, &json, body).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    }
    assert_eq!(statuses, BTreeSet::from([200, 304, 400, 401, 403, 404, 409, 413, 414, 415, 422, 431, 503]));

    // A method that is not described does not exist, and the error is a document as well.
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "delete", "patch"] {
            let form = format!("{TOKEN}\r\ncontent-type: application/x-www-form-urlencoded");
            let headers = if path.starts_with("/api") { &json } else { &form };
            let reply = ask(&port, method, &filled(path), headers, "{}").await;
            assert_eq!(reply.status != 405, methods.get(method).is_some(), "{method} {path}: {}", reply.body);
            if reply.status == 405 && path.starts_with("/api") {
                let schema = json!({ "$ref": "#/components/schemas/ApiError" });
                assert_eq!(faults(&document, &schema, &reply.json()), Vec::<String>::new(), "{method} {path}");
            }
        }
    }
    port.close().await;
}

/// A path with names that the story has.
fn filled(route: &str) -> String {
    [
        ("{job}", "lynn-hourly"),
        ("{connection}", "acme-lynn"),
        ("{stream}", "survey_result"),
        ("{run}", "5"),
        ("{problem}", "1"),
        ("{target}", "oncall"),
    ]
    .iter()
    .fold(route.to_owned(), |path, (name, value)| path.replace(name, value))
}

/// Every parameter with values of its description is accepted, and the values around it are not.
#[tokio::test(flavor = "multi_thread")]
async fn described_values_of_parameters_are_accepted_and_others_refused() {
    let document = api_schema();
    let database = TestDatabase::create().await;
    story::calm(&database.pool()).await;
    let port = Port::open(database.pool()).await;
    let mut checked = 0;
    for page in PAGES {
        let path = api(page);
        let parameters = described(&document, &path)["get"]["parameters"].as_array().unwrap();
        for parameter in parameters.iter().filter(|parameter| parameter["in"] == "query") {
            let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
            let values = schema["enum"].as_array().into_iter().flatten();
            for value in values.map(|value| value.as_str().unwrap().replace(' ', "%20")) {
                let reply = port.fetch(&format!("{path}?{name}={value}"), "").await;
                assert_eq!(reply.status, 200, "{path}?{name}={value}: {}", reply.body);
            }
            // Texts that are searched for, and positions that are names, can be anything.
            if matches!((name, path.as_str()), ("q", _) | ("after", "/api/v1/jobs" | "/api/v1/connections")) {
                continue;
            }
            for wrong in ["bogus", "-1", "%3Cb%3E"] {
                for path in [path.clone(), page.to_owned()] {
                    let reply = port.fetch(&format!("{path}?{name}={wrong}"), "").await;
                    assert_eq!(reply.status, 400, "{path}?{name}={wrong}: {}", reply.body);
                    let said = if path == page { format!("<code>{name}</code>") } else { format!("`{name}`") };
                    assert!(reply.body.contains(&format!("parameter {said}")), "{}", reply.body);
                    assert!(!reply.body.contains("<b>"), "{}", reply.body);
                    checked += 1;
                }
            }
            let problem = port.fetch(&format!("{path}?{name}=bogus"), "").await.json();
            assert_eq!(problem["parameter"], name);
            if let Some(values) = schema["enum"].as_array() {
                assert_eq!(problem["allowed"].as_array(), Some(values), "{problem}");
                let words: Vec<&str> = values.iter().map(|value| value.as_str().unwrap()).collect();
                let shown = port.fetch(&format!("{page}?{name}=bogus"), "").await.body;
                assert!(shown.contains(&words.join(", ")), "{page}?{name}=bogus: {shown}");
            }
        }
    }
    assert!(checked > 100, "{checked}");
    for (path, says) in [
        ("/runs?job=lynn-hourli", "did you mean `lynn-hourly`?"),
        ("/runs?connection=acme", "acme-lynn"),
        ("/streams?state=lat", "failed"),
        ("/streams?sate=late", "the parameters are: state, connection, q, after"),
        ("/streams?state=late&state=gap", "parameter `state` is not written once"),
        ("/system?x=1", "there are no parameters here"),
        ("/runs?from=2026-02-01&to=2026-01-01", "parameter `to` is not after the parameter `from`"),
        ("/streams/acme-lynn/survey_result?year=1999", "is not a year that has days: "),
        ("/rejects?connection=acme-lynn&stream=other", "is not a stream of the connection: menu_detail, show_error"),
    ] {
        let page = port.fetch(path, "").await;
        let said = page.body.replace("<code>", "`").replace("</code>", "`");
        assert!(page.status == 400 && said.contains(says), "{path}: {}", page.body);
        let document = port.fetch(&api(path), "").await;
        assert!(document.status == 400 && document.json()["detail"].as_str().unwrap().contains(says), "{path}");
    }
    // Names of the past are known.
    for path in ["/runs?job=lynn-hourly", "/pushes?job=lynn-push", "/events?run=1", "/schema?table=lynn.survey_result"]
    {
        assert_eq!(port.fetch(path, "").await.status, 200, "{path}");
    }
    port.close().await;
}
