//! What each page shows without rows, with one row of everything, and with problems.

use std::fmt::Write as _;

use serde_json::json;

use super::api;
use crate::support::TestDatabase;
use crate::support::port::{CONFIG, Port};
use crate::support::story;
use crate::support::story::PAGES;

/// The main part of a page. Times, ages, dates and drawings depend on the day and are replaced.
fn main_part(page: &str) -> String {
    let (_, rest) = page.split_once("<main").expect("a main part");
    let (main, _) = rest.split_once("</main>").expect("its end");
    let mut text = format!("<main{main}");
    for (from, to) in [("<time", "</time>"), ("<span class=\"age\"", "</span>"), ("<svg", "</svg>")] {
        text = replaced(&text, from, to, &from[..from.find(' ').unwrap_or(from.len())]);
    }
    // How long a run that goes on has taken so far.
    for seconds in 0..60 {
        text = text.replace(&format!("<td>{seconds} s</td>"), "<td># s</td>");
    }
    let lines = text.lines().filter(|line| !line.contains(" = ") && !line.contains("size</th>"));
    let mut shown = String::new();
    for line in lines {
        let words = line.replace("<tr", "\n<tr");
        // Dates of gaps, years of calendars, sizes of tables.
        let mut digits = 0;
        for character in words.chars() {
            if character.is_ascii_digit() {
                digits += 1;
                shown.push(if digits > 3 { '#' } else { character });
            } else {
                if character != '-' {
                    digits = 0;
                }
                shown.push(character);
            }
        }
        shown.push('\n');
    }
    shown
}

/// With an empty element instead of everything from `from` to `to`.
fn replaced(text: &str, from: &str, to: &str, name: &str) -> String {
    let (mut rest, mut shown) = (text, String::new());
    while let Some((before, after)) = rest.split_once(from) {
        let (_, after) = after.split_once(to).expect("the end of an element");
        let _ = write!(shown, "{before}{name}/>");
        rest = after;
    }
    shown + rest
}

/// Pages whose content changes with the tables of Postgres or the time of the day.
const VARIES: [&str; 2] = ["/system", "/jobs/lynn-hourly"];

#[tokio::test(flavor = "multi_thread")]
async fn every_page_shows_its_main_states() {
    let states = [TestDatabase::create().await, TestDatabase::create().await, TestDatabase::create().await];
    story::calm(&states[1].pool()).await;
    story::trouble(&states[2].pool(), "the <token> was refused").await;
    let mut ports = Vec::new();
    for database in &states {
        ports.push(Port::open(database.pool()).await);
    }
    for page in PAGES {
        let mut text = String::new();
        for (state, port) in ["empty", "calm", "problems"].iter().zip(&ports) {
            let reply = port.fetch(page, "").await;
            let is_missing = *state == "empty" && matches!(page, "/runs/1" | "/streams/acme-lynn/survey_result");
            assert_eq!(reply.status, if is_missing { 404 } else { 200 }, "{page} {state}: {}", reply.body);
            well_formed(page, &reply.body);
            let document = port.fetch(&api(page), "").await;
            assert_eq!(document.status, reply.status, "{page} {state}: {}", document.body);
            assert!(document.json().is_object());
            let _ = writeln!(text, "==== {state}\n{}", main_part(&reply.body));
        }
        if !VARIES.contains(&page) {
            let name = page.trim_matches('/').replace(['/', '-'], "_");
            insta::assert_snapshot!(if name.is_empty() { "overview".to_owned() } else { name }, text);
        }
    }
    for port in ports {
        port.close().await;
    }
}

/// Every element is closed in order, every id is unique, and no style or handler is inline.
fn well_formed(page: &str, html: &str) {
    const EMPTY: [&str; 8] = ["meta", "link", "input", "br", "wbr", "img", "option", "rect"];
    let (mut open, mut ids) = (Vec::new(), std::collections::BTreeSet::new());
    for part in html.split('<').skip(1) {
        let Some((tag, _)) = part.split_once('>') else { panic!("{page}: <{part}") };
        let name = tag.split([' ', '/', '\n']).next().unwrap();
        if let Some(name) = tag.strip_prefix('/') {
            if !EMPTY.contains(&name) {
                assert_eq!(open.pop(), Some(name), "{page}: {html}");
            }
        } else if !tag.starts_with('!') && !EMPTY.contains(&name) && !tag.ends_with('/') {
            open.push(name);
        }
        if let Some((_, id)) = tag.split_once(" id=\"") {
            assert!(ids.insert(id.split('"').next().unwrap()), "{page}: two elements have the id {id}");
        }
        let is_inline = |names: &str| names.contains(" style=") || names.trim_start().starts_with("on");
        assert!(!tag.split('"').step_by(2).skip(1).any(is_inline), "{page}: <{tag}>");
    }
    assert_eq!(open, Vec::<&str>::new(), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_credentials_of_a_connection_one_is_in_use_and_has_the_use_of_the_week() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    story::calm(&pool).await;
    sqlx::raw_sql(
        "insert into tidegate.quota_ledger (key, connections) values ('key 2', '{acme-lynn}');
        insert into tidegate.quota_limit (ledger_id, name, unit, amount, per, reach, width)
        values (2, 'period_calls', 'calls', 10000, '12 hours', '12 hours', '1 hour');
        insert into tidegate.quota_use (limit_id, ends_at, used) values (2, now() + interval '1 hour', 10)",
    )
    .execute(&pool)
    .await
    .unwrap();
    let port = Port::open(pool).await;
    let page = port.fetch("/quotas", "").await.body;
    for heading in ["credential 1 (no longer in use)", "credential 2 (in use)"] {
        assert!(page.contains(&format!("acme-lynn</a>, {heading}</h2>")), "{page}");
    }
    assert_eq!(page.matches("Last 7 days, calls by the hour").count(), 1, "{page}");
    let quotas = port.fetch("/api/v1/quotas", "").await.json();
    let [earlier, current] = [0_usize, 1].map(|place| &quotas["credentials"][place]);
    assert_eq!((&earlier["in_use"], &earlier["hours_of"], &earlier["hours"]), (&json!(false), &json!([]), &json!([])));
    assert_eq!((&current["in_use"], &current["hours_of"]), (&json!(true), &json!(["acme-lynn"])));
    assert_eq!(current["hours"].as_array().unwrap().len(), 40, "{quotas}");
    // The other pages show only the one that is in use.
    let connection = port.fetch("/api/v1/connections/acme-lynn", "").await.json();
    assert_eq!(connection["limits"].as_array().unwrap().len(), 1, "{connection}");
    assert_eq!(connection["limits"][0]["used"], 10);
    assert_eq!(connection["summary"]["fullest"]["used"], 10, "{connection}");
    let overview = port.fetch("/api/v1/overview", "").await.json();
    assert_eq!(overview["connections"][0]["fullest"]["used"], 10, "{overview}");
    port.close().await;

    // The first one is in use again: a running process says so, and another one that was killed said otherwise before.
    let pool = database.pool();
    sqlx::raw_sql(
        "update tidegate.instance set seen_at = now();
        insert into tidegate.instance (owner, jobs, seen_at) values ('killed', '{}', now() - interval '1 hour');
        insert into tidegate.quota_statement (owner, connection, limit_id, amount, per, reach, width) values
        ('host-1', 'acme-lynn', 1, 10000, '12 hours', '12 hours', '1 hour'),
        ('killed', 'acme-lynn', 2, 10000, '12 hours', '12 hours', '1 hour')",
    )
    .execute(&pool)
    .await
    .unwrap();
    let port = Port::open(pool).await;
    let quotas = port.fetch("/api/v1/quotas", "").await.json();
    assert_eq!(quotas["total"], 1, "{quotas}");
    assert_eq!(quotas["credentials"][0]["limits"][0]["used"], 8640, "{quotas}");
    port.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_system_shows_every_configured_target_and_the_loops_that_fail() {
    let database = TestDatabase::create().await;
    let pool = database.pool();
    story::calm(&pool).await;
    sqlx::raw_sql(
        "update tidegate.instance set loops = '{\"enqueue\": 0.4, \"problems\": 300, \"prune\": 900}';
        insert into tidegate.notification_target (target, sent_at, failed_at, failure) values
        ('good', '2026-01-05 03:16Z', null, null), ('bad', null, '2026-01-05 03:16Z', 'HTTP 403'),
        ('removed', '2026-01-05 03:16Z', null, null);
        insert into tidegate.notification (target, kind) values ('waits', 'test'), ('bad', 'test')",
    )
    .execute(&pool)
    .await
    .unwrap();
    let targets = ["good", "bad", "waits", "silent"]
        .map(|name| format!("  - {{ name: {name}, url: \"https://{name}.example/hook-s3cret\", format: slack }}\n"));
    let auth = "server: { auth: { user: ana, password: pass-s3cret-value, token: token-s3cret-value } }\n";
    let config = crate::support::port::config(&format!("{auth}notify:\n{}{}", targets.concat(), CONFIG));
    let port = Port::of(pool, config).await;
    let bearer = "authorization: Bearer token-s3cret-value";
    let system = port.fetch("/api/v1/system", bearer).await.json();
    let found: Vec<_> = system["targets"].as_array().unwrap().iter().map(|of| (&of["name"], &of["state"])).collect();
    let named = |name: &str, state: &str| (serde_json::json!(name), serde_json::json!(state));
    let expected =
        [named("good", "delivered"), named("bad", "failing"), named("waits", "waiting"), named("silent", "never sent")];
    assert!(expected.iter().map(|(name, state)| (name, state)).eq(found), "{system:#}");
    assert_eq!(system["processes"][0]["failing"], serde_json::json!(["problems"]));
    let page = port.fetch("/system", bearer).await.body;
    for name in ["good", "bad", "waits", "silent"] {
        assert!(page.contains(&format!("/system/notify/{name}/test\"")), "a button for {name}: {page}");
    }
    assert!(page.contains("enqueue 0.4<br>"), "each loop has a line: {page}");
    assert!(page.contains("HTTP 403") && page.contains("problems 300") && page.contains(", fails</b>"), "{page}");
    assert!(!page.contains("removed") && !page.contains("s3cret"), "{page}");
    port.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_instant_reads_the_same_on_every_page() {
    let database = TestDatabase::create().await;
    story::calm(&database.pool()).await;
    let port = Port::open(database.pool()).await;
    // 03:16 in UTC; the browser has chosen Kathmandu.
    let at = "<time datetime=\"2026-01-05T03:16:00Z\" title=\"2026-01-05T03:16:00Z\">";
    for (zone, shown) in [("Asia/Kathmandu", "09:01 (+05:45)"), ("UTC", "03:16 (UTC)")] {
        let mut pages = 0;
        for page in PAGES {
            let reply = port.fetch(page, &format!("cookie: a=b; tidegate_zone={zone}")).await;
            for found in reply.body.split(at).skip(1) {
                let text = found.split('<').next().unwrap();
                assert!(text.starts_with("Mon 5 Jan") && text.ends_with(shown), "{page}: {text}");
            }
            pages += usize::from(reply.body.contains(at));
        }
        assert!(pages >= 8, "{pages} pages show it");
    }
    let thing = port.fetch("/streams", "").await.body;
    assert!(thing.contains(&format!("{at}Mon 5 Jan, 00:16 (-03:00)")) || thing.contains("00:16 (-03:00)"), "{thing}");
    let chosen = port.fetch("/zone?zone=Asia%2FKathmandu&back=%2Fstreams%3Fq%3Da", "").await;
    assert_eq!((chosen.status, chosen.header("location")), (303, "/streams?q=a"));
    assert!(chosen.header("set-cookie").starts_with("tidegate_zone=asia/kathmandu; path=/;"), "{chosen:?}");
    let evil = port.fetch("/zone?zone=nowhere&back=%2F%2Fevil.example", "").await;
    assert_eq!((evil.header("location"), evil.header("set-cookie").starts_with("tidegate_zone=thing;")), ("/", true));
    port.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_counts_the_streams_that_it_does_not_show_and_shows_totals_that_differ() {
    let database = TestDatabase::create().await;
    story::calm(&database.pool()).await;
    let more = "
        insert into tidegate.stream (connection, stream, table_schema, table_name, anchor, timezone, slice, jobs)
        select 'acme-lynn', 'report_' || n, 'lynn', 'report_' || n, current_date, 'UTC', '1d', '{lynn-hourly}'
        from generate_series(1, 60) as n;
        insert into tidegate.reconciliation (connection, checked_at, check_after, compared, differences)
        values ('acme-lynn', now(), now(), 12, 2);
        insert into tidegate.reconciliation_difference
            (connection, metric, bucket_start, bucket_end, vendor_total, our_count)
        values
            ('acme-lynn', 'messages', '2026-01-04 00:00Z', '2026-01-05 00:00Z', 10, 11),
            ('acme-lynn', 'messages', '2026-01-05 00:00Z', '2026-01-06 00:00Z', 12.5, 11);
    ";
    sqlx::raw_sql(more).execute(&database.pool()).await.unwrap();
    let port = Port::open(database.pool()).await;
    let connection = port.fetch(&api("/connections/acme-lynn"), "").await.json();
    assert_eq!(connection["summary"]["streams"], 63, "{connection}");
    assert_eq!(connection["summary"]["state"], "pending", "{connection}");
    assert_eq!(connection["streams"].as_array().unwrap().len(), 50);
    assert_eq!(connection["events"][0]["kind"], "recovered");
    let compared = &connection["reconciliation"];
    assert_eq!((&compared["connections"][0]["compared"], &compared["differences"]), (&12.into(), &2.into()));
    let newest = &compared["newest"][0];
    assert_eq!(newest["bucket_start"], "2026-01-05T00:00:00Z", "{compared}");
    assert_eq!((newest["vendor_total"].as_f64(), newest["difference"].as_f64()), (Some(12.5), Some(-1.5)));
    let system = port.fetch(&api("/system"), "").await.json();
    assert_eq!(system["migration"], system["own_migration"], "{system}");
    assert_eq!(system["tables"].as_array().unwrap().len(), 10, "{system}");
    port.close().await;
}
