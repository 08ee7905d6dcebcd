//! `tidegate mart`, and what `check` says about the section `mart`.

use serde_json::Value;

use crate::support::daemon::command;
use crate::support::world::Recipe;
use crate::support::{World, ago};

async fn said(world: &World, args: &[&str], code: i32) -> (String, String) {
    let output = command(world, &[], args).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
    (stdout, stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_the_command_shows_what_feeds_the_mart_and_what_is_missing() {
    let streams = "[survey_result, current_interactions]";
    let world = World::with(Recipe { start: ago(2).date_naive(), streams, ..Recipe::default() }).await;
    world.sync_ok().await;
    world.edit_config(|text| {
        format!("{text}\nmart: {{ timezone: America/Lima, fields: {{ lynn.survey_result: {{ scale: klassification }} }} }}\n")
    });
    let (text, _) = said(&world, &["mart"], 0).await;
    let line = |table: &str, field: &str| {
        let find = |line: &&str| line.split_whitespace().take(2).eq([table, field]);
        text.lines().find(find).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap()
    };
    assert!(text.starts_with("days are those of America/Lima\n"), "{text}");
    let started = line("lynn.current_interactions", "started_at");
    assert_eq!(started, "lynn.current_interactions started_at time date timestamp with time zone found");
    assert_eq!(
        line("lynn.survey_result", "scale"),
        "lynn.survey_result scale text - - missing: `klassification` is configured"
    );
    assert!(text.contains("fields are missing, and null in the views; `tidegate mart --explain` shows"), "{text}");
    let warning = "mart.fields.lynn.survey_result.scale: lynn.survey_result has no column `klassification`, so the field is null \
                   until it has; did you mean `classification`?";
    assert!(text.contains(&format!("warning: {warning}")), "{text}");

    let (text, _) = said(&world, &["mart", "--explain"], 0).await;
    assert!(
        text.contains(
            "lynn.survey_result: scale is missing\n  looked for  klassification\n  there is    classification"
        ),
        "{text}"
    );
    assert!(text.contains("these columns feed nothing"), "{text}");

    let (document, _) = said(&world, &["mart", "--json"], 0).await;
    let document: Value = serde_json::from_str(&document).unwrap();
    assert_eq!((&document["timezone"], &document["warnings"][0]), (&"America/Lima".into(), &warning.into()));
    let tables = document["tables"].as_array().unwrap();
    let survey = tables.iter().find(|table| table["table"] == "lynn.survey_result").unwrap();
    let scale = survey["fields"].as_array().unwrap().iter().find(|field| field["field"] == "scale").unwrap();
    assert_eq!((&scale["origin"], &scale["nearest"][0]), (&"missing".into(), &"classification".into()));

    let (sql, _) = said(&world, &["mart", "--explain", "mart.conversations"], 0).await;
    assert!(sql.starts_with("create or replace view mart.conversations as\n") && sql.contains("America/Lima"), "{sql}");
    let (_, refused) = said(&world, &["mart", "--explain", "conversation"], 2).await;
    assert_eq!(refused, "error: unknown relation `conversation`; did you mean `conversations`?\n");

    let (check, _) = said(&world, &["check"], 0).await;
    assert!(check.contains(&format!("warning: {warning}")), "{check}");
    said(&world, &["migrate"], 0).await;
    let zone = "select pg_get_viewdef('mart.conversations'::regclass) like '%America/Lima%'";
    assert!(world.scalar::<bool>(zone).await);
}
