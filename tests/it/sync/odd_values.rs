//! Values that fit no column: the run succeeds and nothing is lost.

use chrono::TimeDelta;
use simulator::{Change, Rows};

use super::ago;
use crate::support::World;
use crate::support::daemon::{Daemon, SOON};
use crate::support::eventually;
use crate::support::world::Recipe;

/// Rows that each change concerns.
const FEW: u64 = 3;

fn field(name: &str) -> String {
    name.to_owned()
}

fn set(name: &str, json: &str) -> Change {
    Change::Set { field: field(name), json: json.to_owned() }
}

/// Applies every change to a few rows of an hour of its own, yesterday and the day before.
fn apply(world: &World, report: &str, changes: &[(Change, &str)]) {
    assert!(changes.len() <= 40);
    for (number, (change, _)) in changes.iter().enumerate() {
        let from = ago(2) + TimeDelta::hours(i64::try_from(number).unwrap());
        let rows = Rows::between(report, from, from + TimeDelta::hours(1)).first(FEW);
        assert_eq!(world.control().lynn().change(rows, change.clone()).unwrap(), FEW, "{change:?}");
    }
}

async fn world(streams: &'static str) -> World {
    World::with(Recipe {
        start: ago(3).date_naive(),
        streams,
        job: vec!["lookback: 0s".to_owned()],
        ..Recipe::default()
    })
    .await
}

/// Checks where the values of each change were stored, and that all records are there.
async fn check(world: &World, report: &str, changes: &[(Change, &str)]) {
    let tasks = world.sync().await;
    let state = if tasks[0].records_rejected > 0 { "held" } else { "succeeded" };
    assert_eq!(tasks[0].state, state, "{tasks:#?}");
    for (change, condition) in changes {
        let table =
            if condition.starts_with("record") { "tidegate.rejected_record" } else { &format!("lynn.{report}") };
        let found: i64 = world.scalar(&format!("select count(*) from {table} where {condition}")).await;
        assert_eq!(found, i64::try_from(FEW).unwrap(), "{change:?}: {condition}");
    }
    let until = tasks[0].last_window_end.unwrap();
    let records = world.control().lynn().count(report, ago(3), until).unwrap();
    let rows: i64 = world.scalar(&format!("select count(*) from lynn.{report}")).await;
    let rejected: i64 = world.scalar("select count(*) from tidegate.rejected_record").await;
    assert_eq!(u64::try_from(rows + rejected).unwrap(), records);
    assert_eq!(rejected, tasks[0].records_rejected);
    let extra: i64 = world
        .scalar(&format!(
            "select coalesce(sum((select count(*) from jsonb_object_keys(_extra))), 0)::bigint from lynn.{report}"
        ))
        .await;
    assert_eq!(extra, tasks[0].values_extra);
    // Reading the same values again changes nothing.
    let again = world.backfill(ago(3), ago(0)).await;
    // A slice with rejected records deletes nothing when it is read again (promise 10).
    assert_eq!(again[0].state, if rejected > 0 { "held" } else { "succeeded" }, "{again:?}");
    assert_eq!((again[0].rows_inserted, again[0].rows_updated, again[0].rows_deleted), (0, 0, 0), "{again:?}");
    let still: i64 = world.scalar("select count(*) from tidegate.rejected_record").await;
    assert_eq!(still, rejected);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_a_documented_report_keeps_values_that_fit_no_column() {
    let world = world("[navigation_marks]").await;
    let changes = [
        (set("newField", "\"x\""), "_extra = '{\"newField\": \"x\"}'"),
        (set("markName", "42"), "mark_name = '42' and _extra is null"),
        (Change::NumberToString { field: field("newNumber") }, "_extra->'newNumber' = '\"0\"'"),
        (Change::StringToObject { field: field("intent") }, "_extra->'intent'->>'changed' = 'true' and intent is null"),
        (Change::LongString { field: field("markValue"), bytes: 300_000 }, "octet_length(mark_value) = 300000"),
        (
            Change::Nul { field: field("markValue") },
            r#"mark_value = e'before\ufffdafter' and _extra->'markValue'->>'_raw' = '"before\u0000after"'"#,
        ),
        (Change::LoneSurrogate { field: field("markName") }, r#"_extra->'markName'->>'_raw' = '"before\ud83dafter"'"#),
        (Change::HugeInteger { field: field("big") }, "_extra->>'big' = '1180591620717411303424'"),
        (Change::HugeExponent { field: field("huge") }, "_extra->'huge'->>'_raw' = '1.5e4932'"),
        (set("markValue", "NaN"), "_extra = '{\"markValue\": {\"_raw\": \"NaN\"}}' and mark_value is null"),
        (set("timestamp", "-Infinity"), "_extra = '{\"timestamp\": {\"_raw\": \"-Infinity\"}}'"),
        (set("list", "[1, {\"x\": Infinity}]"), "_extra->'list'->>'_raw' = '[1, {\"x\": Infinity}]'"),
        (set("nest", "{\"x\": NaN, \"y\": 1}"), "_extra = '{\"nest.x\": {\"_raw\": \"NaN\"}, \"nest.y\": 1}'"),
        (Change::Whole { json: "NaN".to_owned() }, "record = 'NaN' and reason = 'not an object'"),
        (Change::Remove { field: field("division") }, "division is null and session is not null and _extra is null"),
        (
            Change::Nested { field: field("nested") },
            r#"_extra = '{"nested.inner.a": 1, "nested.inner.B": "zwei", "nested.list": [1, "two", null],
                "nested.objects": [{"x": 1}, {"y": []}]}'"#,
        ),
        (Change::Deep { field: field("deep"), depth: 500 }, "length(_extra->'deep'->>'_raw') = 1001"),
        (Change::LookalikeKeys { field: field("markName") }, "_extra ?& array['MARKNAME', 'markName.', ' markName']"),
        (Change::EmptyKey, "_extra->>'' = 'under an empty key'"),
        (set("timestamp", "\"yesterday\""), "timestamp is null and _extra->>'timestamp' = 'yesterday'"),
        (set("session", "null"), "session is null and division is not null and _extra is null"),
        (set("with\0nul", "1"), r"_extra ? 'with\u0000nul'"),
        (Change::Whole { json: "[1]".to_owned() }, "record = '[1]' and reason = 'not an object'"),
        (Change::Whole { json: "null".to_owned() }, "record = 'null'"),
        (Change::Whole { json: "\"te\\u0000xt\"".to_owned() }, r#"record = '"te\u0000xt"'"#),
        (Change::Whole { json: r#"{"\ud83d":1}"#.to_owned() }, r#"record = '{"\ud83d":1}'"#),
        (Change::Whole { json: "{}".to_owned() }, "record = '{}' and reason = 'no field has a value'"),
    ];
    apply(&world, "navigation_marks", &changes);
    check(&world, "navigation_marks", &changes).await;
    let changed: i64 = world.scalar("select count(*) from tidegate.schema_change").await;
    assert_eq!(changed, 0, "a documented table does not grow by itself");
}

/// Changes of an undocumented report, and where their values are stored.
fn undocumented() -> Vec<(Change, String)> {
    let sla = "session_service_level_sec";
    vec![
        (set("newField", "\"x\""), "new_field = 'x' and _extra is null".to_owned()),
        (set("new-Field", "7"), "new_field_2 = 7".to_owned()),
        (set("Compliance", "\"n/a\""), "compliance_text = 'n/a' and compliance is null".to_owned()),
        (set("Session service level [sec]", "\"soon\""), format!("{sla}_text = 'soon' and {sla} is null")),
        (Change::StringToObject { field: field("WorkGroup") }, "work_group_changed and work_group is null".to_owned()),
        (Change::LongString { field: field("ART"), bytes: 300_000 }, "octet_length(art) = 300000".to_owned()),
        (
            Change::Nul { field: field("ART") },
            r#"art = e'before\ufffdafter' and _extra->'ART'->>'_raw' = '"before\u0000after"'"#.to_owned(),
        ),
        (Change::LoneSurrogate { field: field("ART") }, r#"_extra->'ART'->>'_raw' = '"before\ud83dafter"'"#.to_owned()),
        (Change::HugeInteger { field: field("big") }, "big::text = '1180591620717411303424'".to_owned()),
        (Change::HugeExponent { field: field("huge") }, "_extra->'huge'->>'_raw' = '1.5e4932'".to_owned()),
        (Change::Remove { field: field("ART") }, "art is null and _extra is null".to_owned()),
        (
            Change::Nested { field: field("nested") },
            r#"nested_inner_a = 1 and nested_inner_b = 'zwei' and nested_list = '[1, "two", null]'
                and nested_objects = '[{"x": 1}, {"y": []}]'"#
                .to_owned(),
        ),
        (Change::Deep { field: field("deep"), depth: 500 }, "length(_extra->'deep'->>'_raw') = 1001".to_owned()),
        (
            Change::LookalikeKeys { field: field("WorkGroup") },
            "num_nonnulls(workgroup, work_group_2, work_group_3) = 3".to_owned(),
        ),
        (Change::EmptyKey, "\"column\" = 'under an empty key'".to_owned()),
        (set("with\0nul", "1"), r"_extra ? 'with\u0000nul'".to_owned()),
        (set("select\"'; drop", "true"), "\"select_drop\"".to_owned()),
        (set("neverANumber", "NaN"), "_extra = '{\"neverANumber\": {\"_raw\": \"NaN\"}}'".to_owned()),
        (set("Compliance", "Infinity"), "_extra = '{\"Compliance\": {\"_raw\": \"Infinity\"}}'".to_owned()),
        (
            set("_run_id", "\"theirs\""),
            "_extra->>'_run_id' = 'theirs' or to_jsonb(current_interactions)::text like '%\"theirs\"%'".to_owned(),
        ),
        (set("12 größe", "1.5"), "\"_12_größe\" = 1.5".to_owned()),
        (Change::Whole { json: "7".to_owned() }, "record = '7'".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_an_undocumented_report_gets_columns_without_loss_and_keeps_its_types() {
    let world = world("[current_interactions]").await;
    let changes = undocumented();
    let changes: Vec<(Change, &str)> =
        changes.iter().map(|(change, condition)| (change.clone(), condition.as_str())).collect();
    apply(&world, "current_interactions", &changes);
    let evening = Rows::between("current_interactions", ago(1) - TimeDelta::hours(2), ago(1)).first(FEW);
    world.control().lynn().change(evening, Change::NumberToString { field: field("DPC [sec]") }).unwrap();
    check(&world, "current_interactions", &changes).await;
    for (change, field, old, new) in [
        ("add_column", "newField", None, Some("text")),
        ("add_variant", "Compliance", Some("double precision"), Some("text")),
        ("add_variant", "Session service level [sec]", Some("bigint"), Some("text")),
        ("add_variant", "DPC [sec]", Some("bigint"), Some("text")),
    ] {
        let found: i64 = sqlx::query_scalar(
            "select count(*) from tidegate.schema_change where change = $1 and field = $2
            and old_type is not distinct from $3 and new_type is not distinct from $4",
        )
        .bind(change)
        .bind(field)
        .bind(old)
        .bind(new)
        .fetch_one(&world.database.pool())
        .await
        .unwrap();
        assert_eq!(found, 1, "{change} {field}");
    }
    let nameless = "select count(*) from tidegate.schema_change where field ilike 'never%'";
    assert_eq!(world.scalar::<i64>(nameless).await, 0, "NaN gets no column");
    let uncommented: i64 = world
        .scalar(
            "select count(*) from pg_attribute where attrelid = 'lynn.current_interactions'::regclass
            and attnum > 0 and col_description(attrelid, attnum) is null",
        )
        .await;
    assert_eq!(uncommented, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_two_daemons_may_add_the_same_new_field_at_once() {
    let world = world("[survey_result]").await;
    // Another connection fills the same table.
    let neighbour = simulator::start(Recipe::default().options).await.unwrap();
    world.edit_config(|text| {
        let jobs = text.find("jobs:").unwrap();
        let other = text[text.find("  acme:").unwrap()..jobs]
            .replace("  acme:", "  other:")
            .replace(&world.simulator.base_url(), &neighbour.base_url());
        let job = text[jobs..].replace("jobs:\n", "").replace("  lynn:", "  other:").replace("acme", "other");
        format!("{}{other}{}{job}", &text[..jobs], &text[jobs..])
    });
    for (control, json) in [(world.control(), "7"), (neighbour.control(), "\"seven\"")] {
        for number in 0..20 {
            let name = format!("field{number}");
            control.lynn().change(Rows::since("survey_result", ago(3)).every(5), set(&name, json)).unwrap();
        }
    }
    let (one, other) = tokio::join!(Daemon::start(&world), Daemon::start(&world));
    for job in ["lynn", "other"] {
        world.enqueue_job(job, tidegate::schedule::ByHand::Manual).await;
    }
    let succeeded = "select count(*) from tidegate.run where state = 'succeeded'";
    eventually(SOON, async || (world.scalar::<i64>(succeeded).await == 2).then_some(())).await;
    for control in [world.control(), neighbour.control()] {
        assert_eq!(control.stats().violation_count, 0);
    }
    // Whichever was first, the values of the other are stored beside its own.
    let of = |value: &str| {
        format!(
            "select count(*) from lynn.survey_result as t
            where '{value}' in (to_jsonb(t) ->> 'field19', to_jsonb(t) ->> 'field19_text')"
        )
    };
    let numbers: i64 = world.scalar(&of("7")).await;
    let texts: i64 = world.scalar(&of("seven")).await;
    assert!(numbers > 50 && texts > 50, "{numbers} {texts}");
    let lost: i64 = world.scalar("select count(*) from lynn.survey_result where _extra is not null").await;
    assert_eq!(lost, 0);
    let added: i64 = world
        .scalar("select count(*) from tidegate.schema_change where change = 'add_column' and field like 'field%'")
        .await;
    assert_eq!(added, 20);
    tokio::join!(one.kill(), other.kill());
}
