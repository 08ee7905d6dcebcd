//! Column types that do not change: values that do not fit go to a variant of the column, and nothing is lost.

use std::collections::BTreeMap;

use sqlx::Executor;
use tidegate::catalogue::ColumnType;

use super::grow::{json, more_than_a_batch, only, strings};
use super::plant::{Plant, numbered, whole};

#[tokio::test]
async fn p5_values_that_do_not_fit_go_to_a_variant_and_the_column_keeps_its_type() {
    let plant = Plant::new().await;
    // (type, a value, one that does not fit, and the variant's value for it)
    let cases = [
        ("numeric", "0.1234567890123456789", r#""x""#, "x"),
        ("bigint", "12", r#""N/A""#, "N/A"),
        ("bigint", "12", r#""12""#, "12"),
        ("double precision", "-1.25e-5", "[1, 2]", "[1, 2]"),
        ("timestamp with time zone", r#""2024-03-01T11:02:45.5+02:00""#, r#""yesterday""#, "yesterday"),
        ("timestamp with time zone", r#""2024-03-01T11:02:45Z""#, "1709290965", "1709290965"),
        ("boolean", "true", "1", "1"),
        ("boolean", "false", r#""maybe""#, "maybe"),
        ("jsonb", r#"[1,{"a":"ü"}]"#, r#""x""#, "x"),
        ("jsonb", "[]", r#"[{"a":1,"a":2}]"#, r#"[{"a":1,"a":2}]"#),
        ("bigint", "1", "1e999", "1e999"),
    ];
    for (number, (kind, fits, other, text)) in (0_i64..).zip(cases) {
        let name = format!("v{number}");
        let record = |value: &str| format!(r#"{{"{name}":{value}}}"#);
        plant.read(whole(number), &[vec![record(fits), record(other), record(fits)]]).await;
        // Values that fit still go to the column; empty ones are null.
        plant.read(whole(100 + number), &[vec![record(fits), record("\"\""), record("null"), record(other)]]).await;
        assert_eq!(plant.column(&name).await.as_deref(), Some(kind), "{fits}");
        assert_eq!(plant.column(&format!("{name}_text")).await.as_deref(), Some("text"));
        let found = format!(
            "select count(*) filter (where {name} is not null and {name}_text is null) * 10
                + count(*) filter (where {name} is null and {name}_text = $t${text}$t$)
            from lynn.survey_result where num_nonnulls({name}, {name}_text) > 0"
        );
        assert_eq!(plant.count(&found).await, 32, "{fits} {other}");
    }
    assert_eq!(plant.count("select count(*) from lynn.survey_result where _extra is not null").await, 0);
    let changes: Vec<(String, String, String, String)> = sqlx::query_as(
        "select column_name, change, old_type, new_type from tidegate.schema_change where field = 'v1' and change <> 'add_column'",
    )
    .fetch_all(&plant.pool)
    .await
    .unwrap();
    let change = ["v1_text", "add_variant", "bigint", "text"].map(ToOwned::to_owned);
    assert_eq!(changes, [change.into()]);
    let uncommented = "select count(*) from pg_attribute where attrelid = 'lynn.survey_result'::regclass and attnum > 0
        and col_description(attrelid, attnum) is null";
    assert_eq!(plant.count(uncommented).await, 0);
}

#[tokio::test]
async fn p5_a_variant_and_a_field_of_its_name_have_a_column_each() {
    let plant = Plant::new().await;
    plant.read(whole(0), &[strings(&[r#"{"a":1,"b":1,"b_text":"theirs"}"#, r#"{"a":"x","b":"y"}"#])]).await;
    plant.read(whole(0), &[strings(&[r#"{"a":"x","b":"y","a_text":"also theirs","b_text":"theirs"}"#])]).await;
    let row = only(&plant, 0).await;
    let shown: Vec<_> = row.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(shown, ["a_text=x", "a_text_2=also theirs", "b_text=theirs", "b_text_2=y"]);
}

#[tokio::test]
async fn p5_no_type_is_inferred_from_an_empty_string() {
    let plant = Plant::new().await;
    let page = strings(&[
        r#"{"n":1,"closedAt":""}"#,
        r#"{"n":2,"closedAt":"2024-03-01T00:00:00Z"}"#,
        r#"{"n":3,"closedAt":""}"#,
    ]);
    for _ in 0..2 {
        plant.read(whole(0), std::slice::from_ref(&page)).await;
        assert_eq!(plant.column("closed_at").await.as_deref(), Some("timestamp with time zone"));
        assert_eq!(plant.count("select count(closed_at) from lynn.survey_result where _extra is null").await, 1);
    }
    assert_eq!(plant.count("select count(*) from tidegate.table_column").await, 2);
    // It is an empty text in a text column, and null in a documented column of another type.
    plant.read(whole(1), &[strings(&[r#"{"t":"x"}"#, r#"{"t":""}"#])]).await;
    assert_eq!(plant.count("select count(*) from lynn.survey_result where t = ''").await, 1);
    let plant = Plant::documented().await;
    plant.read(whole(0), &[strings(&[r#"{"timestamp":"","session":""}"#])]).await;
    let row = only(&plant, 0).await;
    assert_eq!(row.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(), ["session="]);
}

#[tokio::test]
async fn p5_characters_that_postgres_cannot_hold_are_stored_in_the_nearest_form() {
    for plant in [Plant::new().await, Plant::of(super::plant::stream("navigation_marks"), true).await] {
        plant
            .read(
                whole(0),
                &[strings(&[r#"{"markValue":"before\u0000after","list":["\ud83d"],"list2":[{"a":1,"a":2}]}"#])],
            )
            .await;
        let row = only(&plant, 0).await;
        assert_eq!((row["mark_value"].as_str(), row["list"].as_str()), ("before\u{fffd}after", "[\"\u{fffd}\"]"));
        assert_eq!(
            json(&row["_extra"]),
            json(
                r#"{"markValue":{"_raw":"\"before\\u0000after\""},"list":{"_raw":"[\"\\ud83d\"]"},
                "list2":{"_raw":"[{\"a\":1,\"a\":2}]"}}"#
            )
        );
        assert_eq!(plant.column("list2").await, None, "a value that no type holds makes no column");
    }
}

#[tokio::test]
async fn p5_a_column_has_its_stated_type_from_the_first_value_on() {
    let types: BTreeMap<String, ColumnType> = [("waitMinutes", ColumnType::Double), ("flag", ColumnType::Text)]
        .map(|(name, kind)| (name.to_owned(), kind))
        .into();
    let plant = Plant { types, ..Plant::new().await };
    plant
        .read(
            whole(0),
            &[strings(&[
                r#"{"n":1,"waitMinutes":"N/A","flag":true}"#,
                r#"{"n":2,"waitMinutes":"12.50","flag":"x"}"#,
                r#"{"n":3,"waitMinutes":3}"#,
            ])],
        )
        .await;
    let found: Vec<(Option<f64>, Option<String>, Option<String>)> =
        sqlx::query_as("select wait_minutes, wait_minutes_text, flag from lynn.survey_result order by n")
            .fetch_all(&plant.pool)
            .await
            .unwrap();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(found, [(None, text("N/A"), text("true")), (Some(12.5), None, text("x")), (Some(3.0), None, None)]);
    // An existing column keeps its type.
    let types = [("n".to_owned(), ColumnType::Text)].into();
    let plant = Plant { types, ..plant };
    plant.read(whole(1), &[numbered([7])]).await;
    assert_eq!(plant.column("n").await.as_deref(), Some("bigint"));
    assert_eq!(only(&plant, 1).await["n"], "7");
    // If it is dropped, it is created again with the stated type.
    plant.pool.execute("alter table lynn.survey_result drop column n").await.unwrap();
    plant.read(whole(1), &[numbered([7])]).await;
    assert_eq!(plant.column("n").await.as_deref(), Some("text"));
}

#[tokio::test]
async fn p5_a_view_on_a_column_that_must_widen_does_not_fail_the_load() {
    let plant = Plant::new().await;
    plant.read(whole(0), &[strings(&[r#"{"amount":1,"share":0.5,"other":1}"#])]).await;
    plant.pool.execute("create view seen_by_bi as select amount, share from lynn.survey_result").await.unwrap();
    let page = strings(&[
        r#"{"row":1,"amount":2.5,"share":0.25,"other":1.5}"#,
        r#"{"row":2,"amount":3,"share":0.1234567890123456789}"#,
        r#"{"row":3,"amount":4.0,"share":2}"#,
        r#"{"row":4,"amount":"2 or 3","share":1e999}"#,
        r#"{"row":5,"amount":9223372036854775808,"share":-0.0}"#,
        r#"{"row":6,"amount":-9223372036854775808,"share":5e-324}"#,
        r#"{"row":7,"amount":1e-7,"share":1.5e300}"#,
    ]);
    let shown = async || {
        let rows = plant.rows(whole(1)).await;
        let row = |row: &BTreeMap<String, String>| {
            row.iter().filter(|(k, _)| *k != "row").map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
        };
        let mut rows: Vec<_> = rows.iter().map(|found| (found["row"].clone(), row(found))).collect();
        rows.sort();
        rows
    };
    plant.read(whole(1), std::slice::from_ref(&page)).await;
    let first = shown().await;
    let texts: Vec<&str> = first.iter().map(|(_, row)| row.as_str()).collect();
    assert_eq!(
        texts[..5],
        [
            "amount_numeric=2.5 other=1.5 share=0.25",
            "amount=3 share_numeric=0.12345678901234568",
            "amount=4 share=2",
            "amount_text=2 or 3 share_text=1e999",
            "amount_numeric=9223372036854775808 share=0",
        ]
    );
    assert_eq!(plant.column("amount").await.as_deref(), Some("bigint"));
    assert_eq!(plant.column("share").await.as_deref(), Some("double precision"));
    assert_eq!(plant.column("other").await.as_deref(), Some("numeric"));
    // A worker that knows the variants from the beginning stores every value in the same place.
    let progress = plant.read(whole(1), std::slice::from_ref(&page)).await;
    assert_eq!(
        (progress.rows_inserted, progress.rows_updated, progress.rows_unchanged),
        (0, 0, 7),
        "{:?}",
        shown().await
    );
    assert_eq!(shown().await, first);
    // Once numbers have a variant, the column keeps its type with and without a view.
    plant.pool.execute("drop view seen_by_bi").await.unwrap();
    plant.read(whole(2), &[strings(&[r#"{"amount":7.5}"#])]).await;
    assert_eq!(only(&plant, 2).await["amount_numeric"], "7.5");
    assert_eq!(plant.column("amount").await.as_deref(), Some("bigint"));
    assert_eq!(plant.count("select count(*) from tidegate.schema_change where change = 'add_variant'").await, 4);
}

#[tokio::test]
async fn p5_no_object_that_depends_on_a_column_of_numbers_fails_a_load() {
    let plant = Plant::new().await;
    let names = ["by_generated", "by_rule", "by_trigger", "by_policy", "by_gin", "by_check"];
    let record = |value: &str| {
        let members: Vec<String> = names.iter().map(|name| format!(r#""{name}":{value}"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    plant.read(whole(0), &[vec![record("1")]]).await;
    plant
        .pool
        .execute(
            "create table public.elsewhere (n bigint);
            alter table lynn.survey_result add column twice bigint generated always as (by_generated * 2) stored;
            create rule r as on delete to lynn.survey_result where old.by_rule = 7 do also delete from public.elsewhere;
            create function public.nothing() returns trigger language plpgsql as 'begin return new; end';
            create trigger t before update of by_trigger on lynn.survey_result for each row execute function public.nothing();
            create policy p on lynn.survey_result using (by_policy > 0);
            create function public.one(bigint) returns text[] language sql immutable as 'select array[$1::text]';
            create index g on lynn.survey_result using gin (public.one(by_gin));
            create function public.good(bigint) returns boolean language sql immutable as 'select true';
            alter table lynn.survey_result add constraint c check (public.good(by_check))",
        )
        .await
        .unwrap();
    for _ in 0..2 {
        plant.read(whole(1), &[vec![record("1.5"), record("2")]]).await;
        for name in names {
            let numeric = plant.column(name).await.as_deref() == Some("numeric");
            let home = if numeric { name.to_owned() } else { format!("{name}_numeric") };
            let found = format!("select count(*) from lynn.survey_result where {home} = 1.5");
            assert_eq!(plant.count(&found).await, 1, "{name}");
            assert_eq!(
                plant.count(&format!("select count(*) from lynn.survey_result where {name} = 2")).await,
                1,
                "{name}"
            );
        }
    }
    let variants = plant.count("select count(*) from tidegate.schema_change where change = 'add_variant'").await;
    assert!(variants >= 4, "{variants} columns are in the way of nothing");
}

#[tokio::test]
async fn p5_a_worker_with_outdated_columns_divides_numbers_between_a_column_and_its_variant() {
    let plant = Plant::new().await;
    plant.read(whole(0), &[strings(&[r#"{"amount":1}"#])]).await;
    plant.pool.execute("create view seen_by_bi as select amount from lynn.survey_result").await.unwrap();
    let claim = plant.claim_as("slow").await;
    let mut reader = plant.reader(&claim, whole(1)).await;
    plant.read(whole(0), &[strings(&[r#"{"amount":1.5}"#])]).await;
    // It assumes that it may widen the column.
    reader.page(&[r#"{"amount":5}"#, r#"{"amount":0.5}"#, r#"{"amount":6}"#], None).await.unwrap();
    let rows = plant.rows(whole(1)).await;
    let shown: Vec<_> =
        rows.iter().map(|row| row.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().concat()).collect();
    assert_eq!(shown, ["amount=5", "amount=6", "amount_numeric=0.5"]);
}

#[tokio::test]
async fn p5_a_page_that_has_locked_the_table_creates_a_variant() {
    let plant = Plant::new().await;
    plant.read(whole(9), &[numbered([1])]).await;
    plant.pool.execute("create view seen_by_bi as select n from lynn.survey_result").await.unwrap();
    let claim = plant.claim().await;
    let mut records = more_than_a_batch();
    records.extend(strings(&[r#"{"n":20000.5}"#, r#"{"n":"text"}"#, r#"{"n":7}"#]));
    let expected = i64::try_from(records.len()).unwrap();
    for _ in 0..2 {
        let mut reader = plant.reader(&claim, whole(0)).await;
        let progress = reader.spill(&records, None).await.unwrap();
        assert_eq!(progress.rows_inserted + progress.rows_unchanged, expected);
        let found = "select count(n) * 100 + count(n_numeric) * 10 + count(n_text) from lynn.survey_result
            where _window_start = '2024-03-01'";
        assert_eq!(plant.count(found).await, (expected - 2) * 100 + 11);
    }
}
