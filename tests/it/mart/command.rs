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
    assert!(text.starts_with("days are those of UTC\n\nthe views have the settings that "), "{text}");
    assert_eq!(line("mart.timezone", "UTC"), "mart.timezone UTC America/Lima");
    let scale = "mart.fields.lynn.survey_result.scale";
    assert_eq!(line(scale, "-"), format!("{scale} - klassification"));
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
    assert_eq!((&document["timezone"], &document["warnings"][0]), (&"UTC".into(), &warning.into()));
    let zone = serde_json::json!({ "setting": "mart.timezone", "in_force": "UTC", "configured": "America/Lima" });
    assert_eq!(document["differences"].as_array().unwrap().last(), Some(&zone));
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
    let (text, _) = said(&world, &["mart"], 0).await;
    assert!(text.starts_with("days are those of America/Lima\n\nTABLE"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p11_only_answers_on_scales_of_numbers_count_as_numbers_that_cannot_be_read() {
    let world = World::with(Recipe { start: ago(1).date_naive(), ..Recipe::default() }).await;
    said(&world, &["migrate"], 0).await;
    sqlx::raw_sql(
        "alter table lynn.survey_result add column value text, add column classification text;
        insert into lynn.survey_result (_connection, _window_start, _row_key, _run_id, _loaded_at, value, classification)
        select 'acme', now(), gen_random_uuid(), 1, now(), value, scale
        from (values
            ('YES', 'LIKE'), ('NO', 'like'), ('😀', 'FACES'), ('perhaps', 'MOOD'), ('fine', null),
            ('9', 'STARS'), ('10', 'NPS'), ('ten', 'nps'), ('', 'NPS')
        ) as answer (value, scale)",
    )
    .execute(&world.database.pool())
    .await
    .unwrap();
    let (text, _) = said(&world, &["mart"], 0).await;
    let line = "lynn.survey_result: score: of 3 values of `value` in the newest rows (at most 1000), 1 cannot be read";
    assert!(text.contains(line), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_the_command_counts_values_that_cannot_be_read_and_never_shows_them() {
    let world = World::with(Recipe { start: ago(1).date_naive(), ..Recipe::default() }).await;
    world.sync_ok().await;
    sqlx::raw_sql(
        "alter table khoros.conversation add column created_time text, add column message_count text, add column first_response_time_seconds text;
        insert into khoros.conversation (_connection, conversation_id, _run_id, _loaded_at, created_time, message_count, first_response_time_seconds)
        values ('acme', '1', 1, now(), '26/11/2026', '95%', '05:30'), ('acme', '2', 1, now(), ' 2026-11-26 ', '12,5', ''), ('acme', '3', 1, now(), '', null, '90');
        insert into khoros.conversation (_connection, conversation_id, _run_id, _loaded_at, created_time)
        select 'acme', 'old' || i, 1, '2020-01-01', 'yesterday' from generate_series(1, 1200) i",
    )
    .execute(&world.database.pool())
    .await
    .unwrap();
    let (text, _) = said(&world, &["mart"], 0).await;
    for line in [
        "khoros.conversation: started_at: of 999 values of `created_time` in the newest rows (at most 1000), 998 cannot be read and are null",
        "khoros.conversation: messages: of 2 values of `message_count` in the newest rows (at most 1000), 1 cannot be read and are null",
        "khoros.conversation: first_response_seconds: of 2 values of `first_response_time_seconds` in the newest rows (at most 1000), 1 cannot be read and are null",
        "remedy      name another column in `mart.fields.khoros.conversation`, or state the column's type in `types` of the job",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let (document, _) = said(&world, &["mart", "--json"], 0).await;
    let parsed: Value = serde_json::from_str(&document).unwrap();
    let tables = parsed["tables"].as_array().unwrap();
    let conversation = tables.iter().find(|table| table["table"] == "khoros.conversation").unwrap();
    let fields = conversation["fields"].as_array().unwrap();
    let counts = |name: &str| {
        let field = fields.iter().find(|field| field["field"] == name).unwrap();
        (field["values"].as_i64(), field["unread"].as_i64())
    };
    assert_eq!(counts("started_at"), (Some(999), Some(998)));
    assert_eq!(counts("messages"), (Some(2), Some(1)));
    assert_eq!(counts("status"), (None, None), "any text can be read");
    for value in ["26/11/2026", "12,5", "05:30", "yesterday"] {
        assert!(!text.contains(value) && !document.contains(value), "{value}");
    }
    let read = "select string_agg(coalesce(messages::text, '-') || ' ' || coalesce(day::text, '-'), ', ' order by conversation_id)
        from mart.conversations where conversation_id in ('1', '2')";
    said(&world, &["migrate"], 0).await;
    assert_eq!(world.scalar::<String>(read).await, "95 -, - 2026-11-26");
}
