//! Every action as an attacker sends it: nothing changes, and nothing is a fault of the server.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::Utc;
use tidegate::actions::ACTIONS;

use super::{BASIC, BEARER, Port, SAME_ORIGIN, STREAM, request, world};
use crate::support::{World, ago};

const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";
const JSON: &str = "content-type: application/json\r\n";
const HOST: &str = "host: localhost\r\n";

/// Something that every action can act on.
const STATE: &str = "
    update tidegate.quota_limit set blocked_until = now() + interval '1 hour';
    insert into tidegate.run (job, connection, kind) values ('lynn', 'acme', 'manual');
    insert into tidegate.pause (job, until, reason, actor)
    values ('lynn', now() + interval '1 day', 'x', 'y'), ('', now() + interval '1 day', 'x', 'y');
    update tidegate.slice
    set held_since = now(), held_reason = 'few rows', held_rows_there = 1234, held_rows_reported = 5
    where stream = 'navigation_marks';
    insert into tidegate.problem (kind, scope, connection, opened_at, summary)
    values ('failed', 'acme', 'acme', now(), 'credential refused');
";

/// What is needed to do each action, in an order in which all of them can be done.
fn valid(run: i64) -> Vec<(String, &'static str, String)> {
    let until = (Utc::now() + chrono::TimeDelta::days(1)).format("%Y-%m-%dT%H:%M").to_string();
    let pause = format!("until={until}&reason=maintenance");
    let (from, to) = (ago(1).date_naive(), ago(0).date_naive());
    let action = |path: &str, route, fields: &str| (path.to_owned(), route, fields.to_owned());
    vec![
        action("/jobs/lynn/runs", "/jobs/{job}/runs", ""),
        action("/jobs/lynn/backfills", "/jobs/{job}/backfills", &format!("from={from}&to={to}")),
        action(&format!("/runs/{run}/cancel"), "/runs/{run}/cancel", ""),
        action("/jobs/lynn/pause", "/jobs/{job}/pause", &pause),
        action("/jobs/lynn/resume", "/jobs/{job}/resume", ""),
        action("/system/pause", "/system/pause", &pause),
        action("/system/resume", "/system/resume", ""),
        action(&format!("{STREAM}/release"), "/streams/{connection}/{stream}/release", "name=navigation_marks"),
        action("/connections/acme/unblock", "/connections/{connection}/unblock", ""),
        action("/problems/1/mute", "/problems/{problem}/mute", "days=3"),
        action("/system/notify/oncall/test", "/system/notify/{target}/test", ""),
    ]
}

/// A hash of each control table.
async fn tables(world: &World) -> BTreeMap<String, String> {
    let pool = world.database.pool();
    let names: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relnamespace = 'tidegate'::regnamespace and relkind = 'r'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let mut hashes = BTreeMap::new();
    for name in names {
        let rows =
            format!("select md5(coalesce(string_agg(t::text, ',' order by t::text), '')) from tidegate.{name} as t");
        hashes.insert(name, world.scalar(&rows).await);
    }
    hashes
}

/// Fields of a form as a JSON object.
fn object(fields: &str) -> String {
    let members: serde_json::Map<String, serde_json::Value> = url::form_urlencoded::parse(fields.as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned().into()))
        .collect();
    serde_json::Value::Object(members).to_string()
}

/// Requests whose fields are right and whose head is not: what they send first, up to the length.
fn heads(path: &str) -> Vec<String> {
    let page = |host: &str, headers: &str| format!("POST {path} HTTP/1.1\r\n{host}{headers}");
    let wrong = "authorization: Basic b3BlcmF0b3I6aHVudGVyMg==\r\n";
    let mut heads = vec![
        page(HOST, &format!("{SAME_ORIGIN}{FORM}")),
        page(HOST, &format!("{wrong}{SAME_ORIGIN}{FORM}")),
        page(HOST, &format!("{BASIC}{FORM}")),
        page(HOST, &format!("{BASIC}sec-fetch-site: cross-site\r\n{FORM}")),
        page(HOST, &format!("{BASIC}sec-fetch-site: same-site\r\n{FORM}")),
        page(HOST, &format!("{BASIC}origin: https://evil.example\r\n{FORM}")),
        page(HOST, &format!("{BASIC}origin: null\r\n{FORM}")),
        page(HOST, &format!("{BASIC}{SAME_ORIGIN}origin: https://evil.example\r\n{FORM}")),
        page(HOST, &format!("{BASIC}{SAME_ORIGIN}origin: null\r\n{FORM}")),
        page("host: evil.example\r\n", &format!("{BASIC}{SAME_ORIGIN}{FORM}")),
        page("", &format!("{BASIC}{SAME_ORIGIN}{FORM}")),
        page(HOST, &format!("{BASIC}{SAME_ORIGIN}content-type: text/plain\r\n")),
        page(HOST, &format!("{BASIC}{SAME_ORIGIN}content-type: multipart/form-data; boundary=x\r\n")),
        page(HOST, &format!("{BASIC}{SAME_ORIGIN}")),
    ];
    let api = |headers: &str| format!("POST /api/v1{path} HTTP/1.1\r\n{HOST}{headers}");
    heads.extend([
        api(JSON),
        api(&format!("authorization: Bearer wrong-token-of-x\r\n{JSON}")),
        api(&format!("{BASIC}{SAME_ORIGIN}{JSON}")),
        api(&format!("{BEARER}sec-fetch-site: cross-site\r\n{JSON}")),
        api(&format!("{BEARER}{SAME_ORIGIN}origin: https://evil.example\r\n{JSON}")),
        api(&format!("{BEARER}{FORM}")),
        api(&format!("{BEARER}{BEARER}{JSON}")),
        format!("POST /api/v1{path} HTTP/1.1\r\nhost: evil.example\r\n{BEARER}{JSON}"),
    ]);
    heads
}

/// Bodies with right fields and something else beside them.
fn bodies(fields: &str) -> Vec<Vec<u8>> {
    let beside = [
        "colour=red",
        "reason=%00",
        "reason=a%0Ab",
        "days=-1",
        "days=0",
        "days=99999999999999999999999999",
        "days=1e300",
        "from=-99999-01-01&to=9999-12-31",
        "until=9999-12-31T00%3A00",
        "stream=nothing",
        "stream='%3B+drop+table+tidegate.run%3B--",
        "name=navigation_mark",
    ];
    let id = request(1);
    let mut bodies: Vec<Vec<u8>> =
        beside.iter().map(|beside| format!("{id}&{}", replaced(fields, beside)).into_bytes()).collect();
    bodies.push([id.as_bytes(), b"&\xff\xfe=\xff&", fields.as_bytes()].concat());
    bodies.push(fields.as_bytes().to_vec());
    bodies.push(format!("request=-1&{fields}").into_bytes());
    bodies.push(format!("{id}&{fields}&x={}", "x".repeat(100_000)).into_bytes());
    bodies
}

/// The fields, with those of `beside` instead of their own.
fn replaced(fields: &str, beside: &str) -> String {
    let name = |field: &str| field.split('=').next().unwrap_or_default().to_owned();
    let others: Vec<String> = beside.split('&').map(name).collect();
    let kept = fields.split('&').filter(|field| !field.is_empty() && !others.contains(&name(field)));
    let mut text = beside.to_owned();
    kept.for_each(|field| {
        let _ = write!(text, "&{field}");
    });
    text
}

/// Names of nothing.
const NAMES: [&str; 12] = [
    "0",
    "-1",
    "9223372036854775807",
    "99999999999999999999",
    "nothing",
    "%00",
    "%FF",
    "..%2F..%2Fetc",
    "%3Cscript%3E",
    "'%20or%201=1--",
    "a%0d%0aset-cookie:%20x",
    "%F0%9F%98%80",
];

struct Attacker {
    port: Port,
    sent: usize,
}

impl Attacker {
    async fn send(&mut self, head: &str, body: &[u8]) {
        let head = format!("{head}content-length: {}\r\n\r\n", body.len());
        let response = self.port.raw(&[head.as_bytes(), body].concat()).await;
        let is_refused = (400..500).contains(&response.status);
        assert!(is_refused, "{}\n{head}{}\n{}", response.status, String::from_utf8_lossy(body), response.body);
        // A browser does not run what is declared as JSON.
        let is_json = response.head.contains("application/problem+json") && response.head.contains("nosniff");
        assert!(is_json || !response.body.contains("<script>"), "{}\n{}", response.head, response.body);
        assert!(!response.head.contains("set-cookie"), "{}", response.head);
        self.sent += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_no_action_of_an_attacker_changes_anything_or_is_a_fault_of_the_server() {
    let world = World::new().await;
    world.edit_config(|text| text + super::TARGET);
    world.sync_ok().await;
    sqlx::raw_sql(STATE).execute(&world.database.pool()).await.unwrap();
    let run: i64 = world.scalar("select max(id) from tidegate.run").await;
    let all = valid(run);
    let routes: Vec<&str> = all.iter().map(|(_, route, _)| *route).collect();
    let mut missing = ACTIONS.iter().filter(|action| !routes.contains(&action.route)).map(|action| action.route);
    assert_eq!(missing.next(), None, "an action is not tried");

    let mut attacker = Attacker { port: Port::open(world.database.pool(), world.config(), true).await, sent: 0 };
    let before = tables(&world).await;
    for (path, route, fields) in &all {
        for head in heads(path) {
            let body = if head.contains("/api/v1") { object(fields) } else { format!("{}&{fields}", request(1)) };
            attacker.send(&head, body.as_bytes()).await;
        }
        let page = format!("{HOST}{BASIC}{SAME_ORIGIN}{FORM}");
        let api = format!("{HOST}{BEARER}{JSON}");
        for body in bodies(fields) {
            attacker.send(&format!("POST {path} HTTP/1.1\r\n{page}"), &body).await;
        }
        for body in [
            &b"[]"[..],
            b"null",
            b"{",
            b"\xff",
            br#"{ "colour": 1 }"#,
            br#"{ "stream": { "a": 1 }, "days": [1] }"#,
            br#"{ "days": -1, "stream": "nothing", "name": "", "until": 1 }"#,
            br#"{ "days": 1e300, "reason": "\u0000", "from": 1 }"#,
            br#"{ "request": 7 }"#,
        ] {
            attacker.send(&format!("POST /api/v1{path} HTTP/1.1\r\n{api}"), body).await;
        }
        let names = route.split('/').filter(|part| part.starts_with('{'));
        for name in names {
            for value in NAMES.into_iter().map(ToOwned::to_owned).chain(["x".repeat(1_500)]) {
                let other = hostile(path, route, name, &value);
                let form = format!("{}&{fields}", request(1));
                attacker.send(&format!("POST {other} HTTP/1.1\r\n{page}"), form.as_bytes()).await;
                attacker.send(&format!("POST /api/v1{other} HTTP/1.1\r\n{api}"), object(fields).as_bytes()).await;
                attacker.send(&format!("GET {other}?{fields} HTTP/1.1\r\n{HOST}{BASIC}"), b"").await;
            }
        }
    }
    assert_eq!(tables(&world).await, before);
    assert!(attacker.sent > 600, "{}", attacker.sent);
    // With the right head, names and fields each of them is done.
    for (number, (path, _, fields)) in (100_u128..).zip(&all) {
        let done = attacker.port.post(path, &format!("{}&{fields}", request(number))).await;
        assert_eq!(done.status, 303, "{path}: {}", done.body);
    }
    let events: i64 = world.scalar("select count(*) from tidegate.event where kind = 'action'").await;
    assert_eq!(usize::try_from(events).unwrap(), ACTIONS.len());
}

/// The path with another value for `name`.
fn hostile(path: &str, route: &str, name: &str, value: &str) -> String {
    let parts = path.split('/').zip(route.split('/'));
    let parts: Vec<&str> = parts.map(|(part, own)| if own == name { value } else { part }).collect();
    parts.join("/")
}

#[tokio::test]
async fn p7_hostile_names_are_names_of_nothing() {
    let (world, port) = world().await;
    for name in ["%3Cscript%3E", "..%2F..%2Fetc", "a%22b", "%00", "%FF", "lynn%0d%0aset-cookie:x", "'%3B--"] {
        let expected = if matches!(name, "%00" | "%FF") { 400 } else { 404 };
        for path in
            [format!("/jobs/{name}/runs"), format!("/jobs/{name}/pause"), format!("/connections/{name}/unblock")]
        {
            let page = port.get(&path).await;
            assert_eq!(page.status, expected, "{path}");
            assert!(!page.body.contains("<script>") && !page.head.contains("set-cookie"), "{path}: {}", page.body);
            let response = port.post(&path, &request(1)).await;
            assert_eq!(response.status, expected, "{path}");
        }
        let release = port.post(&format!("/streams/acme/{name}/release"), &format!("{}&name={name}", request(1))).await;
        assert!(matches!(release.status, 400 | 404 | 409 | 422), "{name}: {}", release.status);
        assert!(!release.body.contains("<script>"), "{}", release.body);
    }
    assert_eq!(world.scalar::<i64>("select count(*) from tidegate.event").await, 0);
}
